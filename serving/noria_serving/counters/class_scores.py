"""What a labelled row of several classes adds to the counts of their scores.

In: the score bin of each class, and which of them was the true one. Out: places and amounts, all of them
whole numbers, so that no order of labels and no number of processes changes a sum. The layout is that of
`contract.CLASS_SUMS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log
from typing import Final

from noria_serving.contract import CLASS_SUMS, LOSS_UNITS, SCORE_BINS, SLICE_SCORE_BINS

_SIDES: Final = 2 * SLICE_SCORE_BINS
_MIDDLES: Final = tuple((place + 0.5) / SCORE_BINS for place in range(SCORE_BINS))


def size(classes: int) -> int:
    """How many counts there are; none of no classes."""
    return classes * _SIDES + len(CLASS_SUMS) if classes else 0


def added(bins: bytes, label: int | None) -> Iterator[tuple[int, int]]:
    """Of one row. label: position of the true class; None: it is none of these, whose scores were all wrong
    and of which none could have been right.
    """
    for place, row_bin in enumerate(bins):
        side = SLICE_SCORE_BINS if place == label else 0
        yield place * _SIDES + side + row_bin * SLICE_SCORE_BINS // SCORE_BINS, 1
    scores = [_MIDDLES[row_bin] for row_bin in bins]
    loss = -log(_MIDDLES[0] if label is None else scores[label])
    brier = sum(score * score for score in scores) + 1.0 - (0.0 if label is None else 2.0 * scores[label])
    for place, amount in enumerate((loss, loss * loss, brier, brier * brier)):
        yield len(bins) * _SIDES + place, round(amount * LOSS_UNITS)
