"""Fairness: whether a binary classifier treats the groups of a column alike.

Comes in: counts of a closed window by group, summed over pods, and bounds. Goes out: for each bound what was
measured and whether it is surely exceeded. Invariants: a value is fairlearn's of the same name (largest less
smallest rate of all groups, or smallest by largest) over the groups with enough rows; an alarm takes two
groups whose rates differ by more than the bound even at the ends of their confidence intervals, at a level
that all pairs of all bounds have in common, so that few rows alarm on nothing. Rows without a value belong to
no group that could be treated worse, and are left out.

The largest of several noisy differences is large where nothing differs: so it is pairs that are tested, by
Newcombe's hybrid score interval (Statistics in Medicine 17, 1998) for the difference, and its form for ratios
(Donner & Zou, Statistical Methods in Medical Research 21, 2012).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from itertools import permutations
from math import inf, sqrt
from typing import Final

from noria_operator.domain.drift import alarms
from noria_operator.domain.proportions import wilson

MISSING: Final = "missing"


@dataclass(frozen=True, slots=True)
class Slicing:
    """A column by which a version's servers tell rows apart, and what its groups are called."""

    feature: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Counts of a group: rows predicted and positive ones of them; labelled rows by label and prediction."""

    name: str
    rows: int = 0
    positive: int = 0
    tn: int = 0
    fp: int = 0
    fn: int = 0
    tp: int = 0


class Check(StrEnum):
    """What is compared between groups; fairlearn's names."""

    PARITY_DIFFERENCE = "demographicParityDifference"
    """Shares of rows that are predicted positive."""
    PARITY_RATIO = "demographicParityRatio"
    OPPORTUNITY_DIFFERENCE = "equalOpportunityDifference"
    """Shares of truly positive rows that are predicted positive."""
    ODDS_DIFFERENCE = "equalizedOddsDifference"
    """These, and shares of truly negative rows that are predicted positive: the larger difference."""


Rate = Callable[[Group], tuple[int, int]]
"""Hits and rows of a group."""


def _selected(one: Group) -> tuple[int, int]:
    return one.positive, one.rows


def _found(one: Group) -> tuple[int, int]:
    return one.tp, one.tp + one.fn


def _accused(one: Group) -> tuple[int, int]:
    return one.fp, one.fp + one.tn


RATES: Final[Mapping[Check, Mapping[str, Rate]]] = {
    Check.PARITY_DIFFERENCE: {"": _selected},
    Check.PARITY_RATIO: {"": _selected},
    Check.OPPORTUNITY_DIFFERENCE: {"": _found},
    Check.ODDS_DIFFERENCE: {"of positive labels": _found, "of negative labels": _accused},
}
"""By check: what is compared, and what it is a share of where a check compares several."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is tolerated: a largest difference, of PARITY_RATIO a least ratio."""

    bounds: Mapping[Check, float]
    min_samples: int = 200
    false_alarms: float = 0.01


@dataclass(frozen=True, slots=True)
class Finding:
    """One bound: the `value` measured, and how far it surely is (`surely`: a lower bound of a difference, an
    upper one of a ratio); the groups with the highest and lowest rate, and these; rows of all groups. Of
    several kinds of rate, those `of` which the value is.
    """

    check: Check
    value: float
    tolerated: float
    surely: float
    exceeded: bool
    high: str
    low: str
    rates: tuple[float, float]
    samples: int = 0
    left_out: tuple[str, ...] = ()
    """Groups with too few rows."""
    of: str = ""


@dataclass(frozen=True, slots=True)
class Fairness:
    """What a closed window says, the exceeded bounds first."""

    findings: tuple[Finding, ...]
    expected: float


def enough(policy: Policy, groups: Sequence[Group]) -> bool:
    """Whether every bound can be judged: two groups have enough rows of the kind that it compares."""
    return all(len(_judged(policy, check, groups)) > 1 for check in policy.bounds)


def judge(policy: Policy, groups: Sequence[Group], length: timedelta) -> Fairness:
    """Judge a window of `length` that has `enough`."""
    counted = [(len(_judged(policy, check, groups)), len(RATES[check])) for check in policy.bounds]
    pairs = sum(rates * groups * (groups - 1) for groups, rates in counted)
    z, expected = alarms.bound(policy.false_alarms, length, pairs)
    found = [_finding(policy, check, bound, groups, z) for check, bound in policy.bounds.items()]
    found.sort(key=lambda one: not one.exceeded)
    return Fairness(tuple(found), expected)


def _judged(policy: Policy, check: Check, groups: Sequence[Group]) -> list[Group]:
    """Those with enough rows for each rate."""
    least = policy.min_samples
    return [
        one
        for one in groups
        if one.name != MISSING and all(rate(one)[1] >= least for rate in RATES[check].values())
    ]


def _finding(policy: Policy, check: Check, bound: float, groups: Sequence[Group], z: float) -> Finding:
    judged, rates = _judged(policy, check, groups), RATES[check]
    each = [replace(_compared(check, bound, rate, judged, z), of=of) for of, rate in rates.items()]
    worst = max(each, key=lambda one: one.value)
    few = tuple(one.name for one in groups if one not in judged and one.name != MISSING and one.rows)
    return replace(
        worst,
        surely=max(one.surely for one in each),
        exceeded=any(one.exceeded for one in each),
        samples=sum(rate(one)[1] for one in judged for rate in rates.values()),
        left_out=few,
    )


def _compared(check: Check, bound: float, rate: Rate, judged: Sequence[Group], z: float) -> Finding:
    ranked = sorted(judged, key=lambda one: _share(*rate(one)))
    low, high = ranked[0], ranked[-1]
    rates = _share(*rate(high)), _share(*rate(low))
    ratio = check is Check.PARITY_RATIO
    value = (rates[1] / rates[0] if rates[0] else 1.0) if ratio else rates[0] - rates[1]
    ends = [
        (_most_ratio if ratio else _least_difference)(rate(one), rate(other), z)
        for one, other in permutations(judged, 2)
    ]
    surely = min(ends) if ratio else max(ends)
    exceeded = surely < bound if ratio else surely > bound
    return Finding(check, value, bound, surely, exceeded, high.name, low.name, rates)


def _share(hits: int, of: int) -> float:
    return hits / of


def _least_difference(high: tuple[int, int], low: tuple[int, int], z: float) -> float:
    """Lower end of the interval of p(high) - p(low), by Newcombe."""
    one, other = _share(*high), _share(*low)
    least, most = wilson(*high, z)[0], wilson(*low, z)[1]
    return one - other - sqrt((one - least) ** 2 + (most - other) ** 2)


def _most_ratio(high: tuple[int, int], low: tuple[int, int], z: float) -> float:
    """Upper end of the interval of p(low) / p(high), by Donner and Zou."""
    one, other = _share(*high), _share(*low)
    least, most = wilson(*high, z)[0], wilson(*low, z)[1]
    below = least * (2 * one - least)
    if below <= 0:
        return inf
    product = one * other
    return (product + sqrt(max(0.0, product**2 - below * most * (2 * other - most)))) / below
