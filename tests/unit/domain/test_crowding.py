"""Scores that crowd into one bin: what that hides of a metric is no loss, whoever asks."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from tests.unit.domain.training_world import NOW

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.crowding import hidden
from noria_operator.domain.performance import measure
from noria_operator.domain.quality import Labels, rows
from noria_operator.domain.quality_drop import QualityPolicy, judge
from noria_operator.domain.slice_quality import SliceLabels
from noria_operator.domain.slice_scores import NO_SCORES
from noria_operator.domain.triggers import Champion
from noria_operator.domain.triggers_performance import performance
from noria_operator.domain.triggers_slices import performance_by_slice
from noria_operator.domain.verdict import Verdict
from noria_serving.contract import SCORE_BINS, slice_score

METRICS = ("auc", "logloss", "brier", "calibration", "ece")


def drawn(rare: bool, count: int = 200_000) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated scores with their labels: of an event in five rows, or in a thousand."""
    rng = np.random.default_rng(5)
    odds = np.exp(rng.normal(size=count) * 1.5 - (8.5 if rare else 2.0))
    scores = odds / (1 + odds)
    return scores, rng.random(count) < scores


def counted(scores: np.ndarray, truth: np.ndarray) -> Labels:
    places = np.minimum(SCORE_BINS - 1, (scores * SCORE_BINS).astype(int))
    both = (np.bincount(places[truth == label], minlength=SCORE_BINS).tolist() for label in (False, True))
    return Labels.of(*both)


@pytest.mark.parametrize("metric", METRICS)
def test_what_a_crowd_hides_covers_the_metric_of_the_scores_themselves(metric: str) -> None:
    scores, truth = drawn(rare=True)
    exact = {
        "auc": roc_auc_score(truth, scores),
        "logloss": log_loss(truth, scores),
        "brier": brier_score_loss(truth, scores),
        "calibration": abs(scores.mean() - truth.mean()),
        "ece": abs(scores.mean() - truth.mean()),
    }
    found = measure(metric, counted(scores, truth))
    assert found is not None
    assert found.low <= exact[metric] <= found.high
    off = abs(found.value - exact[metric])
    assert off <= found.excess + 1e-4
    assert found.hidden == hidden(metric, rows(counted(scores, truth))) > 0


def test_an_area_is_never_said_to_be_more_than_one() -> None:
    crowd = Labels.of([900, *[0] * (SCORE_BINS - 1)], [30, *[0] * (SCORE_BINS - 2), 70])
    found = measure("auc", crowd)
    assert found is not None
    assert [found.value, found.hidden] == pytest.approx([0.85, 0.15])
    assert found.high == 1.0


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_is_hidden_where_scores_are_spread(metric: str) -> None:
    scores, truth = drawn(rare=False)
    found = measure(metric, counted(scores, truth))
    assert found is not None
    assert found.hidden == 0
    assert hidden("accuracy", rows(counted(scores, truth))) == 0


@pytest.mark.parametrize("metric", ["auc", "logloss"])
def test_a_rare_event_that_is_as_well_told_as_at_acceptance_is_not_lost(metric: str) -> None:
    scores, truth = drawn(rare=True)
    accepted = {"auc": roc_auc_score(truth, scores), "logloss": log_loss(truth, scores)}[metric]
    labels, champion = counted(scores, truth), Champion("fraud-1", {metric: f"{accepted:.6f}"})
    rule = {"metric": metric, "relativeDrop": "0.05", "window": "1h", "minLabels": 1000}
    trigger = TriggerSpec.model_validate({"name": "quality", "performance": rule})
    assert trigger.performance is not None
    entry = performance(trigger, trigger.performance, {}, champion=champion, labels=None, now=NOW).entry
    for hour in range(1, 9):
        now = NOW + hour * timedelta(hours=1)
        found = performance(trigger, trigger.performance, entry, champion=champion, labels=labels, now=now)
        entry = found.entry
        assert not found.wanted, entry["message"]
    assert "may hide" in entry["message"]


def test_quality_that_bins_may_hide_is_not_worse() -> None:
    """It is no chance that more windows would tell from a loss, so that nothing waits for them."""
    scores, truth = drawn(rare=True)
    labels, champion = counted(scores, truth), Champion("fraud-1", {})
    rule = {"metric": "auc", "min": "0.8", "window": "1h", "minLabels": 1000}
    trigger = TriggerSpec.model_validate({"name": "quality", "performance": rule})
    assert trigger.performance is not None
    entry = performance(trigger, trigger.performance, {}, champion=champion, labels=None, now=NOW).entry
    now = NOW + timedelta(hours=1)
    entry = performance(trigger, trigger.performance, entry, champion=champion, labels=labels, now=now).entry
    assert float(entry["value"]) < 0.8
    assert (entry["decision"], entry["reason"], entry["streak"]) == ("No", "NotWorse", 0)
    assert "may hide" in entry["message"] and "is not worse than the threshold 0.8000" in entry["message"]


@pytest.mark.parametrize(("metric", "bound"), [("auc", {"min": "0.8"}), ("logloss", {"max": "0.005"})])
def test_what_bins_hide_of_a_slice_is_no_loss(metric: str, bound: dict[str, str]) -> None:
    scores, truth = drawn(rare=True)
    counts = [*NO_SCORES]
    for row_bin, positive in zip((scores * SCORE_BINS).astype(int).tolist(), truth.tolist(), strict=True):
        for place, amount in slice_score(row_bin, positive):
            counts[place] += amount
    labels = SliceLabels(
        {"c=A": (len(scores), 0, 0, 0)}, "binary", len(scores), scores={"c=A": tuple(counts)}
    )
    rule = {"metric": metric, "minLabels": 1000, "bySlice": True} | bound
    trigger = TriggerSpec.model_validate({"name": "quality", "performance": rule})
    asked, champion = trigger.performance, Champion("fraud-1", {})
    assert asked is not None
    entry = performance_by_slice(trigger, asked, {}, champion=champion, labels=None, now=NOW).entry
    for hour in (1, 2, 3):
        found = performance_by_slice(
            trigger, asked, entry, champion=champion, labels=labels, now=NOW + timedelta(hours=hour)
        )
        entry = found.entry
        assert (found.wanted, entry["decision"], entry["reason"]) == (False, "No", "NotWorse")
    assert "may hide" in entry["message"]
    exact = {"auc": roc_auc_score, "logloss": log_loss}[metric](truth, scores)
    low, high = map(float, entry["interval"].split(" to "))
    assert low <= exact <= high


def test_a_challenger_whose_scores_crowd_is_not_rolled_back_for_it() -> None:
    """The same order of rows: one version tells it from 0 to 1, the other as small probabilities."""
    scores, truth = drawn(rare=True)
    spread = np.argsort(np.argsort(scores)) / len(scores)
    champion, challenger = counted(spread, truth), counted(scores, truth)
    found = judge(QualityPolicy("auc"), [(champion, challenger)], 1)
    assert found.verdict is Verdict.HOLD
    assert "may hide" in found.message
    worse = counted(np.random.default_rng(1).permutation(spread), truth)
    assert judge(QualityPolicy("auc"), [(champion, worse)], 1).verdict is Verdict.FAIL
