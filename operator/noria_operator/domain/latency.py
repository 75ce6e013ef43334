"""Latency of a challenger: how many of its answers are slower than most of the champion's.

Comes in: histograms of both arms from every router. Goes out: an edge (a bucket's bound, in milliseconds, at
the champion's quantile), then counts of slower answers, which the test of errors compares. Invariants: the
edge is chosen once, from what was counted before the first window, so that no window is judged by itself; a
router whose buckets have no such bound counts above its next one, for both arms alike.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import add
from typing import Final

from noria_operator.domain.verdict import Comparison, Counts

ENOUGH: Final = 100
"""Answers of the champion from which its quantile is taken."""
UNREAD: Final = "the routers' latencies cannot be read"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Answers of one version at one router: `at_most[i]` took no longer than `bounds[i]` milliseconds."""

    bounds: tuple[float, ...] = ()
    at_most: tuple[int, ...] = ()

    def __add__(self, other: Histogram) -> Histogram:
        """Both together; they have the same bounds, or one has none."""
        if not self.bounds or not other.bounds:
            return self if self.bounds else other
        return Histogram(self.bounds, tuple(map(add, self.at_most, other.at_most)))

    @property
    def total(self) -> int:
        return self.at_most[-1] if self.at_most else 0

    def within(self, bound: float) -> int:
        """Answers that surely took no longer than `bound`."""
        index = bisect_right(self.bounds, bound)
        return self.at_most[index - 1] if index else 0

    def above(self, edge: float) -> Counts:
        """All answers, and how many of them took longer than the bucket of `edge`."""
        index = bisect_left(self.bounds, edge)
        return Counts(self.total, self.total - self.at_most[index] if index < len(self.bounds) else 0)


Timings = Mapping[str, Mapping[str, Histogram]]
"""By uid of the router pod and name of the Envoy cluster."""


def edge(histograms: Iterable[Histogram], quantile: float) -> float | None:
    """The least bound that `quantile` of all answers kept; None before there are enough of them."""
    seen = list(histograms)
    total = sum(one.total for one in seen)
    if total < ENOUGH:
        return None
    bounds = sorted({bound for one in seen for bound in one.bounds})
    return next(bound for bound in bounds if sum(one.within(bound) for one in seen) >= quantile * total)


def slow(timings: Timings, at: float) -> dict[str, dict[str, Counts]]:
    """Answers and slow answers, as routers count requests and errors."""
    return {pod: {name: one.above(at) for name, one in clusters.items()} for pod, clusters in timings.items()}


def comparison(edge: float, factor: float) -> Comparison:
    """What the test compares, in words. Answers are slow together where both versions have much to do, which
    cancels: each counts.
    """
    return Comparison(
        measure="latency",
        tolerable=factor,
        worse=f"it answers later than {edge:g} ms more often than the champion",
        hits=f"answers later than {edge:g} ms",
        called="Late",
        unread=UNREAD,
        clustered=False,
    )
