"""All counters of one server process as a single vector of integers that only grow.

In: the version's reference, then additions. Out: copies, differences and the JSON that the operator reads.
Invariant: the layout only ever grows at its end (a block for each version that feedback names), so an older,
shorter snapshot can be subtracted from a newer one element by element; pods are merged by adding the same
fields. Errors of regressions are whole numbers too, of a unit that belongs to the version: sums of floats
would depend on their order.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.contract import (
    BESIDE,
    DELAY_BOUNDS,
    ERRORS,
    LARGEST_ERROR,
    SCORE_BINS,
    SLICE_GROUPS,
    SLICE_SCORES,
    SLICINGS,
    Why,
    slice_score,
)
from noria_serving.counters import class_scores
from noria_serving.counters.grid import grid_of
from noria_serving.counters.slices import WIDTH
from noria_serving.reference import Reference

Vector = NDArray[np.int64]

REQUESTS: Final = ("ok", "client_error", "server_error")
DUPLICATES: Final = ("rows", "equal")
"""Rows that were looked at, and those of them that are equal to an earlier one."""
FEEDBACK: Final = (
    "matched", "late", "duplicate", "expired", "foreign", "forged", "invalid", "logged", "full",
)  # fmt: skip
"""Outcomes of feedback items; `late` ones are counted as `matched` too. `logged`: labels of a large batch,
handed to the payload log; `full`: refused, because it had no room for them."""
OF_SLICE: Final = 4
"""Counts of labelled rows of a group: of a classification those of CONFUSION, of a regression the first four
of ERRORS."""
CONFUSION: Final = (("0", "0"), ("0", "1"), ("1", "0"), ("1", "1"))
"""By label, then by prediction, at a threshold of one half; with several classes the prediction is 1 and the
label whether it was right."""
MAX_VERSIONS: Final = 32
"""Whose labels one process counts; its own is counted beyond that, too."""


class State:
    """Slices of the vector by meaning."""

    def __init__(self, reference: Reference, called: Sequence[str] = ()) -> None:
        """called: names of the classes whose predictions are counted beside the scores."""
        self.reference = reference
        self.own = ""
        """The version of this server, whose labels are counted however many others were named before."""
        self.requests = 0
        self.predictions = len(REQUESTS)
        self.malformed = self.predictions + 1
        """Requests that got a 400, which are client errors as well."""
        self.refused = self.malformed + 1
        """Client errors by why."""
        self.duplicates = self.refused + len(Why)
        self.feedback = self.duplicates + len(DUPLICATES)
        self.delay = self.feedback + len(FEEDBACK)
        self.prediction = self.delay + 2 + len(DELAY_BOUNDS)
        position = self.prediction + reference.prediction.size + len(BESIDE)
        self.grid = grid_of(reference.prediction)
        self.outputs = position
        position += self.grid.size + len(BESIDE) if self.grid else 0
        self.called, self._names = position, called
        position += len(called)
        if reference.prediction.kind == "category":
            self.called, self._names = self.prediction, reference.prediction.values
        self.features: list[int] = []
        for bins in reference.features:
            self.features.append(position)
            position += bins.size + len(BESIDE)
        self.slices: list[int] = []
        for slicing in reference.slices:
            self.slices.append(position)
            position += WIDTH * slicing.size
        self._scores: dict[str, int] = {}
        self._errors: dict[str, int] = {}
        self._tables: dict[str, tuple[int, int]] = {}
        self._class_scores: dict[str, tuple[int, int]] = {}
        self._sliced: dict[str, int] = {}
        self._slice_scores: dict[tuple[str, int, int], int] = {}
        """By version, number of the slicing and of the group; those alone that have labels."""
        self.units: dict[str, float] = {}
        """Of each version whose errors are counted."""
        self.vector: Vector = np.zeros(position, dtype=np.int64)

    @property
    def versions(self) -> list[str]:
        """Versions that feedback named."""
        return [*self._scores, *self._errors]

    def add_score(
        self, version: str, row_bin: int, *, positive: bool, groups: bytes = b"", chosen: bool = False
    ) -> bool:
        """Count one labelled row under the version that predicted it, and under its group of each slicing;
        False when no more versions fit. `chosen`: the score is that of one of several classes, which was
        predicted whatever it is.
        """
        start = self._block(self._scores, version, 2 * SCORE_BINS)
        if start is None:
            return False
        self.vector[start + (SCORE_BINS if positive else 0) + row_bin] += 1
        for place in self._groups(version, groups):
            self.vector[place + 2 * positive + (chosen or row_bin >= SCORE_BINS // 2)] += 1
        for slicing, group in enumerate(groups):
            self._add_slice_score((version, slicing, group), row_bin, positive=positive)
        return True

    def _add_slice_score(self, whose: tuple[str, int, int], row_bin: int, *, positive: bool) -> None:
        start = self._slice_scores.get(whose)
        if start is None:
            start = self._slice_scores[whose] = self._grown(SLICE_SCORES)
        for place, amount in slice_score(row_bin, positive):
            self.vector[start + place] += amount

    def keep_table(self, cells: int) -> None:
        """Keep a table of true by predicted class, row after row, of the own version alone; one without cells
        says that there are too many classes.
        """
        self._tables[self.own] = self._grown(cells), cells

    def add_call(self, cell: int) -> None:
        """Count one labelled row of the own version in its table."""
        self.vector[self._tables[self.own][0] + cell] += 1

    def keep_class_scores(self, classes: int) -> None:
        """Keep what labels add up to with the scores of so many classes, of the own version alone; 0 says
        that nobody tells these.
        """
        size = class_scores.size(classes)
        self._class_scores[self.own] = self._grown(size), size

    def add_class_scores(self, bins: bytes, label: int | None) -> None:
        """Count one labelled row of the own version by the score bins of all classes; None is the label of a
        class that it does not know.
        """
        start, size = self._class_scores[self.own]
        if size == class_scores.size(len(bins)):
            for place, amount in class_scores.added(bins, label):
                self.vector[start + place] += amount

    def add_error(self, version: str, error: float, unit: float, groups: bytes = b"") -> bool:
        """Count one labelled row of a regression: prediction less label; False when no more versions fit."""
        start = self._block(self._errors, version, len(ERRORS))
        if start is None:
            return False
        unit = self.units.setdefault(version, unit)
        units = min(max(error / unit, -LARGEST_ERROR), LARGEST_ERROR)
        whole = round(units)
        self.vector[start + 4] += units != error / unit
        for place in (start, *self._groups(version, groups)):
            self.vector[place] += 1
            self.vector[place + (1 if whole > 0 else 2)] += abs(whole)
            self.vector[place + 3] += whole * whole
        return True

    def add_delay(self, seconds: float) -> None:
        """Count the time between a prediction and its label."""
        whole = max(0, round(seconds))
        self.vector[self.delay] += whole
        self.vector[self.delay + 1 + bisect_left(DELAY_BOUNDS, whole)] += 1

    def _block(self, blocks: dict[str, int], version: str, size: int) -> int | None:
        start = blocks.get(version)
        if start is None and (version == self.own or len(self.versions) < MAX_VERSIONS):
            start = blocks[version] = self._grown(size)
        return start

    def _groups(self, version: str, groups: bytes) -> list[int]:
        """Where a row's groups are counted. Which they are only that version knows: each of its slicings
        takes as much room as there may be groups.
        """
        if not groups:
            return []
        if version not in self._sliced:
            self._sliced[version] = self._grown(SLICINGS * SLICE_GROUPS * OF_SLICE)
        start = self._sliced[version]
        return [start + (index * SLICE_GROUPS + code) * OF_SLICE for index, code in enumerate(groups)]

    def _grown(self, size: int) -> int:
        """Where a new block of the vector begins."""
        start = len(self.vector)
        self.vector = np.concatenate([self.vector, np.zeros(size, dtype=np.int64)])
        return start

    def difference(self, older: Vector) -> Vector:
        """What was counted since `older` was copied from this state's vector."""
        result = self.vector.copy()
        result[: len(older)] -= older
        return result

    def as_json(self, vector: Vector) -> dict[str, Any]:
        """The fields of `/counters` that hold counts."""
        numbers = vector.tolist()
        delays = numbers[self.delay + 1 : self.delay + 2 + len(DELAY_BOUNDS)]
        return {
            "requests": _named(REQUESTS, numbers, self.requests),
            "predictions": numbers[self.predictions],
            "refused": _named(map(str, Why), numbers, self.refused),
            "malformed": numbers[self.malformed],
            "duplicates": _named(DUPLICATES, numbers, self.duplicates),
            "features": {
                bins.name: _bins(numbers, start, bins.size)
                for bins, start in zip(self.reference.features, self.features, strict=True)
            },
            "prediction": _bins(numbers, self.prediction, self.reference.prediction.size),
            "called": _named(self._names, numbers, self.called),
            "outputs": self.grid.as_json(numbers[self.outputs : self.outputs + self.grid.size])
            if self.grid
            else {},
            "feedback": _named(FEEDBACK, numbers, self.feedback),
            "scores": {version: _scores(numbers, start) for version, start in self._scores.items()},
            "confusion": _blocks(numbers, self._tables),
            "class_scores": _blocks(numbers, self._class_scores),
            "errors": {version: _named(ERRORS, numbers, start) for version, start in self._errors.items()},
            "slices": {
                slicing.feature: _sliced(numbers, start, slicing.size)
                for slicing, start in zip(self.reference.slices, self.slices, strict=True)
            },
            "slice_labels": self._labelled(numbers, self._scores),
            "slice_scores": self._scored(numbers),
            "slice_errors": self._labelled(numbers, self._errors),
            "label_delay": {"sum": numbers[self.delay], "count": sum(delays), "buckets": delays},
        }

    def _scored(self, numbers: list[int]) -> dict[str, Any]:
        """As `_labelled`, what labelled scores add up to."""
        found: dict[str, Any] = {}
        for (version, slicing, group), start in self._slice_scores.items():
            by_group = found.setdefault(version, {}).setdefault(str(slicing), {})
            by_group[str(group)] = numbers[start : start + SLICE_SCORES]
        return found

    def _labelled(self, numbers: list[int], blocks: Iterable[str]) -> dict[str, Any]:
        """By version, number of the slicing and number of the group: four counts, where there are any."""
        found: dict[str, Any] = {}
        for version in blocks:
            for index in range(SLICINGS * SLICE_GROUPS) if version in self._sliced else ():
                start = self._sliced[version] + index * OF_SLICE
                counts = numbers[start : start + OF_SLICE]
                if any(counts):
                    slicing, group = divmod(index, SLICE_GROUPS)
                    by_group = found.setdefault(version, {}).setdefault(str(slicing), {})
                    by_group[str(group)] = counts
        return found


def _blocks(numbers: list[int], blocks: Mapping[str, tuple[int, int]]) -> dict[str, list[int]]:
    return {version: numbers[start : start + size] for version, (start, size) in blocks.items()}


def _sliced(numbers: list[int], start: int, size: int) -> dict[str, list[int]]:
    end = start + WIDTH * size
    return {"total": numbers[start:end:WIDTH], "positive": numbers[start + 1 : end : WIDTH]}


def _named(names: Iterable[str], numbers: Sequence[int], start: int) -> dict[str, int]:
    return {name: numbers[start + index] for index, name in enumerate(names)}


def _scores(numbers: list[int], start: int) -> dict[str, list[int]]:
    middle, end = start + SCORE_BINS, start + 2 * SCORE_BINS
    return {"negatives": numbers[start:middle], "positives": numbers[middle:end]}


def _bins(numbers: list[int], start: int, size: int) -> dict[str, Any]:
    return {"bins": numbers[start : start + size], **_named(BESIDE, numbers, start + size)}
