"""Loops of one deployment: what one of them did counts for the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.unit.domain.test_triggers_plan import HOUR, Loop, asked, entry, quality, weekly
from tests.unit.domain.training_world import NOW, deployment, served, version

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.training_times import stamp
from noria_operator.domain.triggers import Request
from noria_operator.domain.triggers_combine import in_order
from noria_operator.domain.triggers_samples import new_samples

Json = dict[str, Any]


def theirs(at: datetime = NOW, **run: Any) -> Json:
    """A run that another loop of the deployment started."""
    return {"at": stamp(at), "trigger": "x", "reason": "Drift", "trainingJob": "second-1"} | run


def seen_at(ended: datetime) -> Request:
    """Quality that is lost in a window which closed then."""
    found = quality()
    return replace(found, entry=found.entry | {"windowEndedAt": stamp(ended)})


def test_what_a_window_showed_before_another_loop_ran_asks_no_more() -> None:
    loop = Loop(cooldown="0s")
    loop.theirs = theirs()
    loop.step(seen_at(NOW))
    told = entry(loop.status, "quality")
    assert (loop.jobs, told["decision"], told["streak"]) == ({}, "Wait", 0)
    assert "answered by second-1 of another loop" in told["message"]
    loop.settle(seen_at(NOW + timedelta(minutes=1)))
    assert len(loop.jobs) == 1


@pytest.mark.parametrize("action", ["Observe", "Retrain"])
def test_what_another_loops_run_answers_fires_in_no_combination(action: str) -> None:
    """Whatever a member does of itself: only a combination of what later windows show is new."""
    members = [
        {"name": "quality", "performance": {"metric": "auc", "min": "0.65"}, "action": action},
        {"name": "old", "maxAge": "720h", "action": "Observe"},
    ]
    loop = Loop(cooldown="0s", triggers=[*members, {"name": "both", "combine": {"of": ["quality", "old"]}}])
    triggers = [TriggerSpec.model_validate(one) for one in loop.obj["spec"]["triggers"]]
    by = "Wanted" if action == "Retrain" else "Own"
    old = Request({"name": "old"}, "MaxAge", wanted=True, key="flights-1")

    def ask(ended: datetime) -> list[Request]:
        return in_order(loop.obj, triggers, [replace(seen_at(ended), answered_by=by), old], loop.theirs)

    loop.theirs = theirs()
    loop.settle(*ask(NOW))
    assert (loop.jobs, entry(loop.status, "both")["decision"]) == ({}, "No")
    loop.settle(*ask(NOW + timedelta(minutes=1)))
    assert len(loop.jobs) == 1


@pytest.mark.parametrize("result", ["Failed", "Refused", "RolledBack", "Gone", "Replaced"])
def test_another_loops_run_that_came_to_nothing_answers_nothing(result: str) -> None:
    loop = Loop(cooldown="0s")
    loop.theirs = theirs(result=result)
    loop.settle(seen_at(NOW))
    assert len(loop.jobs) == 1


def test_the_cooldown_runs_from_another_loops_run_too() -> None:
    loop = Loop(cooldown="6h")
    loop.theirs, free = theirs(), NOW + 6 * HOUR
    loop.now += HOUR
    plan = loop.step(quality())
    assert (plan.due, loop.status["nextEligibleTime"]) == (free, stamp(free))
    assert loop.status["blockedBy"] == "Cooldown"
    assert f"until {stamp(free)}, after second-1 of another loop" in entry(loop.status, "quality")["message"]
    loop.now = free
    loop.settle(quality())
    assert len(loop.jobs) == 1


def test_what_another_loops_run_leaves_undone_waits_for_no_cooldown() -> None:
    loop = Loop(cooldown="6h")
    loop.theirs = theirs(result="Failed")
    loop.settle(quality())
    assert len(loop.jobs) == 1


@pytest.mark.parametrize("every", [1, 4, 5, 6, 7, 11, 12, 13, 30])
def test_nothing_waits_longer_than_a_cooldown_for_runs_of_other_loops(every: int) -> None:
    """However often they run: one that retrains every four hours would else hold the others for ever."""
    for begins in range(60, 90):
        loop = Loop(cooldown="6h")
        for hour in range(begins, begins + 7):
            loop.now, newest = NOW + hour * HOUR, hour // every * every
            loop.theirs, loop.preceded = theirs(NOW + newest * HOUR), stamp(NOW + (newest - every) * HOUR)
            loop.settle(quality())
            if loop.jobs:
                break
        assert loop.jobs, f"asked for from hour {begins} on"


@pytest.mark.parametrize("ask", [weekly, asked])
def test_what_a_loop_or_a_person_asks_for_waits_for_no_cooldown_of_another_loop(
    ask: Callable[[], Request],
) -> None:
    loop = Loop(cooldown="6h")
    loop.theirs = theirs()
    loop.settle(ask())
    assert len(loop.jobs) == 1


OBSERVED = [
    {"name": "weekly", "schedule": "0 2 * * 1", "action": "Observe"},
    {"name": "fresh", "dataChange": {"data": "train"}, "action": "Observe"},
    {"name": "old", "maxAge": "720h", "action": "Observe"},
    {"name": "labels", "newSamples": {"count": 100}, "action": "Observe"},
]
"""For combinations: the first two are a loop's own affair."""
OLD = Request({"name": "old"}, "MaxAge", wanted=True, key="flights-1", lasting=True)


