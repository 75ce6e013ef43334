"""Gates read the evaluation alone, in the metric's own direction."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, get_args

import numpy as np
import pytest

from noria_operator.api.gates import EvaluationMetric
from noria_operator.api.trainingjob import Gate
from noria_operator.domain.gates import GateResult, Scores, judge
from noria_operator.domain.gates_slices import Sliced
from noria_operator.domain.quality import DIRECTIONS
from noria_serving.quality import Classified, Regressed


def gate(**fields: Any) -> Gate:
    return Gate.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "challenger", "champion", "passed", "says"),
    [
        ({"metric": "auc", "min": "0.65"}, "0.65", None, True, ">= minimum 0.65"),
        ({"metric": "auc", "min": "0.65"}, "0.6499", None, False, "< minimum 0.65"),
        ({"metric": "logloss", "max": "0.4"}, "0.4", None, True, "<= maximum 0.4"),
        ({"metric": "logloss", "max": "0.4"}, "0.41", None, False, "> maximum 0.4"),
        ({"metric": "auc", "versus": "champion", "maxDrop": "0.01"}, "0.70", "0.71", True, "may lose 0.01"),
        ({"metric": "auc", "versus": "champion", "maxDrop": "0.01"}, "0.69", "0.71", False, "flights-3"),
        ({"metric": "auc", "versus": "champion", "maxDrop": "0"}, "0.71", "0.71", True, "may lose 0"),
        ({"metric": "auc", "versus": "champion", "minDelta": "0.005"}, "0.715", "0.71", True, "must gain"),
        ({"metric": "auc", "versus": "champion", "minDelta": "0.005"}, "0.714", "0.71", False, "must gain"),
        ({"metric": "logloss", "versus": "champion", "maxDrop": "0.01"}, "0.41", "0.40", True, "lower is"),
        ({"metric": "logloss", "versus": "champion", "maxDrop": "0.01"}, "0.42", "0.40", False, "lower is"),
        ({"metric": "logloss", "versus": "champion", "minDelta": "0.01"}, "0.39", "0.40", True, "lower is"),
        ({"metric": "auc", "versus": "champion", "minDelta": "0.5"}, "0.5", None, True, "no champion"),
        ({"metric": "rmse", "max": "0.0000002"}, "0.00000049", None, False, "49 > maximum 0.0000002"),
        ({"metric": "rmse", "versus": "champion", "maxDrop": "0"}, "0.00000049", "0.0000001", False, "1 of"),
    ],
)
def test_a_gate_compares_exactly_and_says_with_what(
    fields: dict[str, str], challenger: str, champion: str | None, passed: bool, says: str
) -> None:
    metric = fields["metric"]
    scores = Scores({metric: challenger}, {metric: champion} if champion else None, "flights-3")
    (found,) = judge([gate(**fields)], scores)
    assert found.passed is passed
    assert says in found.detail


def test_a_gate_may_name_what_the_evaluation_tells_and_nothing_else() -> None:
    told = Classified(np.full((1, 2), 0.5), np.zeros(1, np.int64)).metrics()
    told |= Regressed(np.zeros(1), np.zeros(1)).metrics()
    assert set(get_args(EvaluationMetric)) == told.keys() <= DIRECTIONS.keys()


def test_a_metric_that_the_evaluation_lacks_fails_its_gate() -> None:
    gates = [gate(metric="mae", max="1"), gate(metric="auc", versus="champion", maxDrop="1")]
    found = judge(gates, Scores({"auc": "0.7"}, {"logloss": "0.4"}, "flights-3"))
    assert found == (
        GateResult("mae", False, "the evaluation has no mae; it has: auc"),
        GateResult("auc", False, "the evaluation has no auc of the champion"),
    )


def test_decimals_are_compared_as_decimals_and_not_as_floats() -> None:
    (found,) = judge(
        [gate(metric="auc", versus="champion", maxDrop="0.1")], Scores({"auc": "0.2"}, {"auc": "0.3"}, "f")
    )
    assert found.passed


def test_the_gate_that_refuses_a_model_comes_first() -> None:
    gates = [gate(metric="auc", min="0.5"), gate(metric="logloss", max="0.4"), gate(metric="auc", min="0.6")]
    found = judge(gates, Scores({"auc": "0.7", "logloss": "0.5"}))
    assert [result.detail for result in found] == [
        "0.5 > maximum 0.4",
        "0.7 >= minimum 0.5",
        "0.7 >= minimum 0.6",
    ]


def by_slice(
    *rows: tuple[str, int, str, str | None, str | None], metric: str = "accuracy"
) -> tuple[Sliced, ...]:
    return tuple(
        Sliced("sex", group, count, metric, Decimal(one), other and Decimal(other), error and Decimal(error))
        for group, count, one, other, error in rows
    )


SURE = ("f", 500, "0.80", "0.90", "0.02")
NOISE = ("f", 500, "0.80", "0.90", "0.05")
TINY = ("f", 99, "0.10", "0.90", "0.05")
GOOD = ("m", 900, "0.95", "0.90", "0.01")


@pytest.mark.parametrize(
    ("rows", "passed", "says"),
    [
        (
            (SURE, GOOD),
            False,
            "worse in 1 of 2 slices: sex=f (500 rows) 0.80 against 0.90 of champion flights-3",
        ),
        ((NOISE, GOOD), True, "surely worse in none of 2 slices"),
        ((TINY, GOOD), True, "none of 1 slices; 1 with too few rows"),
        ((TINY,), False, "the largest slice has 99 of minRows 100 rows"),
        ((), False, "the evaluation has no slices"),
        ((("f", 500, "0.8", None, None), GOOD), True, "none of 1 slices"),
    ],
)
def test_a_gate_by_slice_refuses_what_is_worse_beyond_noise(rows: Any, passed: bool, says: str) -> None:
    gates = [gate(metric="accuracy", versus="champion", maxDrop="0.02", bySlice=True)]
    scores = Scores({"accuracy": "0.9"}, {"accuracy": "0.9"}, "flights-3", by_slice(*rows))
    (found,) = judge(gates, scores)
    assert (found.passed, says in found.detail) == (passed, True), found.detail


def test_more_slices_ask_for_a_surer_loss() -> None:
    gates = [gate(metric="accuracy", versus="champion", maxDrop="0", bySlice=True)]
    just = ("f", 500, "0.88", "0.90", "0.01")
    for others, passed in ((0, False), (30, True)):
        rows = by_slice(just, *[GOOD] * others)
        assert judge(gates, Scores({"accuracy": "0.9"}, {"accuracy": "0.9"}, "f", rows))[0].passed is passed


def test_a_gate_by_slice_knows_which_way_a_metric_is_better_and_what_was_left_out() -> None:
    gates = [gate(metric="logloss", versus="champion", maxDrop="0.02", bySlice=True)]
    better = by_slice(("f", 500, "0.80", "0.90", "0.02"), metric="logloss")
    (found,) = judge(gates, Scores({"logloss": "0.8"}, {"logloss": "0.9"}, "f", better, 4))
    assert found.passed
    assert "4 smaller ones left out" in found.detail
    (found,) = judge(gates, Scores({"logloss": "0.8"}))
    assert found == GateResult("logloss", True, "0.8; there is no champion to compare with yet")
