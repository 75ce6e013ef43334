"""How well scores match labels, by tenths of the score, in Prometheus' words.

In: labels by version and by one of SCORE_BINS bins of the score. Out: families from which the calibration
error of any time follows. Invariants: all tenths of a version that is named are there; integers are
added up before the sum of scores is made of them, so that it only grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from prometheus_client.core import Metric

from noria_serving.contract import CALIBRATION_BINS, SCORE_BINS
from noria_serving.counters import catalogue

_WIDTH = SCORE_BINS // CALIBRATION_BINS
_EDGES = [f"{place / CALIBRATION_BINS:g}" for place in range(CALIBRATION_BINS + 1)]
_NAMES = [f"{low}..{high}" for low, high in pairwise(_EDGES)]


def families(model: str, scores: Mapping[str, Mapping[str, Sequence[int]]]) -> Iterator[Metric]:
    """`scores` as `/counters` has them; empty families without any."""
    rows, positives = catalogue.CALIBRATION_ROWS.counter(), catalogue.CALIBRATION_POSITIVES.counter()
    total = catalogue.CALIBRATION_SCORES.counter()
    for version, counts in scores.items():
        both = [sum(pair) for pair in zip(counts["negatives"], counts["positives"], strict=True)]
        for place, name in enumerate(_NAMES):
            own, bins = [model, version, name], range(place * _WIDTH, (place + 1) * _WIDTH)
            rows.add_metric(own, sum(both[each] for each in bins))
            positives.add_metric(own, sum(counts["positives"][each] for each in bins))
            halves = sum((2 * each + 1) * both[each] for each in bins)
            total.add_metric(own, halves / (2 * SCORE_BINS))
    yield from (rows, total, positives)