@pytest.mark.parametrize(
    ("of", "least", "rests"),
    [
        (["weekly", "fresh"], None, False),
        (["weekly", "old"], None, False),
        (["weekly", "old"], 1, True),
        (["labels", "old"], 1, True),
    ],
)
def test_a_combination_waits_for_no_cooldown_of_another_loop_for_what_its_own_loop_does(
    of: list[str], least: int | None, rests: bool
) -> None:
    """A schedule asks for an hour: beside a loop that runs each night it would never come to it."""
    combine = {"of": of} | ({"atLeast": least} if least else {})
    loop = Loop(cooldown="6h", triggers=[*OBSERVED, {"name": "both", "combine": combine}])
    triggers = [TriggerSpec.model_validate(one) for one in loop.obj["spec"]["triggers"]]
    fresh = Request({"name": "fresh"}, "DataChange", wanted=True, key="sha256:1")

    def ask(*plain: Request) -> list[Request]:
        return in_order(loop.obj, triggers, plain, loop.theirs)

    loop.theirs = theirs()
    loop.step(*ask())
    assert (loop.status["blockedBy"] == "Cooldown") is rests, "where it may have to wait"
    loop.settle(*ask(OLD))
    assert loop.jobs == {}, "it waits, or too few fire"
    loop.settle(*ask(weekly(), fresh, OLD))
    assert len(loop.jobs) == ("weekly" in of)


FRESH = Request({"name": "fresh"}, "DataChange", wanted=True, key="sha256:1", answered_by="Any")
COUNTED = Request({"name": "labels"}, "NewSamples", wanted=True, key="100", answered_by="Any")


@pytest.mark.parametrize(
    ("of", "least", "plain", "rests"),
    [
        (["weekly", "old"], None, [weekly(), OLD], False),
        (["weekly", "old"], 1, [weekly(), OLD], False),
        (["weekly", "labels"], 1, [COUNTED], True),
        (["labels", "old"], 1, [COUNTED, FRESH], False),
    ],
    ids=["both", "either", "the other one", "beside it"],
)
def test_what_waits_in_the_queue_for_its_own_loop_waits_for_no_cooldown_of_another_one(
    of: list[str], least: int | None, plain: list[Request], rests: bool
) -> None:
    """A place in the queue answers the schedule, which asks no more when the place is taken."""
    combine = {"of": of} | ({"atLeast": least} if least else {})
    more = [{"name": "both", "combine": combine}, {"name": "aged", "maxAge": "720h"}]
    loop = Loop(cooldown="6h", concurrencyPolicy="Queue", triggers=[*OBSERVED, *more])
    triggers = [TriggerSpec.model_validate(one) for one in loop.obj["spec"]["triggers"]]
    loop.others = ["second-1"]
    loop.step(*in_order(loop.obj, triggers, plain, {}))
    assert loop.status["queued"]["trigger"] == "both"
    loop.others, loop.theirs = [], theirs(result="Promoted")
    loop.now += HOUR / 2
    loop.settle(*in_order(loop.obj, triggers, [weekly(wanted=False)], loop.theirs))
    assert len(loop.jobs) == (not rests)
    assert (loop.status["blockedBy"] == "Cooldown") is rests


