"""Whether quality is surely lost, however often one looks: sums over windows, and what they bound.

Comes in: closed windows of one version, each with its value, standard error and labels. Goes out: the level
that the version surely held, and how much its newest windows surely lose against the best level. Source: the
boundaries of `sequences`; a stretch of windows that begins anew whenever it shows no loss is one of the terms
of an e-detector (Shin, Ramdas & Rinaldo, arXiv 2203.03532), which asks at most once in `1 / A_WINDOW` windows
on average while nothing is lost. Invariants: the sums are all that is remembered; where several windows are
asked for, no single one proves a loss, however bad it is; what chance adds to a value is no loss.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from decimal import Decimal
from math import inf
from typing import Any, Final, Self

from noria_operator.domain.drift.alarms import windows_a_month
from noria_operator.domain.performance import Measured
from noria_operator.domain.quality import Direction
from noria_operator.domain.sequences import boundary

Json = dict[str, Any]

A_WINDOW: Final = 1e-4
"""Probability that a loss is taken for sure in a window though nothing is lost: 1 % in 100 windows."""
_LEAST, _MOST = 1e-12, 0.05
"""A window errs with no less probability, also where no false alarm is allowed, and with no more."""
OF_LEVEL: Final = 0.05
"""Probability that the level which a version surely held is ever better than its quality."""
_QUICK, _LONG = 4, 30
"""Windows after which a loss, and a level, are bounded most tightly."""
_DROPS, _ERRORS = 3.0, 4.0
"""A window counts as lost by at most so many allowed drops or standard errors, whichever is more."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Windows one after the other: how many, their labels, and the sums of value times labels and of its
    variance.
    """

    windows: int = 0
    labels: float = 0.0
    total: float = 0.0
    variance: float = 0.0

    @classmethod
    def of(cls, state: Json | None) -> Self:
        """As it was written into status."""
        return cls(**state) if state else cls()

    @property
    def state(self) -> Json:
        """For status."""
        return asdict(self)

    @property
    def mean(self) -> float:
        """The mean of the values, a label counting as much as any other."""
        return self.total / self.labels

    def plus(self, value: float, error: float, labels: int) -> Stretch:
        """One window more."""
        return Stretch(
            self.windows + 1,
            self.labels + labels,
            self.total + labels * value,
            self.variance + (labels * error) ** 2,
        )

    def beyond(self, alpha: float, windows: int) -> float:
        """By how much the mean differs from the true one with probability `alpha` at most, at any time."""
        tightest = windows * self.variance / self.windows
        return boundary(self.variance, alpha, tightest=tightest) / self.labels


def level(stretch: Stretch, direction: Direction, among: int = 1) -> float:
    """The quality that the version surely held over the stretch, on its worse side; `among` so many levels,
    which share the probability that one is not held.
    """
    return direction.worsened(stretch.mean, stretch.beyond(OF_LEVEL / among, _LONG))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a loss is a loss against, and whether one window may prove it alone."""

    direction: Direction
    best: float
    threshold: float
    alone: bool = False


def continued(stretch: Stretch, measured: Measured, labels: int, asked: Asked) -> Stretch:
    """The stretch with one window more, while its mean is worse than the threshold; else none."""
    direction, best = asked.direction, asked.best
    most = inf if asked.alone else max(_DROPS * abs(best - asked.threshold), _ERRORS * measured.error)
    by_itself = direction.worsened(measured.value, -measured.excess)
    value = direction.worsened(best, min(direction.gain(best, by_itself), most))
    found = stretch.plus(value, measured.error, labels)
    return found if direction.better(asked.threshold, found.mean) else Stretch()


def a_window(per_month: Decimal | None, length: timedelta) -> float:
    """Probability with which a window of this length may err, so that no more than so many a month do."""
    if per_month is None:
        return A_WINDOW
    return min(_MOST, max(_LEAST, float(per_month) / windows_a_month(length)))


def false_alarms(length: timedelta, alpha: float = A_WINDOW) -> float:
    """Alarms a month at most where nothing is lost, of windows of this length."""
    return alpha * windows_a_month(length)


def surely_lost(
    stretch: Stretch, direction: Direction, best: float, among: int = 1, *, alpha: float = A_WINDOW
) -> float:
    """How much worse than `best` quality surely is; zero or less: perhaps nothing is lost. `among` so many
    stretches: e-detectors of each, summed and divided by their number, are one again, so that each may ask at
    a level divided by it, however they depend on each other. `alpha`: of one window.
    """
    if not stretch.windows:
        return 0.0
    return direction.gain(best, stretch.mean) - stretch.beyond(alpha / among, _QUICK)
