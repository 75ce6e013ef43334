"""Metrics of a slice that need scores: what its labelled scores add up to.

Comes in: SLICE_SCORES counts of one slice (`contract`), summed over pods and windows. Goes out: a metric and
how sure it is. Invariants: whole numbers that are added up, so no order and no number of pods changes a
result; log loss, Brier score and calibration are those of scores in SCORE_BINS bins, as of all rows; the area
under the curve is that of `coarse_scores`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from noria_operator.domain.coarse_scores import by_bin, in_the_middle
from noria_operator.domain.crowding import hidden
from noria_operator.domain.performance import Measured, blurred, measure
from noria_serving.contract import (
    CALIBRATION_BINS,
    LOSS_UNITS,
    SCORE_BINS,
    SLICE_SCORE_BINS,
    SLICE_SCORES,
    SQUARE_UNITS,
)

SCORED: Final = ("auc", "logloss", "brier", "calibration", "ece")
"""Metrics that need scores."""
NO_SCORES: Final = (0,) * SLICE_SCORES

_TENTH: Final = SLICE_SCORE_BINS // CALIBRATION_BINS


@dataclass(frozen=True, slots=True)
class SliceScores:
    """The counts of one slice."""

    counts: tuple[int, ...]

    @property
    def negatives(self) -> tuple[int, ...]:
        """By bin of the score."""
        return self.counts[:SLICE_SCORE_BINS]

    @property
    def positives(self) -> tuple[int, ...]:
        """By bin of the score."""
        return self.counts[SLICE_SCORE_BINS : 2 * SLICE_SCORE_BINS]

    @property
    def samples(self) -> int:
        """Number of labels."""
        return sum(self.counts[: 2 * SLICE_SCORE_BINS])

    def measured(self, metric: str) -> Measured | None:
        """One of SCORED; None where these labels cannot tell it. How sure it is follows from the bins."""
        sides = self.negatives, self.positives
        found, exact = measure(metric, in_the_middle(*sides)), self._exactly(metric)
        if found is None:
            return None
        if exact is not None:
            below, above = found.value - found.low, found.high - found.value
            found = replace(found, value=exact, low=max(0.0, exact - below), high=exact + above)
        return blurred(metric, found, hidden(metric, by_bin(*sides)))

    def _exactly(self, metric: str) -> float | None:
        n, sums = self.samples, self.counts[2 * SLICE_SCORE_BINS :]
        scores, (loss, squares) = sums[:CALIBRATION_BINS], sums[CALIBRATION_BINS:]
        if metric == "auc" or not n:
            return None
        if metric == "logloss":
            return loss / LOSS_UNITS / n
        if metric == "brier":
            return squares / SQUARE_UNITS / n
        starts = range(0, SLICE_SCORE_BINS, _TENTH)
        right = [sum(self.positives[start : start + _TENTH]) for start in starts]
        off = [score / (2 * SCORE_BINS) - hits for score, hits in zip(scores, right, strict=True)]
        return (abs(sum(off)) if metric == "calibration" else sum(map(abs, off))) / n