@pytest.mark.parametrize(
    "more",
    [[], [{"name": "moved", "drift": {}}, {"name": "dirty", "dataQuality": {}}]],
    ids=["nothing else", "what warns and blocks"],
)
def test_a_loop_whose_runs_are_its_own_affair_is_held_by_no_cooldown_of_another_loop(
    more: list[Json],
) -> None:
    loop = Loop(cooldown="6h", triggers=[{"name": "weekly", "schedule": "0 2 * * 1"}, *more])
    loop.theirs = theirs()
    loop.step(weekly(wanted=False))
    assert (loop.status["blockedBy"], "nextEligibleTime" in loop.status) == ("", False)


def test_the_version_that_another_loop_made_is_waited_for() -> None:
    loop = Loop(cooldown="0s")
    loop.theirs = theirs()
    made = version(2, phase="Validating", lineage={"trainingJob": {"name": "second-1", "uid": "u"}})
    loop.step(weekly(), versions=[version(1), made])
    assert loop.jobs == {}
    assert "ModelVersion flights-2 is being verified" in entry(loop.status, "weekly")["message"]


def test_a_loss_that_was_known_when_another_loop_ran_does_not_replace_its_version() -> None:
    loop = Loop(cooldown="0s", concurrencyPolicy="Replace")
    loop.others = ["second-1"]
    loop.step(quality())
    known = replace(quality(), entry=entry(loop.status, "quality"))
    loop.others, loop.theirs, loop.now = [], theirs(NOW + HOUR), NOW + 2 * HOUR
    loop.step(known, seen=deployment(1, candidate=served(2)))
    assert (loop.jobs, entry(loop.status, "quality")["decision"]) == ({}, "Blocked")
    assert "rolling out flights-2" in entry(loop.status, "quality")["message"]


FIRST, SECOND = (stamp(NOW - hours * HOUR) for hours in (2, 1))
"""When runs of other loops began."""


def labelled(entry: Json, labels: int, elsewhere: str) -> Request:
    """What newSamples says once so many more labels came."""
    trigger = TriggerSpec.model_validate({"name": "labels", "newSamples": {"count": 100}})
    return new_samples(trigger, entry, labels=labels, now=NOW, elsewhere=elsewhere)


@pytest.mark.parametrize("before", ["", FIRST])
def test_labels_are_counted_anew_once_another_loops_run_led_to_a_version(before: str) -> None:
    found = labelled({}, 0, before)
    found = labelled(found.entry, 100, "")
    assert found.wanted
    assert labelled(found.entry, 0, before).wanted, "it was known before"
    found = labelled(found.entry, 0, SECOND)
    assert (found.wanted, found.entry["value"]) == (False, "0")
    found = labelled(found.entry | found.answer, 100, SECOND)
    assert found.wanted
    assert not labelled(found.entry | found.answer, 0, SECOND).wanted


@pytest.mark.parametrize("elsewhere", ["", FIRST])
def test_a_loop_that_is_deleted_takes_no_labels_along(elsewhere: str) -> None:
    """The newest run of the others is an older one then, or none."""
    found = labelled(labelled({}, 0, SECOND).entry, 60, "")
    assert labelled(found.entry, 100, elsewhere).wanted


@pytest.mark.parametrize("elsewhere", ["", SECOND])
def test_an_upgrade_takes_no_labels_along(elsewhere: str) -> None:
    """An earlier release wrote of no other loop."""
    entry = labelled({}, 0, "").entry | {"state": {"labels": 90}}
    found = labelled(entry, 20, elsewhere)
    assert found.wanted
    assert labelled(found.entry, 0, elsewhere).wanted


def test_what_another_loops_run_may_answer_does_not_wait_in_line_behind_it() -> None:
    loop = Loop(cooldown="0s", concurrencyPolicy="Queue")
    loop.others, loop.theirs = ["second-1"], theirs()
    old = Request({"name": "weekly"}, "MaxAge", wanted=True, key="flights-1", lasting=True)
    known = replace(quality(), entry=quality().entry | {"since": stamp(NOW - HOUR)})
    loop.step(old, known)
    assert "queued" not in loop.status
    loop.step(weekly())
    assert loop.status["queued"]["reason"] == "Schedule"
