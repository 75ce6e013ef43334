"""Labelled scores in SLICE_SCORE_BINS bins, where those in SCORE_BINS would be too many to count.

Comes in: negatives and positives by bin. Goes out: the same as labels, and as rows, for the formulae that
take these. Invariants: of the area under the curve, pairs in one bin count half, whichever of them is right;
scores that crowd into the first or the last bin are taken to be in its outermost fine one (`crowding`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from noria_operator.domain.crowding import HALF
from noria_operator.domain.quality import Labels, Rows
from noria_serving.contract import SCORE_BINS, SLICE_SCORE_BINS

_FINE: Final = SCORE_BINS // SLICE_SCORE_BINS


def in_the_middle(negatives: Sequence[int], positives: Sequence[int]) -> Labels:
    """As labels in the fine bins, at the middle of each bin of these."""
    sides = []
    for side in (negatives, positives):
        fine = [0] * SCORE_BINS
        fine[_FINE // 2 :: _FINE] = side
        sides.append(fine)
    return Labels.of(*sides)


def by_bin(negatives: Sequence[int], positives: Sequence[int]) -> Rows:
    """The scores of both ends as near to it as the fine bins have them."""
    width = 1 / SLICE_SCORE_BINS
    scores = [HALF, *((place + 0.5) * width for place in range(1, SLICE_SCORE_BINS - 1)), 1 - HALF]
    return [*zip(scores, negatives, positives, strict=True)]
