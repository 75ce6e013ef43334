"""A leader whose clock was a year ahead for a minute."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.rollout_world import World, canary, report, revision, seconds, serving

from noria_operator.domain.analysis import Turn
from noria_operator.domain.queries import Measured
from noria_operator.domain.rollout_clock import not_ahead
from noria_operator.domain.rollout_conditions import status
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_wait import Wait
from noria_operator.domain.training_times import stamp

V2 = revision(2)
YEAR = timedelta(days=365)
STEP = Policy(replicas=2, steps=(PolicyStep(50, seconds(60)),))


def ahead() -> World:
    """A rollout that such a leader began, and of which it has seen some traffic."""
    world = serving(policy=STEP)
    world.pass_time(YEAR)
    world.approve(2)
    world.settle()
    world.run(0.5, requests=1000)
    world.pass_time(-YEAR)
    return world


def test_steps_last_no_year_longer() -> None:
    world = ahead()
    world.run(5, requests=1000)
    assert world.state.stable == V2


def test_windows_close_and_harm_that_is_seen_in_them_aborts() -> None:
    world = ahead()
    world.run(5, requests=1000, errors={V2.name: 50})
    assert world.state.is_rejected(V2)


def test_pods_that_never_come_are_given_up() -> None:
    world = serving(policy=STEP)
    world.pass_time(YEAR)
    world.approve(2)
    world.reconcile()
    world.pass_time(-YEAR)
    world.reconcile()
    world.pass_time(STEP.progress_deadline)
    world.reconcile()
    assert world.state.is_rejected(V2)


@pytest.mark.parametrize("off", [timedelta(), -seconds(1), -YEAR])
def test_what_is_past_stays_as_it_was(off: timedelta) -> None:
    world = canary()
    world.settle()
    step, analysis = world.state.step, world.state.analysis
    assert step is not None
    assert analysis is not None
    at = world.now + off
    asked = {"q": Measured(1, last_at=at, since=at)}
    state = replace(
        world.state,
        step=replace(step, since=at, spent=seconds(5), hold_from=at, wait=Wait(seconds(1), at, at, 2, at)),
        analysis=replace(analysis, since=at, turns=(Turn(at),), window_from=at, queries=asked),
    )
    assert not_ahead(state, world.now) == state
    late = not_ahead(state, at - seconds(1))
    assert late.step is not None
    assert late.analysis is not None
    assert {late.step.since, late.step.hold_from, late.step.wait.since} == {at - seconds(1)}
    assert late.analysis.window_from == at - seconds(1)
    assert late.analysis.turns == (Turn(at - seconds(1)),)
    assert late.analysis.queries["q"].last_at == at - seconds(1)


def test_a_former_champion_is_warm_for_no_year_longer() -> None:
    world = serving(policy=Policy(replicas=2, keep_previous=timedelta(minutes=10)))
    world.pass_time(YEAR)
    world.approve(2)
    world.settle()
    assert world.state.stable == V2
    world.pass_time(-YEAR)
    world.settle()
    assert world.state.previous is not None
    assert world.state.previous.keep_until == world.now + timedelta(minutes=10)
    world.pass_time(timedelta(minutes=10))
    world.settle()
    assert world.state.previous is None


def test_a_shorter_warm_time_holds_for_the_champion_that_is_warm_already() -> None:
    world = serving(policy=Policy(replicas=2, keep_previous=timedelta(hours=10)))
    world.approve(2)
    world.settle()
    world.edit(keep_previous=timedelta())
    world.settle()
    assert world.state.previous is None


def test_weights_that_no_router_takes_are_told_of_no_year_later() -> None:
    world = canary()
    world.settle()
    world.pass_time(YEAR)
    world.commands["abort"] = "1"
    told: dict[str, Any] = {}
    for passes in (timedelta(), -YEAR, STEP.progress_deadline - seconds(1), seconds(1)):
        assert not stalls(told)
        world.pass_time(passes)
        found = report(world)
        told = status(found, told, generation=1)
    assert stalls(told)


def stalls(told: dict[str, Any]) -> bool:
    return any(one["reason"] == "WeightsNotInForce" for one in told.get("conditions", ()))


def test_a_condition_that_says_no_time_gets_one() -> None:
    world = serving(policy=STEP)
    told = status(report(world), {}, generation=1)
    for one in told["conditions"]:
        del one["lastTransitionTime"]
    found = status(report(world), told, generation=1)
    assert {one["lastTransitionTime"] for one in found["conditions"]} == {stamp(world.now)}
