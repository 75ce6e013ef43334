"""Sums over the scores of a slice beside scikit-learn, which sees every row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from noria_operator.domain.calibration import ece
from noria_operator.domain.performance import measure
from noria_operator.domain.quality import Labels, rows
from noria_operator.domain.slice_scores import NO_SCORES, SCORED, SliceScores
from noria_serving.contract import SCORE_BINS, slice_score

Row = tuple[int, bool]


def summed(labelled: list[Row]) -> SliceScores:
    counts = [*NO_SCORES]
    for row_bin, positive in labelled:
        for place, amount in slice_score(row_bin, positive):
            counts[place] += amount
    return SliceScores(tuple(counts))


def of_all(labelled: list[Row]) -> Labels:
    sides = [0] * SCORE_BINS, [0] * SCORE_BINS
    for row_bin, positive in labelled:
        sides[positive][row_bin] += 1
    return Labels.of(*sides)


def drawn(shift: float, seed: int, size: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of a model that is right about its own scores but for `shift`."""
    random = np.random.default_rng(seed)
    odds = random.normal(-1.5, 1.2, size)
    labels = random.uniform(size=size) < 1 / (1 + np.exp(-(odds + shift)))
    return 1 / (1 + np.exp(-odds)), labels


def binned(scores: np.ndarray, labels: np.ndarray) -> list[Row]:
    return [(int(score * SCORE_BINS), bool(label)) for score, label in zip(scores, labels, strict=True)]


@pytest.mark.parametrize("shift", [0.0, 0.6, -0.6])
def test_metrics_are_those_of_scikit_learn_within_what_bins_move_them(shift: float) -> None:
    scores, labels = drawn(shift, 7)
    found = summed(binned(scores, labels))
    peers = {
        "auc": (roc_auc_score(labels, scores), 0.002),
        "logloss": (log_loss(labels, scores), 0.001),
        "brier": (brier_score_loss(labels, scores), 0.001),
        "calibration": (abs(scores.mean() - labels.mean()), 0.0005),
    }
    for metric, (value, within) in peers.items():
        measured = found.measured(metric)
        assert measured is not None
        assert measured.value == pytest.approx(value, abs=within)
        assert measured.low < value < measured.high


LABELLED = st.lists(st.tuples(st.integers(0, SCORE_BINS - 1), st.booleans()), min_size=1, max_size=60)


@given(LABELLED)
def test_all_but_the_area_are_what_all_rows_would_tell(labelled: list[Row]) -> None:
    found, whole = summed(labelled), of_all(labelled)
    for metric in ("logloss", "brier", "calibration", "ece"):
        ours, theirs = found.measured(metric), measure(metric, whole)
        assert ours is not None and theirs is not None
        assert ours.value == pytest.approx(theirs.value, abs=1e-5)
        assert ours.low <= ours.value <= ours.high
    assert found.samples == whole.samples
    assert ece(rows(whole)) == pytest.approx(found.measured("ece").value, abs=1e-9)  # type: ignore[union-attr]


@given(LABELLED)
def test_the_area_is_off_by_half_of_the_pairs_in_one_bin_at_most(labelled: list[Row]) -> None:
    found, theirs = summed(labelled), measure("auc", of_all(labelled))
    ours = found.measured("auc")
    if theirs is None or ours is None:
        assert ours is theirs is None, "one class alone has no area"
        return
    pairs = zip(found.negatives, found.positives, strict=True)
    together = sum(negative * positive for negative, positive in pairs)
    assert abs(ours.value - theirs.value) <= together / sum(found.negatives) / sum(found.positives) / 2 + 1e-9


def test_intervals_are_those_of_all_rows_but_for_the_bins_and_shrink_with_labels() -> None:
    for size in (1000, 16_000):
        scores, labels = drawn(0.3, 11, size)
        labelled = binned(scores, labels)
        for metric in SCORED:
            ours, theirs = summed(labelled).measured(metric), measure(metric, of_all(labelled))
            assert ours is not None and theirs is not None
            assert ours.error == pytest.approx(theirs.error, rel=0.05)


def test_nothing_is_told_of_no_label() -> None:
    assert [SliceScores(NO_SCORES).measured(metric) for metric in SCORED] == [None] * len(SCORED)
