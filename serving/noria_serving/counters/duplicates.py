"""Rows that were asked before: a feed that is stuck, or a client that sends everything twice.

In: rows that are folded, as columns. Out: how many were looked at, and how many of these were equal, in every
column, to one of the last DIFFERENT that were. Invariants: an interval looks at so many rows at most, however
many come, since a look at each would cost a prediction half a microsecond; what is counted only grows, and is
added up over pods and subtracted to make windows, which a sketch of distinct rows (HyperLogLog) cannot be. A
row and its double that two pods got are not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LOOKED_AT: Final = 256
"""Rows counted in an interval, as of embeddings."""
SECONDS: Final = 5.0
DIFFERENT: Final = 1024
"""Rows that are remembered, eight bytes of each."""


class Duplicates:
    """Counts them in two places of a vector from `start` on: looked at, and equal to an earlier one."""

    def __init__(self, start: int, clock: Callable[[], float]) -> None:
        self._start, self._clock = start, clock
        self._known: dict[int, None] = {}
        self._room, self._refill = LOOKED_AT, clock() + SECONDS

    def add(self, numbers: NDArray[Any], texts: Sequence[Sequence[str]], vector: NDArray[np.int64]) -> None:
        """numbers: (columns, rows); texts: rows of each column; missing values are equal to each other."""
        now = self._clock()
        if now >= self._refill:
            self._room, self._refill = LOOKED_AT, now + SECONDS
        if not self._room or not (len(numbers) or texts):
            return
        for row in _keys(numbers[:, : self._room], [column[: self._room] for column in texts]):
            vector[self._start] += 1
            vector[self._start + 1] += row in self._known
            self._known[row] = None
            self._room -= 1
        while len(self._known) > DIFFERENT:
            del self._known[next(iter(self._known))]


def _keys(numbers: NDArray[Any], texts: Sequence[Sequence[str]]) -> list[int]:
    """A hash of 64 bits of each row: of a thousand two that differ are alike once in 10^13 times."""
    if not len(numbers):
        return [*map(hash, zip(*texts, strict=True))]
    rows = np.ascontiguousarray(numbers.T)
    packed = rows.view(f"V{rows.itemsize * rows.shape[1]}").ravel().tolist()
    return [*map(hash, zip(packed, *texts, strict=True))]
