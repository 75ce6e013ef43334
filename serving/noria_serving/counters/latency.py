"""A duration histogram that costs a bisect and two additions on the request path.

Invariant: durations are added up as whole nanoseconds, so that sums do not depend on their order.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds. prometheus-client's default starts at 5 ms, too coarse for tabular models."""


class Histogram:
    """Counts by upper bound, not cumulative; the last one is the overflow."""

    def __init__(self, bounds: tuple[float, ...] = BOUNDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self._nanoseconds = 0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self._nanoseconds += int(value * 1e9)

    @property
    def total(self) -> float:
        """Seconds, of all observations."""
        return self._nanoseconds / 1e9

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, observations up to it), as Prometheus wants them."""
        running, buckets = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            buckets.append((bound, float(running)))
        return buckets
