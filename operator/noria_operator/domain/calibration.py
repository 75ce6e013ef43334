"""How far scores are from being probabilities, in ten bins: the expected calibration error.

Comes in: rows of (score, negatives, positives). Goes out: one number and how sure it is. Source: Naeini,
Cooper & Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning" (AAAI 2015). Invariants:
counts alone decide, so the order and the number of pods that counted do not matter; it is a sum of distances,
which noise alone makes larger than zero, so how much that may be is told beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import Final

from noria_serving.contract import CALIBRATION_BINS

FOLDED: Final = sqrt(2 / pi)
"""Mean of the absolute value of a standard normal variable."""


@dataclass(slots=True)
class _Bin:
    rows: float = 0.0
    off: float = 0.0
    """Sum of score less label."""
    squares: float = 0.0
    own: float = 0.0
    """Variance of the labels, were the scores right."""

    @property
    def variance(self) -> float:
        """Of `off`. Labels that are all alike do not say that others never come."""
        return max(self.squares - self.off**2 / self.rows, self.own)


def ece(rows: Sequence[tuple[float, float, float]]) -> float | None:
    """Mean distance of the mean score from the share of positives in a bin, by rows; None without any."""
    bins = _binned(rows)
    total = sum(one.rows for one in bins)
    return sum(abs(one.off) for one in bins) / total if total else None


def noise(rows: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """(standard error of `ece`, how much larger than the true one it is on average at most): of a distance d
    with the error s, the mean of |d + noise| is at most |d| + s · √(2/π), which it is where d is 0.
    """
    bins = _binned(rows)
    total = sum(one.rows for one in bins)
    variances = [one.variance for one in bins]
    return sqrt(sum(variances)) / total, FOLDED * sum(map(sqrt, variances)) / total


def _binned(rows: Sequence[tuple[float, float, float]]) -> list[_Bin]:
    bins = [_Bin() for _ in range(CALIBRATION_BINS)]
    for score, negative, positive in rows:
        one, count = bins[min(CALIBRATION_BINS - 1, int(score * CALIBRATION_BINS))], negative + positive
        one.rows += count
        one.off += score * count - positive
        one.squares += negative * score**2 + positive * (1 - score) ** 2
        one.own += count * score * (1 - score)
    return [one for one in bins if one.rows]
