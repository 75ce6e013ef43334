"""What a model is worth by labels: any metric of a closed window, and how sure it is.

Comes in: joined labels of a classifier or errors of a regression, and what mistakes cost. Goes out: a value
with its interval of 95 %. Invariants: all is computed from counts that were summed over pods; the interval
is for one look at a window that is closed (a rollout, which looks often, has a sequential test:
`quality_drop`); where labels say nothing (one class only, none at all) there is no value.

Intervals: Wilson's for shares, DeLong's variance for the area, else the normal one with the variance of the
mean; of F1 by the delta method; of the calibration error with what chance adds to it; of RMSE with tails as
long as RMSE and MAE together tell, since fourth moments are not counted (`_kurtosis`). None is narrower than
if one label more had been as wrong as can be: a thousand without a mistake do not say that there is none. Of
scores that crowd into one bin each reaches further, by what that may hide (`crowding`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf, isqrt, pi, sqrt
from typing import Final

from noria_operator.domain import class_scores
from noria_operator.domain.calibration import FOLDED, noise
from noria_operator.domain.classes import MACRO, OF_CALLS, Classes, macro
from noria_operator.domain.costs import ONE_A_MISTAKE, Costs, mean_cost
from noria_operator.domain.crowding import hidden
from noria_operator.domain.estimated_errors import ExpectedErrors, estimate
from noria_operator.domain.proportions import Z95, wilson
from noria_operator.domain.quality import RATED, Confusion, Labels, Rows, rows
from noria_operator.domain.quality_drop import METRICS
from noria_serving.contract import CONFUSION_CLASSES, ERROR_UNITS, NO_PROBABILITIES, OF_PROBABILITIES


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
class Measured:
    """A metric of a window, and where its true value lies with a probability of 95 %. `excess`: by how much
    chance alone makes it worse on average, at most, and bins of scores `hidden` of that.
    """

    value: float
    low: float
    high: float
    excess: float = 0.0
    deviation: float | None = None
    """Standard error, where it does not follow from the interval."""
    hidden: float = 0.0
    clipped: int = field(default=0, kw_only=True)
    """Labels whose error is larger than what it counts as."""

    @property
    def error(self) -> float:
        """Standard error."""
        return (self.high - self.low) / (2 * Z95) if self.deviation is None else self.deviation

    @property
    def blur(self) -> str:
        """What to say of the value where scores crowd into one bin, or errors are cut off."""
        if self.clipped:
            labels = f"{self.clipped} label" + "s" * (self.clipped != 1)
            return f" (at least: {labels} had errors too large to count)"
        return f" (bins of scores may hide {self.hidden:.4f})" if self.hidden else ""

    def times(self, unit: float) -> Measured:
        """The same in a unit of which this is a multiple."""
        each = (self.value, self.low, self.high, self.excess, self.error)
        return Measured(*(one * unit for one in each))


Labelled = Labels | Classes | Errors
Joined = Labelled | ExpectedErrors
EXPECTED_COST: Final = "expectedCost"
REGRESSION: Final = frozenset({"rmse", "mae"})


def measure(metric: str, joined: Joined, costs: Costs = ONE_A_MISTAKE) -> Measured | None:
    """The metric; None where these labels cannot tell it."""
    if isinstance(joined, Errors):
        told = metric in _ERRORS and joined.count
        return replace(_ERRORS[metric](joined), clipped=joined.clipped) if told else None
    if isinstance(joined, ExpectedErrors):
        found_errors = estimate(metric, joined, Z95) if metric in _ERRORS else None
        return Measured(*found_errors) if found_errors else None
    if isinstance(joined, Classes):
        return _of_classes(metric, joined, costs)
    found = rows(joined)
    if metric == EXPECTED_COST:
        seen = Confusion.of(found)
        return _costly(mean_cost((seen.tn, seen.fp, seen.fn, seen.tp), costs.of_two))
    rated = RATED.get(metric)
    value = rated(found) if rated and joined.samples else None
    if value is None:
        return None
    return blurred(metric, _MEASURED[metric](value, joined, found), hidden(metric, found))


def unsuitable(metric: str, joined: Joined, costs: Costs = ONE_A_MISTAKE, *, closed: bool = True) -> str:
    """Why such labels never tell the metric, and what to ask for instead; empty where they can. Of servers
    that do not tell whether there are too many classes, or their names, labels that would have `closed` a
    window do.
    """
    good: tuple[str, ...]
    if isinstance(joined, Errors | ExpectedErrors):
        good, of, scored = tuple(_ERRORS), "a regression", True
    elif isinstance(joined, Labels):
        good, of, scored = (*RATED, EXPECTED_COST), "a classifier of two classes", joined.scored
    elif joined.table == () or (joined.table is None and closed):
        good, of = OF_CALLS, f"a classifier of more than {CONFUSION_CLASSES} classes"
        scored = joined.called.scored
    else:
        counted = joined.scores or (joined.scores is None and not closed)
        good = (*OF_CALLS, *MACRO, EXPECTED_COST, *(class_scores.METRICS if counted else ()))
        of = "a classifier of several classes"
        scored = joined.called.scored
    if not scored:
        good, of = of_labels_alone(good), f"{of} that {NO_PROBABILITIES}"
    if metric not in good:
        return f"{metric} cannot be told of {of}; use one of {', '.join(good)}"
    return _unpriced(joined, costs, closed=closed) if metric == EXPECTED_COST else ""


def _unpriced(joined: Joined, costs: Costs, *, closed: bool) -> str:
    if not isinstance(joined, Classes):  # without a label, nobody may have told yet of how many classes
        return costs.unfit_for_two() if joined.samples else ""
    return costs.unfit_for(joined.names) if closed or joined.names else ""


def placed(metric: str, joined: Joined) -> int:
    """How many of the labels the value is of: by true and predicted class those alone are counted whose class
    the version knows, and which its own pods took.
    """
    if isinstance(joined, Classes) and metric in (*MACRO, EXPECTED_COST):
        return round(sum(joined.table or ()))
    return joined.samples


def of_labels_alone(metrics: Iterable[str]) -> tuple[str, ...]:
    """Those of the metrics that need no probabilities."""
    return tuple(metric for metric in metrics if metric not in OF_PROBABILITIES)


def _of_classes(metric: str, joined: Classes, costs: Costs) -> Measured | None:
    if not joined.samples:
        return None
    if metric == "accuracy":
        return Measured(joined.right / joined.samples, *wilson(joined.right, joined.samples))
    if metric in OF_CALLS:
        return measure(metric, joined.called)
    if metric in class_scores.METRICS:
        scored = class_scores.estimate(metric, joined.scores or ())
        most = class_scores.MOST[metric] if metric != "logloss" else inf
        return scored and blurred(metric, _within(*scored[:2], 0.0, most), scored.hidden)
    table = joined.table or ()
    if metric == EXPECTED_COST:
        return _costly(mean_cost(table, costs.of_several(isqrt(len(table)), joined.names)))
    found = macro(metric, table) if metric in MACRO else None
    return _within(*found, 0.0, 1.0) if found else None


def _costly(found: tuple[float, float] | None) -> Measured | None:
    return _within(*found) if found else None


def _within(value: float, variance: float, least: float = -inf, most: float = inf) -> Measured:
    """The value and its normal interval, as far as such values go; how sure it is does not end there."""
    deviation = sqrt(max(variance, 0.0))
    half = Z95 * deviation
    return Measured(value, max(least, value - half), min(most, value + half), deviation=deviation)


def blurred(metric: str, measured: Measured, by: float) -> Measured:
    """The same where bins of scores hide so much. How sure it is does not change: what they hide is no
    chance.
    """
    if not by:
        return measured
    low, high = max(0.0, measured.low - by), min(inf if metric == "logloss" else 1.0, measured.high + by)
    return Measured(measured.value, low, high, measured.excess + by, measured.error, by)


def widened(metric: str, measured: Measured, by: float) -> Measured:
    """The same where chance moves it so many times as much."""
    most = inf if metric == "logloss" else 1.0
    low = max(0.0, measured.value - by * (measured.value - measured.low))
    high = min(most, measured.value + by * (measured.high - measured.value))
    return replace(measured, low=low, high=high, deviation=by * measured.error)


def _estimated(metric: str, value: float, labels: Labels, _: Rows) -> Measured:
    most = 1.0 if metric in ("auc", "brier") else inf
    return _within(value, METRICS[metric].estimate(labels).variance, 0.0, most)


def _accurate(value: float, labels: Labels, found: Rows) -> Measured:
    seen = Confusion.of(found)
    return Measured(value, *wilson(int(seen.tp + seen.tn), labels.samples))


def _precise(value: float, __: Labels, found: Rows) -> Measured:
    seen = Confusion.of(found)
    return Measured(value, *wilson(int(seen.tp), int(seen.tp + seen.fp)))


def _recalled(value: float, __: Labels, found: Rows) -> Measured:
    seen = Confusion.of(found)
    return Measured(value, *wilson(int(seen.tp), int(seen.tp + seen.fn)))


def _harmonic(value: float, _: Labels, found: Rows) -> Measured:
    """The gradient of 2 tp / (2 tp + fp + fn), and the counts as variances (multinomial)."""
    seen = Confusion.of(found)
    hits, wrong = max(seen.tp, 1.0), max(seen.fp + seen.fn, 1.0)
    variance = (4 * wrong**2 * hits + 4 * hits**2 * wrong) / (2 * hits + wrong) ** 4
    return _within(value, variance, 0.0, 1.0)


def _calibrated(value: float, labels: Labels, found: Rows) -> Measured:
    """Of the signed gap, folded at zero, which chance alone makes larger than zero."""
    total = sum(score * (negative + positive) - positive for score, negative, positive in found)
    squares = sum(negative * score**2 + positive * (1 - score) ** 2 for score, negative, positive in found)
    mean = total / labels.samples
    gap = _within(mean, max(squares / labels.samples - mean**2, 1 / labels.samples) / labels.samples)
    low, high = sorted((abs(gap.low), abs(gap.high)))
    low = 0.0 if gap.low < 0 < gap.high else low
    return replace(gap, value=value, low=low, high=high, excess=FOLDED * gap.error)


def _binned(value: float, _: Labels, found: Rows) -> Measured:
    """Below it there is what chance may add, too."""
    deviation, excess = noise(found)
    around = _within(value, deviation**2)
    return replace(around, low=max(0.0, around.low - excess), excess=excess)


def _rmse(errors: Errors) -> Measured:
    value = sqrt(errors.squared / errors.count)
    variance = (_kurtosis(errors) - 1) * value**2 / 4 if value else _WORST
    return _whole(errors, _within(value, variance / errors.count, 0.0)).times(errors.unit)


def _mae(errors: Errors) -> Measured:
    mean = (errors.over + errors.under) / errors.count
    variance = errors.squared / errors.count - mean**2 if errors.squared else _WORST
    return _whole(errors, _within(mean, variance / errors.count, 0.0)).times(errors.unit)


def _whole(errors: Errors, measured: Measured) -> Measured:
    """The same, no surer than half a unit where errors are so small that rounding may be all there is."""
    if errors.squared >= errors.count:
        return measured
    low, high = max(0.0, measured.low - 0.5), measured.high + 0.5
    return Measured(measured.value, low, high, measured.excess + 0.5, measured.error)


_WORST: Final = float(ERROR_UNITS**2)
"""Square of an error, in units, as large as the range in which predictions usually lie."""


def _kurtosis(errors: Errors) -> float:
    """Of the errors: that of a generalised normal law with their ratio of RMSE to MAE, within a tenth from
    the normal law (3) over Laplace's (6) to one of 16; no less than 3, no more than so many errors can have.
    """
    absolute = errors.over + errors.under
    longer = 2 / pi * errors.squared * errors.count / absolute**2 if absolute else 1.0
    return min(3 * max(1.0, longer) ** 3, max(3.0, errors.count))


_MEASURED: Final[dict[str, Callable[[float, Labels, Rows], Measured]]] = {
    **{metric: partial(_estimated, metric) for metric in ("auc", "logloss", "brier")},
    "accuracy": _accurate,
    "precision": _precise,
    "recall": _recalled,
    "f1": _harmonic,
    "calibration": _calibrated,
    "ece": _binned,
}
_ERRORS: Final[dict[str, Callable[[Errors], Measured]]] = {"rmse": _rmse, "mae": _mae}
