"""Quality of a challenger as a measure: how much worse its predictions are than the champion's, by labels.

Comes in: labels of both versions since the analysis began, joined with predictions, by stretch of one share
of the traffic. Goes out: a judgement. Each metric is an estimate with a variance; the difference of two
estimates moves like a Brownian motion in its information (one over its variance), so the normal mixture tests
it whenever labels arrive, whatever shares of traffic the versions have. As the population may change with the
shares, each stretch is compared by itself, and the differences are averaged by weights that no score has a
say in. Invariants: all is computed from sums, nothing is kept; without labels there is no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, reduce
from math import log, log1p
from operator import add
from typing import Final

from noria_operator.domain.crowding import hidden
from noria_operator.domain.quality import DIRECTIONS, Labels, auc, rows
from noria_operator.domain.sequences import log_one_sided, tuned
from noria_operator.domain.strata import weights
from noria_operator.domain.verdict import FAIL_AT, PASS_AT, Judgement, Verdict
from noria_serving.contract import SCORE_BINS

FEWEST: Final = 100
"""Labels of each version before anything is said: the variance is an estimate."""
FEWEST_OF_CLASS: Final = 20
"""Of these, in each class, for auc."""
MEASURE: Final = "quality"
_remembered: Final = lru_cache(maxsize=256)
"""Of an estimate: labels are read every few seconds, and each pass asks about them, by pairs of versions."""


@dataclass(frozen=True, slots=True)
class QualityPolicy:
    """Which metric may drop by how much; `optional`: labels that do not suffice hold no promotion. Labels
    count from `initial_delay` after the beginning of their stretch on.
    """

    metric: str = "auc"
    max_drop: float = 0.02
    optional: bool = False
    initial_delay: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric's value and the variance of that value."""

    value: float
    variance: float


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is estimated; `size` is how much labels tell of it: the variance goes as one over it."""

    estimate: Callable[[Labels], Estimate]
    size: Callable[[Labels], float]
    fewest_of_class: int = 0

    def enough(self, parts: Sequence[Labels]) -> bool:
        """Whether its variance can be trusted, of all parts together."""
        negatives = sum(sum(one.negatives) for one in parts)
        positives = sum(sum(one.positives) for one in parts)
        return negatives + positives >= FEWEST and min(negatives, positives) >= self.fewest_of_class

    def shared(self, arms: Sequence[tuple[Labels, Labels]]) -> list[tuple[Labels, Labels]]:
        """The stretches in which both versions have labels that tell anything of it."""
        return [(one, other) for one, other in arms if self.size(one) and self.size(other)]


def of_mean(loss: Callable[[float, bool], float], most: float) -> Callable[[Labels], Estimate]:
    """The mean of a loss of (score, label), at most `most`. The variance has a floor, as if one label more
    had the largest loss: a hundred labels without any do not say that there is none.
    """

    @_remembered
    def estimate(labels: Labels) -> Estimate:
        n, total, squares = labels.samples, 0.0, 0.0
        for score, negative, positive in rows(labels):
            for count, label in ((negative, False), (positive, True)):
                value = loss(score, label)
                total += count * value
                squares += count * value * value
        mean = total / n
        return Estimate(mean, max(squares / n - mean * mean, most * most / n) / n)

    return estimate


@_remembered
def of_auc(labels: Labels) -> Estimate:
    """DeLong's variance, from the histogram: that of each label's share of pairs in the right order."""
    negatives, positives = sum(labels.negatives), sum(labels.positives)
    below_negatives, below_positives = 0.0, 0.0
    above: list[tuple[float, float]] = []
    under: list[tuple[float, float]] = []
    for negative, positive in zip(labels.negatives, labels.positives, strict=True):
        above.append((positive, (below_negatives + negative / 2) / negatives))
        under.append((negative, 1 - (below_positives + positive / 2) / positives))
        below_negatives += negative
        below_positives += positive
    variance = _spread(above, positives) / positives + _spread(under, negatives) / negatives
    return Estimate(auc(rows(labels)) or 0.0, variance)


def _samples(labels: Labels) -> float:
    return labels.samples


def _pairs(labels: Labels) -> float:
    negatives, positives = sum(labels.negatives), sum(labels.positives)
    return negatives * positives / (negatives + positives) if labels.samples else 0.0


def together(metric: Metric, arms: Sequence[tuple[Labels, Labels]]) -> tuple[Estimate, Estimate] | None:
    """The estimates of two versions of each stretch in which both have labels, averaged by the same weights;
    None while these are too few for their variances to be trusted.
    """
    both = metric.shared(arms)
    if not (both and all(map(metric.enough, zip(*both, strict=True)))):
        return None
    shares = weights([(metric.size(one), metric.size(other)) for one, other in both])
    return (
        _averaged(shares, [metric.estimate(one) for one, _ in both]),
        _averaged(shares, [metric.estimate(other) for _, other in both]),
    )


def _averaged(shares: Sequence[float], parts: Sequence[Estimate]) -> Estimate:
    both = list(zip(shares, parts, strict=True))
    return Estimate(
        sum(share * part.value for share, part in both),
        sum(share * share * part.variance for share, part in both),
    )


def _spread(values: list[tuple[float, float]], n: float) -> float:
    mean = sum(count * value for count, value in values) / n
    return max(sum(count * (value - mean) ** 2 for count, value in values) / n, 1 / n)


def _right(score: float, label: bool) -> float:
    return float((score > 0.5) == label)


def _surprise(score: float, label: bool) -> float:
    return -log(score) if label else -log1p(-score)


def _squared(score: float, label: bool) -> float:
    return (score - label) ** 2


METRICS: Final[dict[str, Metric]] = {
    "auc": Metric(of_auc, _pairs, FEWEST_OF_CLASS),
    "accuracy": Metric(of_mean(_right, 1.0), _samples),
    "logloss": Metric(of_mean(_surprise, log(2 * SCORE_BINS)), _samples),
    "brier": Metric(of_mean(_squared, 1.0), _samples),
}
"""Metrics that a rollout can be judged by."""


def judge(
    policy: QualityPolicy, arms: Sequence[tuple[Labels, Labels]], measures: int, rivals: int = 1
) -> Judgement:
    """The verdict on the drop from champion to challenger, whose labels `arms` has by stretch; `measures`
    tests share the false alarms, `rivals` challengers those and the false passes.
    """
    metric = METRICS[policy.metric]
    champion, challenger = (
        reduce(add, labels) for labels in zip(*(metric.shared(arms) or arms), strict=True)
    )
    seen = f"{challenger.samples} labels, champion {champion.samples}"
    figures = {"labels": challenger.samples, "championLabels": champion.samples, "maxDrop": policy.max_drop}
    found = together(metric, arms)
    if found is None:
        classes = f", {metric.fewest_of_class} of each class" if metric.fewest_of_class else ""
        wait = f"waiting for {FEWEST} labels of each version{classes}, at the same weights ({seen})"
        return _said(policy, Verdict.HOLD, wait, figures)
    old, new = found
    drop = DIRECTIONS[policy.metric].gain(old.value, new.value)
    information = 1 / (old.variance + new.variance)
    # Tuned for the number of labels that tells the allowed drop from none.
    rho = tuned(2 * log(FAIL_AT) / max(policy.max_drop, 0.005) ** 2, 2 / FAIL_AT)
    excess = (drop - policy.max_drop) * information
    # What a crowd of scores in one bin hides is no harm; a version whose scores are as they were passes.
    blur = hidden(policy.metric, rows(challenger))
    harm = log_one_sided(excess - blur * information, information, rho)
    fine = log_one_sided(-excess, information, rho)
    figures |= {"challenger": new.value, "champion": old.value, "drop": drop}
    fail_at, pass_at = log(FAIL_AT * measures * rivals), log(PASS_AT * rivals)
    figures |= {"logEHarm": harm, "logEOk": fine, "logFailAt": fail_at, "logPassAt": pass_at}
    values = f"{policy.metric} {new.value:.4f}, champion {old.value:.4f}"
    hides = f"; bins of scores may hide {blur:.4f}" if blur else ""
    text = f"{values}, at most {policy.max_drop:g} worse ({seen}{hides})"
    if harm >= fail_at:
        return _said(policy, Verdict.FAIL, f"too much worse: {text}", figures, harm)
    if fine >= pass_at:
        return _said(policy, Verdict.PASS, text, figures, harm)
    return _said(policy, Verdict.HOLD, f"not enough evidence yet: {text}", figures, harm)


def _said(
    policy: QualityPolicy, verdict: Verdict, text: str, figures: dict[str, float], harm: float = 0.0
) -> Judgement:
    if policy.optional and verdict is Verdict.HOLD:
        verdict, text = Verdict.PASS, f"{text}; optional, holds nothing"
    return Judgement(verdict, text, MEASURE, harm, figures)
