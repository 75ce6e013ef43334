"""What a loop does with what its triggers say: warn, block, wait in line, follow up, stop trying."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.test_triggers_plan import Loop, asked, entry, quality, weekly
from tests.unit.domain.training_world import deployment, served, version

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.training_times import stamp
from noria_operator.domain.triggers import MANUAL, Request
from noria_operator.domain.triggers_combine import combined

Json = dict[str, Any]
HOUR = timedelta(hours=1)
WEEKLY = {"name": "weekly", "schedule": "0 2 * * 1"}


def acting(action: str, **spec: Any) -> Loop:
    """A loop whose trigger `quality` has this action."""
    triggers = [
        {"name": "quality", "performance": {"metric": "auc", "min": "0.65"}, "action": action},
        {**WEEKLY},
    ]
    return Loop(triggers=triggers, **spec)


def condition(loop: Loop, name: str) -> Json:
    return next(one for one in loop.status["conditions"] if one["type"] == name)


def test_a_trigger_that_warns_starts_nothing_and_raises_the_alarm() -> None:
    loop = acting("Warn")
    plan = loop.step(quality())
    assert (plan.create, loop.status.get("runs")) == (None, [])
    assert entry(loop.status, "quality")["decision"] == "Warn"
    alarm = condition(loop, "Alarm")
    assert (alarm["status"], alarm["reason"]) == ("True", "TriggersFire")
    assert "quality: lost" in alarm["message"]
    assert [(one.type, one.reason) for one in plan.notices] == [("Warning", "TriggerWarns")]
    assert loop.step(quality()).notices == ()
    quiet = loop.step(Request({"name": "quality", "decision": "No"}, "Performance"))
    assert [one.reason for one in quiet.notices] == ["TriggerQuiet"]
    assert condition(loop, "Alarm")["status"] == "False"


def test_a_trigger_that_blocks_holds_all_others_but_not_a_person() -> None:
    loop = acting("Block")
    loop.step(quality(), weekly())
    assert loop.status["blockedBy"] == "Trigger"
    assert "trigger quality blocks: lost" in entry(loop.status, "weekly")["message"]
    assert loop.jobs == {}
    loop.settle(asked(), quality(), weekly())
    assert loop.status["lastTrigger"]["reason"] == MANUAL


def test_a_trigger_that_cannot_be_decided_tells_so_once() -> None:
    loop = Loop()
    wrong = Request({"name": "quality", "decision": "Error", "message": "use accuracy"}, "Performance")
    (told,) = loop.step(wrong).notices
    assert (told.type, told.reason, told.message) == ("Warning", "TriggerFails", "quality: use accuracy")
    assert loop.step(wrong).notices == ()


def test_what_is_only_observed_starts_nothing_and_alarms_nobody() -> None:
    loop = acting("Observe")
    (told,) = loop.step(quality()).notices
    assert entry(loop.status, "quality")["decision"] == "Observe"
    assert (condition(loop, "Alarm")["status"], loop.jobs) == ("False", {})
    assert (told.type, told.reason, told.message) == ("Normal", "TriggerObserves", "quality: lost")
    assert loop.step(quality()).notices == ()


def judged(decision: str, reason: str, message: str = "") -> Request:
    """What a trigger says that does not ask."""
    said = {"name": "quality", "decision": decision, "reason": reason, "message": message}
    return Request(said, "Performance")


def test_a_decision_or_a_reason_that_is_another_one_is_told_also_when_it_is_no() -> None:
    loop = Loop()
    for decision, reason in (
        ("Wait", "WindowOpen"),
        ("No", "NotWorse"),
        ("No", "FirstWindow"),
        ("Wait", "MayBeChance"),
    ):
        (told,) = loop.step(judged(decision, reason)).notices
        assert (told.type, told.reason) == ("Normal", "TriggerDecided")
        assert told.message == f"quality: {decision} ({reason})"
        assert loop.step(judged(decision, reason, "another figure")).notices == ()
    loop.step(judged("Error", "LookFailed"))
    assert [one.reason for one in loop.step(judged("No", "Unchanged")).notices] == ["TriggerDecided"]


def test_windows_that_go_to_and_fro_tell_the_same_again_whatever_their_figures() -> None:
    """Events are written once for each reason and message in ten minutes."""
    loop, told = Loop(), set()
    for window in range(10):
        for decision, reason in (("Wait", "MayBeChance"), ("No", "NotWorse")):
            (notice,) = loop.step(judged(decision, reason, f"{window} rows")).notices
            told.add(notice)
    assert len(told) == 2


def test_a_run_that_starts_has_no_event_beside_its_own() -> None:
    loop = Loop()
    loop.step(judged("No", "NotWorse"))
    assert loop.step(quality()).notices == ()
    assert [one.reason for one in loop.step(quality(wanted=False)).notices] == ["TrainingStarted"]


def test_the_run_of_a_combination_answers_its_members() -> None:
    loop = acting("Observe")
    loop.obj["spec"]["triggers"][1]["action"] = "Observe"
    both = Request(
        {"name": "both"}, "Combine", wanted=True, key="k", says="2 of 2", members=("quality", "weekly")
    )
    loop.step(quality(), weekly(), both)
    assert loop.status["runs"][0]["trigger"] == "both"
    assert entry(loop.status, "quality")["streak"] == 0
    assert entry(loop.status, "weekly")["lastScheduled"] == weekly().key


def test_a_loss_that_a_combination_answers_stands_since_it_was_observed() -> None:
    loop = acting("Observe")
    loop.step(quality(), weekly(wanted=False))
    seen = entry(loop.status, "quality")["since"]
    assert seen == stamp(loop.now)
    loop.now += 5 * HOUR
    both = Request({"name": "both"}, "Combine", wanted=True, key="k", members=("quality", "weekly"))
    loop.settle(quality(), weekly(), both)
    (job,) = loop.jobs.values()
    assert f'"since": "{seen}"' in job["metadata"]["annotations"]["noria.dev/trigger"]


def test_a_request_that_another_ones_run_does_not_answer_is_held_by_it_from_its_start_on() -> None:
    """It is never without a decision, and people are told once that its run is held."""
    loop = Loop(cooldown="1h")
    loop.obj["status"] = {
        "runs": [{"at": stamp(loop.now), "trainingJob": "old", "result": "Kept"}],
        "lastTrigger": {"trainingJob": "old"},
    }
    told = [notice.reason for notice in loop.step(quality(), weekly()).notices]
    assert told == ["RunHeld", "RunHeld"]
    loop.now += HOUR
    for _ in range(3):
        told += [notice.reason for notice in loop.step(quality(), weekly()).notices]
        held = entry(loop.status, "weekly")
        assert (held["decision"], "held by Concurrency" in held["message"]) == ("Blocked", True)
    assert told.count("RunHeld") == 3, "quality asks again, as its run is not finished"
    assert len(loop.jobs) == 1


def failing(loop: Loop, times: int) -> None:
    """So many runs that fail, each started as soon as it may."""
    for number in range(times):
        loop.settle(quality(f"w{number}"))
        assert len(loop.jobs) == number + 1
        loop.finish()
        loop.step()
        loop.now += timedelta(days=3)


def test_each_failure_in_a_row_doubles_the_cooldown_and_a_promotion_ends_that() -> None:
    loop = Loop(cooldown="1h")
    failing(loop, 2)
    assert (loop.status["failures"], [run["result"] for run in loop.status["runs"]]) == (2, ["Failed"] * 2)
    loop.settle(quality("w2"))
    last = loop.status["lastTrigger"]
    loop.finish("Succeeded")
    made = version(2, lineage={"trainingJob": {"name": last["trainingJob"], "uid": "u"}})
    loop.step(seen=deployment(1), versions=[version(1), made])
    loop.now += 3 * HOUR
    loop.step(quality("w3"), seen=deployment(1, rejected=[served(2)]), versions=[made])
    assert (loop.status["failures"], loop.status["blockedBy"]) == (3, "Cooldown")
    assert loop.status["nextEligibleTime"] == stamp(loop.now + 5 * HOUR)
    loop.now += 5 * HOUR
    loop.settle(quality("w3"))
    name = loop.status["lastTrigger"]["trainingJob"]
    loop.finish("Succeeded")
    good = version(3, lineage={"trainingJob": {"name": name, "uid": "u"}})
    loop.step(seen=deployment(3), versions=[good])
    assert "failures" not in loop.status
    assert loop.status["runs"][-1]["result"] == "Promoted"


def test_after_too_many_failures_only_a_person_or_another_spec_starts_a_run() -> None:
    loop = Loop(cooldown="1h", stopAfterFailures=3, historyLimit=100)
    failing(loop, 3)
    loop.step(quality("late"))
    assert loop.status["blockedBy"] == "CircuitOpen"
    assert "noria.dev/retrain" in entry(loop.status, "quality")["message"]
    assert "3 runs in a row" in condition(loop, "Ready")["message"]
    loop.settle(asked("help"))
    assert len(loop.jobs) == 4
    loop.finish()
    loop.step()
    loop.now += timedelta(days=3)
    loop.step(quality("later"))
    assert (loop.status["blockedBy"], loop.status["failures"]) == ("CircuitOpen", 4)
    loop.obj["metadata"]["generation"] = 2
    loop.settle(quality("edited"))
    assert len(loop.jobs) == 5


def test_zero_never_stops_trying() -> None:
    loop = Loop(cooldown="1h", stopAfterFailures=0, historyLimit=100)
    failing(loop, 7)
    assert len(loop.jobs) == 7


def test_one_request_waits_in_line_whatever_becomes_of_its_reason() -> None:
    loop = Loop(cooldown="0s", concurrencyPolicy="Queue")
    loop.settle(weekly())
    loop.now += HOUR
    loop.step(weekly("2026-03-09T02:00:00Z"), quality())
    assert loop.status["queued"]["trigger"] == "weekly"
    assert entry(loop.status, "weekly")["lastScheduled"] == "2026-03-09T02:00:00Z"
    assert entry(loop.status, "weekly")["message"] == "waits in the queue"
    loop.step(weekly("2026-03-16T02:00:00Z", wanted=False), quality(wanted=False))
    loop.finish()
    loop.now += 5 * HOUR
    loop.settle()
    assert len(loop.jobs) == 2
    assert (loop.status["lastTrigger"]["name"], "queued" in loop.status) == ("weekly", False)


def test_a_person_waits_in_line_once_for_each_id() -> None:
    loop = Loop(cooldown="6h", concurrencyPolicy="Queue")
    loop.settle(weekly())
    loop.step(asked("id-9"))
    assert (loop.status["commands"], loop.status["queued"]["reason"]) == ({"retrain": "id-9"}, MANUAL)
    loop.finish()
    loop.settle()
    assert loop.status["commands"] == {"retrain": "id-9"}
    assert loop.status["lastTrigger"]["reason"] == MANUAL


def test_replace_ends_the_live_run_before_the_new_one_starts() -> None:
    loop = Loop(cooldown="0s", concurrencyPolicy="Replace")
    loop.settle(weekly())
    (old,) = loop.jobs
    loop.now += HOUR
    plan = loop.step(asked())
    assert (plan.delete, plan.create) == ((old,), None)
    assert loop.status["runs"][-1]["result"] == "Replaced"
    loop.settle(asked())
    (new,) = loop.jobs
    assert new != old
    assert "failures" not in loop.status


def test_replace_does_not_end_a_run_for_one_that_may_not_start() -> None:
    loop = Loop(cooldown="6h", concurrencyPolicy="Replace")
    loop.settle(weekly())
    loop.now += HOUR
    assert loop.step(quality()).delete == ()
    assert len(loop.jobs) == 1


def test_replace_does_not_end_a_run_while_one_of_somebody_else_holds_the_new_one() -> None:
    loop = Loop(cooldown="0s", concurrencyPolicy="Replace")
    loop.settle(weekly())
    old = [*loop.jobs]
    loop.now += HOUR
    loop.others = ["by-hand"]
    assert loop.step(asked()).delete == ()
    assert [*loop.jobs] == old
    loop.others = []
    assert loop.step(asked()).delete == (*old,)


def old() -> Request:
    """The champion is too old, and stays so until another one is served."""
    return Request({"name": "weekly"}, "MaxAge", wanted=True, key="flights-1", lasting=True)


@pytest.mark.parametrize("policy", ["Replace", "Queue"])
def test_a_run_for_an_old_champion_is_neither_replaced_nor_followed_by_another_for_it(policy: str) -> None:
    loop = Loop(cooldown="1h", concurrencyPolicy=policy)
    loop.step(old())
    loop.step(old())
    (name,) = loop.jobs
    for _ in range(3):
        loop.now += HOUR
        plan = loop.step(old())
        assert (plan.delete, "queued" in loop.status) == ((), False)
        assert f"TrainingJob {name} is not finished" in entry(loop.status, "weekly")["message"]
    loop.finish("Succeeded")
    made = version(2, lineage={"trainingJob": {"name": name, "uid": "u"}})
    trial = deployment(1, candidate={"version": "flights-2"})
    loop.step(old(), seen=trial, versions=[made])
    assert "rolling out flights-2" in entry(loop.status, "weekly")["message"]
    assert len(loop.jobs) == 1
    loop.step(old(), seen=deployment(1, rejected=[served(2)]), versions=[made])
    assert len(loop.status["runs"]) == 2


def lost(loop: Loop, key: str) -> Request:
    """The loss that status tells of, in a later window."""
    return replace(quality(key), entry=entry(loop.status, "quality"))


@pytest.mark.parametrize("by", ["itself", "a combination"])
@pytest.mark.parametrize("policy", ["Replace", "Queue"])
def test_a_run_for_a_loss_is_neither_replaced_nor_followed_by_another_for_it(policy: str, by: str) -> None:
    """Windows go on to show it: what takes longer than they do would never end."""
    loop = acting("Retrain" if by == "itself" else "Observe", cooldown="0s", concurrencyPolicy=policy)

    def asks(request: Request) -> tuple[Request, ...]:
        both = Request({"name": "both"}, "Combine", wanted=True, key=request.key, members=("quality",))
        return (request,) if by == "itself" else (request, both)

    loop.step(*asks(quality("w1")))
    loop.step(*asks(lost(loop, "w1")))
    (name,) = loop.jobs
    for hours in range(3):
        loop.now += HOUR
        plan = loop.step(*asks(lost(loop, f"w{hours + 2}")))
        assert (plan.delete, "queued" in loop.status) == ((), False)
    loop.finish("Succeeded")
    made = version(2, lineage={"trainingJob": {"name": name, "uid": "u"}})
    trial = deployment(1, candidate={"version": "flights-2"})
    loop.step(*asks(lost(loop, "w5")), seen=trial, versions=[made])
    assert len(loop.status["runs"]) == 1, "nor is its version before it was judged"
    loop.step(*asks(lost(loop, "w5")), seen=deployment(1, rejected=[served(2)]), versions=[made])
    assert len(loop.status["runs"]) == 2


@pytest.mark.parametrize("combined", [False, True])
@pytest.mark.parametrize("kind", ["Drift", "DataQuality", "Fairness", "Performance"])
def test_a_run_is_not_replaced_by_what_another_champion_alone_can_end(kind: str, combined: bool) -> None:
    loop = acting("Observe" if combined else "Retrain", cooldown="0s", concurrencyPolicy="Replace")
    for hours in range(4):
        seen = Request({"name": "quality"}, kind, wanted=True, key=f"w{hours}")
        both = Request({"name": "both"}, "Combine", wanted=combined, key=seen.key, members=("quality",))
        plan = loop.step(seen, weekly(wanted=False), both)
        assert plan.delete == ()
        loop.now += HOUR
    assert len(loop.jobs) == 1
    assert len(loop.step(weekly()).delete) == 1, "it is new data that a schedule asks for"


def test_a_run_that_began_before_a_loss_was_seen_is_replaced_once() -> None:
    loop = Loop(cooldown="0s", concurrencyPolicy="Replace")
    loop.settle(weekly())
    loop.now += HOUR
    assert len(loop.step(quality("w1")).delete) == 1
    for _ in range(2):
        loop.step(lost(loop, "w1"))
    assert [run.get("result") for run in loop.status["runs"]] == ["Replaced", None]
    loop.now += HOUR
    assert loop.step(lost(loop, "w2")).delete == ()


def test_a_combination_lasts_only_where_all_that_fires_does() -> None:
    rule = {"name": "both", "combine": {"of": ["weekly", "quality"], "atLeast": 1}}
    trigger = TriggerSpec.model_validate(rule)
    assert combined(trigger, {"weekly": old()}).lasting
    assert not combined(trigger, {"weekly": old(), "quality": quality()}).lasting


def test_a_loss_of_quality_is_followed_by_one_run_on_data_from_after_the_alarm() -> None:
    loop = Loop(cooldown="1h", followUp="72h")
    loop.settle(quality())
    first = loop.status["lastTrigger"]["trainingJob"]
    assert loop.status["followUp"] == {"at": stamp(loop.now + 72 * HOUR), "of": first}
    loop.finish("Succeeded")
    loop.now += 71 * HOUR
    assert loop.step().due == loop.now + HOUR
    assert len(loop.jobs) == 1
    loop.now += HOUR
    loop.settle()
    assert (len(loop.jobs), loop.status["lastTrigger"]["reason"]) == (2, "FollowUp")
    assert "followUp" not in loop.status
    loop.finish("Succeeded")
    loop.now += 100 * HOUR
    loop.settle()
    assert len(loop.jobs) == 2


def test_a_follow_up_that_the_spec_asks_for_no_more_is_forgotten() -> None:
    loop = Loop(cooldown="1h", followUp="72h")
    loop.settle(quality())
    loop.finish("Failed")
    del loop.obj["spec"]["followUp"]
    loop.step()
    assert "followUp" not in loop.status
    loop.now += 72 * HOUR
    loop.settle()
    assert len(loop.jobs) == 1


@pytest.mark.parametrize("kind", ["performance", "estimatedPerformance", "conceptDrift", "drift"])
def test_every_kind_that_tells_of_a_loss_is_followed_by_a_run(kind: str) -> None:
    rule: Json = {"metric": "auc", "min": "0.65"} if "erformance" in kind else {}
    loop = Loop(triggers=[{"name": "quality", kind: rule, "action": "Retrain"}], followUp="72h")
    reason = kind[0].upper() + kind[1:]
    loop.settle(Request({"name": "quality", "message": "lost"}, reason, wanted=True, key="w1"))
    assert loop.status["followUp"]["of"] == loop.status["lastTrigger"]["trainingJob"]


@pytest.mark.parametrize("chosen", [asked(), weekly()], ids=["a person", "a schedule"])
def test_a_run_that_answers_a_loss_is_followed_whoever_asked_for_it(chosen: Request) -> None:
    loop = Loop(followUp="72h")
    loop.step(chosen, quality())
    (run,) = loop.status["runs"]
    assert (run["trigger"], entry(loop.status, "quality")["streak"]) == (chosen.name, 0)
    assert loop.status["followUp"] == {"at": stamp(loop.now + 72 * HOUR), "of": run["trainingJob"]}


def queueing(*waits: Request, then: str) -> Loop:
    """A loop in which these came while a run of the schedule was active, which ended so; one that failed
    opens the circuit.
    """
    loop = acting("Retrain", followUp="72h", concurrencyPolicy="Queue", cooldown="0s", stopAfterFailures=1)
    loop.settle(weekly())
    loop.step(*waits)
    assert loop.status["queued"]["trigger"] == waits[0].name
    loop.finish(then)
    return loop


@pytest.mark.parametrize("waits", [(quality(),), (asked(), quality())], ids=["itself", "with a person"])
def test_a_loss_that_was_answered_by_a_place_in_the_queue_is_followed(waits: tuple[Request, ...]) -> None:
    loop = queueing(*waits, then="Succeeded")
    loop.settle(quality(wanted=False))
    assert loop.status["followUp"] == {
        "at": stamp(loop.now + 72 * HOUR),
        "of": loop.status["lastTrigger"]["trainingJob"],
    }


def test_a_person_who_does_not_wait_empties_the_queue_and_answers_what_it_held() -> None:
    loop = queueing(quality(), then="Failed")
    loop.settle(asked())
    assert (len(loop.jobs), loop.status["lastTrigger"]["reason"]) == (2, MANUAL)
    assert "queued" not in loop.status
    assert loop.status["followUp"]["of"] == loop.status["lastTrigger"]["trainingJob"]


def test_a_loss_of_which_people_are_only_told_plans_no_follow_up() -> None:
    loop = Loop(triggers=[{"name": "drift", "drift": {}}, WEEKLY], followUp="72h")
    loop.step(weekly(), Request({"name": "drift"}, "Drift", wanted=True, key="w1"))
    assert (len(loop.status["runs"]), "followUp" in loop.status) == (1, False)


def test_a_scheduled_run_needs_no_follow_up_and_takes_none_away() -> None:
    loop = Loop(cooldown="1h", followUp="72h")
    loop.settle(weekly())
    assert "followUp" not in loop.status
    loop.finish("Succeeded")
    loop.now += 2 * HOUR
    loop.settle(quality())
    planned = loop.status["followUp"]
    loop.finish("Succeeded")
    loop.now += 2 * HOUR
    loop.settle(weekly("2026-03-09T02:00:00Z"))
    assert loop.status["followUp"] == planned


happenings = st.lists(
    st.tuples(
        st.integers(0, 900),
        st.sampled_from(["quality", "weekly", "manual", "none"]),
        st.sampled_from(["run", "Failed", "Succeeded"]),
        st.booleans(),
    ),
    max_size=30,
)


@given(happenings, st.sampled_from(["Forbid", "Queue", "Replace"]), st.integers(1, 3), st.booleans())
def test_whatever_happens_one_run_is_live_and_the_budget_holds(
    events: list[tuple[int, str, str, bool]], policy: str, budget: int, follow: bool
) -> None:
    more = {"followUp": "5h"} if follow else {}
    loop = Loop(
        cooldown="1h",
        concurrencyPolicy=policy,
        budget={"maxRuns": budget, "per": "24h"},
        historyLimit=100,
        **more,
    )
    for number, (minutes, who, ends, crash) in enumerate(events):
        loop.now += timedelta(minutes=minutes)
        wanted = {"quality": [quality(f"w{number}")], "weekly": [weekly(stamp(loop.now))]}
        wanted["manual"] = [asked(f"i{number}")]
        loop.step(*wanted.get(who, []))
        if not crash:
            loop.settle()
        live = [job for job in loop.jobs.values() if job["status"]["phase"] == "Pending"]
        assert len(live) <= 1
        if ends != "run":
            loop.finish(ends)
    starts = sorted(run["at"] for run in loop.status.get("runs", []))
    for index in range(len(starts) - budget):
        begun = loop.now.fromisoformat(starts[index])
        assert loop.now.fromisoformat(starts[index + budget]) - begun >= timedelta(hours=24)
