"""Acceptance cases of rollouts, by number: weights and the pods that carry them.

`test_rollout_cases.py` says where each of the 55 is proven. `World` checks after every write that weights sum
to 100, that no router sends to a revision that is gone, and that the champion keeps its size.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.domain.rollout_world import CANARY, World, canary, revision, seconds, serving

from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_state import CHAMPIONS
from noria_operator.domain.rollout_words import Happened, Phase

V1, V2, V3 = revision(1), revision(2), revision(3)
OLD, NEW = V1.name, V2.name
AT_ONCE = Policy(replicas=2, keep_previous=timedelta())


def turned(policy: Policy) -> World:
    """Version 2 took the place of version 1."""
    world = serving(1, policy)
    world.approve(2)
    world.settle()
    assert world.state.stable == V2
    return world


def at_half(replicas: int = 4) -> World:
    """Version 2 has half the weight in force."""
    world = canary(Policy(replicas=replicas, steps=(PolicyStep(50, timedelta(hours=9)),)))
    assert (world.state.weight(NEW), world.state.verified) == (50, True)
    return world


@pytest.mark.parametrize("command", [True, False], ids=["undo", "pin"])
def test_case_01_a_rollback_waits_for_all_pods_of_its_target_not_for_one(command: bool) -> None:
    """argo-rollouts#3941: one ready pod got the traffic of all."""
    world = turned(Policy(replicas=3))
    world.lose_pods(OLD, 1)
    if command:
        world.commands["undo"] = "1"
    else:
        world.edit(pinned="m-1")
    for ready in (1, 2):
        world.ready[OLD] = ready
        world.reconcile()
        assert world.state.weight(OLD) == 0
    world.ready[OLD] = 3
    world.reconcile()
    assert world.state.weight(OLD) == 100


@pytest.mark.parametrize("command", [True, False], ids=["undo", "pin"])
def test_case_01_a_rollback_waits_for_no_more_pods_than_the_champion_has_ready(command: bool) -> None:
    """`replicas` grew and the cluster has no room: what neither of them has is a wish."""
    world = turned(Policy(replicas=8, keep_previous=timedelta(hours=1)))
    world.edit(replicas=10)
    world.lose_pods(OLD, 7)
    if command:
        world.commands["undo"] = "1"
    else:
        world.edit(pinned="m-1")
    made = world.reconcile()
    assert (world.state.stable, world.state.weight(OLD)) == (V2, 0)
    waits = "m-1 is still warm and takes all traffic once its pods carry what those of m-2 do: 7 of 8 ready"
    assert made.message.endswith(waits)
    world.ready[OLD] = 8
    world.reconcile()
    assert (world.state.stable, world.state.weight(OLD)) == (V1, 100)


def test_case_01_a_rollback_from_a_champion_that_is_down_takes_the_pods_that_are_there() -> None:
    world = turned(Policy(replicas=4, keep_previous=timedelta(hours=1)))
    world.lose_pods(OLD)
    world.lose_pods(NEW)
    world.commands["undo"] = "1"
    made = world.reconcile()
    assert (world.state.stable, made.message.endswith(": 0 of 1 ready")) == (V2, True)
    world.ready[OLD] = 3
    world.reconcile()
    assert (world.state.stable, world.state.weight(OLD), world.state.weight(NEW)) == (V1, 100, 0)
    assert world.settle().phase is Phase.ROLLED_BACK


def test_case_02_a_superseded_challenger_keeps_its_pods_while_any_router_sends_there() -> None:
    """argo-rollouts#4390: 503 from a set that was being scaled down."""
    world = at_half()
    world.approve(3)
    world.reconcile()
    assert (world.state.weight(NEW), world.pods[NEW]) == (0, 2)
    world.router_follows(0)
    world.reconcile()
    assert (world.pods[NEW], V3.name in world.pods) == (2, False)
    world.router_follows(1)
    world.reconcile()
    assert (NEW in world.pods, V3.name in world.pods) == (False, True)


