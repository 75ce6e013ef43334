"""A model that gives labels alone: its shares of classes are compared, what needs scores is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from tests.unit.domain.training_world import NOW

from noria_operator.api.trainingjob import Gate
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain import gates
from noria_operator.domain.classes import Classes
from noria_operator.domain.performance import unsuitable
from noria_operator.domain.predictions import (
    UNLIKE,
    Called,
    Outputs,
    compared,
    distance,
    judge,
    margin,
    mixture,
)
from noria_operator.domain.quality import Labels
from noria_operator.domain.recorded_bins import Bins
from noria_operator.domain.slice_quality import SliceLabels
from noria_operator.domain.slice_quality import unsuitable as unsuitable_by_slice
from noria_operator.domain.triggers import Champion
from noria_operator.domain.triggers_concept import concept_drift
from noria_operator.domain.triggers_estimated import estimated
from noria_operator.domain.triggers_performance import UNSUITABLE, performance
from noria_operator.domain.triggers_slices import performance_by_slice
from noria_operator.domain.verdict import Verdict
from noria_serving.contract import SCORE_BINS

HOUR = timedelta(hours=1)
FIRST = Champion("pets-1", {"accuracy": "0.9"})
COUNTED = ("auc", "logloss", "brier", "calibration", "ece")


def labels(*, right: int, wrong: int, scored: bool = False) -> Labels:
    """Half of them of either class, at the ends of the scores."""
    negatives, positives = [0] * SCORE_BINS, [0] * SCORE_BINS
    negatives[0], negatives[-1], positives[-1], positives[0] = (
        right // 2, wrong // 2, right - right // 2, wrong - wrong // 2,
    )  # fmt: skip
    return Labels.of(negatives, positives, scored=scored)


TWO = labels(right=900, wrong=100)
SEVERAL = Classes(TWO, (400.0, 50.0, 50.0, 500.0))
MANY = Classes(TWO)


def rule(kind: str, **fields: Any) -> TriggerSpec:
    return TriggerSpec.model_validate({"name": "watch", kind: fields})


# -- refused by name -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", COUNTED)
@pytest.mark.parametrize("joined", [TWO, SEVERAL, MANY, labels(right=0, wrong=0)])
def test_no_metric_of_probabilities_is_told_of_labels_alone(joined: Labels | Classes, metric: str) -> None:
    assert "gives labels alone, no probabilities; use one of accuracy" in unsuitable(metric, joined)


def test_what_needs_none_is_told() -> None:
    for metric in ("accuracy", "f1", "precision", "recall", "expectedCost"):
        assert unsuitable(metric, TWO) == ""
        assert unsuitable(metric, SEVERAL) == ""
    assert unsuitable("auc", labels(right=9, wrong=1, scored=True)) == ""


def test_labels_stay_without_scores_when_they_are_added_up() -> None:
    scored = labels(right=9, wrong=1, scored=True)
    assert not (TWO + TWO).scored
    assert not (TWO + scored).scored
    assert (scored + scored).scored


@pytest.mark.parametrize("joined", [TWO, SEVERAL], ids=["two", "several"])
@pytest.mark.parametrize("metric", COUNTED)
def test_a_performance_trigger_names_the_metric_and_why(joined: Labels | Classes, metric: str) -> None:
    trigger = rule("performance", metric=metric, relativeDrop="0.05")
    assert trigger.performance is not None
    entry = performance(trigger, trigger.performance, {}, champion=FIRST, labels=None, now=NOW).entry
    found = performance(trigger, trigger.performance, entry, champion=FIRST, labels=joined, now=NOW + HOUR)
    assert (found.wanted, found.entry["decision"], found.entry["reason"]) == (False, "Error", UNSUITABLE)
    assert metric in found.entry["message"]
    assert "gives labels alone, no probabilities" in found.entry["message"]
    assert "value" not in found.entry


@pytest.mark.parametrize(("task", "metric"), [("binary", "auc"), ("binary", "ece"), ("multiclass", "ece")])
def test_no_slice_has_such_a_metric(task: str, metric: str) -> None:
    known = SliceLabels({"a=x": (40, 10, 10, 40)}, task, 100, scored=False)
    assert "gives labels alone, no probabilities; use one of accuracy" in unsuitable_by_slice(metric, known)
    assert unsuitable_by_slice("accuracy", known) == ""
    trigger = rule("performance", metric=metric, bySlice=True, relativeDrop="0.05")
    assert trigger.performance is not None
    entry = performance_by_slice(trigger, trigger.performance, {}, champion=FIRST, labels=None, now=NOW).entry
    found = performance_by_slice(
        trigger, trigger.performance, entry, champion=FIRST, labels=known, now=NOW + 999 * HOUR
    )
    assert (found.entry["decision"], found.entry["reason"]) == ("Error", UNSUITABLE)


@pytest.mark.parametrize("joined", [TWO, SEVERAL, labels(right=0, wrong=0)], ids=["two", "several", "none"])
def test_nothing_is_estimated_without_probabilities(joined: Labels | Classes) -> None:
    trigger = rule("estimatedPerformance", metric="accuracy", relativeDrop="0.05")
    assert trigger.estimated_performance is not None
    found = estimated(
        trigger, trigger.estimated_performance, {}, champion=FIRST, scores=None, labels=joined, now=NOW
    )
    assert (found.wanted, found.entry["decision"], found.entry["reason"]) == (False, "Error", UNSUITABLE)
    assert "pets-1 gives labels alone, no probabilities, and nothing is estimated" in found.entry["message"]


def test_concept_drift_is_watched_all_the_same() -> None:
    trigger, entry = rule("conceptDrift"), {}
    for hour, joined in enumerate([None, TWO, TWO, labels(right=500, wrong=500)]):
        found = concept_drift(
            trigger, entry, champion=FIRST, labels=joined, now=NOW + hour * timedelta(days=1)
        )
        entry = found.entry
    assert entry["reason"] == "Changed"


@pytest.mark.parametrize("metric", ["auc", "logloss", "calibration", "ece"])
def test_a_gate_says_why_the_evaluation_has_no_such_metric(metric: str) -> None:
    own = Gate.model_validate({"metric": metric, "min": "0.5"})
    against = Gate.model_validate({"metric": metric, "versus": "champion", "maxDrop": "0.1"})
    (found,) = gates.judge([own], gates.Scores({"accuracy": "0.9"}))
    assert not found.passed
    assert f"no {metric}, as the model gives labels alone, no probabilities; it has: accuracy" in found.detail
    scores = gates.Scores({"accuracy": "0.9", metric: "0.5"}, {"accuracy": "0.9"}, "pets-1")
    (found,) = gates.judge([against], scores)
    assert not found.passed
    assert f"no {metric} of the champion, as champion pets-1 gives labels alone" in found.detail


@pytest.mark.parametrize("figures", [{"accuracy": "0.9", "logloss": "0.4"}, {"rmse": "2", "mae": "1"}])
def test_a_gate_does_not_say_so_of_others(figures: dict[str, str]) -> None:
    (found,) = gates.judge([Gate.model_validate({"metric": "auc", "min": "0.5"})], gates.Scores(figures))
    assert "labels alone" not in found.detail


def test_no_history_of_scores_is_counted_in_bins_of_classes() -> None:
    document = {
        "schema": "noria.reference/v1", "samples": 3, "features": [],
        "prediction": {
            "name": "__prediction__", "input": "", "column": 0, "kind": "category", "values": ["a", "b"],
            "known": [], "counts": [2, 1, 0], "missing": 0, "chi2_critical": 1,
        },
    }  # fmt: skip
    with pytest.raises(ValueError, match="predictions are classes"):
        Bins(document, [])


# -- the measure `predictions` -------------------------------------------------------------------------------


def test_the_distance_is_the_largest_difference_of_a_class_share() -> None:
    one, other = Called({"a": 60, "b": 30, "c": 10}), Called({"b": 500, "a": 200, "c": 300})
    assert distance(one, other) == pytest.approx(0.4)
    assert distance(one, Called({"a": 6, "b": 3, "c": 1})) == 0
    assert distance(one, Called({"d": 5})) == 1.0, "whatever order the versions have their classes in"
    assert (compared(one, other), compared(Called({"a": 1, "b": 1}), Called({"a": 1}))) == (3, 1)


def test_classes_without_a_name_are_compared_together() -> None:
    """Of more than twenty: what one version names another may not."""
    one, other = Called({"a": 50, "b": 30}, 20), Called({"a": 50, "c": 10}, 40)
    assert distance(one, other) == pytest.approx(0), "a in both, and all others"
    assert distance(one, Called({"a": 10, "c": 50}, 40)) == pytest.approx(0.4)
    assert distance(Called({"a": 50, "b": 50}), Called({"a": 50, "c": 50})) == 0.5, "all of both have a name"
    assert distance(one, Called({"c": 60, "d": 20}, 20)) == pytest.approx(0.4), "20 at most of one are c"
    assert distance(one, Called({"c": 60, "a": 40})) == pytest.approx(0.4), "20 at most of one are c, again"


def test_scores_and_labels_have_no_distance() -> None:
    with pytest.raises(TypeError):
        distance(Called({"a": 1}), Outputs(0, 0, (1,)))


def test_stretches_are_mixed_class_by_class() -> None:
    mixed, worth = mixture([Called({"a": 10}), Called({"b": 30})], [0.5, 0.5])
    assert mixed.named == {"a": 20, "b": 20}
    assert worth == pytest.approx(1 / (0.25 / 10 + 0.25 / 30))


ALIKE = (Called({"a": 5000, "b": 3000, "c": 2000}), Called({"c": 2020, "a": 4980, "b": 3000}))
APART = (ALIKE[0], Called({"a": 2000, "b": 3000, "c": 5000}))


@pytest.mark.parametrize(
    ("arms", "verdict", "said"),
    [
        (APART, Verdict.FAIL, "distance 0.300"),
        (ALIKE, Verdict.PASS, "distance 0.002"),
        ((Called({"a": 5}), Called({"b": 5})), Verdict.HOLD, "not enough evidence"),
        ((Called({}), Called({"b": 5})), Verdict.HOLD, "waiting for predictions"),
    ],
    ids=["apart", "alike", "few", "none"],
)
def test_a_challenger_is_judged_by_the_shares_of_its_classes(arms: Any, verdict: Verdict, said: str) -> None:
    found = judge(0.1, [(None, None)], 2, called=[arms])
    assert (found.verdict, said in found.message) == (verdict, True), found.message


def test_labels_alone_and_scores_of_two_classes_have_nothing_in_common() -> None:
    scores = Outputs(-7, 0, (5,) * 128)
    assert judge(0.1, [(scores, None)], 2, called=[(None, ALIKE[0])]).verdict is Verdict.ERROR
    assert judge(0.1, [(None, scores)], 2, called=[(ALIKE[0], None)]).message == UNLIKE
    assert judge(0.1, [(None, None)], 2, called=[(ALIKE[0], None)]).verdict is Verdict.HOLD, "not yet"
    assert judge(0.1, [(scores, None)], 2, called=[ALIKE]).verdict is Verdict.PASS, "of several: by class"


SURE = Outputs(-7, 0, (0,) * 120 + (1250,) * 8)
UNSURE = Outputs(-7, 0, (0,) * 60 + (1250,) * 8 + (0,) * 60)


@pytest.mark.parametrize(
    ("scores", "classes", "verdict", "said"),
    [
        ((SURE, SURE), ALIKE, Verdict.PASS, "distance 0.002 by class"),
        ((SURE, SURE), APART, Verdict.FAIL, "distance 0.300 by class"),
        ((SURE, UNSURE), ALIKE, Verdict.FAIL, "distance 1.000, at most"),
        ((SURE, SURE), (Called({"a": 5}), Called({"b": 5})), Verdict.HOLD, "distance 1.000 by class"),
        ((SURE, None), ALIKE, Verdict.PASS, "distance 0.002 by class"),
        ((SURE, SURE), (ALIKE[0], None), Verdict.PASS, "distance 0.000, at most"),
    ],
)
def test_of_several_classes_scores_and_classes_must_both_be_alike(
    scores: Any, classes: Any, verdict: Verdict, said: str
) -> None:
    found = judge(0.1, [scores], 2, called=[classes])
    assert (found.verdict, said in found.message) == (verdict, True), found.message


def test_two_kinds_of_predictions_share_the_false_alarms() -> None:
    by_class = judge(0.1, [(None, None)], 4, called=[ALIKE]).figures
    assert judge(0.1, [(SURE, SURE)], 2, called=[ALIKE]).figures == by_class


def test_each_class_is_a_test() -> None:
    """Beside them the bounds are those of scores."""
    figures = judge(0.1, [], 1, called=[ALIKE]).figures
    assert figures["marginToPass"] == pytest.approx(2 * margin(10_000, 1 / 20 / 2 / 3))


def test_versions_that_are_alike_fail_less_often_than_one_time_in_two_hundred() -> None:
    """Looked at after every hundred predictions, with seven classes."""
    random, shares, failed = np.random.default_rng(3), np.full(7, 1 / 7), 0
    for _ in range(300):
        seen = [random.multinomial(100, shares, 40).cumsum(axis=0) for _ in range(2)]
        looks = (
            tuple(Called(dict(zip("abcdefg", one.tolist(), strict=True))) for one in both)
            for both in zip(*seen, strict=True)
        )
        failed += any(judge(0.0, [], 1, called=[look]).verdict is Verdict.FAIL for look in looks)
    assert failed <= 1
