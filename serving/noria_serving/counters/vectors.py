"""Embeddings, until somebody counts them: a few rows of each interval, as numbers of their projections.

In: the inputs of answered requests. Out: counts in the bins of the projections. Invariants: what is kept and
what it costs is bounded by time, whatever the traffic is (projecting a vector of 768 numbers takes several
microseconds, more than all else that is counted of a row); all rows of slow traffic are counted; where there
are more, those that came first in each interval are, and they are counted whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.counters.binning import Numbers
from noria_serving.projection import Projected
from noria_serving.reference import Bins

Array = NDArray[Any]
ROWS: Final = 256
"""Of each interval."""
SECONDS: Final = 5.0


class Vectors:
    """All embeddings of a version."""

    def __init__(self, starts: Sequence[tuple[int, Bins]], clock: Callable[[], float]) -> None:
        """starts: where the bins of each feature begin in the vector of counts."""
        groups: dict[tuple[str, int, int], list[tuple[int, Bins]]] = {}
        for start, bins in starts:
            if bins.projection is not None:
                place = (bins.input, bins.column, bins.projection.width)
                groups.setdefault(place, []).append((start, bins))
        self._places = list(groups)
        self._projected = [
            Projected([bins.projection for _, bins in each if bins.projection]) for each in groups.values()
        ]
        self._numbers = Numbers([[one] for each in groups.values() for one in each])
        self._clock = clock
        self._room, self._refill = ROWS, clock() + SECONDS
        self._kept: list[list[Array]] = [[] for _ in groups]

    def keep(self, inputs: Mapping[str, Array]) -> None:
        """Of one answered request, as many rows as there is room for; none where a model that takes rows of
        any width got narrower ones.
        """
        if not self._room or not self._places:
            return
        if any(inputs[name].size < len(inputs[name]) * (at + width) for name, at, width in self._places):
            return
        taken = 0
        for (name, first, width), kept in zip(self._places, self._kept, strict=True):
            array = inputs[name]
            rows = array.reshape(len(array), -1)[: self._room, first : first + width]
            kept.append(rows.astype(np.float64 if rows.dtype.itemsize > 4 else np.float32))
            taken = len(rows)
        self._room -= taken

    def fold(self, vector: NDArray[np.int64]) -> None:
        """Count what was kept; a new interval has room again."""
        if self._places and self._kept[0]:
            made = [
                projected(np.concatenate(kept).T)
                for projected, kept in zip(self._projected, self._kept, strict=True)
            ]
            self._kept = [[] for _ in self._places]
            self._numbers.add(np.concatenate(made), vector)
        now = self._clock()
        if now >= self._refill:
            self._room, self._refill = ROWS, now + SECONDS
