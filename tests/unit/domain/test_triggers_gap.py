"""What fell due while nobody looked starts in turns, loop by loop; whatever else asks waits for none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.test_triggers import ask, auc, rule
from tests.unit.domain.test_triggers_plan import Loop, asked, entry, quality
from tests.unit.domain.training_world import NOW

from noria_operator.api.status import MESSAGE_LIMIT
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers import Champion, Request
from noria_operator.domain.triggers_age import max_age
from noria_operator.domain.triggers_combine import combined
from noria_operator.domain.triggers_gap import SPREAD, Gap, in_turn
from noria_operator.domain.triggers_schedule import schedule

Json = dict[str, Any]
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
BACK = Gap(NOW, NOW)
"""An operator begins to lead."""
OLD = TriggerSpec.model_validate({"name": "old", "maxAge": "720h"})
ELEVEN = TriggerSpec.model_validate({"name": "eleven", "schedule": "5 11 * * *"})
MOMENTS = st.integers(0, 10**7).map(lambda seconds: NOW + timedelta(seconds=seconds))


def old(now: datetime, due: datetime) -> Request:
    return max_age(OLD, Champion("flights-1", {}, due - 720 * HOUR), now)


def at_eleven(now: datetime, grace: timedelta = timedelta()) -> Request:
    """A schedule that was due 55 minutes before the operator was back."""
    known = {"lastScheduled": stamp(NOW - 48 * HOUR), "state": {"schedule": "5 11 * * *", "timeZone": "UTC"}}
    return schedule(ELEVEN, known, since=now, now=now, grace=grace)


def loop(uid: str, **spec: Any) -> Loop:
    found = Loop(**{"cooldown": "0s", "triggers": [{"name": "old", "maxAge": "720h"}]} | spec)
    found.obj["metadata"]["uid"] = uid
    return found


def planned(found: Loop, at: datetime) -> Loop:
    """A run is to follow one that is over."""
    last = {"at": stamp(at - HOUR), "reason": "Drift", "trainingJob": "ran"}
    run = last | {"trigger": "gone", "result": "Promoted"}
    last |= {"name": "gone"}
    found.obj["status"] = {"runs": [run], "lastTrigger": last, "followUp": {"at": stamp(at), "of": "ran"}}
    return found


@pytest.mark.parametrize("kind", ["maxAge", "schedule", "followUp"])
def test_many_loops_that_fell_due_in_an_outage_start_one_by_one_within_ten_minutes(kind: str) -> None:
    grace = BACK.grace(NOW)
    asking: dict[str, Callable[[datetime], list[Request]]] = {
        "maxAge": lambda now: [old(now, NOW - 9 * HOUR)],
        "schedule": lambda now: [at_eleven(now, grace)],
        "followUp": lambda now: [],
    }
    loops = [loop(f"uid-{number}", followUp="72h") for number in range(40)]
    started = []
    for minute in (0, 5, 10):
        for one in loops:
            if kind == "followUp" and not minute:
                planned(one, NOW - HOUR)
            one.gap, one.now = BACK, NOW + minute * MINUTE
            if not one.jobs:
                one.settle(*asking[kind](one.now))
        started.append(sum(bool(one.jobs) for one in loops))
    assert (started[0], started[-1]) == (0, 40)
    assert 10 < started[1] < 30


def test_turns_are_spread_evenly() -> None:
    turns = [BACK.turn(f"uid-{number}", NOW) for number in range(3000)]
    minutes = Counter((turn - NOW) // MINUTE for turn in turns)
    assert sorted(minutes) == list(range(10))
    assert 240 < min(minutes.values()) <= max(minutes.values()) < 360


@given(MOMENTS, st.uuids().map(str), MOMENTS)
def test_a_turn_comes_within_ten_minutes_and_a_restart_before_it_does_not_put_it_off(
    back: datetime, uid: str, later: datetime
) -> None:
    turn = Gap(back, back).turn(uid, back)
    assert back <= turn < back + SPREAD
    again = back + (later - NOW) % (turn - back + SECOND / 10**6)
    assert Gap(again, again).turn(uid, back) == turn
    assert Gap(back, back).turn(uid, back + SECOND) == back + SECOND, "it fell due while somebody looked"
    assert Gap(back, back, timedelta()).turn(uid, back) == back


def test_a_person_and_an_alarm_do_not_wait_for_a_turn() -> None:
    for request in (quality(), asked()):
        one = loop("a", triggers=[{"name": "quality", "performance": {"metric": "auc", "min": "0.65"}}])
        one.gap = BACK
        one.settle(request)
        assert len(one.jobs) == 1


def test_a_run_that_waits_for_its_turn_says_so_and_is_looked_at_then() -> None:
    one = loop("a")
    one.gap = BACK
    turn = BACK.turn("a", NOW)
    plan = one.step(old(NOW, NOW - HOUR))
    told = entry(one.status, "old")
    assert (told["decision"], told["reason"], plan.due) == ("Wait", "InTurn", turn)
    assert told["message"] == (
        "flights-1 is older than 720h; it fell due while nobody looked, and starts in this loop's turn at "
        f"{stamp(turn)}"
    )
    one.now = turn
    one.settle(old(turn, NOW - HOUR))
    assert len(one.jobs) == 1
    waiting = planned(loop("a", triggers=[], followUp="72h"), NOW - HOUR)
    waiting.gap = BACK
    assert waiting.step().due == turn


def test_many_members_leave_room_for_when_their_run_starts() -> None:
    says = "a" * MESSAGE_LIMIT
    request = Request({"name": "both"}, "Combine", wanted=True, says=says, fell_due=NOW)
    told = in_turn(request, BACK, "a", NOW).entry["message"]
    assert len(told) <= MESSAGE_LIMIT
    assert told.endswith(stamp(BACK.turn("a", NOW)))


def test_what_only_warns_or_blocks_waits_for_no_turn() -> None:
    one = loop("a", triggers=[{"name": "old", "maxAge": "720h", "action": "Block"}])
    one.gap = BACK
    one.step(old(NOW, NOW - HOUR))
    assert entry(one.status, "old")["decision"] == "Block"


def test_a_schedule_that_was_in_time_when_the_operator_was_back_is_not_skipped_for_its_turn() -> None:
    late = NOW + 6 * MINUTE
    assert at_eleven(late).entry["reason"] == "Missed"
    assert at_eleven(late, BACK.grace(late)).wanted
    after = NOW + SPREAD + SECOND  # where its turn was the last one, and its pass came a moment later
    assert at_eleven(after, BACK.grace(after)).wanted
    assert BACK.grace(NOW + 2 * SPREAD) == timedelta()


def test_a_combination_fell_due_with_its_last_member_if_nothing_but_the_clock_made_them_ask() -> None:
    both = TriggerSpec.model_validate({"name": "both", "combine": {"of": ["a", "b"]}})
    times = {"a": NOW - HOUR, "b": NOW - MINUTE}
    others = {name: Request({"name": name}, "A", wanted=True, fell_due=at) for name, at in times.items()}
    assert combined(both, others).fell_due == NOW - MINUTE
    found = combined(both, others | {"b": Request({"name": "b"}, "Drift", wanted=True)})
    assert found.fell_due is None
    assert in_turn(found, BACK, "a", NOW).wanted


def test_time_over_which_the_clock_leapt_costs_nothing() -> None:
    trigger = rule(relativeDrop=None, cost={"pointDay": "10", "run": "40"})
    opened = ask(trigger, {}, None, hours=0).entry
    begun = moment(opened["windowStartedAt"])
    year = 24 * 365
    leap = Gap(begun + 11 * HOUR, begun + (11 + year) * HOUR)
    plain = ask(trigger, opened, auc(0.70), hours=12)
    leapt = ask(trigger, opened, auc(0.70), hours=12 + year, gap=leap)
    assert (leapt.wanted, leapt.entry["regret"]) == (False, plain.entry["regret"])
    assert ask(trigger, opened, auc(0.70), hours=12 + year).wanted
    before = Gap(begun - 9 * HOUR, begun - HOUR)
    assert ask(trigger, opened, auc(0.70), hours=12, gap=before).entry["regret"] == plain.entry["regret"]
