"""Pods of a version that lost its place go when its last request was seen to be answered."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.domain.rollout_world import World, canary, revision, seconds, serving

from noria_operator.domain.rollout_policy import Arm, Experiment, Policy, PolicyStep
from noria_operator.domain.rollout_traffic import BACKENDS, DRAIN, OUTGOING

V1, V2, V3 = revision(1), revision(2), revision(3)
OLD, NEW = V1.name, V2.name
HALF = Policy(replicas=2, steps=(PolicyStep(50, timedelta(hours=9)),), keep_previous=timedelta())


def aborted(active: dict[str, int] | None) -> World:
    """Version 2 was aborted with these requests under way, and no router sends it anything any more."""
    world = canary(HALF)
    world.active = active
    world.commands["abort"] = "1"
    world.settle()
    return world


def test_pods_go_once_the_last_request_is_answered_and_not_before() -> None:
    world = aborted({NEW: 3})
    assert (world.pods[NEW], world.state.weight(NEW), world.state.verified) == (1, 0, True)
    made = world.reconcile()
    assert made.message.endswith("annotate noria.dev/retry to try it again; m-2 finishes its last requests")
    world.pass_time(seconds(30))
    before = world.state
    world.reconcile()
    assert (world.state, world.pods[NEW]) == (before, 1)
    world.active = {NEW: 0}
    world.reconcile()
    assert NEW not in world.pods
    assert world.state.traffic[0].target == V1
    assert len(world.state.traffic) == 1


def test_nobody_is_waited_for_without_end() -> None:
    world = aborted({NEW: 3})
    world.pass_time(DRAIN - seconds(1))
    world.reconcile()
    assert NEW in world.pods
    world.pass_time(seconds(1))
    world.reconcile()
    assert NEW not in world.pods


def test_what_could_not_be_read_is_not_taken_for_nothing_and_what_nobody_counts_is_not_waited_for() -> None:
    assert NEW in aborted({}).pods
    assert NEW not in aborted(None).pods


def test_what_drains_does_not_wait_until_weights_of_a_later_rollout_are_in_force() -> None:
    world = aborted({NEW: 3})
    world.approve(3)
    world.reconcile()
    world.become_ready()
    world.reconcile()
    assert (world.state.weight(V3.name), world.state.verified, NEW in world.pods) == (50, False, True)
    world.active = {NEW: 0}
    world.reconcile()
    assert not world.state.verified, "by pods it may be what stands in their way"
    assert NEW not in world.pods


def test_the_former_champion_goes_after_its_last_request_too() -> None:
    world = serving(1, Policy(replicas=2, keep_previous=timedelta()))
    world.active = {OLD: 1}
    world.approve(2)
    world.settle()
    assert (world.state.stable, world.pods) == (V2, {OLD: 2, NEW: 2})
    world.active = {OLD: 0}
    world.settle()
    assert world.pods == {NEW: 2}


def test_a_version_that_is_wanted_again_while_it_drains_starts_at_once() -> None:
    world = aborted({NEW: 3})
    world.commands["retry"] = "1"
    world.settle()
    assert world.state.candidate is not None
    assert (world.state.candidate.target, world.state.weight(NEW)) == (V2, 50)
    assert [one.draining_since for one in world.state.traffic] == [None, None]


def test_so_many_drain_at_a_time_and_no_newer_version_waits_for_them() -> None:
    world = canary(HALF)
    last = OUTGOING + 4
    for number in range(3, last + 1):
        world.active = {f"d-{each}-aaaaaa": 1 for each in range(1, number)}
        world.approve(number)
        world.settle()
        assert world.state.weight(f"d-{number}-aaaaaa") == 50
        drained = [one for one in world.state.traffic if one.draining_since]
        assert len(drained) == min(number - 2, OUTGOING)
        world.pass_time(seconds(1))
    newest = {revision(number) for number in range(last - OUTGOING, last)}
    assert {one.target for one in world.state.traffic if one.draining_since} == newest


@pytest.mark.parametrize("command", ["abort", "promote"])
def test_arms_of_an_experiment_that_end_together_all_finish_their_last_requests(command: str) -> None:
    world = serving(1, Policy(replicas=2, keep_previous=timedelta()))
    arms = [revision(number) for number in range(2, 6)]
    for number in range(2, 6):
        world.approve(number)
    asked = tuple(Arm(one.version, 10) for one in arms)
    world.edit(experiment=Experiment(arms=asked, duration=timedelta(hours=1)))
    world.settle()
    assert [world.state.weight(one.name) for one in arms] == [10] * 4
    world.active = dict.fromkeys(world.pods, 3)
    there = set(world.pods)
    world.commands[command] = "1" if command == "abort" else "m-2@1"
    world.settle()
    winner = V1 if command == "abort" else V2
    assert (world.state.stable, world.state.weight(winner.name), set(world.pods)) == (winner, 100, there)
    world.active = dict.fromkeys(world.pods, 0)
    world.settle()
    assert set(world.pods) == {winner.name}


def test_arms_in_the_place_of_as_many_wait_for_room_in_a_rule_of_a_route_and_begin_together() -> None:
    world = serving(1, Policy(replicas=2, keep_previous=timedelta()))
    for number in range(2, 18):
        world.approve(number)
    before, after = (tuple(Arm(f"m-{number}", 5) for number in range(at, at + 8)) for at in (2, 10))
    world.edit(experiment=Experiment(arms=before, duration=timedelta(hours=1)))
    world.settle()
    world.active = dict.fromkeys(world.pods, 3)
    world.edit(experiment=Experiment(arms=after, duration=timedelta(hours=1)))
    world.pass_time(seconds(1))
    world.settle()
    assert (len(world.state.traffic), world.state.challengers) == (9, ())
    world.active |= {"d-2-aaaaaa": 0}
    world.settle()
    assert len(world.state.traffic) == BACKENDS
    assert [one.weight for one in world.state.traffic if one.weight] == [60, *[5] * 8]
    analyses = (world.state.analysis, *(one.analysis for one in world.state.others))
    assert [one and one.since for one in analyses] == [world.now] * 8
