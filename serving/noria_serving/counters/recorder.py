"""The request path's side of counting: append now, count later.

In: the arrays of answered requests. Out: a State that is exact as of the last `fold`. Invariant: everything
runs on the event loop's thread, so nothing is locked; a request costs one append, and what is kept waiting is
bounded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.counters.binning import Binner
from noria_serving.counters.state import BESIDE, REQUESTS, State
from noria_serving.reference import Reference

Array = NDArray[Any]
FOLD_ROWS: Final = 2048
"""Rows that may wait; a fold of so many takes about a millisecond at 20 features."""


class Recorder:
    """Counts of one served version."""

    def __init__(self, reference: Reference) -> None:
        self.state = State(reference)
        self.overhead = 0.0
        self._features = [
            (bins.input, bins.column, start, Binner(bins))
            for bins, start in zip(reference.features, self.state.features, strict=True)
        ]
        self._prediction = Binner(reference.prediction)
        self._category = reference.prediction.kind == "category"
        self._requests = [0] * len(REQUESTS)
        self._waiting: list[tuple[Mapping[str, Array], Array]] = []
        self._rows = 0

    def answered(self, inputs: Mapping[str, Array], prediction: Array) -> None:
        """An inference that was answered: its inputs as the model took them, and one prediction a row."""
        self._requests[0] += 1
        self._waiting.append((inputs, prediction))
        self._rows += len(prediction)
        if self._rows >= FOLD_ROWS:
            self.fold()

    def refused(self, status: int) -> None:
        """An inference request that got an error."""
        self._requests[2 if status >= 500 else 1] += 1

    def fold(self) -> None:
        """Bring the state up to date."""
        vector = self.state.vector
        vector[: len(REQUESTS)] = self._requests
        if not self._waiting:
            return
        started = time.perf_counter()
        waiting, self._waiting, rows, self._rows = self._waiting, [], self._rows, 0
        vector[self.state.predictions] += rows
        columns: dict[str, Array] = {}
        for source, column, start, binner in self._features:
            if source not in columns:
                columns[source] = _joined([inputs[source] for inputs, _ in waiting])
            vector[start : start + binner.size + len(BESIDE)] += binner.count(columns[source][:, column])
        self._fold_prediction(_joined([prediction for _, prediction in waiting])[:, 0])
        self.overhead += time.perf_counter() - started

    def _fold_prediction(self, values: Array) -> None:
        start, end = self.state.prediction, self.state.prediction + self._prediction.size + len(BESIDE)
        self.state.vector[start:end] += self._prediction.count(
            values.astype(str) if self._category else values
        )


def _joined(arrays: list[Array]) -> Array:
    """Rows of all arrays as one (rows, columns) matrix."""
    joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return np.asfortranarray(joined.reshape(len(joined), -1))
