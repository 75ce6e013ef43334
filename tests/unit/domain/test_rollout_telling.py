"""What of a first version is told at once, and what may wait for its pods."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.domain.rollout_world import START, World, revision, seconds

from noria_operator.domain.rollout import plan
from noria_operator.domain.rollout_first import as_told
from noria_operator.domain.rollout_observed import InForce, Observed
from noria_operator.domain.rollout_plan import Plan
from noria_operator.domain.rollout_state import State
from noria_operator.domain.rollout_telling import IN_A_RUSH, SOON, events_of, put_off
from noria_operator.domain.rollout_words import Phase


def first() -> tuple[World, Plan]:
    """A first version whose pods are not there yet, and of which nothing was told."""
    world = World()
    world.approve(1)
    return world, world.decide()


def until(
    made: Plan, observed: Observed, after: float, *, rush: bool = False, before: State | None = None
) -> float | None:
    """Seconds after the pods were asked for, up to which the status waits at `after`.

    `before` is what routers go by without one.
    """
    known = before or State()
    found = put_off(known, made, observed, asked=START, rush=rush, now=START + seconds(after))
    return None if found is None else (found - START).total_seconds()


@pytest.mark.parametrize(
    ("after", "rush", "expected"),
    [
        (0, False, SOON.total_seconds()),
        (0.9, False, SOON.total_seconds()),
        (1, False, None),
        (1, True, IN_A_RUSH.total_seconds()),
        (30, True, None),
    ],
)
def test_that_a_first_version_waits_is_told_soon_and_later_in_a_rush(
    after: float, rush: bool, expected: float | None
) -> None:
    world, made = first()
    assert until(made, world.observed(), after, rush=rush) == expected


def test_trouble_of_the_pods_is_told_at_once() -> None:
    world, made = first()
    observed = replace(world.observed(), problems={revision(1).name: "no node has room"})
    assert until(made, observed, 0) is None


def test_a_command_is_acknowledged_at_once() -> None:
    world, made = first()
    obeyed = replace(made, state=replace(made.state, commands={"pause": "1"}))
    assert until(obeyed, world.observed(), 0) is None


def test_weight_is_written_at_once_and_its_event_is_the_promotion() -> None:
    world, _ = first()
    world.pods[revision(1).name] = world.ready[revision(1).name] = world.policy.replicas
    made = world.decide()
    assert made.state.traffic
    assert until(made, world.observed(), 0) is None
    assert [note.reason for note in made.events] == ["RolloutStarted"]
    assert events_of(State(), made, routers=1) == ()
    assert events_of(State(), made, routers=0) == made.events  # who waits for a router hears of it


def taken() -> tuple[World, State]:
    """A first version whose pods are ready, and what routers go by since then."""
    world, _ = first()
    world.pods[revision(1).name] = world.ready[revision(1).name] = world.policy.replicas
    return world, as_told(world.policy, revision(1), world.now).state


def test_weight_that_routers_find_themselves_is_told_with_what_comes_of_it() -> None:
    world, known = taken()
    made = plan(world.policy, known, world.observed(), world.now)
    assert made.state == known
    assert until(made, world.observed(), 0, before=known) == SOON.total_seconds()
    assert until(made, world.observed(), 1, before=known) is None


def test_what_was_read_back_is_told_at_once() -> None:
    world, known = taken()
    read = tuple(InForce(known.traffic_version, {revision(1).name: 100}) for _ in world.routers)
    observed = replace(world.observed(), in_force=read)
    made = plan(world.policy, known, observed, world.now)
    assert (made.phase, made.state.stable) == (Phase.HEALTHY, revision(1))
    assert until(made, observed, 0, before=known) is None


def test_weight_that_waits_for_a_router_is_told_at_once() -> None:
    world, known = taken()
    observed = replace(world.observed(), in_force=())
    made = plan(world.policy, known, observed, world.now)
    assert until(made, observed, 0, before=known) is None


def test_what_routers_find_themselves_is_what_the_status_would_have_said() -> None:
    world, known = taken()
    assert known == plan(world.policy, State(), world.observed(), world.now).state


def test_a_version_that_takes_requests_stays_though_another_is_wanted_by_now() -> None:
    world, known = taken()
    world.approve(2)
    made = plan(world.policy, known, world.observed(), world.now)
    assert made.state == known
    assert [child.target for child in made.children] == [revision(1)]


def test_without_a_version_there_is_nothing_to_wait_for() -> None:
    world = World()
    assert until(world.decide(), world.observed(), 0) is None


def test_the_start_is_told_by_an_event_where_the_pods_take_their_time() -> None:
    _, made = first()
    assert events_of(State(), made, routers=1) == made.events != ()
