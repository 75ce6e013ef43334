"""Acceptance cases of rollouts, by number: passes that fail, that come twice, and those of many at once.

`test_rollout_cases.py` says where each of the 55 is proven.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from tests.unit.domain.rollout_world import CANARY, START, World, canary, revision, seconds, serving

from noria_operator.domain.rollout_due import step_due
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_words import Happened

V1, V2 = revision(1), revision(2)
OLD, NEW = V1.name, V2.name
WARM = timedelta(minutes=10)
AT_HALF = Policy(replicas=4, steps=(PolicyStep(50, timedelta(hours=9)),), keep_previous=WARM)


def due(world: World) -> datetime | None:
    """When the controller looks again though nothing happens."""
    assert world.plan is not None
    times = (world.plan.due, step_due(world.policy, world.state, world.now))
    return min((at for at in times if at is not None), default=None)


def ended(count: int) -> dict[datetime, Counter[str]]:
    """So many canaries are promoted in one moment: passes and writes of each moment until nothing is left to
    do. A pass follows what a pass changed, and what the planner asked for.
    """
    worlds, took = [canary(AT_HALF) for _ in range(count)], dict[datetime, Counter[str]]()
    for world in worlds:
        world.now = START
        world.commands["promote-full"] = "1"
    going = worlds
    while going:
        going = [world for world in going if goes_on(world, took.setdefault(world.now, Counter()))]
    assert all((world.state.stable, world.pods) == (V2, {NEW: 4}) for world in worlds)
    return took


def goes_on(world: World, took: Counter[str]) -> bool:
    """One pass, counted; whether another one follows."""
    before, pods = world.state, dict(world.pods)
    world.reconcile()
    changed = [name for name in pods | world.pods if pods.get(name) != world.pods.get(name)]
    writes = len(changed) + (world.state != before)
    took.update(passes=1, writes=writes)
    next_ = due(world)
    if writes:
        world.become_ready()
        world.routers_follow()
    elif next_ is not None:
        world.now = next_
    return bool(writes) or next_ is not None


def test_case_32_a_status_that_is_refused_as_too_old_loses_nothing() -> None:
    """argo-rollouts#3080: nothing is done before status is written, so the pass is simply made again."""
    world = serving(1, Policy(replicas=2, steps=CANARY))
    world.approve(2)
    for _ in range(30):
        world.send(600)
        world.pass_time(seconds(10))
        before = world.state
        refused = world.decide()
        assert world.decide() == refused
        assert world.state is before
        world.settle()
    assert (world.state.stable, world.events.count(Happened.PROMOTED)) == (V2, 2)


def test_case_37_a_pass_that_fails_at_the_same_write_each_time_adds_nothing_and_sets_no_pace_of_its_own() -> (
    None
):
    """argo-rollouts#3547: how soon the next one comes is the queue's to say, which backs off."""
    world = canary(AT_HALF)
    world.commands["abort"] = "1"
    world.reconcile(crash=True)
    for _ in range(3):
        world.routers_follow()
        world.reconcile(crash=True)
    before, told = world.state, list(world.events)
    for _ in range(50):
        world.pass_time(seconds(1))
        made = world.reconcile(crash=True)
        assert (made.state, made.events, due(world), NEW in world.pods) == (before, (), None, True)
    assert world.events == told
    world.reconcile()
    assert (world.pods, world.events) == ({OLD: 4}, told)


def test_case_40_an_operator_that_dies_after_every_other_write_loses_nothing() -> None:
    """flagger#635, seldon-core#5032."""
    world = serving(1, Policy(replicas=2, steps=CANARY))
    world.approve(2)
    for turn in range(40):
        world.send(600)
        world.pass_time(seconds(10))
        world.reconcile(crash=turn % 2 == 0)
        world.become_ready()
        world.routers_follow()
    assert (world.state.stable, set(world.pods)) == (V2, {OLD, NEW})
    assert world.events.count(Happened.STARTED) == 2


def test_case_41_many_rollouts_that_end_at_once_write_what_each_would_alone_and_wake_when_it_would() -> None:
    """flagger#1600, #1069: nobody asks again and again while others are at work."""
    alone = ended(1)
    assert [*alone] == [START, START + WARM], "when there is something to do, and at no other time"
    assert sum(took["writes"] for took in alone.values()) <= 6
    assert sum(took["passes"] for took in alone.values()) <= 6
    each = {at: {what: 200 * count for what, count in took.items()} for at, took in alone.items()}
    assert ended(200) == each


def test_case_49_two_operators_do_not_double_the_pace() -> None:
    """flagger#1613: what moves a step is time and requests, not the number of passes."""
    ends = []
    for operators in (1, 2, 5):
        world = canary(Policy(replicas=2, steps=CANARY))
        for _ in range(20):
            world.send(100)
            world.pass_time(seconds(5))
            for _ in range(operators):
                world.reconcile()
            world.become_ready()
            world.routers_follow()
            world.reconcile()
        ends.append([(entry.at, entry.event) for entry in world.state.history])
    assert ends[0] == ends[1] == ends[2]
    assert len(ends[0]) >= 5
