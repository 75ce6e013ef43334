"""Quality of a binary score from counts of labels by score bin, and which way each metric is better.

Comes in: how many negative and positive labels fell into each of `SCORE_BINS` equal bins of [0, 1] (model
server counters, summed over pods). Goes out: one number a metric, or None where the counts cannot tell (no
label of one class). The formulae take any rows of (score, negatives, positives), also expected ones.
Invariant: the result depends on the sums only, so it is the same whatever number of pods counted. Every
score is taken at the middle of its bin, which moves a metric by at most half a bin's width (0.0025).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final, TypeVar

from noria_operator.domain.calibration import ece
from noria_serving.contract import SCORE_BINS

Number = TypeVar("Number", float, Decimal)


class Direction(Enum):
    """Which way a metric is better."""

    HIGHER = "higher"
    LOWER = "lower"

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is strictly better than `other`."""
        return one > other if self is Direction.HIGHER else one < other

    def best(self, one: float, other: float) -> float:
        """The better of two values."""
        return one if self.better(one, other) else other

    def gain(self, one: Number, other: Number) -> Number:
        """How much better `one` is than `other`; negative where it is worse."""
        return one - other if self is Direction.HIGHER else other - one

    def worsened(self, one: float, by: float) -> float:
        """The value that is `by` worse than `one`."""
        return one - by if self is Direction.HIGHER else one + by


DIRECTIONS: Final[dict[str, Direction]] = {
    **dict.fromkeys(
        ["auc", "accuracy", "f1", "precision", "recall", "average_precision", "r2"], Direction.HIGHER
    ),
    **dict.fromkeys(
        ["logloss", "brier", "calibration", "ece", "rmse", "mae", "mse", "expectedCost"], Direction.LOWER
    ),
}
"""Which way metrics are better."""


@dataclass(frozen=True)
class Labels:
    """Joined labels by score bin, or expected ones; index i counts scores in [i, i + 1) / SCORE_BINS."""

    negatives: tuple[float, ...]
    positives: tuple[float, ...]
    scored: bool = True
    """Whether the model gives probabilities; else each score is the end of its side, and says no more than
    which class was predicted.
    """

    def __post_init__(self) -> None:
        if len(self.negatives) != SCORE_BINS or len(self.positives) != SCORE_BINS:
            raise ValueError(f"a score histogram has {SCORE_BINS} bins")
        if min(self.negatives) < 0 or min(self.positives) < 0:
            raise ValueError("a score histogram counts from 0")

    @classmethod
    def none(cls) -> Labels:
        """No label at all."""
        return cls((0,) * SCORE_BINS, (0,) * SCORE_BINS)

    @classmethod
    def of(cls, negatives: Sequence[float], positives: Sequence[float], *, scored: bool = True) -> Labels:
        """From any two sequences of counts."""
        return cls(tuple(negatives), tuple(positives), scored)

    def __add__(self, other: Labels) -> Labels:
        return Labels(
            tuple(one + more for one, more in zip(self.negatives, other.negatives, strict=True)),
            tuple(one + more for one, more in zip(self.positives, other.positives, strict=True)),
            self.scored and other.scored,
        )

    @property
    def samples(self) -> int:
        """Number of labels."""
        return round(sum(self.negatives) + sum(self.positives))


Rows = Sequence[tuple[float, float, float]]
"""(score, negatives, positives), scores growing."""


@dataclass(frozen=True)
class Confusion:
    """Labels by what a threshold of one half says of them."""

    tp: float
    fp: float
    fn: float
    tn: float

    @classmethod
    def of(cls, rows: Rows) -> Confusion:
        called = [row for row in rows if row[0] > 0.5]
        tp, fp = sum(row[2] for row in called), sum(row[1] for row in called)
        return cls(tp, fp, sum(row[2] for row in rows) - tp, sum(row[1] for row in rows) - fp)


def auc(rows: Rows) -> float | None:
    """Area under the ROC curve: P(score of a positive > score of a negative), ties counted half (Mann-
    Whitney U).
    """
    negatives, positives = sum(row[1] for row in rows), sum(row[2] for row in rows)
    if not negatives or not positives:
        return None
    below, halves = 0.0, 0.0
    for _, negative, positive in rows:
        halves += positive * (2 * below + negative)
        below += negative
    return halves / (2 * negatives * positives)


def logloss(rows: Rows) -> float | None:
    """Mean negative log-likelihood in nats. A bin's middle is never 0 or 1, so the result is finite."""
    return _mean(
        rows,
        lambda score, negative, positive: -positive * math.log(score) - negative * math.log1p(-score),
    )


def brier(rows: Rows) -> float | None:
    """Mean squared distance of the score from the label."""
    return _mean(rows, lambda score, negative, positive: positive * (1 - score) ** 2 + negative * score**2)


def accuracy(rows: Rows) -> float | None:
    """Share of labels that a threshold of 0.5 calls right."""
    return _mean(rows, lambda score, negative, positive: positive if score > 0.5 else negative)


def calibration(rows: Rows) -> float | None:
    """Calibration gap: distance between the mean prediction and the share of positives."""
    gap = _mean(rows, lambda score, negative, positive: score * (negative + positive) - positive)
    return None if gap is None else abs(gap)


def f1(rows: Rows) -> float | None:
    """Harmonic mean of precision and recall at a threshold of 0.5."""
    seen = Confusion.of(rows)
    return _share(2 * seen.tp, 2 * seen.tp + seen.fp + seen.fn)


def precision(rows: Rows) -> float | None:
    """Share of positives among those that a threshold of 0.5 calls positive."""
    seen = Confusion.of(rows)
    return _share(seen.tp, seen.tp + seen.fp)


def recall(rows: Rows) -> float | None:
    """Share of positives that a threshold of 0.5 calls positive."""
    seen = Confusion.of(rows)
    return _share(seen.tp, seen.tp + seen.fn)


def _mean(rows: Rows, total: Callable[[float, float, float], float]) -> float | None:
    return _share(math.fsum(total(*row) for row in rows), sum(row[1] + row[2] for row in rows))


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


RATED: Final[dict[str, Callable[[Rows], float | None]]] = {
    "auc": auc,
    "logloss": logloss,
    "accuracy": accuracy,
    "calibration": calibration,
    "ece": ece,
    "brier": brier,
    "f1": f1,
    "precision": precision,
    "recall": recall,
}
"""Metrics of a binary score that labels give; names that a performance trigger may use."""


def rows(labels: Labels) -> list[tuple[float, float, float]]:
    """(middle of the bin, negatives, positives) of every bin."""
    pairs = zip(labels.negatives, labels.positives, strict=True)
    return [
        ((index + 0.5) / SCORE_BINS, negative, positive) for index, (negative, positive) in enumerate(pairs)
    ]
