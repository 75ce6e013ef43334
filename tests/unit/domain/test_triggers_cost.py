"""A run is asked for once the loss since the last one has cost more than it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.test_triggers import FIRST, ask, auc, rule
from tests.unit.domain.training_world import NOW

from noria_operator.api.triggers import Cost
from noria_operator.domain.performance import measure
from noria_operator.domain.quality import Labels
from noria_operator.domain.training_times import moment
from noria_operator.domain.triggers import Champion
from noria_operator.domain.triggers_cost import paid
from noria_serving.contract import SCORE_BINS

Json = dict[str, Any]
DEAR = {"relativeDrop": None, "cost": {"pointDay": "10", "run": "40"}}


def test_the_regret_of_a_window_is_points_times_days_beyond_one_standard_error() -> None:
    cost = Cost.model_validate(DEAR["cost"])
    found = paid(cost, 5.0, lost=0.05, error=0.01, lasted=timedelta(hours=12))
    assert (found.total, found.per_day) == (pytest.approx(5 + 4 * 10 / 2), pytest.approx(40.0))
    assert paid(cost, 5.0, lost=0.01, error=0.02, lasted=timedelta(days=9)).total == 5.0


def test_runs_a_month_that_noise_alone_is_worth_are_stated() -> None:
    """0.0833 standard errors a day, in hundredths, at 10 a day and 40 a run; however long a window is."""
    trigger = rule(**DEAR)
    opened = ask(trigger, {}, None, hours=0).entry
    for hours in (1, 24):
        entry = ask(trigger, opened, auc(0.75), hours=hours).entry
        measured = measure("auc", auc(0.75))
        assert measured is not None
        expected = 0.08332 * measured.error * 100 * 10 * 30.4375 / 40
        assert float(entry["expectedFalseAlarms"]) == pytest.approx(expected, rel=1e-3)
    free = rule(relativeDrop=None, cost={"pointDay": "10", "run": "0"})
    entry = ask(free, ask(free, {}, None, hours=0).entry, auc(0.75)).entry
    assert "expectedFalseAlarms" not in entry


def test_a_loss_is_answered_when_it_has_cost_more_than_a_run_and_not_before() -> None:
    trigger, entry, fired = rule(**DEAR), {}, []
    for day in range(6):
        said = ask(trigger, entry, auc(0.70) if day else None, hours=24 * day)
        entry = said.entry
        fired.append(said.wanted)
    assert fired == [False, False, True, True, True, True]
    assert float(entry["regret"]) > 40
    answered = entry | said.answer
    assert (answered["regret"], answered["state"]["regret"], answered["streak"]) == ("0", 0, 0)


def test_the_forecast_says_when_a_run_will_be_worth_it() -> None:
    trigger = rule(**DEAR)
    entry = ask(trigger, ask(trigger, {}, None, hours=0).entry, auc(0.70), hours=24).entry
    per_day = float(entry["regret"])
    days = (40 - per_day) / per_day
    assert moment(entry["forecast"]) - NOW == pytest.approx(
        timedelta(days=1 + days), abs=timedelta(seconds=2)
    )
    assert "it pays from" in entry["message"]


def test_what_chance_adds_to_the_calibration_error_costs_nothing() -> None:
    """Two hundred labels of a calibrated model: on average as far from its scores as chance takes them."""
    trigger, entry = rule(metric="ece", minLabels=100, **DEAR), {}
    negatives, positives = [0] * SCORE_BINS, [0] * SCORE_BINS
    for place in range(5, SCORE_BINS, 20):
        score = (place + 0.5) / SCORE_BINS
        positives[place] = round(20 * (score + 0.8 * (score * (1 - score) / 20) ** 0.5))
        negatives[place] = 20 - positives[place]
    champion = Champion("flights-1", {"ece": "0.005"})
    for day in range(10):
        labels = Labels.of(negatives, positives) if day else None
        entry = ask(trigger, entry, labels, champion=champion, hours=24 * day).entry
    assert float(entry["value"]) > 0.05
    assert float(entry["regret"]) == 0


def test_quality_that_is_not_lost_costs_nothing() -> None:
    trigger, entry = rule(**DEAR), {}
    for day in range(30):
        entry = ask(trigger, entry, auc(0.745) if day else None, hours=24 * day).entry
    assert float(entry["regret"]) == 0
    assert "forecast" not in entry
    assert entry["best"] == FIRST.metrics["auc"]
