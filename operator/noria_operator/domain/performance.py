"""What a model is worth by labels: any metric of a closed window, and how sure it is.

Comes in: joined labels of a classifier or errors of a regression, and what mistakes cost. Goes out: a value
with its interval of 95 %. Invariants: all is computed from counts that were summed over pods; the interval
is for one look at a window that is closed (a rollout, which looks often, has a sequential test:
`quality_drop`); where labels say nothing (one class only, none at all) there is no value.

Intervals: Wilson's for shares, DeLong's variance for the area, else the normal one with the variance of the
mean; of F1 by the delta method; of the calibration error with what chance adds to it; of RMSE as if errors
were normal, since fourth moments are not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Final

from noria_operator.domain.calibration import noise
from noria_operator.domain.classes import MACRO, OF_CALLS, Classes, macro
from noria_operator.domain.estimated_errors import ExpectedErrors, estimate
from noria_operator.domain.proportions import Z95, Interval, wilson
from noria_operator.domain.quality import RATED, Confusion, Labels, Rows, rows
from noria_operator.domain.quality_drop import METRICS
from noria_serving.contract import CONFUSION_CLASSES


@dataclass(frozen=True, slots=True)
class Errors:
    """Labelled rows of a regression, in whole units: sums of errors of predictions above and below the
    label, and of squares; `clipped` rows had a larger error than what they count as.
    """

    count: int = 0
    over: int = 0
    under: int = 0
    squared: int = 0
    clipped: int = 0
    unit: float = 1.0

    @property
    def samples(self) -> int:
        """Number of labels."""
        return self.count


@dataclass(frozen=True, slots=True)
class Costs:
    """What one label costs, by what was predicted and what was true; a gain is negative."""

    false_positive: float = 1.0
    false_negative: float = 1.0
    true_positive: float = 0.0
    true_negative: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric of a window, and where its true value lies with a probability of 95 %. `excess`: by how much
    chance alone makes it worse on average, at most.
    """

    value: float
    low: float
    high: float
    excess: float = 0.0
    deviation: float | None = None
    """Standard error, where it does not follow from the interval."""

    @property
    def error(self) -> float:
        """Standard error."""
        return (self.high - self.low) / (2 * Z95) if self.deviation is None else self.deviation


Labelled = Labels | Classes | Errors
Joined = Labelled | ExpectedErrors
EXPECTED_COST: Final = "expectedCost"
REGRESSION: Final = frozenset({"rmse", "mae"})


def measure(metric: str, joined: Joined, costs: Costs = Costs()) -> Measured | None:
    """The metric; None where these labels cannot tell it."""
    if isinstance(joined, Errors):
        return _ERRORS[metric](joined) if metric in _ERRORS and joined.count else None
    if isinstance(joined, ExpectedErrors):
        found_errors = estimate(metric, joined, Z95) if metric in _ERRORS else None
        return Measured(*found_errors) if found_errors else None
    if isinstance(joined, Classes):
        return _of_classes(metric, joined)
    found = rows(joined)
    if metric == EXPECTED_COST:
        return _cost(found, joined.samples, costs)
    rated = RATED.get(metric)
    value = rated(found) if rated and joined.samples else None
    if value is None:
        return None
    return (
        _binned(value, found)
        if metric == "ece"
        else Measured(value, *_INTERVALS[metric](value, joined, found))
    )


def unsuitable(metric: str, joined: Joined) -> str:
    """Why such labels never tell the metric, and what to ask for instead; empty where they can."""
    if isinstance(joined, Errors | ExpectedErrors):
        good, of = tuple(_ERRORS), "a regression"
    elif isinstance(joined, Labels):
        good, of = (*RATED, EXPECTED_COST), "a classifier of two classes"
    elif joined.samples and not joined.table:
        good, of = OF_CALLS, f"a classifier of more than {CONFUSION_CLASSES} classes"
    else:
        good, of = (*OF_CALLS, *MACRO), "a classifier of several classes"
    return "" if metric in good else f"{metric} cannot be told of {of}; use one of {', '.join(good)}"


