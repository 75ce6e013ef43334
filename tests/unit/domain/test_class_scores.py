"""Metrics of several classes that need all scores: scikit-learn's, and sure of themselves as they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from noria_operator.domain.class_scores import METRICS, estimate
from noria_operator.domain.classes import Classes
from noria_operator.domain.performance import Measured, measure
from noria_operator.domain.quality import Labels
from noria_serving.contract import SCORE_BINS, SLICE_SCORE_BINS
from noria_serving.counters.class_scores import added, size

Scores = NDArray[np.float64]


def counts(bins: Sequence[bytes], labels: Sequence[int | None], classes: int = 3) -> list[int]:
    found = [0] * size(classes)
    for row, label in zip(bins, labels, strict=True):
        for place, amount in added(row, label):
            found[place] += amount
    return found


def in_bins(scores: Scores) -> list[bytes]:
    return [bytes(np.minimum(row * SCORE_BINS, SCORE_BINS - 1).astype(np.uint8)) for row in scores]


def drawn(rows: int, seed: int = 3) -> tuple[Scores, NDArray[np.int64]]:
    """Scores that are right as often as they say."""
    random = np.random.default_rng(seed)
    scores = random.dirichlet([1.5, 1.0, 0.5], size=rows)
    return scores, (scores.cumsum(axis=1) < random.uniform(size=(rows, 1))).sum(axis=1)


def told(metric: str, scores: Scores, labels: Sequence[int | None]) -> Measured:
    found = measure(metric, classes(counts(in_bins(scores), labels)))
    assert found is not None
    return found


def classes(scores: Sequence[int]) -> Classes:
    called = [0] * SCORE_BINS
    called[-1] = 1
    return Classes(Labels.of(called, called), (1.0,) * 9, tuple(scores))


def test_each_is_that_of_scores_in_the_middle_of_their_bins() -> None:
    scores, labels = drawn(400)
    middles = (np.minimum(np.floor(scores * SCORE_BINS), SCORE_BINS - 1) + 0.5) / SCORE_BINS
    own = middles[np.arange(400), labels]
    assert told("logloss", scores, labels.tolist()).value == pytest.approx(-np.log(own).mean(), abs=1e-5)
    squares = ((middles - np.eye(3)[labels]) ** 2).sum(axis=1)
    assert told("brier", scores, labels.tolist()).value == pytest.approx(squares.mean(), abs=1e-5)
    coarse = np.floor(np.minimum(scores, 0.9999) * SLICE_SCORE_BINS)
    areas = [roc_auc_score(labels == one, coarse[:, one]) for one in range(3)]
    assert told("auc", scores, labels.tolist()).value == pytest.approx(np.mean(areas), abs=1e-12)


def test_each_is_near_scikit_learns_of_the_scores_themselves() -> None:
    scores, labels = drawn(4000)
    area = roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    assert told("auc", scores, labels.tolist()).value == pytest.approx(area, abs=0.003)
    assert told("logloss", scores, labels.tolist()).value == pytest.approx(log_loss(labels, scores), abs=0.01)
    theirs = ((scores - np.eye(3)[labels]) ** 2).sum(axis=1).mean()
    assert told("brier", scores, labels.tolist()).value == pytest.approx(theirs, abs=0.002)


@pytest.mark.parametrize("metric", METRICS)
def test_intervals_hold_the_truth_in_at_least_95_of_100_windows(metric: str) -> None:
    truth = told(metric, *_listed(*drawn(60_000)))
    windows = [told(metric, *_listed(*drawn(400, seed))) for seed in range(100, 300)]
    held = sum(one.low <= truth.value <= one.high for one in windows)
    assert held >= 184, held
    widths = [one.high - one.low for one in windows]
    spread = np.std([one.value for one in windows])
    assert np.mean(widths) < 2 * 2 * 1.96 * spread, "not twice as wide as need be"


def _listed(scores: Scores, labels: NDArray[np.int64]) -> tuple[Scores, list[int | None]]:
    return scores, labels.tolist()


@given(
    st.lists(
        st.tuples(st.tuples(*[st.integers(0, 999)] * 3).filter(any), st.sampled_from([0, 1, 2, None])),
        min_size=1,
    ),
    st.integers(0, 20),
)
def test_who_counts_which_label_changes_nothing(
    rows: list[tuple[tuple[int, ...], int | None]], cut: int
) -> None:
    """Of rows whose scores sum to one: the Brier score of no others ends at two."""
    weights = np.array([row for row, _ in rows], dtype=float)
    bins, labels = in_bins(weights / weights.sum(axis=1, keepdims=True)), [label for _, label in rows]
    parts = [counts(bins[:cut], labels[:cut]), counts(bins[cut:], labels[cut:])]
    assert [one + other for one, other in zip(*parts, strict=True)] == counts(bins, labels)
    found = estimate("brier", counts(bins, labels))
    assert found is not None
    assert 0 <= found.value <= 2 + 3 * 0.5 / SCORE_BINS


def test_a_class_that_the_version_does_not_know_is_as_wrong_as_can_be() -> None:
    certain = np.array([[0.999, 0.0005, 0.0005]])
    for metric, worst in (("logloss", -np.log(0.5 / SCORE_BINS)), ("brier", 2.0)):
        known, unknown = told(metric, certain, [0]), told(metric, certain, [None])
        assert known.value < 0.01
        assert unknown.value == pytest.approx(worst, abs=0.006)


def test_labels_of_one_class_alone_have_no_area_and_none_have_nothing() -> None:
    scores, _ = drawn(50)
    assert measure("auc", classes(counts(in_bins(scores), [1] * 50))) is None
    assert measure("logloss", classes(counts(in_bins(scores), [1] * 50))) is not None
    for metric in METRICS:
        assert measure(metric, classes(counts([], []))) is None
        assert measure(metric, classes(())) is None


def test_a_class_without_labels_is_left_out_of_the_area() -> None:
    scores, labels = drawn(400)
    two = labels < 2
    found = told("auc", scores[two], labels[two].tolist())
    coarse = np.floor(np.minimum(scores[two], 0.9999) * SLICE_SCORE_BINS)
    areas = [roc_auc_score(labels[two] == one, coarse[:, one]) for one in range(2)]
    assert found.value == pytest.approx(np.mean(areas), abs=1e-12)


def test_surprises_that_bins_make_look_smaller_are_said() -> None:
    """Half of the labels are of classes that were given nearly nothing: how little, bins do not tell."""
    sure = np.tile([0.998, 0.001, 0.001], (100, 1))
    found = told("logloss", sure, [0] * 50 + [1] * 50)
    assert found.hidden == pytest.approx(0.5 * np.log(2), abs=0.01)
    assert "may hide" in found.blur
