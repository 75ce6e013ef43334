"""All counters of one server process as a single vector of integers that only grow.

In: the version's reference, then additions. Out: copies, differences and the JSON that the operator reads.
Invariant: the layout only ever grows at its end (a block of scores for each version that feedback names), so
an older, shorter snapshot can be subtracted from a newer one element by element; pods are merged by adding
the same fields.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.contract import SCORE_BINS
from noria_serving.reference import Reference

Vector = NDArray[np.int64]

REQUESTS: Final = ("ok", "client_error", "server_error")
FEEDBACK: Final = ("matched", "late", "duplicate", "expired", "foreign", "forged", "invalid")
"""Outcomes of feedback items; `late` ones are counted as `matched` too."""
BESIDE: Final = ("missing", "unseen", "low", "high")
"""Per feature, after its bins. `low` and `high` are also in the end bins; `missing` and `unseen` are in none.
"""
MAX_VERSIONS: Final = 32


class State:
    """Slices of the vector by meaning."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.requests = 0
        self.predictions = len(REQUESTS)
        self.feedback = self.predictions + 1
        self.delay = self.feedback + len(FEEDBACK)
        self.prediction = self.delay + 2
        position = self.prediction + reference.prediction.size + len(BESIDE)
        self.features: list[int] = []
        for bins in reference.features:
            self.features.append(position)
            position += bins.size + len(BESIDE)
        self._fixed = position
        self.versions: list[str] = []
        self.vector: Vector = np.zeros(position, dtype=np.int64)

    def add_score(self, version: str, row_bin: int, *, positive: bool) -> bool:
        """Count one labelled row under the version that predicted it; False when no more versions fit."""
        if version not in self.versions:
            if len(self.versions) >= MAX_VERSIONS:
                return False
            self.versions.append(version)
            self.vector = np.concatenate([self.vector, np.zeros(2 * SCORE_BINS, dtype=np.int64)])
        start = self._fixed + 2 * SCORE_BINS * self.versions.index(version)
        self.vector[start + (SCORE_BINS if positive else 0) + row_bin] += 1
        return True

    def difference(self, older: Vector) -> Vector:
        """What was counted since `older` was copied from this state's vector."""
        result = self.vector.copy()
        result[: len(older)] -= older
        return result

    def as_json(self, vector: Vector) -> dict[str, Any]:
        """The fields of `/counters` that hold counts."""
        numbers = vector.tolist()
        outcomes = numbers[self.feedback : self.feedback + len(FEEDBACK)]
        return {
            "requests": dict(zip(REQUESTS, numbers, strict=False)),
            "predictions": numbers[self.predictions],
            "features": {
                bins.name: _bins(numbers, start, bins.size)
                for bins, start in zip(self.reference.features, self.features, strict=True)
            },
            "prediction": _bins(numbers, self.prediction, self.reference.prediction.size),
            "feedback": dict(zip(FEEDBACK, outcomes, strict=True)),
            "scores": {version: self._scores(numbers, index) for index, version in enumerate(self.versions)},
            "label_delay": {"sum": numbers[self.delay], "count": numbers[self.delay + 1]},
        }

    def _scores(self, numbers: list[int], index: int) -> dict[str, list[int]]:
        start = self._fixed + 2 * SCORE_BINS * index
        middle, end = start + SCORE_BINS, start + 2 * SCORE_BINS
        return {"negatives": numbers[start:middle], "positives": numbers[middle:end]}


def _bins(numbers: list[int], start: int, size: int) -> dict[str, Any]:
    beside = numbers[start + size : start + size + len(BESIDE)]
    return {"bins": numbers[start : start + size], **dict(zip(BESIDE, beside, strict=True))}