def _of_classes(metric: str, joined: Classes) -> Measured | None:
    if not joined.samples:
        return None
    if metric == "accuracy":
        return Measured(joined.right / joined.samples, *wilson(joined.right, joined.samples))
    if metric in OF_CALLS:
        return measure(metric, joined.called)
    found = macro(metric, joined.table) if metric in MACRO else None
    if found is None:
        return None
    low, high = _around(*found)
    return Measured(found[0], max(0.0, low), min(1.0, high))


def _cost(found: Rows, samples: int, costs: Costs) -> Measured | None:
    if not samples:
        return None
    seen = Confusion.of(found)
    each = (
        (seen.tp, costs.true_positive),
        (seen.fp, costs.false_positive),
        (seen.fn, costs.false_negative),
        (seen.tn, costs.true_negative),
    )
    mean = sum(count * cost for count, cost in each) / samples
    variance = sum(count * (cost - mean) ** 2 for count, cost in each) / samples
    return Measured(mean, *_around(mean, variance / samples))


def _around(value: float, variance: float) -> Interval:
    half = Z95 * sqrt(max(variance, 0.0))
    return value - half, value + half


def _estimated(metric: str, value: float, labels: Labels, _: Rows) -> Interval:
    low, high = _around(value, METRICS[metric].estimate(labels).variance)
    return max(0.0, low), min(1.0, high) if metric in ("auc", "brier") else high


def _accurate(_: float, labels: Labels, found: Rows) -> Interval:
    seen = Confusion.of(found)
    return wilson(int(seen.tp + seen.tn), labels.samples)


def _precise(_: float, __: Labels, found: Rows) -> Interval:
    seen = Confusion.of(found)
    return wilson(int(seen.tp), int(seen.tp + seen.fp))


def _recalled(_: float, __: Labels, found: Rows) -> Interval:
    seen = Confusion.of(found)
    return wilson(int(seen.tp), int(seen.tp + seen.fn))


def _harmonic(value: float, _: Labels, found: Rows) -> Interval:
    """The gradient of 2 tp / (2 tp + fp + fn), and the counts as variances (multinomial)."""
    seen = Confusion.of(found)
    wrong, whole = seen.fp + seen.fn, 2 * seen.tp + seen.fp + seen.fn
    variance = (4 * wrong**2 * seen.tp + 4 * seen.tp**2 * wrong) / whole**4
    low, high = _around(value, variance)
    return max(0.0, low), min(1.0, high)


def _calibrated(_: float, labels: Labels, found: Rows) -> Interval:
    """Of the signed gap, folded at zero."""
    total = sum(score * (negative + positive) - positive for score, negative, positive in found)
    squares = sum(negative * score**2 + positive * (1 - score) ** 2 for score, negative, positive in found)
    mean = total / labels.samples
    low, high = _around(mean, (squares / labels.samples - mean**2) / labels.samples)
    ends = sorted((abs(low), abs(high)))
    return (0.0, ends[1]) if low < 0 < high else (ends[0], ends[1])


def _binned(value: float, found: Rows) -> Measured:
    """Below it there is what chance may add, too."""
    deviation, excess = noise(found)
    low, high = _around(value, deviation**2)
    return Measured(value, max(0.0, low - excess), high, excess, deviation)


def _rmse(errors: Errors) -> Measured:
    value = sqrt(errors.squared / errors.count) * errors.unit
    low, high = _around(value, value**2 / (2 * errors.count))
    return Measured(value, max(0.0, low), high)


def _mae(errors: Errors) -> Measured:
    mean = (errors.over + errors.under) / errors.count
    low, high = _around(mean, (errors.squared / errors.count - mean**2) / errors.count)
    return Measured(mean * errors.unit, max(0.0, low) * errors.unit, high * errors.unit)


_INTERVALS: Final[dict[str, Callable[[float, Labels, Rows], Interval]]] = {
    **{metric: partial(_estimated, metric) for metric in ("auc", "logloss", "brier")},
    "accuracy": _accurate,
    "precision": _precise,
    "recall": _recalled,
    "f1": _harmonic,
    "calibration": _calibrated,
}
_ERRORS: Final[dict[str, Callable[[Errors], Measured]]] = {"rmse": _rmse, "mae": _mae}