def test_case_02_a_superseded_challenger_that_serves_in_a_broken_champions_place_goes_on_until_relieved() -> (
    None
):
    world = at_half()
    world.ready[OLD] = 0
    world.approve(3)
    for _ in range(3):
        world.reconcile()
        world.routers_follow()
        assert (world.state.weight(NEW), world.pods[NEW], world.state.verified) == (50, 2, True)
    world.become_ready(V3.name)
    world.ready[OLD] = 0
    world.reconcile()
    assert [world.state.weight(one.name) for one in (V1, V3, V2)] == [50, 50, 0]
    assert world.pods[NEW] == 2
    world.settle()
    assert NEW not in world.pods


def test_case_03_the_champion_never_shrinks_below_its_share_while_the_challengers_pods_are_missing() -> None:
    """argo-rollouts#2050."""
    world = at_half()
    world.lose_pods(NEW)
    world.reconcile()
    assert (world.state.weight(OLD), world.pods[OLD]) == (100, 4)


def test_case_04_a_switch_is_in_force_everywhere_before_old_pods_go() -> None:
    """argo-rollouts#2235: four minutes without pods."""
    world = serving(1, AT_ONCE)
    world.approve(2)
    world.reconcile()
    world.become_ready()
    world.reconcile()
    assert world.state.weight(NEW) == 100
    world.router_follows(0)
    world.reconcile()
    assert (world.state.stable, world.pods[OLD]) == (V1, 2)
    world.router_follows(1)
    world.reconcile()
    assert world.state.stable == V2
    world.settle()
    assert OLD not in world.pods


def test_case_05_a_champion_takes_everything_back_with_all_its_pods_when_a_third_version_arrives() -> None:
    """argo-rollouts#3372: it had been shrunk by its challenger's weight; ours never is."""
    world = canary(Policy(replicas=4, steps=(PolicyStep(99, timedelta(hours=9)),)))
    assert (world.state.weight(OLD), world.pods[OLD], world.ready[OLD]) == (1, 4, 4)
    world.approve(3)
    world.reconcile()
    assert (world.state.weight(OLD), world.ready[OLD]) == (100, 4)


def outgrown() -> World:
    """Ten pods are asked for when version 2 has half the weight and five pods, and version 1 has two."""
    world = at_half(replicas=2)
    world.edit(replicas=10)
    world.reconcile()
    world.become_ready(NEW)
    assert (world.ready[OLD], world.ready[NEW], world.state.weight(NEW)) == (2, 5, 50)
    return world


@pytest.mark.parametrize(
    ("ready", "weights"), [(2, [50, 0, 50]), (6, [60, 0, 40]), (9, [90, 0, 10]), (10, [100, 0, 0])]
)
def test_case_05_a_champion_takes_back_what_its_ready_pods_carry_when_a_third_version_arrives(
    ready: int, weights: list[int]
) -> None:
    world = outgrown()
    world.approve(3)
    world.reconcile()
    assert [world.state.weight(one.name) for one in (V1, V3, V2)] == [50, 0, 50]
    world.ready[OLD] = ready
    for _ in range(3):
        world.routers_follow()
        world.reconcile()
        assert [world.state.weight(one.name) for one in (V1, V3, V2)] == weights
    assert world.state.candidate is not None
    assert world.state.candidate.target == V3
    assert (NEW in world.pods) is (weights[2] > 0)


def test_case_06_weight_follows_the_champions_ready_pods_when_its_challenger_is_cancelled() -> None:
    world = outgrown()
    world.edit(pinned="m-1")
    seen = []
    for ready in (2, 4, 7, 10):
        world.ready[OLD] = ready
        world.reconcile()
        world.routers_follow()
        seen.append((world.state.weight(OLD), world.state.weight(NEW)))
    assert seen == [(50, 50), (50, 50), (70, 30), (100, 0)]
    assert world.settle().phase is Phase.HEALTHY
    assert world.pods == {OLD: 10}


def test_case_06_weight_follows_ready_pods_when_replicas_grow_before_a_rollback() -> None:
    """argo-rollouts#3020: a small old version was given all traffic of a larger one at once."""
    world = turned(Policy(replicas=2))
    world.edit(replicas=6)
    world.reconcile()
    world.become_ready(NEW)
    world.edit(pinned="m-1")
    world.reconcile()
    assert (world.pods[OLD], world.ready[OLD], world.state.weight(OLD)) == (6, 2, 0)
    world.become_ready(OLD)
    world.reconcile()
    assert world.state.weight(OLD) == 100


