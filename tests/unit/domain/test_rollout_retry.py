"""Rejected versions that are tried again by themselves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.domain.rollout_world import CANARY, START, World, revision, seconds, serving

from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_retry import distance
from noria_operator.domain.rollout_words import Happened, Phase

V1, V2, V3 = revision(1), revision(2), revision(3)
MINUTE = timedelta(minutes=1)
POLICY = Policy(replicas=2, steps=CANARY, progress_deadline=MINUTE, retry_limit=2, retry_delay=10 * MINUTE)


def rejected(policy: Policy = POLICY) -> World:
    """Version 2 did not become ready in time."""
    world = serving(1, policy)
    world.approve(2)
    world.reconcile()
    miss_the_deadline(world)
    return world


def miss_the_deadline(world: World) -> None:
    world.pass_time(MINUTE + seconds(1))
    world.reconcile()
    world.routers_follow()
    world.reconcile()
    assert world.state.candidate is None


def test_a_rejected_version_is_tried_again_after_the_delay_and_says_when() -> None:
    world = rejected()
    (entry,) = world.state.rejected
    assert entry.retry_at == entry.at + 10 * MINUTE
    assert world.plan is not None
    assert world.plan.due == entry.retry_at
    assert world.plan.phase is Phase.ROLLED_BACK
    assert "tried again by itself at 2026-01-01T" in world.plan.message
    world.pass_time(10 * MINUTE - seconds(1))
    world.reconcile()
    assert world.state.candidate is None
    world.pass_time(seconds(1))
    world.reconcile()
    assert world.state.candidate is not None
    assert world.state.candidate.target == V2
    assert world.state.candidate.attempt == 2
    assert world.state.history[-2].message == "m-2 is tried again by itself, retry 1 of 2"


def test_case_13_a_retry_by_itself_begins_with_evidence_of_its_own() -> None:
    world = serving(1, POLICY)
    world.approve(2)
    world.settle()
    world.run(5, errors={V2.name: 30})
    assert world.state.is_rejected(V2)
    world.pass_time(10 * MINUTE)
    world.settle()
    assert world.state.candidate is not None
    assert world.state.analysis is not None
    assert world.state.analysis.evidence.challenger.errors == 0


def test_the_distance_doubles_up_to_the_limit_and_then_it_waits_for_a_person() -> None:
    world = rejected()
    begun = []
    for _ in range(600):
        world.pass_time(MINUTE)
        before = world.state.candidate
        world.reconcile()
        world.routers_follow()
        if before is None and world.state.candidate is not None:
            begun.append(world.now)
    assert len(begun) == 2
    first = world.state.history
    assert begun[0] - START < 14 * MINUTE
    assert 20 * MINUTE <= begun[1] - begun[0] <= 24 * MINUTE
    assert world.state.rejected[0].retries == 2
    assert world.state.rejected[0].retry_at is None
    assert world.plan is not None
    assert world.plan.due is None
    assert "annotate noria.dev/retry" in world.plan.message
    assert sum(one.event == Happened.ROLLED_BACK for one in first) == 3


@pytest.mark.parametrize(
    ("delay", "retries", "wait"),
    [
        (timedelta(minutes=10), 0, timedelta(minutes=10)),
        (timedelta(minutes=10), 3, timedelta(minutes=80)),
        (timedelta(hours=10), 3, timedelta(days=1)),
        (timedelta(days=3), 9, timedelta(days=3)),
    ],
)
def test_the_distance_is_bounded(delay: timedelta, retries: int, wait: timedelta) -> None:
    assert distance(Policy(retry_delay=delay), retries) == wait


def test_without_the_field_nothing_is_tried_again() -> None:
    world = rejected(Policy(replicas=2, steps=CANARY, progress_deadline=MINUTE))
    world.pass_time(timedelta(days=30))
    world.reconcile()
    assert world.state.candidate is None


def test_the_field_may_come_and_go_after_the_rejection() -> None:
    world = rejected(Policy(replicas=2, steps=CANARY, progress_deadline=MINUTE))
    world.edit(retry_limit=1)
    assert world.reconcile().due is not None
    world.edit(retry_limit=0)
    assert world.reconcile().due is None


@pytest.mark.parametrize("command", ["abort", "undo"])
def test_what_a_person_rejected_waits_for_a_person(command: str) -> None:
    world = serving(1, POLICY)
    world.approve(2)
    world.settle()
    world.commands[command] = "1"
    world.settle()
    assert world.state.is_rejected(V2)
    world.pass_time(timedelta(days=30))
    world.settle()
    assert world.state.candidate is None
    world.commands["retry"] = "1"
    world.settle()
    assert world.state.candidate is not None


def test_an_abort_ends_a_retry_that_waits() -> None:
    """A person may see the rollout only once it failed by itself."""
    world = rejected()
    assert world.state.rejected[0].retry_at is not None
    world.commands["abort"] = "a"
    (told,) = world.reconcile().events
    assert told.message == "m-2 will not be tried again: noria.dev/abort a"
    world.pass_time(timedelta(days=30))
    made = world.settle()
    assert (world.state.candidate, made.phase) == (None, Phase.ROLLED_BACK)
    assert "m-2 was rejected: noria.dev/abort a; annotate noria.dev/retry" in made.message
    world.commands["retry"] = "1"
    world.settle()
    assert world.state.candidate is not None


def test_an_abort_ends_a_retry_with_what_would_begin_in_its_place() -> None:
    world = serving(1, POLICY)
    world.approve(2)
    world.approve(3)
    world.reconcile()
    world.obstacle = "claim models is not there"
    miss_the_deadline(world)
    world.commands["abort"] = "a"
    (told,) = world.reconcile().events
    assert told.message == "m-2 will not be tried; m-3 will not be tried again: noria.dev/abort a"
    world.obstacle = ""
    world.pass_time(timedelta(days=30))
    world.settle()
    assert world.state.candidate is None


def test_a_successor_cancels_a_retry_that_waits() -> None:
    world = rejected()
    world.approve(3)
    world.settle()
    assert [one.retry_at for one in world.state.rejected] == [None]
    assert world.state.candidate is not None
    world.commands["promote-full"] = "1"
    world.settle()
    world.pass_time(timedelta(days=1))
    world.settle()
    assert world.state.stable == V3
    assert world.state.candidate is None


def test_a_successor_cancels_a_retry_that_runs() -> None:
    world = rejected()
    world.pass_time(10 * MINUTE)
    world.settle()
    assert world.state.candidate is not None
    world.approve(3)
    world.settle()
    assert world.state.candidate is not None
    assert world.state.candidate.target == V3
    world.commands["abort"] = "1"
    world.settle()
    assert world.state.candidate is None, "version 2 must not come back in place of version 3"
    assert world.state.is_rejected(V2)


def test_a_retry_that_is_promoted_is_no_longer_among_the_rejected() -> None:
    world = rejected()
    world.pass_time(10 * MINUTE)
    world.settle()
    world.commands["promote-full"] = "1"
    world.settle()
    assert world.state.stable == V2
    assert world.state.rejected == ()
    assert world.plan is not None
    assert world.plan.phase is Phase.HEALTHY


def test_a_retry_by_hand_starts_the_count_anew() -> None:
    world = rejected()
    world.pass_time(10 * MINUTE)
    world.reconcile()
    miss_the_deadline(world)
    assert world.state.rejected[0].retries == 1
    world.commands["retry"] = "1"
    world.reconcile()
    miss_the_deadline(world)
    assert world.state.rejected[0].retries == 0


def test_another_configuration_of_the_version_is_no_retry() -> None:
    world = rejected()
    world.approve(2, config="bbbbbb")
    world.settle()
    assert world.state.candidate is not None
    assert world.state.rejected[0].retries == 0
    assert world.state.rejected[0].retry_at is None


def test_a_first_version_is_tried_again_too() -> None:
    world = World(POLICY)
    world.approve(1)
    world.reconcile()
    world.commands["abort"] = "1"
    world.reconcile()
    assert world.state.rejected[0].by_hand
    world.commands["retry"] = "1"
    world.settle()
    assert world.state.stable == V1
