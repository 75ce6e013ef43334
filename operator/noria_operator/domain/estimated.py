"""What a classifier is probably worth where no labels came yet: confidence-based performance estimation.

Comes in: scores of unlabelled rows, and where there are any, labels of other rows of the same version.
Goes out: the rows with the positives and negatives to expect, from which every metric follows. A score that
is calibrated is the probability of a positive, so a row counts as that much of one (NannyML's CBPE). Scores
that are not calibrated are first, by isotonic regression on the labelled rows.

Invariant: an estimate never says that the concept changed: if what used to be positive is so no more, scores
know nothing of it. Whoever shows one has to say so.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from noria_operator.domain.calibration import ece
from noria_operator.domain.quality import Rows

BLIND: Final = "an estimate from scores alone: it cannot see a change of the concept"
"""What stands beside every estimate."""
Calibration = Callable[[float], float]


def itself(score: float) -> float:
    """The calibration of a model whose scores are probabilities."""
    return score


def held_out(entry: Mapping[str, Any]) -> Rows:
    """Labels by score that are frozen in a bundle, as a model server tells them: of equal bins of [0, 1],
    each at its middle, without empty ones. Raises KeyError, TypeError or ValueError.
    """
    negatives, positives = ([int(count) for count in entry[side]] for side in ("negatives", "positives"))
    if not negatives or min(negatives + positives) < 0:
        raise ValueError("labels by score are counts of at least one bin")
    bins = enumerate(zip(negatives, positives, strict=True))
    return tuple(((place + 0.5) / len(negatives), no, yes) for place, (no, yes) in bins if no or yes)


def expected(scores: Sequence[tuple[float, float]], calibration: Calibration = itself) -> Rows:
    """(score, rows) → (score, expected negatives, expected positives), scores growing."""
    found = []
    for score, count in sorted(scores):
        positive = min(max(calibration(score), 0.0), 1.0)
        found.append((score, count * (1 - positive), count * positive))
    return found


def isotonic(labelled: Rows) -> Calibration:
    """The growing step function that fits the labels best (pool adjacent violators), between the scores it
    was made from in a straight line; without labels the score itself.
    """
    blocks: list[list[float]] = []  # first score, last score, labels, positives
    for score, negative, positive in labelled:
        if not negative + positive:
            continue
        blocks.append([score, score, negative + positive, positive])
        while len(blocks) > 1 and blocks[-2][3] * blocks[-1][2] >= blocks[-1][3] * blocks[-2][2]:
            _, last, count, hits = blocks.pop()
            blocks[-1][1:] = [last, blocks[-1][2] + count, blocks[-1][3] + hits]
    if not blocks:
        return itself
    ends = [(end, hits / count) for first, last, count, hits in blocks for end in sorted({first, last})]
    places, values = [end for end, _ in ends], [value for _, value in ends]

    def calibrated(score: float) -> float:
        place = bisect_right(places, score)
        if place in (0, len(places)):
            return values[0] if place == 0 else values[-1]
        left, right = places[place - 1], places[place]
        part = (score - left) / (right - left)
        return values[place - 1] + part * (values[place] - values[place - 1])

    return calibrated


def calibration_error(labelled: Rows, calibration: Calibration) -> float:
    """Expected calibration error of the probabilities that scores are taken for; 0 without labels."""
    return ece([(calibration(score), no, yes) for score, no, yes in labelled]) or 0.0