def test_case_19_a_challenger_has_ready_pods_or_no_weight() -> None:
    """argo-rollouts#4442: a Service without endpoints had weight."""
    world = at_half()
    for ready, weight in ((1, 25), (0, 0), (1, 0), (2, 50)):
        world.ready[NEW] = ready
        world.reconcile()
        assert world.state.weight(NEW) == weight
        world.routers_follow()


def test_case_20_an_abort_ends_with_weight_0_although_the_champion_lost_pods() -> None:
    """argo-rollouts#4841: a deadlock of minimum pods and proportional weights."""
    world = at_half()
    world.lose_pods(OLD, 1)
    world.commands["abort"] = "1"
    for _ in range(3):
        world.reconcile()
        world.routers_follow()
    assert (world.state.weight(NEW), NEW in world.pods, world.state.verified) == (0, False, True)


def test_case_20_an_abort_takes_all_weight_from_a_version_that_still_leaves() -> None:
    world = outgrown()
    world.edit(pinned="m-1")
    world.reconcile()
    assert (world.state.candidate, world.state.weight(NEW)) == (None, 50)
    world.commands["abort"] = "1"
    world.reconcile()
    assert (world.state.weight(OLD), world.state.weight(NEW), world.state.is_rejected(V2)) == (100, 0, True)


def test_case_20_a_failed_challenger_leaves_the_version_that_serves_in_the_champions_place_alone() -> None:
    world = at_half()
    world.edit(steps=(PolicyStep(10, timedelta(hours=9)),))
    world.reconcile()
    world.ready[OLD] = 0
    world.approve(3)
    for _ in range(3):
        world.reconcile()
        world.routers_follow()
        world.become_ready(V3.name)
    assert [world.state.weight(one.name) for one in (V1, V3, V2)] == [50, 10, 40]
    world.commands["abort"] = "1"
    world.reconcile()
    assert [world.state.weight(one.name) for one in (V1, V3, V2)] == [60, 0, 40]


def test_case_21_weights_are_whole_percents_with_sum_100_at_every_write() -> None:
    """argo-rollouts#4424."""
    world = canary(Policy(replicas=3, steps=(PolicyStep(1), PolicyStep(67), PolicyStep(99))))
    seen: set[tuple[int, ...]] = set()
    for ready in (1, 3, 2, 1, 3, 0, 3, 2):
        world.ready[NEW] = min(ready, world.pods.get(NEW, 0))
        world.commands["promote"] = f"{len(seen)}"
        world.reconcile()
        seen.add(tuple(share.weight for share in world.state.traffic))
        world.routers_follow()
    assert all(sum(weights) == 100 and min(weights) >= 0 for weights in seen)
    assert len(seen) >= 4


def test_case_22_scaling_alone_changes_no_weight_not_even_for_one_write() -> None:
    """argo-rollouts#4642."""
    world = at_half(replicas=2)
    before = world.state.traffic_version
    for replicas in (3, 8, 2, 5):
        world.edit(replicas=replicas)
        for _ in range(3):
            world.reconcile()
            assert world.state.weight(NEW) == 50
            world.become_ready()
    assert world.state.traffic_version == before


@pytest.mark.parametrize("released", [False, True], ids=["step", "promoted"])
def test_case_22_weight_stays_for_a_while_when_the_champions_new_pods_are_ready_first(released: bool) -> None:
    world = at_half()
    if released:
        world.commands["promote-full"] = "1"
        world.reconcile()
        world.become_ready()
        world.reconcile()
    weight, before = world.state.weight(NEW), world.state.traffic_version
    world.edit(replicas=10)
    world.reconcile()
    for ready in (6, 10):
        world.ready[OLD] = ready
        world.reconcile()
        assert (world.state.weight(NEW), world.state.traffic_version) == (weight, before)
    assert Happened.FALLBACK not in world.events
    world.lose_pods(NEW, 1)
    world.reconcile()
    assert world.state.weight(NEW) == 10


