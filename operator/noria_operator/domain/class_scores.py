"""Metrics of a classifier of several classes that need the probability of each of them.

Comes in: the counts of `contract.CLASS_SUMS`, summed over pods. Goes out: a metric, its variance and by how
much bins may hide that it is better. Log loss and the Brier score (from 0 to 2, the sum over classes) are
means over rows; the area under the curve is the mean over the classes that occur, each told from all others
by its score (scikit-learn's `roc_auc_score(multi_class="ovr", average="macro")`). Its variance is bounded by
that of areas that move together, as one row is in each. Invariant: scores are those of SCORE_BINS bins, so
sums do not depend on who counted them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Final, NamedTuple

from noria_operator.domain.coarse_scores import by_bin, in_the_middle
from noria_operator.domain.crowding import HALF, hidden
from noria_operator.domain.quality_drop import of_auc
from noria_serving.contract import CLASS_SUMS, LOSS_UNITS, SLICE_SCORE_BINS

METRICS: Final = ("auc", "logloss", "brier")
MOST: Final = {"auc": 1.0, "logloss": -log(HALF), "brier": 2.0}
"""The largest that one row, or all of them, can have."""
_SIDES: Final = 2 * SLICE_SCORE_BINS


class Estimate(NamedTuple):
    """A metric of labelled rows."""

    value: float
    variance: float
    hidden: float


def estimate(metric: str, counts: Sequence[int]) -> Estimate | None:
    """One of METRICS; None where these labels cannot tell it."""
    sums, classes = counts[-len(CLASS_SUMS) :], _by_class(counts)
    rows = sum(map(sum, classes[0])) if classes else 0
    if not rows:
        return None
    if metric == "auc":
        return _area(classes)
    first = CLASS_SUMS.index("loss" if metric == "logloss" else "brier")
    mean, squares = (one / LOSS_UNITS / rows for one in sums[first : first + 2])
    own = [sum(each) for each in zip(*(positives for _, positives in classes), strict=True)]
    blur = hidden(metric, by_bin([0] * len(own), own)) if metric == "logloss" else 0.0
    return Estimate(mean, max(squares - mean * mean, MOST[metric] ** 2 / rows) / rows, blur)


def _by_class(counts: Sequence[int]) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Negatives and positives of each class, by bin of its score."""
    starts = range(0, len(counts) - len(CLASS_SUMS), _SIDES)
    middles = [start + SLICE_SCORE_BINS for start in starts]
    return [
        (counts[start:middle], counts[middle : start + _SIDES])
        for start, middle in zip(starts, middles, strict=True)
    ]


def _area(classes: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Estimate | None:
    occur = [sides for sides in classes if all(map(any, sides))]
    if not occur:
        return None
    each = [of_auc(in_the_middle(*sides)) for sides in occur]
    deviation = sum(one.variance**0.5 for one in each) / len(occur)
    blur = sum(hidden("auc", by_bin(*sides)) for sides in occur) / len(occur)
    return Estimate(sum(one.value for one in each) / len(occur), deviation**2, blur)
