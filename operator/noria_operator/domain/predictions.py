"""Predictions of a challenger as a measure: how far their distribution lies from the champion's.

Comes in: predictions of both versions since the analysis began, by stretch of one share of the traffic,
counted in bins of widths that are powers of two. Goes out: a judgement. The distance is Kolmogorov's and
Smirnov's, the largest difference of the shares at or below a value; how far it can be from the truth at any
time is the bound of Howard and Ramdas, "Sequential estimation of quantiles" (arXiv 1906.09712), for each
version. Within a stretch both have the same traffic, and both count stretches by the same weights, so nothing
about the population is assumed: it may change with the shares. Invariant: all is computed from sums, nothing
is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import log, sqrt
from typing import Final

from noria_operator.domain.strata import weights
from noria_operator.domain.verdict import FAIL_AT, PASS_AT, Judgement, Verdict

MEASURE: Final = "predictions"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Predictions by bin: i holds [first + i, first + i + 1) times 2 to the `exponent`; end bins are open."""

    exponent: int
    first: int
    bins: tuple[float, ...]

    @property
    def rows(self) -> int:
        return round(sum(self.bins))

    def wider(self, exponent: int) -> dict[int, float]:
        """Counts in bins of 2 to the `exponent`, which is not less than its own, by the multiple of it."""
        found: dict[int, float] = {}
        for index, count in enumerate(self.bins):
            place = (self.first + index) >> (exponent - self.exponent)
            found[place] = found.get(place, 0) + count
        return found


def distance(one: Outputs, other: Outputs) -> float:
    """The largest difference of the shares of both at or below a bin's end, from 0 to 1."""
    exponent = max(one.exponent, other.exponent)
    both = [each.wider(exponent) for each in (one, other)]
    low = max(min(counts) for counts in both)
    high = min(max(counts) for counts in both)
    if low > high:
        return 1.0
    # What lies beyond the bins that both have is in the open bins at the ends.
    one_below, other_below = (_below(each, low, high) for each in both)
    return max(abs(a - b) for a, b in zip(one_below, other_below, strict=True))


def _below(counts: dict[int, float], low: int, high: int) -> list[float]:
    """Shares at or below each bin from `low` to `high`."""
    row = [0.0] * (high - low + 1)
    for place, count in counts.items():
        row[min(max(place, low), high) - low] += count
    total = sum(row)
    return [below / total for below in accumulate(row)]


def mixture(parts: Sequence[Outputs], shares: Sequence[float]) -> tuple[Outputs, float]:
    """Predictions of one version as if they came from its parts in these shares, and how many predictions of
    one population tell as much: 1 over the sum of share² / rows, which is the variance of a share of them.
    """
    rows = sum(part.rows for part in parts)
    scales = [share * rows / part.rows for part, share in zip(parts, shares, strict=True)]
    bins = (
        sum(scale * count for scale, count in zip(scales, counts, strict=True))
        for counts in zip(*(part.bins for part in parts), strict=True)
    )
    worth = 1 / sum(share * share / part.rows for part, share in zip(parts, shares, strict=True))
    return replace(parts[0], bins=tuple(bins)), worth


def margin(rows: float, alpha: float) -> float:
    """How far the shares of so many rows lie from the true ones at most, at any time, with probability 1 -
    `alpha`.
    """
    return 0.85 * sqrt((log(1 + log(rows)) + 0.8 * log(1612 / alpha)) / rows)


def judge(
    most: float, arms: Sequence[tuple[Outputs | None, Outputs | None]], measures: int, rivals: int = 1
) -> Judgement:
    """The verdict on a distance of at most `most` between champion and challenger, whose predictions `arms`
    has by stretch; `measures` tests share the false alarms, `rivals` challengers those and the false passes.
    """
    both = [(old, new) for old, new in arms if old and new and old.rows and new.rows]
    if not both:
        wait = (
            "waiting for predictions of both versions; a server of an earlier release counts none that can "
        )
        return Judgement(Verdict.HOLD, f"{wait}be compared", MEASURE)
    shares = weights([(old.rows, new.rows) for old, new in both])
    (champion, old_worth), (challenger, new_worth) = (
        mixture([pair[arm] for pair in both], shares) for arm in (0, 1)
    )
    found, rows = distance(champion, challenger), (champion.rows, challenger.rows)
    surely, unlikely = (
        sum(margin(each, alpha / 2) for each in (old_worth, new_worth))
        for alpha in (1 / (FAIL_AT * measures * rivals), 1 / (PASS_AT * rivals))
    )
    figures = {"distance": found, "maxDistance": most, "marginToFail": surely, "marginToPass": unlikely}
    text = f"distance {found:.3f}, at most {most:g} allowed ({rows[1]} predictions, champion {rows[0]})"
    if found - surely > most:
        return Judgement(Verdict.FAIL, f"they differ too much: {text}", MEASURE, figures=figures)
    if found + unlikely < most:
        return Judgement(Verdict.PASS, text, MEASURE, figures=figures)
    return Judgement(Verdict.HOLD, f"not enough evidence yet: {text}", MEASURE, figures=figures)