def test_case_23_an_abort_removes_pods_of_the_challenger_however_many_there_are() -> None:
    """argo-rollouts#1337."""
    world = at_half()
    world.edit(replicas=10)
    world.settle()
    assert world.pods[NEW] == 5
    world.commands["abort"] = "1"
    world.settle()
    assert world.pods == {OLD: 10}


def test_case_24_a_version_in_its_warm_time_is_left_alone_and_asks_for_one_pass_at_its_end() -> None:
    """argo-rollouts#1822 (39 times up and down), #4971 (a hot loop)."""
    world = turned(Policy(replicas=2, keep_previous=timedelta(minutes=10)))
    assert world.state.previous is not None
    before, due = world.state, world.state.previous.keep_until
    while world.now < due - seconds(60):
        world.pass_time(seconds(60))
        made = world.reconcile()
        assert (made.state, made.due, made.events, world.pods) == (before, due, (), {OLD: 2, NEW: 2})


def test_case_25_no_warm_time_means_at_once_and_so_many_champions_are_remembered_exactly() -> None:
    """argo-rollouts#1992, #501: 0 was also "for ever", the limit off by one."""
    world = turned(AT_ONCE)
    assert world.pods == {NEW: 2}
    for number in range(3, CHAMPIONS + 3):
        assert len(world.state.champions) == number - 1 - (number == CHAMPIONS + 2)
        world.approve(number)
        world.settle()
    assert world.state.champions == tuple(revision(number) for number in range(3, CHAMPIONS + 3))
    world.commands["undo"] = "m-2@1"
    world.settle()
    assert Happened.UNDONE not in world.events
    world.commands["undo"] = "m-3@2"
    world.settle()
    assert world.state.stable == V3


@pytest.mark.parametrize("replicas", [1, 3, 9])
def test_case_26_an_autoscaler_in_the_middle_of_a_canary_finds_every_version_large_enough(
    replicas: int,
) -> None:
    """argo-rollouts#1415, flagger#1209."""
    world = at_half()
    world.edit(replicas=replicas)
    world.reconcile()
    assert (world.pods[OLD], world.pods[NEW]) == (replicas, -(-replicas // 2))
    assert world.state.weight(NEW) == 50
    world.become_ready(OLD)
    world.reconcile()
    world.pass_time(world.policy.progress_deadline)
    world.reconcile()
    least = world.state.weight(NEW) * replicas / 100
    assert world.ready[NEW] >= least, "a version that is too small when its time to follow is over"


def test_case_36_the_last_step_takes_no_pod_that_a_router_may_still_use() -> None:
    """argo-rollouts#3586: 503 at the end."""
    world = at_half()
    world.edit(keep_previous=timedelta())
    world.commands["promote-full"] = "1"
    world.reconcile()
    assert (world.state.weight(NEW), world.pods[NEW]) == (50, 4)
    world.become_ready()
    world.reconcile()
    for router in (0, 1):
        assert (world.state.weight(NEW), world.state.stable, world.pods[OLD]) == (100, V1, 4)
        world.router_follows(router)
        world.reconcile()
    assert (world.state.stable, world.pods[NEW]) == (V2, 4)


def test_case_47_weight_0_is_said_and_not_left_out() -> None:
    """flagger#930: an empty weight was dropped, the old one stayed."""
    world = canary()
    world.commands["abort"] = "1"
    world.reconcile()
    assert [(share.target, share.weight) for share in world.state.traffic] == [(V1, 100), (V2, 0)]


def test_case_50_routes_of_a_revision_go_once_no_router_uses_them() -> None:
    """seldon-core#5181: routes of old versions stayed."""
    world = canary()
    for number in (3, 4, 5):
        world.approve(number)
        world.settle()
        assert [share.target for share in world.state.traffic] == [V1, revision(number)]


def test_case_55_a_challenger_that_loses_all_pods_gives_its_traffic_away_and_gets_it_back() -> None:
    world = canary(Policy(replicas=2, steps=CANARY))
    world.lose_pods(NEW)
    world.reconcile()
    assert (world.state.weight(OLD), world.state.weight(NEW)) == (100, 0)
    assert world.events[-1] is Happened.FALLBACK
    world.settle()
    assert (world.state.weight(NEW), world.state.is_rejected(V2)) == (10, False)
