"""Rollouts where pods divide the traffic, and where nobody can say which weights are in force."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.domain.rollout_world import World, revision, serving

from noria_operator.api.modeldeployment_status import ModelDeploymentStatus
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_state import Share, State
from noria_operator.domain.rollout_traffic import realised, sharing
from noria_operator.domain.rollout_wire import state_of, status_fields

HELD = (PolicyStep(50, timedelta(hours=9)),)


@pytest.mark.parametrize(
    ("replicas", "weight", "wanted"),
    [
        (10, 0, 1),
        (10, 1, 1),
        (10, 10, 1),
        (10, 20, 3),
        (10, 50, 10),
        (1, 10, 1),
        (2, 33, 1),
        (3, 100, 3),
        (0, 20, 0),
    ],
)
def test_a_challenger_has_the_pods_nearest_to_its_weight(replicas: int, weight: int, wanted: int) -> None:
    assert sharing(Policy(replicas=replicas, by_pods=True), weight) == wanted


def test_weights_of_other_routers_need_only_the_pods_that_carry_them() -> None:
    assert sharing(Policy(replicas=10), 50) == 5


def test_status_says_what_weights_come_to() -> None:
    one, two, three = (revision(number) for number in (1, 2, 3))
    traffic = (Share(one, 80, verified=True), Share(two, 20, verified=True), Share(three, 0, verified=True))
    ready = {one.name: 2, two.name: 1, three.name: 4}
    assert realised(State(traffic=traffic), ready) == {one.name: 67, two.name: 33, three.name: 0}
    assert realised(State(traffic=traffic), {}) == {}


def test_a_former_version_goes_as_soon_as_the_next_one_starts() -> None:
    """Its pods would get a share of the traffic."""
    world: World = serving(1, Policy(replicas=2, by_pods=True, steps=HELD, keep_previous=timedelta(hours=1)))
    world.approve(2)
    world.settle()
    world.commands["promote-full"] = "1"
    world.settle()
    assert world.state.previous is not None
    world.approve(3)
    world.reconcile()
    assert world.state.candidate is not None
    assert world.state.previous is None
    world.settle()
    assert set(world.pods) == {revision(2).name, revision(3).name}
    assert world.pods[revision(3).name] == 2


@pytest.mark.parametrize("hours", [0, 2], ids=["warm", "pods-are-made"])
def test_a_version_that_was_undone_keeps_no_pods_as_connections_would_stay_with_them(hours: int) -> None:
    """Of a good one they may: until `keepPrevious` is over."""
    policy = Policy(replicas=2, by_pods=True, steps=HELD, keep_previous=timedelta(hours=1))
    world = serving(1, policy)
    world.approve(2)
    world.settle()
    world.commands["promote-full"] = "1"
    world.settle()
    assert world.state.previous is not None
    world.pass_time(timedelta(hours=hours))
    world.settle()
    world.commands["undo"] = "2"
    world.settle()
    assert world.state.stable == revision(1)
    assert world.state.previous is None
    assert set(world.pods) == {revision(1).name}


def test_what_is_assumed_is_not_called_verified_and_survives_being_written() -> None:
    for assumed, told in ((True, (False, True)), (False, (True, None))):
        share = Share(revision(1), 100, verified=True, assumed=assumed)
        state = State(stable=revision(1), traffic=(share,))
        written = ModelDeploymentStatus(**status_fields(state))
        assert [(one.verified, one.assumed) for one in written.traffic] == [told]
        assert state_of(written) == state
