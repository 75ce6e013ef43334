"""Several classes: each metric is scikit-learn's, and its interval holds the truth as often as it says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score
from tests.unit.domain.training_world import NOW

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.classes import MACRO, Classes, macro
from noria_operator.domain.performance import Errors, measure, unsuitable
from noria_operator.domain.quality import Labels
from noria_operator.domain.triggers import Champion
from noria_operator.domain.triggers_performance import performance
from noria_serving.contract import SCORE_BINS

SHARES = np.array([[40, 5, 2, 0], [6, 25, 4, 0], [1, 2, 15, 0], [0, 0, 0, 0]], dtype=float).ravel()
SHARES /= SHARES.sum()
THEIRS = {"f1": f1_score, "precision": precision_score, "recall": recall_score}


def called(right: int, wrong: int, place: int = 160) -> Labels:
    sides = [[0] * SCORE_BINS, [0] * SCORE_BINS]
    sides[0][place], sides[1][place] = wrong, right
    return Labels.of(*sides)


def classes(table: np.ndarray) -> Classes:
    right = int(np.trace(table.reshape(4, 4)))
    return Classes(called(right, int(table.sum()) - right), tuple(table.tolist()))


@pytest.mark.parametrize("metric", list(MACRO))
def test_means_over_classes_are_scikit_learns(metric: str) -> None:
    table = np.random.default_rng(1).multinomial(500, SHARES)
    places = np.repeat(np.arange(16), table)
    theirs = THEIRS[metric](places // 4, places % 4, average="macro", zero_division=0)
    found = measure(metric, classes(table))
    assert found is not None
    assert found.value == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("metric", [*MACRO, "accuracy"])
def test_intervals_hold_the_truth_in_about_95_of_100_windows(metric: str) -> None:
    rng = np.random.default_rng(2)
    truth = measure(metric, classes(np.round(SHARES * 1e7).astype(int)))
    windows = [measure(metric, classes(rng.multinomial(400, SHARES))) for _ in range(200)]
    assert truth is not None
    held = sum(one is not None and one.low <= truth.value <= one.high for one in windows)
    assert 180 <= held <= 200


def test_a_row_is_right_where_its_class_is_the_likeliest_one_however_unlikely() -> None:
    unsure = Classes(called(right=90, wrong=10, place=70))
    found, gap = measure("accuracy", unsure), measure("calibration", unsure)
    assert found is not None
    assert found.value == 0.9
    assert gap is not None
    assert gap.value == pytest.approx(0.9 - 70.5 / SCORE_BINS)


def test_a_window_without_a_mistake_is_not_sure_of_it() -> None:
    table = (50.0, 0.0, 0.0, 50.0)
    assert macro("f1", table) == pytest.approx((1.0, 2 * (1 / 50 / 2) ** 2))
    assert macro("f1", (0.0,) * 9) is None


def test_a_class_with_one_label_may_be_all_wrong() -> None:
    table = np.diag((399, 400, 200, 1)).ravel().astype(float)
    for metric in MACRO:
        found = macro(metric, table)
        assert found is not None
        assert found[0] == 1.0
        assert found[1] ** 0.5 == pytest.approx(1 / 4, rel=0.01), "as much as that class counts for"


@pytest.mark.parametrize(("metric", "turned"), [("precision", False), ("recall", True)])
def test_a_class_that_is_never_predicted_or_never_true_blurs_nothing(metric: str, turned: bool) -> None:
    """The last of five, by a hundredth of all labels."""
    table = np.diag((40_000.0, 30_000, 20_000, 9_000, 0))
    table[4, 0] = 1_000
    found = macro(metric, (table.T if turned else table).ravel())
    assert found is not None
    assert found[1] ** 0.5 < 0.001


@pytest.mark.simulated
@pytest.mark.parametrize("metric", list(MACRO))
def test_a_rare_class_that_comes_twice_in_a_window_is_no_loss_when_it_comes_once(metric: str) -> None:
    """Five classes of which one is a 500th of all labels, and right in half of them; nothing changes."""
    rng, sizes = np.random.default_rng(2), np.array([0.2495] * 4 + [0.002])
    shares = np.full((5, 5), 0.05 / 3) + np.diag([0.95 - 0.05 / 3] * 5)
    shares[:4, 4] = 0.0
    shares[4] = [0.125] * 4 + [0.5]
    truth = macro(metric, (shares * sizes[:, None]).ravel() * 1e9)
    trigger = TriggerSpec.model_validate(
        {"name": "f1", "performance": {"metric": metric, "relativeDrop": "0.05"}}
    )
    held, fired, entry = 0, 0, asked({}, None, 0, trigger)
    assert truth is not None
    for hour in range(1, 101):
        table = rng.multinomial(1000, (shares * sizes[:, None] / (shares * sizes[:, None]).sum()).ravel())
        right = int(np.trace(table.reshape(5, 5)))
        joined = Classes(called(right, 1000 - right), tuple(map(float, table)))
        entry = asked(entry, joined, hour, trigger)
        low, high = map(float, entry["interval"].split(" to "))
        held += low <= truth[0] <= high
        fired += entry["decision"] == "Fire"
    assert (fired, held >= 80) == (0, True)


@pytest.mark.parametrize(
    ("metric", "joined", "says"),
    [
        (
            "auc",
            Classes(called(9, 1), (5.0,) * 9),
            "several classes; use one of accuracy, calibration, ece, f1",
        ),
        ("auc", Classes(called(9, 1), (5.0,) * 9, (0,) * 244), ""),
        ("auc", Classes(called(9, 1), (5.0,) * 9, None), "several classes; use one of accuracy"),
        (
            "cost",
            Classes(called(9, 1), (5.0,) * 9, (0,) * 244),
            "precision, recall, expectedCost, auc, logloss",
        ),
        ("auc", Classes(called(9, 1)), "more than 20 classes; use one of accuracy, calibration, ece"),
        ("f1", Classes(called(9, 1)), "more than 20 classes; use one of accuracy, calibration, ece"),
        ("f1", Classes(called(9, 1), (5.0,) * 9), ""),
        ("f1", Classes(called(9, 1), (0.0,) * 9), ""),
        ("f1", Classes(called(9, 1), None), "more than 20 classes; use one of accuracy, calibration, ece"),
        ("auc", Errors(count=1), "a regression; use one of rmse, mae"),
        ("rmse", Labels.none(), "two classes; use one of auc"),
        ("rmse", Errors(), ""),
    ],
)
def test_a_metric_that_such_a_model_has_not_is_refused(metric: str, joined: object, says: str) -> None:
    found = unsuitable(metric, joined)  # type: ignore[arg-type]
    assert (says in found) if says else not found


F1 = TriggerSpec.model_validate({"name": "f1", "performance": {"metric": "f1", "min": "0.6"}})
KNOWN = np.diag((400, 400, 400, 0)).ravel()


def asked(
    entry: dict[str, Any], joined: Classes | None, hours: int, trigger: TriggerSpec = F1
) -> dict[str, Any]:
    rule, now = trigger.performance, NOW + timedelta(hours=hours)
    assert rule is not None
    return performance(trigger, rule, entry, champion=Champion("m-1", {}), labels=joined, now=now).entry


@pytest.mark.parametrize("table", [None, (0.0,) * 16], ids=["of an earlier release", "of this release"])
def test_labels_of_classes_that_are_not_known_do_not_make_them_too_many(
    table: tuple[float, ...] | None,
) -> None:
    """Servers of an earlier release tell labels by class once there is one of a class that they know."""
    opened = asked({}, None, 0)
    entry = asked(opened, Classes(called(0, 1), table), 1)
    assert entry == opened
    entry = asked(entry, classes(KNOWN), 2)
    assert (entry["decision"], entry["reason"], entry["value"]) == ("No", "NotWorse", "1.0")


def test_many_classes_are_told_at_once_or_where_servers_do_not_tell_when_the_window_closes() -> None:
    opened = asked({}, None, 0)
    assert asked(opened, Classes(called(0, 0), ()), 1)["reason"] == "MetricUnsuitable"
    assert asked(opened, Classes(called(99, 900), None), 1) == opened
    entry = asked(opened, Classes(called(100, 900), None), 1)
    assert (entry["decision"], entry["reason"]) == ("Error", "MetricUnsuitable")
    assert asked(entry, None, 2) == entry


AUC = TriggerSpec.model_validate({"name": "auc", "performance": {"metric": "auc", "min": "0.6"}})


def test_servers_that_do_not_count_scores_of_all_classes_are_told_when_a_window_closes() -> None:
    """Those of an earlier release; a rollout may bring others before that."""
    opened = asked({}, None, 0, AUC)
    few, enough = (Classes(called(0, rows), (1.0,) * 16, None) for rows in (99, 1000))
    assert asked(opened, few, 1, AUC) == opened
    assert asked(opened, enough, 1, AUC)["reason"] == "MetricUnsuitable"


def test_what_could_not_be_told_and_now_can_is_no_error_any_more() -> None:
    opened = asked({}, None, 0)
    wrong = asked(opened, Classes(called(0, 1), ()), 1)
    assert wrong["decision"] == "Error"
    assert asked(wrong, None, 2) == wrong, "nobody told anything"
    assert asked(wrong, Classes(called(1, 1), (1.0,) + (0.0,) * 15), 2) == opened
