"""Snapshots of the last hour, so that a reader that lost its own can still ask for a window.

In: the counters' vector every few seconds. Out: the vector as of the newest snapshot not after a time.
Invariant: memory is bounded by the number of snapshots, each compressed; an idle hour costs nothing.
"""

from __future__ import annotations

import bisect
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from noria_serving.counters.state import Vector

INTERVAL_SECONDS: Final = 5.0
KEPT: Final = 1000
"""An hour, also where the operator, whose readings are remembered as well, comes every fifteen seconds."""


@dataclass(slots=True)
class _Snapshot:
    taken: float
    until: float
    """The counters did not change between `taken` and `until`."""
    packed: bytes


class Ring:
    """Newest last; the first snapshot is the zeros at start."""

    def __init__(self, vector: Vector, now: float, *, kept: int = KEPT) -> None:
        self._snapshots: deque[_Snapshot] = deque(maxlen=kept)
        self._last: Vector = vector.copy()
        self._snapshots.append(_Snapshot(now, now, _pack(vector)))

    def take(self, vector: Vector, now: float) -> None:
        """Remember the counters as of `now`."""
        newest = self._snapshots[-1]
        if len(vector) == len(self._last) and np.array_equal(vector, self._last):
            newest.until = max(newest.until, now)
            return
        self._snapshots.append(_Snapshot(max(now, newest.until), now, _pack(vector)))
        self._last = vector.copy()

    def since(self, when: float) -> tuple[float, Vector]:
        """(time, vector) of the newest snapshot not after `when`; the oldest one where the ring does not
        reach.
        """
        index = bisect.bisect_right(self._snapshots, when, key=lambda snapshot: snapshot.taken) - 1
        snapshot = self._snapshots[max(0, index)]
        return min(max(when, snapshot.taken), snapshot.until), _unpack(snapshot.packed)


def _pack(vector: Vector) -> bytes:
    return zlib.compress(vector.tobytes(), 1)


def _unpack(packed: bytes) -> Vector:
    return np.frombuffer(zlib.decompress(packed), dtype=np.int64)
