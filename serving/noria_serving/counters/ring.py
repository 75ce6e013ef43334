"""Snapshots of the counters, so that a reader that lost its own can still ask for a window.

In: the counters' vector every few seconds, and the moments since which readers count. Out: the vector as of a
time. Invariants: such a moment is answered exactly, however long ago it was; elsewhere the older snapshots
are, the fewer there are, and where some were left out a difference begins later than asked and not earlier,
so that no row counts in two windows. Memory is bounded by the number and the bytes of snapshots, each
compressed; an idle hour costs nothing.
"""

from __future__ import annotations

import bisect
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from noria_serving.counters.state import Vector

INTERVAL_SECONDS: Final = 5.0
DENSE_SECONDS: Final = 3600.0
"""So long all snapshots are kept, where there is room."""
KEPT: Final = 1280
"""An hour of 960, as the operator's readings, every fifteen seconds, are remembered as well; and older ones,
of which those of a day ago are a quarter of an hour apart."""
ROOM: Final = 16 * 1024**2
"""Bytes: of 1,000 features a snapshot takes 20 to 35 KB, of 20 features less than 1. Those of moments, the
first and the newest stay whatever they take."""
OLDER: Final = 4
"""One in so many is older than the dense hour, where there are too many."""
MOMENTS: Final = 32
"""As many windows as the operator has open of one ModelDeployment."""
NEAR_SECONDS: Final = 2 * INTERVAL_SECONDS
"""So long before a window the reading or the snapshot may have been from which it goes on."""


@dataclass(slots=True)
class _Snapshot:
    taken: float
    until: float
    """The counters did not change between `taken` and `until`."""
    packed: bytes
    thinned: bool = False
    """Whether snapshots between this and the next one were left out."""


class Ring:
    """Newest last; the first snapshot is the zeros at start. Both stay."""

    def __init__(self, vector: Vector, now: float, *, kept: int = KEPT, room: int = ROOM) -> None:
        self._kept, self._room = kept, room
        self._last: Vector = vector.copy()
        self._snapshots = [_Snapshot(now, now, _pack(vector))]
        self._moments: dict[float, None] = {}
        self._bytes = len(self._snapshots[0].packed)

    def take(self, vector: Vector, now: float) -> None:
        """Remember the counters as of `now`."""
        newest = self._snapshots[-1]
        if len(vector) == len(self._last) and np.array_equal(vector, self._last):
            newest.until = max(newest.until, now)
            return
        taken = max(now, newest.until)  # also where the clock was set back
        snapshot = _Snapshot(taken, taken, _pack(vector))
        self._snapshots.append(snapshot)
        self._bytes += len(snapshot.packed)
        self._last = vector.copy()
        while len(self._snapshots) > self._kept or self._bytes > self._room:
            if not self._thin(now):
                break

    def keep(self, moments: Iterable[float]) -> None:
        """Readers count since these moments: what they are answered with stays. Of more than `MOMENTS` those
        go that were not named for longest.
        """
        for moment in moments:
            self._moments.pop(moment, None)
            self._moments[moment] = None
        for moment in [*self._moments][:-MOMENTS]:
            del self._moments[moment]

    def since(self, when: float) -> tuple[float, Vector]:
        """(time, vector) of the newest snapshot not after `when`. Where those that came next were left out,
        that of a moment shortly before `when` that was to be kept, else the next one; the oldest one where
        the ring does not reach.
        """
        index = self._before(when)
        if self._gap(index, when):
            near = (moment for moment in self._moments if 0 <= when - moment <= NEAR_SECONDS)
            when = max(near, default=when)
            index = self._before(when)
            index += self._gap(index, when)
        snapshot = self._snapshots[index]
        return min(max(when, snapshot.taken), snapshot.until), _unpack(snapshot.packed)

    def _before(self, when: float) -> int:
        return max(0, bisect.bisect_right(self._snapshots, when, key=lambda snapshot: snapshot.taken) - 1)

    def _gap(self, index: int, when: float) -> bool:
        snapshot = self._snapshots[index]
        return snapshot.thinned and when > snapshot.until

    def _thin(self, now: float) -> bool:
        """Leave out the snapshot that is missed least: where the gap is smallest beside its age. False where
        none may go.
        """
        held = {self._before(moment) for moment in self._moments}
        last = len(self._snapshots) - 1
        edge = min(self._before(now - DENSE_SECONDS) + 1, last)
        ages = [range(1, edge), range(edge, last)]
        if OLDER * edge <= last:
            ages.reverse()
        for age in ages:
            spare = [index for index in age if index not in held]
            if spare:
                gone = min(spare, key=lambda index: self._loss(index, now))
                self._snapshots[gone - 1].thinned = True
                self._bytes -= len(self._snapshots.pop(gone).packed)
                return True
        return False

    def _loss(self, index: int, now: float) -> float:
        before, after = self._snapshots[index - 1], self._snapshots[index + 1]
        return (after.taken - before.until) / max(now - self._snapshots[index].taken, INTERVAL_SECONDS)


def _pack(vector: Vector) -> bytes:
    return zlib.compress(vector.tobytes(), 1)


def _unpack(packed: bytes) -> Vector:
    return np.frombuffer(zlib.decompress(packed), dtype=np.int64)
