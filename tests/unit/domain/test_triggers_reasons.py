"""Every evaluation leaves a decision and its reason in one word, also the ones that decide no."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.domain.test_triggers_plan import training

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.recorded import Predicted
from noria_operator.domain.rehearsal import Rehearsal
from noria_operator.domain.triggers import Champion, Request, manual
from noria_operator.domain.triggers_age import max_age
from noria_operator.domain.triggers_combine import combined
from noria_operator.domain.triggers_samples import new_samples
from noria_operator.domain.triggers_schedule import schedule

Json = dict[str, Any]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def spec(**rule: Any) -> TriggerSpec:
    return TriggerSpec.model_validate({"name": "t", **rule})


def aged(age: timedelta | None) -> Json:
    champion = None if age is None else Champion("m-1", {}, NOW - age)
    return max_age(spec(maxAge="168h"), champion, NOW).entry


@pytest.mark.parametrize(
    ("age", "reason", "value"),
    [
        (None, "NothingServed", None),
        (timedelta(minutes=7, seconds=5), "NotOld", "7m"),
        (timedelta(days=3, minutes=59), "NotOld", "72h"),
        (timedelta(days=9, minutes=30), "TooOld", "216h"),
    ],
)
def test_age_is_told_in_whole_hours_so_that_it_costs_one_write_an_hour(
    age: timedelta | None, reason: str, value: str | None
) -> None:
    found = aged(age)
    assert (found["reason"], found.get("value"), found["threshold"]) == (reason, value, "168h")


def test_the_age_of_a_champion_whose_version_was_deleted_is_not_known_and_says_so() -> None:
    found = max_age(spec(maxAge="168h"), Champion("m-1", {}), NOW)
    assert (found.wanted, found.entry["reason"]) == (False, "VersionGone")
    assert "ModelVersion m-1 is gone" in found.entry["message"]


def test_labels_schedules_combinations_and_people_have_reasons() -> None:
    labels = spec(newSamples={"count": 10})
    begun = new_samples(labels, {}, labels=None, now=NOW).entry
    assert begun["reason"] == "TooFewLabels"
    assert new_samples(labels, begun, labels=10, now=NOW).entry["reason"] == "EnoughLabels"
    cron = spec(schedule="0 13 * * *")
    waits = schedule(cron, {}, since=NOW, now=NOW).entry
    assert waits["reason"] == "NotDue"
    assert schedule(cron, waits, since=NOW, now=NOW + HOUR).entry["reason"] == "Due"
    assert schedule(cron, waits, since=NOW, now=NOW + 9 * HOUR).entry["reason"] == "Missed"
    others = {"a": Request({"name": "a"}, "A", wanted=True), "b": Request({"name": "b"}, "B")}
    assert combined(spec(combine={"of": ["a", "b"]}), others).entry["reason"] == "TooFewFire"
    assert combined(spec(combine={"of": ["a", "b"], "atLeast": 1}), others).entry["reason"] == "EnoughFire"
    asked = manual("1", None, None)
    assert asked is not None
    assert asked.entry["reason"] == "Asked"


def test_no_decision_of_a_month_is_without_its_reason() -> None:
    """A loss begins on the tenth day: some triggers fire, others never do."""
    quality = {"metric": "accuracy", "minLabels": 50}
    cost = {"metric": "accuracy", "minLabels": 50, "cost": {"pointDay": "1", "run": "30"}}
    triggers = [
        {"name": "bound", "performance": quality | {"min": "0.7", "for": 2}},
        {"name": "drop", "performance": quality | {"relativeDrop": "0.1"}},
        {"name": "cost", "performance": cost},
        {"name": "estimate", "estimatedPerformance": {"metric": "accuracy", "min": "0.7", "minSamples": 50}},
        {"name": "concept", "conceptDrift": {}},
        {"name": "nightly", "schedule": "0 2 * * *"},
        {"name": "old", "maxAge": "300h"},
        {"name": "labels", "newSamples": {"count": 900}},
        {"name": "both", "combine": {"of": ["bound", "old"]}},
    ]
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    obj = training(triggers=triggers, cooldown="48h")
    obj = {name: obj[name] for name in ("apiVersion", "kind", "spec", "metadata")}
    loop = Rehearsal(obj, Champion("m-1", {}, begin))
    decisions = set()
    for number in range(30 * 24):
        now = begin + number * HOUR
        label = number // 2 % 2
        right = now < begin + timedelta(days=10) or number % 2
        for _ in range(4):
            row = Predicted("m-1", 0.9 if bool(label) == bool(right) else 0.1)
            loop.arrivals.predicted(now, row)
            loop.arrivals.labelled(now, row, float(label), delay=timedelta())
        list(loop.until(now, took=HOUR, ended=lambda name, at: loop.finish(name, at, champion=None)))
        for entry in loop.obj["status"]["triggers"]:
            assert entry.get("reason"), entry
            decisions.add((entry["name"], entry["decision"], entry["reason"]))
    told = {(name, reason) for name, _, reason in decisions}
    assert {
        ("bound", "WindowOpen"), ("bound", "NotWorse"), ("bound", "QualityLost"), ("drop", "FirstWindow"),
        ("cost", "NothingLost"), ("cost", "NotWorthIt"), ("cost", "WorthARun"), ("old", "TooOld"),
    } <= told  # fmt: skip
