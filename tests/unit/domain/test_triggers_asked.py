"""What is told of a request that waits, until its run started, or nobody asks any more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.test_triggers_plan import Loop, entry, quality, weekly
from tests.unit.domain.training_world import NOW

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.notifications import occurrences
from noria_operator.domain.training_times import stamp
from noria_operator.domain.triggers import FOLLOW_UP, MANUAL, Request, manual
from noria_operator.domain.triggers_combine import in_order
from noria_operator.domain.triggers_schedule import schedule

Json = dict[str, Any]
HOUR = timedelta(hours=1)


def by_hand(loop: Loop, said: str) -> list[Request]:
    """What the annotation asks for."""
    known = next((one for one in loop.status.get("triggers", []) if one["name"] == MANUAL), None)
    found = manual(said, loop.status.get("commands", {}).get("retrain"), known)
    return [found] if found else []


@pytest.mark.parametrize("said", ["", "now-1"], ids=["removed", "the one before again"])
def test_a_request_that_is_held_and_taken_back_is_held_no_more(said: str) -> None:
    held = {"name": MANUAL, "decision": "Blocked", "reason": "Asked", "message": "asked; held by Budget: now"}
    found = manual(said, "now-1", held)
    assert found is not None
    assert (found.wanted, found.entry["decision"], found.entry["reason"]) == (False, "No", "Withdrawn")
    assert "Budget" not in found.entry["message"]
    done = held | {"decision": "Fire", "message": "a person asked"}
    after = manual(said, "now-1", done)
    assert after is not None
    assert after.entry == done


def test_a_request_that_was_taken_back_is_no_spent_budget_after_later_runs() -> None:
    loop = Loop(cooldown="0s", budget={"maxRuns": 1, "per": "24h"})
    loop.settle(weekly())
    loop.finish()
    loop.now += HOUR
    loop.step(*by_hand(loop, "ada"))
    assert "held by Budget" in entry(loop.status, MANUAL)["message"]
    assert {one.type for one in occurrences(loop.obj, NOW)} == {"retraining.blocked"}
    loop.step(*by_hand(loop, ""))
    loop.now += 48 * HOUR
    later = loop.now
    loop.step(*by_hand(loop, ""), weekly("2026-03-09T02:00:00Z"))
    loop.step(*by_hand(loop, ""))
    loop.finish()
    loop.step(*by_hand(loop, ""))
    assert (entry(loop.status, MANUAL)["decision"], loop.status["blockedBy"]) == ("No", "Budget")
    assert [one.type for one in occurrences(loop.obj, later - HOUR)] == ["retraining.started"]


def test_a_request_that_a_gitops_tool_puts_back_starts_no_second_run() -> None:
    loop = Loop()
    for said, runs in (("git", 1), ("cli", 2), ("git", 2), ("cli", 2), ("now", 3)):
        loop.now += HOUR
        loop.obj["metadata"]["annotations"] = {"noria.dev/retrain": said}
        told, again = [], len(loop.jobs) == runs
        for _ in range(3):
            plan = loop.step(*in_order(loop.obj, [], [], {}))
            told += [one.message for one in plan.notices if one.reason == "CommandRefused"]
        loop.finish()
        assert (len(loop.jobs), loop.status["commands"]) == (runs, {"retrain": said})
        why = "this id was carried out before; give another one if it is meant"
        assert told == ([f"noria.dev/retrain {said}: {why}"] if again else [])


def test_what_waited_in_the_queue_says_that_its_run_started() -> None:
    loop = Loop(cooldown="0s", concurrencyPolicy="Queue")
    loop.settle(weekly())
    loop.step(*by_hand(loop, "bob"))
    said = entry(loop.status, MANUAL)
    assert (said["decision"], said["message"]) == ("Wait", "waits in the queue")
    loop.finish("Succeeded")
    loop.now += HOUR
    for _ in range(3):
        loop.step(*by_hand(loop, "bob"))
    assert (len(loop.jobs), "queued" in loop.status) == (2, False)
    said = entry(loop.status, MANUAL)
    assert (said["decision"], said["message"]) == ("Fire", "a person asked")


def test_what_waited_in_the_queue_says_whose_run_answered_it() -> None:
    loop = Loop(cooldown="6h", concurrencyPolicy="Queue")
    loop.settle(weekly())
    loop.now += 6 * HOUR
    loop.step(quality())
    loop.finish("Failed")  # so that the cooldown is twelve hours, which hold no person
    for _ in range(3):
        loop.step(*by_hand(loop, "eve"), Request(entry(loop.status, "quality"), "Performance"))
    assert loop.status["lastTrigger"]["name"] == MANUAL
    assert "queued" not in loop.status
    said = entry(loop.status, "quality")
    assert (said["decision"], said["message"]) == ("Wait", "answered by the run of Manual")


def test_a_window_that_was_judged_since_stays_what_its_trigger_says() -> None:
    loop = Loop(cooldown="0s", concurrencyPolicy="Queue")
    loop.settle(weekly())
    loop.step(quality())
    loop.finish("Succeeded")
    well = entry(loop.status, "quality") | {"decision": "No", "message": "well again"}
    loop.settle(Request(well, "Performance"))
    assert loop.status["lastTrigger"]["name"] == "quality"
    assert entry(loop.status, "quality")["message"] == "well again"


def test_a_run_that_is_to_follow_says_on_an_entry_of_its_own_what_holds_it_once_it_is_due() -> None:
    loop = Loop(cooldown="0s", followUp="6h", budget={"maxRuns": 1, "per": "168h"})
    loop.settle(quality())
    loop.finish("Succeeded")
    (run,) = loop.jobs
    until = loop.now + 168 * HOUR
    watched = quality(wanted=False)
    loop.step(watched)
    assert MANUAL not in [one["name"] for one in loop.status["triggers"]]
    assert FOLLOW_UP not in [one["name"] for one in loop.status["triggers"]], "it is not due"
    loop.now += 6 * HOUR
    plan = loop.step(watched)
    said = entry(loop.status, FOLLOW_UP)
    assert said["decision"] == "Blocked"
    assert said["message"].startswith(f"follows the run {run}")
    assert said["message"].endswith(f"held by Budget: until {stamp(until)}")
    assert [one.reason for one in plan.notices] == ["RunHeld"]
    assert "retraining.blocked" in {one.type for one in occurrences(loop.obj, NOW)}
    before = loop.status
    assert not loop.step(watched).notices
    assert loop.status == before, "nothing new is written"
    loop.now = until
    loop.settle(watched)
    assert (len(loop.jobs), loop.status["lastTrigger"]["name"]) == (2, FOLLOW_UP)
    assert FOLLOW_UP not in [one["name"] for one in loop.status["triggers"]]


@pytest.mark.parametrize("policy", ["Forbid", "Queue", "Replace"])
def test_a_run_that_is_to_follow_waits_for_one_that_is_under_way(policy: str) -> None:
    loop = Loop(cooldown="0s", followUp="6h", concurrencyPolicy=policy, suspend=True)
    loop.obj["status"] = {"followUp": {"at": stamp(loop.now), "of": "old"}}
    loop.others = ["somebody-elses"]
    loop.step(quality(wanted=False))
    assert "held by Suspended" in entry(loop.status, FOLLOW_UP)["message"]
    loop.obj["spec"]["suspend"] = False
    loop.step(quality(wanted=False))
    assert "held by Concurrency" in entry(loop.status, FOLLOW_UP)["message"]
    loop.others = []
    loop.settle(quality(wanted=False))
    assert loop.status["lastTrigger"]["name"] == FOLLOW_UP


def test_what_a_place_in_the_queue_does_not_answer_says_what_holds_it_in_that_pass_too() -> None:
    loop = Loop(cooldown="12h", followUp="6h", concurrencyPolicy="Queue")
    loop.settle(quality())
    loop.finish("Succeeded")
    loop.step(quality(wanted=False))
    loop.now += 6 * HOUR
    loop.others = ["somebody-elses"]
    told = [
        loop.step(*by_hand(loop, said), quality(wanted=False), weekly()) for said in ("", "ada", "ada", "ada")
    ]
    assert loop.status["queued"]["trigger"] == MANUAL
    held = "held by Concurrency: TrainingJob somebody-elses of "
    for plan in told:
        for name in ("weekly", FOLLOW_UP):
            said = entry(plan.status, name)
            assert (said["decision"], held in said["message"]) == ("Blocked", True)
    assert entry(told[1].status, MANUAL)["message"] == "waits in the queue"
    events = [one.message for plan in told for one in plan.notices if one.reason == "RunHeld"]
    assert [sum(text.startswith(name) for text in events) for name in ("weekly", FOLLOW_UP)] == [1, 1]


def test_no_entry_is_added_beyond_what_the_api_server_takes() -> None:
    """Sixteen triggers, and what a person asked for."""
    names = [f"t{number}" for number in range(16)]
    loop = Loop(
        triggers=[{"name": name, "schedule": "0 2 * * 1"} for name in names], followUp="6h", suspend=True
    )
    loop.obj["status"] = {"followUp": {"at": stamp(loop.now), "of": "old"}}
    loop.step(*by_hand(loop, "ada"), *(Request({"name": name}, "Schedule") for name in names))
    assert [one["name"] for one in loop.status["triggers"]] == [MANUAL, *names]


def test_what_waits_in_the_queue_says_what_holds_it_once_no_run_is_under_way() -> None:
    loop = Loop(cooldown="0s", concurrencyPolicy="Queue", budget={"maxRuns": 1, "per": "168h"})
    loop.settle(weekly())
    until = loop.now + 168 * HOUR
    loop.obj["spec"]["budget"]["maxRuns"] = 2
    loop.step(weekly("2026-03-09T02:00:00Z"))
    loop.obj["spec"]["budget"]["maxRuns"] = 1

    def watched() -> Request:
        return Request(entry(loop.status, "weekly"), "Schedule")

    loop.step(watched())
    assert entry(loop.status, "weekly")["message"] == "waits in the queue"
    loop.finish("Succeeded")
    loop.step(watched())
    said = entry(loop.status, "weekly")
    assert said["decision"] == "Blocked"
    assert said["message"] == f"waits in the queue; held by Budget: until {stamp(until)}"
    loop.others = ["somebody-elses"]
    loop.step(watched())
    said = entry(loop.status, "weekly")
    assert (said["decision"], said["message"]) == ("Wait", "waits in the queue")
    loop.others = []
    loop.now = until
    for _ in range(3):
        loop.step(watched())
    assert (len(loop.jobs), entry(loop.status, "weekly")["decision"]) == (2, "Fire")


def test_a_schedule_is_due_for_as_long_as_it_waits_in_the_queue() -> None:
    nightly = TriggerSpec(name="nightly", schedule="0 2 * * *")
    triggers = [{"name": "nightly", "schedule": "0 2 * * *"}]
    loop = Loop(cooldown="0s", concurrencyPolicy="Queue", triggers=triggers)
    begun = loop.now = NOW.replace(hour=2, minute=0, second=0, microsecond=0)

    def look() -> str:
        known = next((one for one in loop.status.get("triggers", []) if one["name"] == "nightly"), {})
        loop.step(schedule(nightly, known, since=begun - HOUR, now=loop.now))
        return str(entry(loop.status, "nightly")["nextRun"])

    day = timedelta(days=1)
    for _ in range(3):
        look()
    assert look() == stamp(begun + day)
    loop.now += day
    assert [look() for _ in range(3)] == [stamp(begun + day)] * 3
    assert entry(loop.status, "nightly")["message"] == "waits in the queue"
    loop.now += 14 * HOUR
    assert look() == stamp(begun + day), "the run before it hangs"
    loop.finish("Succeeded")
    for _ in range(3):
        look()
    assert (len(loop.jobs), look()) == (2, stamp(begun + 2 * day))


def test_a_person_whose_request_waits_in_the_queue_may_remove_the_annotation() -> None:
    loop = Loop(cooldown="0s", concurrencyPolicy="Queue", budget={"maxRuns": 2, "per": "168h"})
    loop.settle(weekly())
    loop.step(*by_hand(loop, "bob"))
    loop.obj["spec"]["budget"]["maxRuns"] = 1
    loop.finish("Succeeded")
    for said in ("bob", "", ""):
        loop.step(*by_hand(loop, said))
        told = entry(loop.status, MANUAL)
        assert (told["decision"], told["reason"]) == ("Blocked", "Asked")
        assert told["message"].startswith("waits in the queue; held by Budget")


def test_what_was_held_in_the_queue_is_held_no_more_once_another_run_answered_it() -> None:
    loop = Loop(cooldown="6h", concurrencyPolicy="Queue")
    loop.settle(weekly())
    loop.now += 6 * HOUR
    loop.step(quality())
    loop.finish("Failed")
    loop.step(Request(entry(loop.status, "quality"), "Performance"))
    assert "held by Cooldown" in entry(loop.status, "quality")["message"]
    for _ in range(3):
        loop.step(*by_hand(loop, "eve"), Request(entry(loop.status, "quality"), "Performance"))
    said = entry(loop.status, "quality")
    assert (said["decision"], said["message"]) == ("Wait", "answered by the run of Manual")
