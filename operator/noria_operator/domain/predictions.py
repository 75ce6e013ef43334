"""Predictions of a challenger as a measure: how far their distribution lies from the champion's.

Comes in: predictions of both versions since the analysis began, counted in bins of widths that are powers of
two. Goes out: a judgement. The distance is Kolmogorov's and Smirnov's, the largest difference of the shares
at or below a value; how far it can be from the truth at any time is the bound of Howard and Ramdas,
"Sequential estimation of quantiles" (arXiv 1906.09712), for each version. Both have the same traffic, so
nothing about the population is assumed. Invariant: all is computed from sums, nothing is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import log, sqrt
from typing import Final

from noria_operator.domain.verdict import FAIL_AT, PASS_AT, Judgement, Verdict

MEASURE: Final = "predictions"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Predictions by bin: i holds [first + i, first + i + 1) times 2 to the `exponent`; end bins are open."""

    exponent: int
    first: int
    bins: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.bins)

    def wider(self, exponent: int) -> dict[int, int]:
        """Counts in bins of 2 to the `exponent`, which is not less than its own, by the multiple of it."""
        found: dict[int, int] = {}
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


def _below(counts: dict[int, int], low: int, high: int) -> list[float]:
    """Shares at or below each bin from `low` to `high`."""
    row = [0] * (high - low + 1)
    for place, count in counts.items():
        row[min(max(place, low), high) - low] += count
    total = sum(row)
    return [below / total for below in accumulate(row)]


def margin(rows: int, alpha: float) -> float:
    """How far the shares of so many rows lie from the true ones at most, at any time, with probability 1 -
    `alpha`.
    """
    return 0.85 * sqrt((log(1 + log(rows)) + 0.8 * log(1612 / alpha)) / rows)


def judge(
    most: float, champion: Outputs | None, challenger: Outputs | None, measures: int, rivals: int = 1
) -> Judgement:
    """The verdict on a distance of at most `most`; `measures` tests share the false alarms, `rivals`
    challengers those and the false passes.
    """
    if champion is None or challenger is None or not champion.rows or not challenger.rows:
        wait = (
            "waiting for predictions of both versions; a server of an earlier release counts none that can "
        )
        return Judgement(Verdict.HOLD, f"{wait}be compared", MEASURE)
    found, rows = distance(champion, challenger), (champion.rows, challenger.rows)
    surely, unlikely = (
        sum(margin(each, alpha / 2) for each in rows)
        for alpha in (1 / (FAIL_AT * measures * rivals), 1 / (PASS_AT * rivals))
    )
    figures = {"distance": found, "maxDistance": most, "marginToFail": surely, "marginToPass": unlikely}
    text = f"distance {found:.3f}, at most {most:g} allowed ({rows[1]} predictions, champion {rows[0]})"
    if found - surely > most:
        return Judgement(Verdict.FAIL, f"they differ too much: {text}", MEASURE, figures=figures)
    if found + unlikely < most:
        return Judgement(Verdict.PASS, text, MEASURE, figures=figures)
    return Judgement(Verdict.HOLD, f"not enough evidence yet: {text}", MEASURE, figures=figures)
