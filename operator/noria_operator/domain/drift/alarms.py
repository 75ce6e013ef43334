"""False alarms: how many a policy must be expected to give where nothing changes, and the level for a number.

Comes in: how many columns are tested how often, and how many windows and columns it takes. Goes out: expected
alarms a month, or the level of one test that keeps them. Invariants: the figure is a bound, whatever the
columns have to do with each other (an alarm on a share of them by Markov's inequality), and it takes only the
noise floor into account: what the size of an effect holds back comes on top.

Windows that follow each other are independent where the reference is much larger than they are; else its own
noise is in all of them, and nothing is credited for asking several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from math import ceil, comb
from statistics import NormalDist
from typing import Final

MONTH: Final = timedelta(days=30.4375)
MUCH_LARGER: Final = 10
"""A reference of so many times a window's rows has no noise that matters beside the window's."""
_LEAST: Final = 1e-15


class Correction(StrEnum):
    """How many tests at once share one level."""

    BONFERRONI = "Bonferroni"
    """Each column is tested at its part of the level: few false alarms, whatever else drifts."""
    BENJAMINI_HOCHBERG = "BenjaminiHochberg"
    """The share of false ones among the flagged columns is kept: finds more where many drift."""


@dataclass(frozen=True, slots=True)
class Family:
    """What is tested in each window: `features`, and `single` columns, one of which is enough. An alarm takes
    `needed` features, each flagged in `k` of the last `n` windows.
    """

    windows_a_month: float
    features: int
    single: int
    needed: int
    k: int
    n: int
    independent: bool = True
    correction: Correction = Correction.BONFERRONI

    @property
    def columns(self) -> int:
        return self.features + self.single


def needed(share: float, features: int) -> int:
    """How many of so many features are at least `share` of them; one at least."""
    return max(1, ceil(share * features - 1e-9))


def windows_a_month(length: timedelta) -> float:
    """Windows of a length in a month; one that closes at once counts as a second."""
    return MONTH / max(length, timedelta(seconds=1))


def expected(level: float, tests: Family) -> float:
    """Alarms a month at most, where nothing drifts and each window is tested at `level` over all columns."""
    if not tests.columns:
        return 0.0
    if tests.correction is Correction.BENJAMINI_HOCHBERG:  # its family-wise error, where nothing drifts
        return tests.windows_a_month * _again(level, tests)
    once = _again(level / tests.columns, tests)
    return tests.windows_a_month * once * (tests.features / tests.needed + tests.single)


@lru_cache(maxsize=1024)
def level(alarms: float, tests: Family) -> float:
    """The level of a window at which `alarms` a month are expected at most."""
    low, high = _LEAST, 0.5
    if expected(high, tests) <= alarms:
        return high
    while high / low > 1.0001:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if expected(middle, tests) <= alarms else (low, middle)
    return low


def bound(alarms: float, length: timedelta, tests: int) -> tuple[float, float]:
    """(z, alarms a month at most) where one of so many bounds in one window of `length` is enough: each is
    taken at `z` standard errors, so that `alarms` a month are expected at most.
    """
    family = Family(windows_a_month(length), 0, tests, 1, k=1, n=1)
    once = level(alarms, family)
    # Not of 1 - level, which is 1 where the level is tiny.
    return -NormalDist().inv_cdf(once / max(1, tests)), expected(once, family)


def _again(level: float, tests: Family) -> float:
    """Probability that a window is flagged at `level` and completes `k` of the last `n`."""
    if not tests.independent:
        return level
    before, rest = tests.k - 1, tests.n - 1
    others = (
        comb(rest, hits) * level**hits * (1 - level) ** (rest - hits) for hits in range(before, rest + 1)
    )
    return level * sum(others)


def of_each(p_values: Sequence[float], level: float, correction: Correction) -> float:
    """The level of each of several tests at which they are significant together: those with no larger p."""
    if correction is Correction.BONFERRONI:
        return level / max(1, len(p_values))
    ranked, once = sorted(p_values), level / max(1, len(p_values))
    return once * max((rank for rank, p in enumerate(ranked, 1) if p <= once * rank), default=1)
