"""What an autoscaler, a pod that blinks or a router that restarts costs a rollout: the time that it takes,
and no more.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.domain.rollout_world import World, canary, revision, seconds, serving

from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_words import Happened, Phase

OLD, NEW = revision(1).name, revision(2).name
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LONG = Policy(replicas=4, steps=(PolicyStep(50, 6 * HOUR), PolicyStep(60, HOUR)), max_hold=2 * HOUR)


def step(world: World) -> int | None:
    return world.state.step.index if world.state.step else None


def grow(world: World) -> None:
    """The autoscaler asks for two pods more, which take 90 seconds."""
    world.edit(replicas=world.policy.replicas + 2)
    world.reconcile()
    world.pass_time(seconds(90))
    world.reconcile()
    world.settle()


def blink(world: World) -> None:
    """A node is drained: a pod of the challenger is away for a minute."""
    world.lose_pods(NEW, world.ready[NEW] - 1)
    world.reconcile()
    world.routers_follow()
    world.pass_time(MINUTE)
    world.settle()


def restart_router(world: World) -> None:
    world.routers[0], world.told[0] = {OLD: 100}, 0
    world.reconcile()
    world.pass_time(seconds(5))
    world.settle()


def test_a_wait_that_nobody_watched_to_its_end_is_not_held_against_pods_that_came() -> None:
    """Case 40: the operator was away for longer than the deadline."""
    world = serving(1, LONG)
    world.approve(2)
    world.reconcile()
    world.pass_time(LONG.progress_deadline + MINUTE)
    world.become_ready()
    world.settle()
    assert world.state.weight(NEW) == 50
    world.lose_pods(NEW, 1)
    world.reconcile()
    world.pass_time(LONG.progress_deadline - seconds(1))
    world.reconcile()
    assert world.state.candidate is not None
    world.pass_time(seconds(1))
    world.reconcile()
    assert world.state.history[-1].event == Happened.ROLLED_BACK


@pytest.mark.parametrize("disturb", [grow, blink, restart_router])
def test_the_time_of_a_step_adds_up_whatever_comes_between(disturb: object) -> None:
    world = canary(LONG)
    for _ in range(5):
        world.pass_time(HOUR)
        disturb(world)  # type: ignore[operator]
        assert step(world) == 0
    world.pass_time(HOUR + 10 * MINUTE)
    world.settle()
    assert step(world) == 1


@pytest.mark.parametrize("disturb", [grow, blink, restart_router])
def test_the_time_without_a_decision_adds_up_whatever_comes_between(disturb: object) -> None:
    world = canary(Policy(replicas=4, steps=(PolicyStep(50, gate=True),), max_hold=4 * HOUR))
    for _ in range(3):
        world.pass_time(HOUR)
        disturb(world)  # type: ignore[operator]
        assert world.plan is not None
        assert world.plan.phase is Phase.PROGRESSING
    world.pass_time(HOUR + 10 * MINUTE)
    assert world.settle().phase is Phase.PAUSED


def test_time_in_which_the_weight_is_not_in_force_is_no_time_of_the_step() -> None:
    world = canary(Policy(replicas=4, steps=(PolicyStep(50, HOUR), PolicyStep(60, HOUR))))
    world.pass_time(59 * MINUTE)
    world.reconcile()
    world.lose_pods(NEW)
    world.reconcile()
    world.routers_follow()
    world.pass_time(5 * MINUTE)
    world.settle()
    assert step(world) == 0
    world.pass_time(MINUTE)
    world.settle()
    assert step(world) == 1


def test_a_step_of_a_ramp_counts_its_time_from_the_full_weight_on() -> None:
    world = canary(Policy(replicas=4, steps=(PolicyStep(60, 10 * MINUTE, ramp_from=5), PolicyStep(70, HOUR))))
    world.run(9, requests=1000)
    assert (step(world), world.state.weight(NEW)) == (0, 60)
    world.run(3, requests=1000)
    assert step(world) == 1


def test_a_challenger_is_not_late_because_the_autoscaler_asks_for_more() -> None:
    """Seven growths, five minutes apart, of pods that take 90 seconds: ten and a half minutes in all."""
    world = canary(Policy(replicas=4, steps=(PolicyStep(50, 6 * HOUR),), progress_deadline=10 * MINUTE))
    for _ in range(7):
        world.edit(replicas=world.policy.replicas + 2)
        for _ in range(9):
            world.reconcile()
            assert world.state.step is not None
            assert (world.state.weight(NEW), world.state.step.wait.since) == (50, None)
            world.pass_time(seconds(10))
        world.settle()
        world.pass_time(5 * MINUTE)
        world.settle()
    assert Happened.ROLLED_BACK not in world.events


@pytest.mark.parametrize("lost", [False, True])
def test_who_has_all_traffic_is_the_champion_though_more_pods_are_wanted_meanwhile(lost: bool) -> None:
    """The autoscaler asks for more than there are nodes for, while routers take the last weight."""
    world = canary(LONG)
    world.commands["promote-full"] = "1"
    world.reconcile()
    world.become_ready()
    world.reconcile()
    assert (world.state.weight(NEW), world.state.stable) == (100, revision(1))
    world.edit(replicas=8)
    if lost:
        world.lose_pods(NEW, 3)
    for _ in range(15):
        world.routers_follow()
        made = world.reconcile()
        world.pass_time(timedelta(minutes=1))
    champion, phase = (1, Phase.ROLLED_BACK) if lost else (2, Phase.DEGRADED)
    assert (world.state.stable, made.phase) == (revision(champion), phase)


@pytest.mark.parametrize(("champion", "promoted"), [(6, False), (8, False), (4, True)])
def test_nobody_is_promoted_with_fewer_pods_than_the_champion_has_ready(
    champion: int, promoted: bool
) -> None:
    world = canary(LONG)
    world.commands["promote-full"] = "1"
    world.reconcile()
    world.become_ready()
    world.reconcile()
    world.edit(replicas=8)
    world.reconcile()
    world.ready[OLD] = champion
    for _ in range(15):
        world.routers_follow()
        made = world.reconcile()
        world.pass_time(MINUTE)
    assert (world.state.stable == revision(2)) is promoted
    if not promoted:
        assert (world.state.weight(OLD), world.events[-1]) == (100, Happened.ROLLED_BACK)
        assert "not ready within progressDeadline 10m" in made.message


def outgrown(**changes: object) -> World:
    """The champion has the pods that were wanted of it, the challenger one of five."""
    world = canary(Policy(replicas=2, steps=(PolicyStep(50, 9 * HOUR),), progress_deadline=10 * MINUTE))
    world.edit(replicas=10, **changes)
    world.reconcile()
    world.pass_time(20 * MINUTE)  # as long as the champion has not grown, nobody could take anything
    world.reconcile()
    world.become_ready(OLD)
    world.problems[NEW] = "FailedScheduling: Insufficient nvidia.com/gpu"
    return world


def test_who_does_not_follow_the_champion_keeps_what_its_pods_carry_and_is_late_in_the_end() -> None:
    world = outgrown()
    for _ in range(10):
        world.reconcile()
        world.routers_follow()
        assert (world.state.weight(NEW), Happened.FALLBACK in world.events) == (50, False)
        world.pass_time(MINUTE)
    made = world.reconcile()
    assert (world.state.weight(NEW), world.events[-1]) == (10, Happened.FALLBACK)
    assert made.events[-1].message == (
        "m-2 goes from weight 50 to weight 10 until its pods are there: "
        "FailedScheduling: Insufficient nvidia.com/gpu"
    )
    world.routers_follow()
    assert "1 of 5 pods ready" in world.reconcile().message
    world.pass_time(9 * MINUTE)
    world.reconcile()
    assert world.state.weight(NEW) == 10
    world.pass_time(MINUTE)
    world.reconcile()
    assert (world.state.weight(NEW), world.events[-1]) == (0, Happened.ROLLED_BACK)


def test_who_follows_the_champion_later_gets_its_weight_again() -> None:
    world = outgrown()
    world.reconcile()
    world.pass_time(10 * MINUTE)
    world.reconcile()
    assert world.state.weight(NEW) == 10
    world.settle()
    assert (world.state.weight(NEW), Happened.ROLLED_BACK in world.events) == (50, False)


def test_time_beside_a_larger_champion_goes_on_when_that_grows_again_and_in_a_pause() -> None:
    world = outgrown()
    world.reconcile()
    world.pass_time(6 * MINUTE)
    world.edit(replicas=12)
    world.commands["pause"] = "1"
    world.reconcile()
    world.become_ready(OLD)
    world.reconcile()
    world.pass_time(4 * MINUTE)
    world.reconcile()
    assert (world.state.weight(NEW), world.events[-1]) == (8, Happened.FALLBACK)
    world.pass_time(HOUR)
    world.reconcile()
    assert Happened.ROLLED_BACK not in world.events


def test_time_beside_a_larger_champion_goes_on_in_the_next_step() -> None:
    world = canary(Policy(replicas=2, steps=(PolicyStep(50, HOUR), PolicyStep(60, HOUR))))
    world.edit(replicas=10)
    world.reconcile()
    world.become_ready(OLD)
    world.reconcile()
    world.pass_time(6 * MINUTE)
    world.commands["promote"] = "1"
    world.reconcile()
    assert (step(world), world.state.weight(NEW)) == (1, 50)
    world.pass_time(4 * MINUTE)
    world.reconcile()
    assert world.state.weight(NEW) == 10


def test_copies_follow_the_pods_that_must_carry_them_as_weight_does() -> None:
    world = canary(Policy(replicas=2, steps=(PolicyStep(mirror=50, duration=9 * HOUR),)))
    world.edit(replicas=10)
    world.reconcile()
    world.become_ready(OLD)
    world.reconcile()
    assert world.state.reach.mirror == 50
    world.pass_time(10 * MINUTE)
    world.reconcile()
    assert world.state.reach.mirror == 10


def test_a_challenger_whose_own_pods_do_not_come_back_is_late_all_the_same() -> None:
    world = canary(Policy(replicas=4, steps=(PolicyStep(50, 6 * HOUR),), progress_deadline=10 * MINUTE))
    world.edit(replicas=8)
    world.lose_pods(NEW, 1)
    world.reconcile()
    world.become_ready(OLD)
    world.pass_time(10 * MINUTE)
    world.reconcile()
    assert world.events[-1] is Happened.ROLLED_BACK


@pytest.mark.parametrize("following", [PolicyStep(60, HOUR), PolicyStep(replicas="100%", duration=HOUR)])
def test_the_next_step_waits_for_all_the_pods_that_it_asks_for(following: PolicyStep) -> None:
    world = canary(Policy(replicas=4, steps=(PolicyStep(50, HOUR), following), progress_deadline=10 * MINUTE))
    world.edit(replicas=10)
    world.reconcile()
    world.become_ready(OLD)
    world.pass_time(HOUR)
    made = world.reconcile()
    assert (step(world), world.state.weight(NEW), world.ready[NEW]) == (1, 50, 2)
    assert "2 of" in made.message
    world.pass_time(10 * MINUTE)
    world.reconcile()
    assert world.events[-1] is Happened.ROLLED_BACK


def test_a_growth_that_is_not_there_yet_is_told() -> None:
    world = canary(Policy(replicas=4, steps=(PolicyStep(50, HOUR),)))
    world.edit(replicas=10)
    assert "2 of 5 pods ready" in world.reconcile().message
