"""What bins hide of a metric: scores that crowd into the first or the last one count as one score.

Comes in: rows of (middle of the bin, negatives, positives), a row for each bin. Goes out: by how much the
metric of the scores themselves may be better than that of their bins. A score lies half a bin from the middle
at most, which is little where scores are spread: some lie above it and some below. Those of rare events lie
in the first bin altogether, and how they were ordered there, and how far below its middle they were, is gone.
Invariant: 0 where neither end holds a crowd, so that other models are judged as if there were no bins.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, log1p
from typing import Final

from noria_operator.domain.quality import Rows
from noria_serving.contract import SCORE_BINS

CROWD: Final = 0.1
"""Share of the rows, or of each class on average, that makes an end crowded."""
HALF: Final = 0.5 / SCORE_BINS


def hidden(metric: str, rows: Rows) -> float:
    """At most by how much better the metric may be; 0 of metrics that do not go by the score itself."""
    ends = rows[0], rows[-1]
    if metric == "auc":  # pairs in one bin count half, and all of them may be in the right order
        pairs = sum(row[1] for row in rows) * sum(row[2] for row in rows)
        tied = (negative * positive for _, negative, positive in ends)
        return sum(each for each in tied if each >= CROWD**2 * pairs) / pairs / 2 if pairs else 0.0
    better = _BETTER.get(metric)
    total = sum(negative + positive for _, negative, positive in rows)
    if better is None or not total:
        return 0.0
    return sum(better(*row) for row in ends if row[1] + row[2] >= CROWD * total) / total


def _surprise(score: float, negative: float, positive: float) -> float:
    return negative * (log1p(HALF - score) - log1p(-score)) + positive * (log(score + HALF) - log(score))


def _squared(score: float, negative: float, positive: float) -> float:
    return HALF * (negative * (2 * score - HALF) + positive * (2 * (1 - score) - HALF))


def _gap(_: float, negative: float, positive: float) -> float:
    return HALF * (negative + positive)


_BETTER: Final[dict[str, Callable[[float, float, float], float]]] = {
    "logloss": _surprise,
    "brier": _squared,
    "calibration": _gap,
    "ece": _gap,
}
"""What rows of a bin lose less than at its middle, were all as right as the bin lets them be."""
