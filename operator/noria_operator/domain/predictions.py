"""Predictions of a challenger as a measure: how far their distribution lies from the champion's.

Comes in: predictions of both versions since the analysis began, by stretch of one share of the traffic,
counted in bins of widths that are powers of two, or by class where models give labels alone. Goes out: a
judgement. The distance is Kolmogorov's and Smirnov's, the largest difference of the shares at or below a
value; how far it can be from the truth at any time is the bound of Howard and Ramdas, "Sequential estimation
of quantiles" (arXiv 1906.09712), for each version. Classes have no order: their distance is the largest
difference of a class's share, and each class is a test of its own (its rows are ones, all others zeros).
Within a stretch both have the same traffic, and both count stretches by the same weights, so nothing about
the population is assumed: it may change with the shares. Invariant: all is computed from sums, nothing is
kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate
from math import log, sqrt
from operator import add, mul
from typing import Final, TypeVar

from noria_operator.domain.strata import weights
from noria_operator.domain.verdict import FAIL_AT, PASS_AT, SUSPECT_AT, Judgement, Verdict
from noria_serving.contract import NO_PROBABILITIES

MEASURE: Final = "predictions"
_WORSE: Final = (Verdict.PASS, Verdict.HOLD, Verdict.FAIL)
UNLIKE: Final = (
    f"one version {NO_PROBABILITIES}, and the other scores or numbers: their predictions cannot be compared; "
    "use disagreement, or quality by accuracy"
)


@dataclass(frozen=True, slots=True)
class Outputs:
    """Predictions by bin: i holds [first + i, first + i + 1) times 2 to the `exponent`; end bins are open."""

    exponent: int
    first: int
    bins: tuple[float, ...]

    @property
    def rows(self) -> int:
        return round(sum(self.bins))

    def __add__(self, other: Outputs) -> Outputs:
        """Together with those of another stretch, in the same bins."""
        pairs = zip(self.bins, other.bins, strict=True)
        return replace(self, bins=tuple(one + more for one, more in pairs))

    def __mul__(self, times: float) -> Outputs:
        return replace(self, bins=tuple(count * times for count in self.bins))

    def wider(self, exponent: int) -> dict[int, float]:
        """Counts in bins of 2 to the `exponent`, which is not less than its own, by the multiple of it."""
        found: dict[int, float] = {}
        for index, count in enumerate(self.bins):
            place = (self.first + index) >> (exponent - self.exponent)
            found[place] = found.get(place, 0) + count
        return found


@dataclass(frozen=True, slots=True)
class Called:
    """Predictions of a model that gives labels alone: rows by class, and those of classes without a name (of
    more than are counted one by one).
    """

    named: Mapping[str, float]
    rest: float = 0

    @property
    def rows(self) -> int:
        return round(sum(self.named.values()) + self.rest)

    def __add__(self, other: Called) -> Called:
        """Together with those of another stretch, of the same version."""
        names = {**self.named, **other.named}
        named = {name: self.named.get(name, 0) + other.named.get(name, 0) for name in names}
        return Called(named, self.rest + other.rest)

    def __mul__(self, times: float) -> Called:
        return Called({name: count * times for name, count in self.named.items()}, self.rest * times)

    def within(self, name: str) -> tuple[float, float]:
        """Between which shares a class lies: one without a name has at most what all of these have."""
        every = sum(self.named.values()) + self.rest
        if name in self.named:
            return self.named[name] / every, self.named[name] / every
        return 0.0, self.rest / every


Predictions = Outputs | Called
Kind = TypeVar("Kind", Outputs, Called)


def compared(one: Predictions, other: Predictions) -> int:
    """How many shares the distance is the largest difference of; two that add up to one are the same."""
    if isinstance(one, Outputs) or isinstance(other, Outputs):
        return 1
    told = len(one.named.keys() | other.named.keys()) + bool(one.rest or other.rest)
    return told if told > 2 else 1


def distance(one: Predictions, other: Predictions) -> float:
    """The largest difference of the shares of both, from 0 to 1: at or below a bin's end, or of a class."""
    if isinstance(one, Outputs) and isinstance(other, Outputs):
        return _kolmogorov(one, other)
    if isinstance(one, Called) and isinstance(other, Called):
        return _farthest(one, other)
    raise TypeError("predictions of different kinds have no distance")


def _farthest(one: Called, other: Called) -> float:
    """By class, and of all that not both name; no more than is sure where one of them does not name it."""
    gaps, beside = [0.0], [1.0, 1.0]
    for name in one.named.keys() | other.named.keys():
        (low, high), (least, most) = one.within(name), other.within(name)
        gaps.append(max(low - most, least - high))
        if name in one.named and name in other.named:
            beside = [beside[0] - low, beside[1] - least]
    return max(*gaps, abs(beside[0] - beside[1]) if one.rest or other.rest else 0.0)


def _kolmogorov(one: Outputs, other: Outputs) -> float:
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


