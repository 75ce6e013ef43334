"""Recreate: only one copy fits, so the champion goes down before the challenger comes up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.domain.rollout_world import World, revision, seconds, serving
from tests.unit.domain.test_rollout_conditions import report, shown

from noria_operator.domain.rollout_conditions import conditions
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_words import Happened

V1, V2, V3 = revision(1), revision(2), revision(3)
OLD, NEW = V1.name, V2.name


def one_copy(replicas: int = 1) -> World:
    """Version 1 serves, and pods take a while to go."""
    world = serving(1, Policy(replicas=replicas, recreate=True))
    world.slow = True
    return world


def going_down(world: World) -> World:
    world.approve(2)
    world.reconcile()
    world.ready[OLD] = 0
    return world


@pytest.mark.parametrize("replicas", [1, 3])
def test_the_champion_is_gone_before_the_challenger_comes_and_takes_all_traffic(replicas: int) -> None:
    world = going_down(one_copy(replicas))
    assert (world.pods, world.ending) == ({OLD: 0, NEW: 0}, {OLD: replicas})
    made = world.reconcile()
    assert "m-2 starts when the pods of m-1 are gone" in made.message
    world.ending.clear()
    world.reconcile()
    assert (world.pods, world.state.weight(NEW)) == ({OLD: 0, NEW: replicas}, 0)
    world.become_ready()
    world.reconcile()
    assert (world.state.weight(NEW), world.state.stable) == (100, V1)
    world.settle()
    assert (world.state.stable, world.state.previous, world.pods) == (V2, None, {NEW: replicas})


def test_events_and_conditions_say_that_nothing_answers() -> None:
    world = going_down(one_copy())
    assert "nothing answers until it is ready" in world.state.history[-1].message
    found = report(world)
    assert shown(found)["Servable"] == (False, "Recreating")
    assert shown(found)["Ready"] == (False, "Recreating")
    world.ending.clear()
    assert "nothing answers until they are" in report(world).plan.message


def test_it_is_ready_once_every_router_sends_to_the_challenger_and_says_who_answers() -> None:
    world = going_down(one_copy())
    world.ending.clear()
    world.reconcile()
    world.become_ready()
    assert shown(report(world))["Ready"] == (False, "Recreating"), "the weights are on their way"
    assert world.state.weight(NEW) == 100
    world.routers_follow()
    found = report(world)
    assert shown(found)["Ready"] == (True, "Serving")
    assert [one.message for one in conditions(found) if one.type == "Ready"] == [
        "requests are answered by m-2"
    ]


def test_a_challenger_that_is_not_ready_in_time_gives_its_place_back() -> None:
    world = going_down(one_copy())
    world.ending.clear()
    world.reconcile()
    world.pass_time(timedelta(minutes=11))
    world.reconcile()
    assert world.events[-1] is Happened.ROLLED_BACK
    assert world.state.is_rejected(V2)
    world.settle()
    assert (world.pods, world.ending) == ({OLD: 0}, {NEW: 1}), "the champion waits for room as well"
    assert world.reconcile().message.startswith("m-1 starts when the pods of every other version are gone")
    assert shown(report(world))["Ready"] == (False, "Recreating")
    world.ending.clear()
    world.settle()
    assert (world.state.stable, world.state.weight(OLD), world.pods, world.ready[OLD]) == (
        V1,
        100,
        {OLD: 1},
        1,
    )


def test_an_abort_and_a_successor_wait_for_nobody_but_the_pods_in_the_way() -> None:
    world = going_down(one_copy())
    world.ending.clear()
    world.reconcile()
    world.approve(3)
    world.reconcile()
    assert (world.pods[OLD], world.pods[V3.name], world.ending) == (0, 0, {NEW: 1})
    world.ending.clear()
    world.reconcile()
    assert world.pods[V3.name] == 1
    world.approve(2, "Rejected")
    world.commands["abort"] = "1"
    world.settle()
    assert (world.state.stable, world.pods, world.ending) == (V1, {OLD: 0}, {V3.name: 1})
    world.ending.clear()
    world.settle()
    assert (world.state.stable, world.pods) == (V1, {OLD: 1})


def test_a_challenger_that_takes_over_is_champion_before_its_successor_begins() -> None:
    """Given up, it would keep all traffic until the champion has pods, which wait for its room."""
    world = going_down(one_copy())
    world.ending.clear()
    world.reconcile()
    world.become_ready()
    world.reconcile()
    assert world.state.weight(NEW) == 100
    world.approve(3)
    world.reconcile()
    assert world.state.candidate is not None
    assert world.state.candidate.target == V2
    world.routers_follow()
    world.reconcile()
    assert world.state.stable == V2
    for _ in range(4):
        world.ending.clear()
        world.settle()
    assert (world.state.stable, world.pods) == (V3, {V3.name: 1})


def test_a_champion_that_never_left_grows_though_another_version_still_ends() -> None:
    """It has its room, and may be without ready pods for another reason."""
    world = serving(1, Policy(replicas=2, steps=(PolicyStep(50),)))
    world.slow = True
    world.approve(2)
    world.settle()
    world.lose_pods(OLD)
    world.commands["abort"] = "1"
    world.edit(recreate=True, steps=(), replicas=3)
    world.settle()
    world.settle()
    assert (world.pods[OLD], world.ready[OLD]) == (3, 3)


def test_an_operator_that_dies_in_between_goes_on_where_it_stood() -> None:
    world = one_copy()
    world.approve(2)
    for turn in range(20):
        world.reconcile(crash=turn % 2 == 0)
        world.become_ready()
        world.routers_follow()
        world.ending.clear()
        world.pass_time(seconds(5))
    assert (world.state.stable, world.pods) == (V2, {NEW: 1})
    assert world.events.count(Happened.STARTED) == 2


def test_a_pause_is_refused_since_nothing_would_answer() -> None:
    world = going_down(one_copy())
    world.commands["pause"] = "1"
    world.reconcile()
    assert world.events[-1] is Happened.REFUSED
    world.ending.clear()
    world.settle()
    world.ending.clear()
    world.settle()
    assert world.state.stable == V2


def test_a_spec_that_no_longer_says_recreate_brings_the_champion_back_at_once() -> None:
    world = going_down(one_copy())
    world.slow = False
    world.edit(recreate=False)
    world.reconcile()
    assert (world.pods[OLD], world.pods[NEW]) == (1, 1)


def test_a_rollout_that_is_under_way_is_not_made_a_recreate() -> None:
    world = serving(1, Policy(replicas=2, steps=(PolicyStep(50, timedelta(hours=1)),)))
    world.approve(2)
    world.settle()
    world.edit(recreate=True, steps=())
    world.reconcile()
    assert world.pods[OLD] == 2
    world.settle()
    assert world.state.stable == V2


def test_a_version_that_was_kept_warm_gives_its_room_away() -> None:
    world = serving(1, Policy(replicas=1))
    world.approve(2)
    world.settle()
    assert world.state.previous is not None
    world.edit(recreate=True)
    world.slow = True
    world.approve(3)
    world.reconcile()
    assert (world.state.previous, world.pods[V3.name]) == (None, 0)
    world.settle()
    world.ending.clear()
    world.settle()
    assert (world.state.stable, world.pods) == (V3, {V3.name: 1})


def test_it_waits_until_a_version_that_leaves_has_given_its_weight() -> None:
    """Such a version waits for pods of the champion, which would never come."""
    world = serving(1, Policy(replicas=2, steps=(PolicyStep(50),)))
    world.approve(2)
    world.settle()
    world.lose_pods(OLD)
    world.approve(3)
    world.reconcile()
    assert [share.target for share in world.state.leaving] == [V2]
    world.edit(recreate=True, steps=())
    world.reconcile()
    assert world.pods[OLD] == 2
    world.settle(20)
    assert world.state.stable == V3


def test_a_champion_does_not_wait_for_a_version_that_stays_warm_beside_it() -> None:
    """As left by a canary before: both fit."""
    world = serving(1, Policy(replicas=2, steps=(PolicyStep(50),)))
    world.approve(2)
    world.run(3)
    assert world.state.previous is not None
    world.edit(recreate=True, steps=(), replicas=0)
    world.settle()
    world.ending[OLD] = 1
    world.edit(replicas=2)
    world.settle()
    assert (world.state.stable, world.pods) == (V2, {OLD: 2, NEW: 2})
