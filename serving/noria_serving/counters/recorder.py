"""The request path's side of counting: append now, count later.

In: the arrays of answered requests. Out: a State that is exact as of the last `fold`. Invariant: everything
runs on the event loop's thread, so nothing is locked; a request costs one append, and is counted after its
answer, however large it is; what is kept waiting is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.contract import Why
from noria_serving.counters.binning import Called, Numbers, Texts
from noria_serving.counters.duplicates import Duplicates
from noria_serving.counters.slices import Sliced
from noria_serving.counters.state import REQUESTS, State
from noria_serving.counters.vectors import Vectors
from noria_serving.counters.waiting import FEW, Waiting
from noria_serving.quality import spelling
from noria_serving.reference import Reference

Array = NDArray[Any]
FOLD_ROWS: Final = 1024
"""When so many rows wait it is time to fold, which takes a fifth to half of a millisecond at 20 features; at
half as many, counting would cost a prediction a twentieth more.
"""
MOST_ROWS: Final = 2 * FOLD_ROWS
"""When so many rows wait, no further request joins them before they are folded."""
SMALL: Final = 4 * 1024
"""Bytes of a request; those of larger ones are added up, since texts and vectors may be of any length."""
FOLD_BYTES: Final = FOLD_ROWS * SMALL
MOST_BYTES: Final = MOST_ROWS * SMALL
"""The same as the rows."""


class Recorder:
    """Counts of one served version."""

    def __init__(self, reference: Reference, classes: Sequence[Any] = (), called: Sequence[Any] = ()) -> None:
        """classes: of a model that gives labels alone, whose predictions are positions among these. called:
        of one that gives scores of several, a few, which of them it predicts.
        """
        self.state = State(reference, [*map(spelling, called)])
        self._calls = [0] * len(called)
        self.overhead = 0.0
        prediction = [(self.state.prediction, reference.prediction)]
        if self.state.grid is not None:
            common = replace(reference.prediction, edges=self.state.grid.edges)
            prediction.append((self.state.outputs, common))
        starts = [*zip(self.state.features, reference.features, strict=True)]
        self._predictions: Numbers | Called = Numbers(
            [prediction] if reference.prediction.kind == "numeric" else []
        )
        if classes:
            self._predictions = Called(self.state.prediction, reference.prediction, classes)
        self._several = len(classes) > 2
        self._numbers = Numbers([[(start, bins)] for start, bins in starts if bins.kind == "numeric"])
        self._texts = [Texts(start, bins) for start, bins in starts if bins.kind == "category"]
        self._vectors = Vectors(starts, time.monotonic)
        self._duplicates = Duplicates(self.state.duplicates, time.monotonic)
        self._embeds = any(bins.projection is not None for bins in reference.features)
        self._requests = [0] * len(REQUESTS)
        self._malformed = 0
        self._refused = dict.fromkeys(Why, 0)
        self._bytes = 0
        self._full = False
        self._waiting = Waiting(reference)
        self._sliced = Sliced(reference.slices, self.state.slices, self._waiting.numbers, self._waiting.texts)

    def answered(
        self, inputs: Mapping[str, Array], prediction: Array, size: int = 0, called: Array | None = None
    ) -> bool:
        """An inference that was answered: its inputs as the model took them, one prediction a row (of labels
        alone the position of the class), how many bytes its request had, and positions of predicted classes
        where these are counted beside.

        True when it is time to fold.
        """
        if self._full:
            self.fold()
        if called is not None:
            self._count(called)
        if self._embeds:
            self._vectors.keep(inputs)
        rows = self._waiting.add(inputs, prediction)
        if rows < FOLD_ROWS and (size <= SMALL or self._has_room(size)):
            return False
        self._full = rows >= MOST_ROWS or self._bytes >= MOST_BYTES
        return True

    def _count(self, called: Array) -> None:
        if len(called) <= FEW:
            for place in called.tolist():
                self._calls[place] += 1
            return
        for place, times in enumerate(np.bincount(called).tolist()):
            self._calls[place] += times

    def _has_room(self, size: int) -> bool:
        self._bytes += size
        return self._bytes < FOLD_BYTES

    def refused(self, status: int, why: Why = Why.FORM, *, in_order: bool = False) -> None:
        """An inference request that got an error, though what it holds is `in_order`."""
        self._requests[2 if status >= 500 else 1] += 1
        self._malformed += status == 400 and not in_order
        if status < 500:
            self._refused[why] += 1

    def fold(self) -> None:
        """Bring the state up to date."""
        vector = self.state.vector
        self._full, self._bytes = False, 0
        self._requests[0] += self._waiting.requests
        vector[: len(REQUESTS)] = self._requests
        vector[self.state.malformed] = self._malformed
        vector[self.state.refused : self.state.refused + len(Why)] = [*self._refused.values()]
        vector[self.state.called : self.state.called + len(self._calls)] = self._calls
        if not self._waiting.rows:
            self._vectors.fold(vector)  # nothing to count, but there is room again
            return
        started = time.perf_counter()
        vector[self.state.predictions] += self._waiting.rows
        predictions, numbers, texts = self._waiting.take()
        if not self._embeds:  # whose numbers are not among these
            self._duplicates.add(numbers, texts, vector)  # before they are sorted
        tallies = [counter.add(said, vector) for counter, said in zip(self._texts, texts, strict=True)]
        scores = np.ones_like(predictions[0]) if self._several else predictions[0]
        self._sliced.add(scores, numbers, texts, tallies, vector)
        self._predictions.add(predictions, vector)
        self._numbers.add(numbers, vector)
        self._vectors.fold(vector)
        self.overhead += time.perf_counter() - started