def mixture(parts: Sequence[Kind], shares: Sequence[float]) -> tuple[Kind, float]:
    """Predictions of one version as if they came from its parts in these shares, and how many predictions of
    one population tell as much: 1 over the sum of share² / rows, which is the variance of a share of them.
    """
    rows = sum(part.rows for part in parts)
    scales = [share * rows / part.rows for part, share in zip(parts, shares, strict=True)]
    worth = 1 / sum(share * share / part.rows for part, share in zip(parts, shares, strict=True))
    return reduce(add, map(mul, parts, scales)), worth


def margin(rows: float, alpha: float) -> float:
    """How far the shares of so many rows lie from the true ones at most, at any time, with probability 1 -
    `alpha`.
    """
    return 0.85 * sqrt((log(1 + log(rows)) + 0.8 * log(1612 / alpha)) / rows)


def judge(
    most: float,
    arms: Sequence[tuple[Outputs | None, Outputs | None]],
    measures: int,
    rivals: int = 1,
    *,
    called: Sequence[tuple[Called | None, Called | None]] = (),
) -> Judgement:
    """The verdict on a distance of at most `most` between champion and challenger, whose predictions `arms`
    has by stretch, and `called` by class; where both are known the worse counts. `measures` tests share the
    false alarms, `rivals` challengers those and the false passes.
    """
    numbers, classes = _usable(arms), _usable(called)
    if not numbers and not classes:
        return _none(arms, called)
    measures *= 1 + bool(numbers and classes)
    found = [_judged(most, numbers, measures, rivals)] if numbers else []
    found += [_judged(most, classes, measures, rivals)] if classes else []
    return max(found, key=lambda one: (_WORSE.index(one.verdict), one.doubtful, one.figures["distance"]))


def _usable(arms: Sequence[tuple[Kind | None, Kind | None]]) -> list[tuple[Kind, Kind]]:
    return [(old, new) for old, new in arms if old and new and old.rows and new.rows]


def _none(
    arms: Sequence[tuple[Outputs | None, Outputs | None]],
    called: Sequence[tuple[Called | None, Called | None]],
) -> Judgement:
    """What to say where nothing can be compared."""
    (old_scores, new_scores), (old_classes, new_classes) = _seen(arms), _seen(called)
    if (old_scores and new_classes) or (old_classes and new_scores):
        return Judgement(Verdict.ERROR, UNLIKE, MEASURE)
    if not _told(arms) and not _told(called):
        wait = (
            "waiting for predictions of both versions; a server of an earlier release counts none that can "
        )
        return Judgement(Verdict.HOLD, f"{wait}be compared", MEASURE)
    have = (old_scores or old_classes, new_scores or new_classes)
    lacking = {(True, False): "the challenger", (False, True): "the champion"}.get(have, "both versions")
    return Judgement(Verdict.HOLD, f"waiting for predictions of {lacking}", MEASURE)


def _told(arms: Sequence[tuple[Kind | None, Kind | None]]) -> bool:
    """Whether the servers of both versions count such predictions, be it none so far."""
    return any(old is not None and new is not None for old, new in arms)


def _seen(arms: Sequence[tuple[Kind | None, Kind | None]]) -> tuple[bool, bool]:
    """Whether champion and challenger have any."""
    return any(old and old.rows for old, _ in arms), any(new and new.rows for _, new in arms)


def _judged(most: float, both: Sequence[tuple[Kind, Kind]], measures: int, rivals: int) -> Judgement:
    shares = weights([(old.rows, new.rows) for old, new in both])
    champion, old_worth = mixture([old for old, _ in both], shares)
    challenger, new_worth = mixture([new for _, new in both], shares)
    found, rows = distance(champion, challenger), (champion.rows, challenger.rows)
    surely, unlikely, likely = (
        sum(margin(each, alpha / 2 / compared(champion, challenger)) for each in (old_worth, new_worth))
        for alpha in (1 / (FAIL_AT * measures * rivals), 1 / (PASS_AT * rivals), 1 / SUSPECT_AT)
    )
    figures = {"distance": found, "maxDistance": most, "marginToFail": surely, "marginToPass": unlikely}
    by = " by class" if isinstance(champion, Called) else ""
    text = f"distance {found:.3f}{by}, at most {most:g} allowed ({rows[1]} predictions, champion {rows[0]})"
    chain = (
        (found - surely > most, Verdict.FAIL, f"they differ too much: {text}"),
        (found + unlikely < most, Verdict.PASS, text),
        (True, Verdict.HOLD, f"not enough evidence yet: {text}"),
    )
    verdict, said = next((verdict, said) for holds, verdict, said in chain if holds)
    # The margin shrinks with the root of what came; evidence of the other measures grows evenly with it.
    reached = min(1.0, max(0.0, most - found) / unlikely) ** 2
    return Judgement(verdict, said, MEASURE, figures=figures, doubtful=found - likely > most, reached=reached)
