"""Recorded predictions and labels as the windows that model servers would have told of.

Comes in: predictions and labels, one by one in the order of their times, and which windows are open. Goes
out: what was counted in each. Invariants: every figure is counted as a server counts it, in the same bins, so
that triggers say of a history what they would have said in a cluster. Predictions are remembered where bins
are known, for windows that are compared with earlier ones.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ldexp
from operator import itemgetter
from typing import Final

from noria_operator.domain import label_delay
from noria_operator.domain.classes import Classes
from noria_operator.domain.drift.columns import Seen
from noria_operator.domain.fairness import Group, Slicing
from noria_operator.domain.performance import Errors, Labelled
from noria_operator.domain.predictions import Outputs
from noria_operator.domain.quality import Labels
from noria_operator.domain.recorded_bins import NOWHERE, Bins, Cells
from noria_operator.domain.slice_quality import SliceLabels
from noria_operator.domain.slice_scores import NO_SCORES
from noria_operator.domain.tasks import BINARY, MULTICLASS, REGRESSION
from noria_serving.contract import (
    CONFUSION_CLASSES,
    GRID_BINS,
    LARGEST_ERROR,
    SCORE_BINS,
    error_exponent,
    slice_score,
)

_LABELS: Final = 2
"""Where the four counts of labels begin in those of a group, after its rows and positive ones."""
_NOTHING: Final = (0,) * (_LABELS + 4)
_EXPONENT: Final = 1 - GRID_BINS.bit_length()
"""Of the bins that versions have in common, for scores from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """One row that a version predicted: a score from 0 to 1 (of several classes that of the predicted one,
    which is the class number `called`), or the number that a regression says.
    """

    version: str
    value: float
    cells: Cells = NOWHERE
    called: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of the versions: what they predict, their frozen bins by name, and how far predictions
    of a regression are spread at most and usually, from which the unit of its errors follows.
    """

    task: str = BINARY
    bins: Mapping[str, Bins] | None = None
    spread: float = 1.0
    classes: tuple[str, ...] = ()
    """Names of several."""
    usual: float = 0.0

    @property
    def table(self) -> bool:
        """Whether labels are counted by true and predicted class."""
        return self.task == MULTICLASS and len(self.classes) <= CONFUSION_CLASSES

    @property
    def unit(self) -> float:
        """As a server takes it."""
        return ldexp(1.0, error_exponent(self.spread, self.usual))

    def of(self, version: str) -> Bins | None:
        """The frozen bins of a version."""
        return (self.bins or {}).get(version)


BINARY_MODEL: Final = Model()
"""A classifier of two classes of which no bins are known."""


class Window:
    """What was counted since a moment (`triggers_counted.Counts`)."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._scores: dict[str, tuple[list[int], list[int]]] = defaultdict(_two_sides)
        self._errors: dict[str, list[int]] = defaultdict(lambda: [0] * 5)
        self._outputs: dict[str, list[int]] = defaultdict(lambda: [0] * GRID_BINS)
        self._vectors: dict[str, list[int]] = {}
        self._tables: dict[str, list[int]] = defaultdict(
            lambda: [0] * (len(model.classes) ** 2 if model.table else 0)
        )
        self._groups: dict[tuple[str, int, int], list[int]] = defaultdict(lambda: [*_NOTHING])
        self._slice_scores: dict[tuple[str, int, int], list[int]] = defaultdict(lambda: [*NO_SCORES])
        self._delays = [0] * label_delay.BUCKETS

    def predict(self, row: Predicted) -> None:
        """Count a prediction."""
        bins = self._model.of(row.version)
        if self._model.task != REGRESSION:
            self._outputs[row.version][min(GRID_BINS - 1, int(row.value * GRID_BINS))] += 1
        if bins is None:
            return
        vector = self._vectors.get(row.version)
        if vector is None:
            vector = self._vectors[row.version] = [0] * bins.size
        for place in row.cells.places:
            vector[place] += 1
        for slicing, group in enumerate(row.cells.groups):
            counts = self._groups[row.version, slicing, group]
            counts[0] += 1
            counts[1] += row.value >= 0.5

    def label(self, row: Predicted, label: float, delay: timedelta) -> None:
        """Count the label of a prediction, which came so much later; of several classes, one's number."""
        self._delays[label_delay.bucket(delay)] += 1
        slices = [self._groups[row.version, *place] for place in enumerate(row.cells.groups)]
        if self._model.task == REGRESSION:
            self._error(self._errors[row.version], slices, row.value - label)
            return
        several = self._model.task == MULTICLASS
        positive = label == (row.called if several else 1)
        if self._model.table:
            self._tables[row.version][int(label) * len(self._model.classes) + row.called] += 1
        place = min(SCORE_BINS - 1, max(0, int(row.value * SCORE_BINS)))
        self._scores[row.version][positive][place] += 1
        for counts in slices:
            counts[_LABELS + 2 * positive + (several or place >= SCORE_BINS // 2)] += 1
        for whose in enumerate(row.cells.groups):
            scores = self._slice_scores[row.version, *whose]
            for cell, amount in slice_score(place, positive):
                scores[cell] += amount

    def _error(self, whole: list[int], slices: Iterable[list[int]], error: float) -> None:
        units = error / self._model.unit
        kept = min(max(units, -LARGEST_ERROR), LARGEST_ERROR)
        size = round(kept)
        whole[4] += units != kept
        for counts, start in ((whole, 0), *((one, _LABELS) for one in slices)):
            counts[start] += 1
            counts[start + (1 if size > 0 else 2)] += abs(size)
            counts[start + 3] += size * size

    def joined(self, version: str, metric: str = "") -> Labelled:
        if self._model.task == REGRESSION:
            count, over, under, squared, clipped = self._errors[version]
            return Errors(count, over, under, squared, clipped, self._model.unit)
        labels = Labels.of(*self._scores[version])
        if self._model.task == MULTICLASS:
            names = self._model.classes if self._model.table else ()
            return Classes(labels, tuple(self._tables[version]), names=names)
        return labels

    def task(self, version: str) -> str:
        return self._model.task

    def outputs(self, version: str) -> Outputs | None:
        counted = self._outputs.get(version)
        return Outputs(_EXPONENT, 0, tuple(counted)) if counted else None

    def predicted(self, version: str) -> Seen | None:
        bins, vector = self._model.of(version), self._vectors.get(version)
        return bins.predicted(vector) if bins and vector else None

    def seen(self, version: str) -> dict[str, Seen]:
        bins, vector = self._model.of(version), self._vectors.get(version)
        return bins.seen(vector) if bins and vector else {}

    def groups(self, version: str, slicings: Sequence[Slicing]) -> Mapping[str, Sequence[Group]]:
        return {
            one.feature: tuple(
                Group(name, *self._groups.get((version, index, place), ()))
                for place, name in enumerate(one.groups)
            )
            for index, one in enumerate(slicings)
        }

    def slice_labels(self, version: str, slicings: Sequence[Slicing]) -> SliceLabels:
        found, scores = {}, {}
        for index, one in enumerate(slicings):
            for place, name in enumerate(one.groups):
                whose, slice_name = (version, index, place), f"{one.feature}={name}"
                found[slice_name] = tuple(self._groups.get(whose, _NOTHING)[_LABELS:])
                scores[slice_name] = tuple(self._slice_scores.get(whose, NO_SCORES))
        samples = self.joined(version).samples
        if self._model.task == REGRESSION:
            return SliceLabels(found, self._model.task, samples, self._model.unit)
        return SliceLabels(found, self._model.task, samples, scores=scores)

    def median_delay(self) -> timedelta | None:
        return label_delay.median(self._delays)

    def rows(self) -> int:
        return sum(one.rows for one in map(self.predicted, self._vectors) if one)

    def labelled(self) -> int:
        return sum(self._delays)

    def number(self, place: str) -> int:
        """Requests are not recorded, nor those that were refused."""
        return 0


class Arrivals:
    """Counts what arrives for the windows that are open."""

    def __init__(self, model: Model = BINARY_MODEL) -> None:
        self._model = model
        self._windows: dict[datetime, Window] = {}
        self._past: list[tuple[datetime, Predicted]] = []

    def predicted(self, at: datetime, row: Predicted) -> None:
        """A row was predicted."""
        if self._model.bins:
            self._past.append((at, row))
        for since, window in self._windows.items():
            if at >= since:
                window.predict(row)

    def labelled(self, at: datetime, row: Predicted, label: float, *, delay: timedelta = timedelta()) -> None:
        """The label of a prediction came, so long after it."""
        for since, window in self._windows.items():
            if at >= since:
                window.label(row, label, delay)

    def since(self, moment: datetime) -> Window:
        """What was counted since a window was opened."""
        return self._windows.get(moment) or Window(self._model)

    def between(self, begin: datetime, end: datetime) -> Window:
        """What was predicted in a window that is over, as far as predictions came in the order of time."""
        window = Window(self._model)
        first, last = (bisect_left(self._past, moment, key=itemgetter(0)) for moment in (begin, end))
        for _, row in self._past[first:last]:
            window.predict(row)
        return window

    def watch(self, moments: Iterable[datetime]) -> None:
        """Count for windows that began, or will begin, at these moments, and for no others."""
        self._windows = {one: self._windows.get(one) or Window(self._model) for one in moments}


def _two_sides() -> tuple[list[int], list[int]]:
    return [0] * SCORE_BINS, [0] * SCORE_BINS
