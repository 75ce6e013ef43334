"""Metrics of a slice that need scores: what its labelled scores add up to.

Comes in: SLICE_SCORES counts of one slice (`contract`), summed over pods and windows. Goes out: a metric and
how sure it is. Invariants: whole numbers that are added up, so no order and no number of pods changes a
result; log loss, Brier score and calibration are those of scores in SCORE_BINS bins, as of all rows; of the
area under the curve, pairs in one of SLICE_SCORE_BINS bins count half, whichever of them is right; scores
that crowd into the first or the last of these are taken to be in its outermost fine bin (`crowding`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from noria_operator.domain.crowding import HALF, hidden
from noria_operator.domain.performance import Measured, blurred, measure
from noria_operator.domain.quality import Labels, Rows
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

_FINE: Final = SCORE_BINS // SLICE_SCORE_BINS
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
        found, exact = measure(metric, self._in_the_middle()), self._exactly(metric)
        if found is None:
            return None
        if exact is not None:
            below, above = found.value - found.low, found.high - found.value
            found = replace(found, value=exact, low=max(0.0, exact - below), high=exact + above)
        return blurred(metric, found, hidden(metric, self._by_bin()))

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

    def _by_bin(self) -> Rows:
        """The scores of both ends as near to it as the fine bins have them."""
        width = 1 / SLICE_SCORE_BINS
        scores = [HALF, *((place + 0.5) * width for place in range(1, SLICE_SCORE_BINS - 1)), 1 - HALF]
        return [*zip(scores, self.negatives, self.positives, strict=True)]

    def _in_the_middle(self) -> Labels:
        """As labels in the fine bins, at the middle of each bin of these."""
        sides = []
        for side in (self.negatives, self.positives):
            fine = [0] * SCORE_BINS
            fine[_FINE // 2 :: _FINE] = side
            sides.append(fine)
        return Labels.of(*sides)
