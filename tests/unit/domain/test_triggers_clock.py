"""A clock that was set forward and back silences no loop, and a clock that is behind forgets nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.test_triggers_concept import WATCH
from tests.unit.domain.test_triggers_plan import Loop, quality
from tests.unit.domain.test_triggers_unanswered import DATA, SAMPLES
from tests.unit.domain.training_world import NOW

from noria_operator.api.continuoustraining import ContinuousTraining, TriggerStatus
from noria_operator.api.parsing import parse_as
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.training_times import TOLERANCE, moment, stamp
from noria_operator.domain.triggers import Champion, Request
from noria_operator.domain.triggers_clock import not_ahead
from noria_operator.domain.triggers_concept import concept_drift
from noria_operator.domain.triggers_data import Looking, data_change
from noria_operator.domain.triggers_monitoring import watch
from noria_operator.domain.triggers_samples import new_samples
from noria_operator.domain.triggers_schedule import schedule

Json = dict[str, Any]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FAR = 400 * DAY
CHAMPION = Champion("flights-1", {})
NIGHTLY = TriggerSpec.model_validate({"name": "nightly", "schedule": "0 2 * * *"})
DRIFT = TriggerSpec.model_validate({"name": "drift", "drift": {}})


def mended(entry: Json, now: datetime, **spec: Any) -> Json:
    """An entry as a pass at `now` takes it."""
    obj = Loop(**spec).obj | {"status": {"triggers": [entry]}}
    found = not_ahead(obj, parse_as(ContinuousTraining, obj), now)["status"]["triggers"][0]
    TriggerStatus.model_validate(found)
    return dict(found)


def nightly(entry: Json, now: datetime) -> Request:
    return schedule(NIGHTLY, entry, since=now, now=now)


def test_a_schedule_that_ran_in_the_far_future_runs_tonight() -> None:
    entry = nightly({}, NOW + FAR).entry
    found = nightly(entry, NOW + FAR + timedelta(hours=14.5))
    assert found.wanted
    entry = found.entry | found.answer
    assert not nightly(entry, NOW + DAY).wanted, "as it was"
    back = nightly(mended(entry, NOW), NOW)
    assert (back.wanted, back.entry["nextRun"]) == (False, "2026-03-02T02:00:00Z")
    assert nightly(mended(back.entry, NOW + DAY), NOW + timedelta(hours=14.5)).wanted


def test_a_time_that_was_handled_early_is_not_handled_again_when_it_comes() -> None:
    first = nightly(nightly({}, NOW + FAR).entry, NOW + FAR + timedelta(hours=14.5))
    entry = nightly(mended(first.entry | first.answer, NOW), NOW).entry
    before = nightly(entry, moment(first.key) - DAY + HOUR / 2)
    entry = before.entry | before.answer
    assert before.wanted
    assert not nightly(mended(entry, moment(first.key) + HOUR / 2), moment(first.key) + HOUR / 2).wanted
    after = nightly(entry, moment(first.key) + DAY + HOUR / 2)
    assert (after.wanted, "ahead" in after.entry["state"]) == (True, False)


@given(st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 500)), max_size=40))
def test_no_scheduled_time_asks_twice_however_often_a_clock_jumps_ahead_and_back(
    passes: list[tuple[int, int]],
) -> None:
    true, entry, keys = NOW, nightly({}, NOW).entry, []
    for minutes, ahead in passes:
        true += timedelta(minutes=minutes)
        now = true + ahead * DAY
        found = nightly(mended(entry, now), now)
        entry = found.entry | (found.answer if found.wanted else {})
        keys += [found.key] if found.wanted else []
    assert len(keys) == len(set(keys))
    on = mended(entry, true)
    on = nightly(on, true).entry
    next_run = moment(on["nextRun"])
    assert next_run - true <= DAY
    told = nightly(on, next_run + HOUR / 2)
    assert told.wanted or moment(on["state"]["ahead"]) >= next_run


@pytest.mark.parametrize(
    "ask",
    [
        lambda entry, now: watch(DRIFT, entry, champion=CHAMPION, traffic=None, now=now),
        lambda entry, now: concept_drift(WATCH, entry, champion=CHAMPION, labels=None, now=now),
        lambda entry, now: new_samples(SAMPLES, entry, labels=0, now=now),
    ],
    ids=["drift", "conceptDrift", "newSamples"],
)
def test_a_window_that_began_in_the_far_future_begins_now(ask: Any) -> None:
    entry = ask({}, NOW + FAR).entry
    assert moment(entry["windowStartedAt"]) == NOW + FAR
    assert mended(entry, NOW)["windowStartedAt"] == stamp(NOW)
    assert mended(mended(entry, NOW), NOW + HOUR)["windowStartedAt"] == stamp(NOW), "and not ever anew"


def test_a_window_that_waits_for_the_warmup_is_left_alone() -> None:
    entry = {"name": "quality", "windowStartedAt": stamp(NOW + 3 * HOUR)}
    assert mended(entry, NOW, warmup="3h") == entry
    assert mended(entry, NOW, warmup="1h")["windowStartedAt"] == stamp(NOW)


def test_data_that_were_looked_at_in_the_far_future_are_looked_at_again() -> None:
    def looked(entry: Json, now: datetime) -> Request:
        return data_change(DATA, entry, Looking(None, lambda at: {"at": at}), now)

    state = looked({}, NOW + FAR).entry["state"]
    later = stamp(NOW + FAR + HOUR)
    known = {"looked": state["asked"], "known": "a", "seen": "b", "since": later, "files": 1, "bytes": 1}
    entry = {"name": "data", "state": state | known}
    assert not looked(entry, NOW + HOUR).again
    now = NOW + 2 * HOUR
    assert looked(mended(entry, NOW), now).again
    assert looked(mended(entry, NOW), now).wanted


def test_runs_of_the_far_future_hold_the_next_one_as_if_they_had_just_started() -> None:
    loop = Loop(cooldown="6h", followUp="72h")
    loop.now += FAR
    loop.settle(quality())
    loop.finish("Succeeded")
    loop.now -= FAR

    def go_on() -> None:
        loop.obj = not_ahead(loop.obj, parse_as(ContinuousTraining, loop.obj), loop.now)
        loop.step(quality("w2"))

    go_on()
    assert (loop.status["blockedBy"], loop.status["nextEligibleTime"]) == ("Cooldown", stamp(NOW + 6 * HOUR))
    assert loop.status["followUp"]["at"] == stamp(NOW + 72 * HOUR)
    loop.now += 6 * HOUR
    go_on()
    assert len(loop.status["runs"]) == 2


@pytest.mark.parametrize("edited", [{}, {"followUp": "1h"}])
def test_a_follow_up_that_is_planned_stays_as_it_is_when_the_spec_changes(edited: Json) -> None:
    loop = Loop(followUp="72h")
    loop.settle(quality())
    loop.obj = Loop(**edited).obj | {"status": loop.status}
    assert not_ahead(loop.obj, parse_as(ContinuousTraining, loop.obj), NOW + HOUR) is loop.obj


def test_a_clock_that_is_behind_all_that_is_known_mends_nothing() -> None:
    """A node without a battery boots in 1970, leads for a minute, and must not forget its budget."""
    loop = Loop()
    loop.settle(quality())
    for behind in (FAR, HOUR):
        now = NOW - behind
        assert not_ahead(loop.obj, parse_as(ContinuousTraining, loop.obj), now) is loop.obj


def test_clocks_of_two_leaders_may_differ_a_little() -> None:
    entry = {"name": "nightly", "lastScheduled": stamp(NOW + TOLERANCE), "windowStartedAt": stamp(NOW)}
    assert mended(entry, NOW) == entry


def test_only_times_are_mended() -> None:
    entry = {"name": "quality", "message": stamp(NOW + FAR) + " it was", "value": "0.7", "samples": 7}
    future = {"nextRun": stamp(NOW + FAR), "forecast": stamp(NOW + FAR)}
    assert mended(entry | future, NOW) == entry | future


PLACES: list[Callable[[str], Json]] = [
    lambda at: {"lastScheduled": at},
    lambda at: {"windowStartedAt": at},
    lambda at: {"nextRun": at},
    lambda at: {"state": {"at": at, "ahead": at}},
    lambda at: {"columns": [{"feature": "age", "seen": [at, None]}]},
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("part", [".0", ".4", ".6"])
def test_times_are_mended_whether_or_not_others_are_late(place: Callable[[str], Json], part: str) -> None:
    """Where none is late, nothing is gone through: that must not pass over any."""
    one, now = Loop(warmup="2h").obj, NOW + timedelta(seconds=float(part))
    training = parse_as(ContinuousTraining, one)
    for latest, seconds, tail in product((TOLERANCE, 2 * HOUR + TOLERANCE), range(-2, 3), ("", ".5")):
        at = stamp(NOW + latest + timedelta(seconds=seconds)).replace("Z", f"{tail}Z")
        alone, beside = (
            not_ahead(one | {"status": {"triggers": [place(at)], **more}}, training, now)["status"]
            for more in ({}, {"queued": {"at": stamp(NOW + FAR)}})
        )
        assert beside["queued"] == {"at": stamp(now)}
        assert alone["triggers"] == beside["triggers"]
