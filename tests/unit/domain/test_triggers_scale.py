"""A target of any scale: what is lost is told by the digits of a figure, not by its places."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from math import frexp, ldexp
from typing import Any

import pytest
from tests.unit.domain.training_world import NOW

from noria_operator.api.continuoustraining import TriggerStatus
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.performance import Errors
from noria_operator.domain.triggers import Champion, Request
from noria_operator.domain.triggers_performance import performance
from noria_serving.bundle import decimal
from noria_serving.contract import ERROR_UNITS

HOUR = timedelta(hours=1)
RULE = {"metric": "rmse", "relativeDrop": "0.05", "minLabels": 500}
COST = {"metric": "rmse", "minLabels": 500, "cost": {"pointDay": "1000", "run": "5"}}


def window(scale: float, source: random.Random) -> Errors:
    """A thousand errors of this size, in the unit of a model whose predictions spread ten times as far."""
    unit = ldexp(1.0, frexp(10 * scale)[1] - ERROR_UNITS.bit_length())
    units = [round(source.gauss(0, scale) / unit) for _ in range(1000)]
    over, under = sum(max(each, 0) for each in units), sum(max(-each, 0) for each in units)
    return Errors(1000, over, under, sum(each**2 for each in units), 0, unit)


def watched(rule: dict[str, Any], accepted: float | None, *scales: float) -> Request:
    """An hour for each."""
    trigger, source = TriggerSpec.model_validate({"name": "quality", "performance": rule}), random.Random(1)
    champion, asked = Champion("dose-1", {"rmse": decimal(accepted)} if accepted else {}), trigger.performance
    assert asked is not None
    found = performance(trigger, asked, {}, champion=champion, labels=None, now=NOW)
    for hour, scale in enumerate(scales, 1):
        now, labels = NOW + hour * HOUR, window(scale, source)
        found = performance(trigger, asked, found.entry, champion=champion, labels=labels, now=now)
        TriggerStatus.model_validate(found.entry)
    return found


@pytest.mark.parametrize("scale", [3.4e13, 3.4, 3.4e-4, 3.4e-6, 3.4e-9])
def test_nothing_is_lost_and_a_loss_is_seen_whatever_the_scale(scale: float) -> None:
    fine = watched(RULE, scale, *[scale] * 6)
    assert (fine.wanted, float(fine.entry["best"]), float(fine.entry["value"])) == (
        False,
        pytest.approx(scale, rel=1e-5),
        pytest.approx(scale, rel=0.1),
    )
    lost = watched(RULE, scale, *[1.5 * scale] * 4)
    assert lost.wanted
    assert " 0.0000" not in lost.entry["message"]


def test_a_figure_that_status_cannot_hold_is_the_error_of_its_trigger() -> None:
    for rule in (RULE, COST):
        entry = watched(rule, None, 2e15, 2e15).entry
        assert (entry["decision"], entry["reason"]) == ("Error", "MetricUnsuitable")
        assert entry["message"].startswith("rmse 2.")
        assert entry["message"].endswith("of dose-1 has more than 15 digits: scale its target, or costMatrix")


@pytest.mark.parametrize(("clipped", "labels"), [(1, "1 label"), (12, "12 labels")])
@pytest.mark.parametrize("rule", [RULE, COST])
def test_a_figure_whose_largest_errors_are_cut_off_says_so(
    rule: dict[str, Any], clipped: int, labels: str
) -> None:
    trigger, champion = (
        TriggerSpec.model_validate({"name": "quality", "performance": rule}),
        Champion("a", {}),
    )
    assert trigger.performance is not None
    told = replace(window(3.4, random.Random(1)), clipped=clipped)
    entry = performance(trigger, trigger.performance, {}, champion=champion, labels=None, now=NOW).entry
    found = performance(
        trigger, trigger.performance, entry, champion=champion, labels=told, now=NOW + HOUR
    ).entry
    assert f"(at least: {labels} had errors too large to count) on 1000 labels of a" in found["message"]


def test_what_a_huge_loss_has_cost_is_told_as_far_as_it_can_be() -> None:
    found = watched(COST, 1e13, *[5e14] * 3)
    assert (found.wanted, found.entry["regret"]) == (True, "999999999999999.0")
