"""Quality from score histograms agrees with scikit-learn on scores that sit in the middle of their bins."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from noria_operator.domain import quality
from noria_operator.domain.quality import DIRECTIONS, RATED, Direction, Labels
from noria_serving.contract import SCORE_BINS

rows = st.lists(st.tuples(st.integers(0, SCORE_BINS - 1), st.booleans()), min_size=2, max_size=300).filter(
    lambda found: len({label for _, label in found}) == 2
)


QUALITY = {name: lambda labels, rated=rated: rated(quality.rows(labels)) for name, rated in RATED.items()}


def labels(found: list[tuple[int, bool]]) -> Labels:
    negatives, positives = [0] * SCORE_BINS, [0] * SCORE_BINS
    for index, label in found:
        (positives if label else negatives)[index] += 1
    return Labels.of(negatives, positives)


@given(rows)
def test_histogram_metrics_equal_scikit_learn(found: list[tuple[int, bool]]) -> None:
    scores = [(index + 0.5) / SCORE_BINS for index, _ in found]
    truth = [label for _, label in found]
    counted = labels(found)
    assert counted.samples == len(found)
    assert QUALITY["auc"](counted) == pytest.approx(roc_auc_score(truth, scores))
    assert QUALITY["logloss"](counted) == pytest.approx(log_loss(truth, scores))
    assert QUALITY["accuracy"](counted) == pytest.approx(accuracy_score(truth, [s > 0.5 for s in scores]))
    called = [s > 0.5 for s in scores]
    assert QUALITY["brier"](counted) == pytest.approx(brier_score_loss(truth, scores))
    theirs = precision_recall_fscore_support(truth, called, average="binary", zero_division=0)
    for metric, one in zip(("precision", "recall", "f1"), theirs, strict=False):
        assert (QUALITY[metric](counted) or 0) == pytest.approx(one)
    gap = abs(math.fsum(scores) - sum(truth)) / len(found)
    assert QUALITY["calibration"](counted) == pytest.approx(gap)


@given(rows, rows)
def test_the_area_lies_between_zero_and_one_and_flips_with_the_scores(
    found: list[tuple[int, bool]], other: list[tuple[int, bool]]
) -> None:
    counted = labels(found + other)
    mirrored = Labels.of(counted.negatives[::-1], counted.positives[::-1])
    value, flipped = QUALITY["auc"](counted), QUALITY["auc"](mirrored)
    assert value is not None
    assert flipped is not None
    assert 0 <= value <= 1
    assert value + flipped == pytest.approx(1)


def test_a_bin_full_of_ties_counts_half() -> None:
    assert QUALITY["auc"](labels([(7, True), (7, False)])) == 0.5


def test_without_labels_there_is_no_metric_and_with_one_class_no_area() -> None:
    assert [metric(Labels.none()) for metric in QUALITY.values()] == [None] * len(QUALITY)
    assert QUALITY["auc"](labels([(3, True), (9, True)])) is None
    assert QUALITY["accuracy"](labels([(3, True), (150, True)])) == 0.5


def test_a_histogram_of_another_size_or_with_negative_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="200 bins"):
        Labels.of([1], [1])
    with pytest.raises(ValueError, match="counts from 0"):
        Labels.of([-1] * SCORE_BINS, [0] * SCORE_BINS)


def test_every_production_metric_has_a_direction() -> None:
    assert QUALITY.keys() <= DIRECTIONS.keys()
    assert DIRECTIONS["auc"] is Direction.HIGHER
    assert DIRECTIONS["logloss"] is Direction.LOWER
    assert Direction.LOWER.best(0.3, 0.4) == 0.3
    assert not Direction.HIGHER.better(0.5, 0.5)
