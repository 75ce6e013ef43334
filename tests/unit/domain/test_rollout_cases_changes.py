"""Acceptance cases of rollouts, by number: what people and programs change under a rollout.

`test_rollout_cases.py` says where each of the 55 is proven.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.domain.rollout_world import CANARY, World, canary, revision, seconds, serving, users

from noria_operator.api.modeldeployment_status import ModelDeploymentStatus
from noria_operator.domain.rollout_policy import Arm, Experiment, Policy, PolicyStep
from noria_operator.domain.rollout_wire import state_of, status_fields
from noria_operator.domain.rollout_words import Happened, Phase

V1, V2, V3 = revision(1), revision(2), revision(3)
OLD, NEW = V1.name, V2.name
HOUR = timedelta(hours=1)


def turned(keep: timedelta = HOUR) -> World:
    """Version 2 took the place of version 1; the next one would have to go through steps."""
    world = serving(1, Policy(replicas=2, keep_previous=keep))
    world.approve(2)
    world.settle()
    world.edit(steps=CANARY)
    assert world.state.stable == V2
    return world


def beginning(world: World) -> None:
    """Version 2 has no pod yet."""


def shifting(world: World) -> None:
    world.become_ready()
    world.reconcile()
    world.router_follows(0)
    world.reconcile()


def stepping(world: World) -> None:
    world.settle()


def pausing(world: World) -> None:
    world.settle()
    world.commands["pause"] = "1"
    world.settle()


def promoting(world: World) -> None:
    world.settle()
    world.commands["promote-full"] = "1"
    world.reconcile()
    world.become_ready()
    world.reconcile()
    assert (world.state.weight(NEW), world.state.stable) == (100, V1)


def crashing(world: World) -> None:
    world.lose_pods(NEW)
    world.reconcile()


WHEREVER = pytest.mark.parametrize(
    "stands", [beginning, shifting, stepping, pausing, promoting, crashing], ids=lambda one: one.__name__
)
Stands = Callable[[World], None]


def halfway(stands: Stands) -> World:
    world = serving(1, Policy(replicas=2, steps=CANARY))
    world.approve(2)
    world.reconcile()
    stands(world)
    assert world.state.candidate is not None
    return world


def test_case_07_an_abort_when_nothing_rolls_out_does_nothing() -> None:
    """argo-rollouts#1292, #1624: it scaled the stable set down."""
    world = turned()
    before, pods = world.state, dict(world.pods)
    world.commands["abort"] = "1"
    for _ in range(2):
        assert world.settle().events == ()
    assert (world.state.traffic, world.state.stable) == (before.traffic, V2)
    assert (world.pods, world.state.rejected) == (pods, ())


@WHEREVER
def test_case_08_going_back_to_the_champion_skips_all_steps_and_analysis(stands: Stands) -> None:
    """argo-rollouts#2939."""
    world = halfway(stands)
    world.readable = False
    world.edit(pinned="m-1")
    world.reconcile()
    assert (world.state.candidate, world.state.step, world.state.weight(OLD)) == (None, None, 100)
    world.settle()
    assert (world.state.stable, world.pods) == (V1, {OLD: 2})


def test_case_08_a_former_champion_that_is_gone_back_to_skips_them_too() -> None:
    world = turned(keep=timedelta())
    world.readable = False
    world.commands["undo"] = "1"
    world.reconcile()
    assert (world.state.weight(OLD), world.pods[OLD], world.state.analysis) == (0, 2, None)
    world.become_ready()
    world.reconcile()
    assert world.state.weight(OLD) == 100


def beside_a_broken_champion(traffic: Callable[[World], None]) -> World:
    """Version 2 with this traffic in every window, while version 1 loses its pods again and again."""
    world = serving(1, Policy(replicas=2, steps=CANARY))
    world.lose_pods(OLD)
    world.approve(2)
    for _ in range(30):
        world.become_ready(NEW)
        world.routers_follow()
        traffic(world)
        world.pass_time(seconds(10))
        world.reconcile()
        world.lose_pods(OLD)
    return world


def test_case_09_a_broken_champion_does_not_keep_its_mended_successor_away() -> None:
    """argo-rollouts#1774, flagger#639."""
    world = beside_a_broken_champion(lambda world: world.send(600, {OLD: 500}))
    assert world.state.stable == V2


def test_case_09_a_champion_that_answers_nothing_does_not_keep_its_mended_successor_away() -> None:
    """Routers send a version without pods nothing, so it has no counts to compare with."""

    def traffic(world: World) -> None:
        if world.state.reach.weight:
            world.answer(NEW, 600, 0)

    assert beside_a_broken_champion(traffic).state.stable == V2


@WHEREVER
def test_case_10_a_new_version_in_the_middle_of_a_rollout_never_sticks(stands: Stands) -> None:
    """argo-rollouts#1690, kserve#2130."""
    world = halfway(stands)
    world.approve(3)
    world.run(3, requests=600)
    assert (world.state.stable, world.state.candidate) == (V3, None)


def test_case_09_a_broken_champion_does_not_keep_a_third_version_away() -> None:
    world = halfway(stepping)
    for _ in range(40):
        world.lose_pods(OLD)
        world.approve(3)
        world.send(600, {OLD: 20})
        world.pass_time(seconds(10))
        world.reconcile()
        world.routers_follow()
        world.become_ready()
    assert (world.state.stable, world.state.weight(V3.name)) == (V3, 100)


def test_case_10_a_version_that_was_leaving_and_is_wanted_again_goes_on_with_the_weight_it_has() -> None:
    world = halfway(stepping)
    world.run(1, requests=600)
    assert world.state.weight(NEW) == 50
    for phase in ("Approved", "Rejected"):
        world.ready[OLD] = 0
        world.approve(3, phase)
        for _ in range(3):
            world.reconcile()
            world.routers_follow()
            assert world.state.weight(NEW) == 50
    assert world.state.candidate is not None
    assert (world.state.candidate.target, world.state.candidate.attempt) == (V2, 2)
    world.run(3, requests=600)
    assert (world.state.stable, V3.name in world.pods) == (V2, False)


@pytest.mark.parametrize("last", [4, 9])
def test_case_10_a_champion_that_stays_broken_keeps_no_newer_version_away_however_many_come(
    last: int,
) -> None:
    world = halfway(stepping)
    for number in range(3, last + 1):
        world.approve(number)
        for _ in range(4):
            world.ready[OLD] = 0
            world.reconcile()
            world.routers_follow()
            world.become_ready()
        assert world.state.weight(f"d-{number}-aaaaaa") == 10
        assert len(world.state.leaving) <= 3
    world.run(3, requests=600)
    assert world.state.stable == revision(last)


def test_case_11_replicas_and_a_new_template_of_one_change_are_one_rollout() -> None:
    """argo-rollouts#3256."""
    world = serving(1, Policy(replicas=2, steps=CANARY))
    other = world.approve(1, config="bbbbbb")
    world.edit(replicas=5)
    world.run(3, requests=600)
    assert (world.state.stable, world.pods[other.name]) == (other, 5)
    assert world.events.count(Happened.STARTED) == 2


@WHEREVER
def test_case_14_an_abort_wins_over_a_promotion_before_it_and_of_the_same_time(stands: Stands) -> None:
    """argo-rollouts#4461: a full promotion cleared every later abort."""
    world = halfway(stands)
    world.commands |= {"promote-full": "2", "resume": "2", "promote": "2", "abort": "2"}
    world.reconcile()
    assert (world.state.candidate, world.state.weight(OLD)) == (None, 100)
    world.settle()
    assert (world.state.stable, world.state.is_rejected(V2)) == (V1, True)


def test_case_14_a_pause_by_hand_can_be_ended_by_a_full_promotion() -> None:
    """argo-rollouts#4265."""
    world = halfway(pausing)
    world.commands["promote-full"] = "2"
    world.settle()
    assert (world.state.stable, world.state.candidate) == (V2, None)


def test_case_15_an_abort_is_not_undone_by_what_is_written_or_said_at_the_same_time() -> None:
    """argo-rollouts#2929: a status patch took the abort back."""
    world = halfway(stepping)
    world.commands["abort"] = "1"
    world.reconcile(crash=True)
    world.commands |= {"promote-full": "1", "promote": "1", "resume": "1"}
    world.settle()
    assert (world.state.stable, world.state.candidate, world.state.weight(OLD)) == (V1, None, 100)


def paused(world: World) -> None:
    world.commands["pause"] = "0"
    world.settle()


def aborted(world: World) -> None:
    world.commands["abort"] = "0"
    world.settle()


def all_of_it(world: World) -> None:
    world.commands["promote-full"] = "0"
    world.settle()
    assert world.state.stable == V2


@pytest.mark.parametrize(
    ("was", "go", "stop", "phase", "weight"),
    [
        (paused, "resume", "pause", Phase.PAUSED, 10),
        (paused, "promote", "pause", Phase.PAUSED, 10),
        (stepping, "promote-full", "pause", Phase.PAUSED, 10),
        (aborted, "retry", "abort", Phase.ROLLED_BACK, 0),
        (aborted, "retry", "pause", Phase.ROLLED_BACK, 0),
        (all_of_it, "retry", "undo", Phase.ROLLED_BACK, 0),
    ],
)
def test_case_15_of_commands_that_were_given_while_no_operator_looked_those_win_that_stop(
    was: Stands, go: str, stop: str, phase: Phase, weight: int
) -> None:
    """Which of them came last is not known."""
    world = serving(1, Policy(replicas=2, steps=CANARY))
    world.approve(2)
    world.settle()
    was(world)
    world.commands |= {go: "1", stop: "2"}
    told = world.reconcile().events
    assert next(note.message for note in told if note.reason is Happened.REFUSED).startswith(
        f"noria.dev/{go} 1: noria.dev/{stop} 2 "
    )
    world.settle()
    assert world.plan is not None
    assert (world.plan.phase, world.state.weight(NEW)) == (phase, weight)
    assert {go: "1", stop: "2"}.items() <= world.state.commands.items()


def test_case_15_an_abort_and_an_undo_of_one_time_go_back_once() -> None:
    """Who gets no answer to one tries the other: both mean the champion beside which they were given."""
    world = serving(1, Policy(replicas=2, steps=CANARY))
    world.approve(2)
    world.settle()
    world.commands["promote-full"] = "0"
    world.settle()
    world.approve(3)
    world.settle()
    world.commands |= {"abort": "1", "undo": "2"}
    world.settle()
    assert (world.state.stable, world.state.candidate, world.state.weight(NEW)) == (V2, None, 100)
    assert not world.state.is_rejected(V2)


@pytest.mark.parametrize("kept", [timedelta(), timedelta(hours=1)], ids=["gone", "warm"])
def test_case_15_an_abort_beside_an_undo_of_a_champion_keeps_nobody_from_going_back(kept: timedelta) -> None:
    world = turned(keep=kept)
    world.commands |= {"abort": "1", "undo": "2"}
    world.reconcile()
    assert world.state.commands == world.commands
    told = "back from m-2 to m-1 (noria.dev/undo 2 and noria.dev/abort 1)"
    assert told in [one.message for one in world.state.history]
    world.settle()
    assert (world.state.stable, world.state.candidate, world.state.weight(V1.name)) == (V1, None, 100)
    assert [one.version for one in world.state.rejected] == ["m-2"]


def test_case_15_an_abort_after_an_undo_that_has_yet_to_begin_ends_that() -> None:
    world = turned(keep=timedelta())
    world.obstacle = "claim models is not there"
    world.commands["undo"] = "1"
    world.settle()
    assert world.state.candidate is None
    world.commands["abort"] = "2"
    world.settle()
    world.obstacle = ""
    world.settle()
    assert (world.state.stable, world.state.candidate) == (V2, None)


def test_case_15_a_resume_and_a_promotion_of_one_time_pass_one_pause() -> None:
    pauses = (PolicyStep(10, pause=True), PolicyStep(50, pause=True))
    world = serving(1, Policy(replicas=2, steps=pauses))
    world.approve(2)
    world.settle()
    world.commands |= {"resume": "1", "promote": "2"}
    made = world.settle()
    assert (made.phase, world.state.weight(NEW)) == (Phase.PAUSED, 50)
    world.send(20_000)
    assert world.settle().phase is Phase.PAUSED


def test_case_13_a_version_that_was_undone_goes_through_its_steps_again_though_it_is_warm() -> None:
    """Warm pods are no evidence."""
    world = turned()
    world.commands["undo"] = "1"
    world.settle()
    world.commands["retry"] = "1"
    world.settle()
    assert (world.state.stable, world.state.weight(NEW)) == (V1, 10)
    assert (world.state.previous, world.state.analysis is None) == (None, False)
    world.run(3, requests=600)
    assert (world.state.stable, world.state.candidate) == (V2, None)


def test_case_13_a_version_that_was_left_by_a_pin_goes_through_its_steps_again_though_it_is_warm() -> None:
    world = turned()
    world.edit(pinned=V1.version)
    world.settle()
    assert world.state.stable == V1
    world.edit(pinned=V2.version)
    world.settle()
    assert (world.state.stable, world.state.weight(NEW)) == (V1, 10)
    world.commands["abort"] = "1"
    world.settle()
    assert (world.state.stable, world.state.weight(OLD)) == (V1, 100)


def test_case_13_what_was_left_goes_through_its_steps_however_much_happened_since() -> None:
    """History, which keeps no more than 20 events, has forgotten by then that it was left."""
    world = turned(keep=24 * HOUR)
    world.edit(pinned=V1.version)
    world.settle()
    world.approve(3)
    world.edit(pinned=V3.version)
    for turn in range(10):
        world.settle()
        world.commands["abort"] = f"{turn}"
        world.settle()
        world.commands["retry"] = f"{turn}"
    world.edit(pinned=V2.version)
    assert Happened.REVERTED not in [one.event for one in world.state.history]
    world.settle()
    assert (world.state.stable, world.state.weight(NEW)) == (V1, 10)


def test_case_13_what_was_left_by_steps_goes_through_its_own_though_it_is_warm() -> None:
    """The older version was no longer warm when it was pinned."""
    world = turned()
    world.pass_time(2 * HOUR)
    world.settle()
    world.edit(pinned=V1.version)
    world.run(5, requests=600)
    assert world.state.stable == V1
    assert world.state.previous is not None
    assert world.state.previous.target == V2
    world.edit(pinned=V2.version)
    world.settle()
    assert (world.state.stable, world.state.weight(NEW)) == (V1, 10)


def test_case_13_a_configuration_that_was_left_goes_through_its_steps_though_it_is_warm() -> None:
    world = serving(1, Policy(replicas=2, keep_previous=HOUR))
    other = world.approve(1, config="bbbbbb")
    world.settle()
    world.edit(steps=CANARY)
    world.pass_time(2 * HOUR)
    world.settle()
    world.approve(1)
    world.run(5, requests=600)
    assert world.state.stable == V1
    world.approve(1, config="bbbbbb")
    world.settle()
    assert (world.state.stable, world.state.weight(other.name)) == (V1, 10)


def test_case_48_the_version_before_takes_over_at_once_also_from_one_that_came_a_second_time() -> None:
    world = turned()
    world.edit(pinned=V1.version)
    world.settle()
    world.edit(pinned=V2.version)
    world.run(5, requests=600)
    assert world.state.stable == V2
    world.edit(pinned=V1.version)
    assert world.reconcile().events[-1].reason is Happened.REVERTED
    assert (world.state.stable, world.state.weight(OLD)) == (V1, 100)


def from_an_earlier_release(world: World) -> World:
    """It kept the order of champions without their turns."""
    status = ModelDeploymentStatus(**status_fields(world.state)).to_json()
    for one in status["champions"]:
        del one["turn"]
    world.state = state_of(ModelDeploymentStatus.model_validate(status))
    return world


def test_case_48_the_version_before_takes_over_at_once_also_after_an_upgrade_of_noria() -> None:
    world = from_an_earlier_release(turned())
    world.edit(pinned=V1.version)
    assert world.reconcile().events[-1].reason is Happened.REVERTED
    assert (world.state.stable, world.state.weight(OLD)) == (V1, 100)


def test_case_13_what_was_left_goes_through_its_steps_also_after_an_upgrade_of_noria() -> None:
    world = turned()
    world.edit(pinned=V1.version)
    world.settle()
    world = from_an_earlier_release(world)
    world.edit(pinned=V2.version)
    world.settle()
    assert (world.state.stable, world.state.weight(NEW)) == (V1, 10)


def test_case_48_a_good_version_takes_over_at_once_from_the_one_that_was_to_replace_it() -> None:
    """Also where that one has the lower number."""
    world = serving(2, Policy(replicas=2, keep_previous=HOUR))
    world.approve(1)
    world.edit(pinned=V1.version)
    world.settle()
    assert world.state.stable == V1
    world.edit(pinned=V2.version, steps=CANARY)
    assert world.reconcile().events[-1].reason is Happened.REVERTED
    assert (world.state.stable, world.state.weight(NEW)) == (V2, 100)


@WHEREVER
def test_case_27_replicas_and_steps_that_are_changed_to_and_fro_zero_and_wedge_nothing(
    stands: Stands,
) -> None:
    """argo-rollouts#3565, kruise-rollouts#197: a GitOps tool and an autoscaler that disagree."""
    world = halfway(stands)
    for turn in range(8):
        replicas, steps = ((6, ()), (2, CANARY))[turn % 2]
        world.edit(replicas=replicas, steps=steps)
        world.reconcile()
        assert world.state.stable is not None
        assert world.ready[world.state.stable.name] >= 2
    if stands is pausing:
        world.commands["resume"] = "2"
    world.run(3, requests=600)
    assert (world.state.stable, world.state.candidate) == (V2, None)


def test_case_34_a_rollback_restores_the_configuration_of_that_revision() -> None:
    """argo-rollouts#1297."""
    world = serving(1, Policy(replicas=2, keep_previous=timedelta()))
    world.approve(1, config="bbbbbb")
    world.approve(2, config="bbbbbb")
    world.settle()
    world.commands["undo"] = "1"
    world.settle()
    assert (world.state.stable, world.pods) == (V1, {OLD: 2})


@WHEREVER
@pytest.mark.parametrize(
    "steps",
    [
        (),
        (PolicyStep(33), PolicyStep(5, seconds(20))),
        (PolicyStep(replicas="100%", pause=True, duration=seconds(20)),),
        (PolicyStep(mirror=100, duration=seconds(20)), PolicyStep(20, gate=True)),
    ],
    ids=["none", "others", "blue-green", "shadow"],
)
def test_case_35_another_strategy_in_the_middle_of_a_rollout_ends_well(
    stands: Stands, steps: tuple[PolicyStep, ...]
) -> None:
    """argo-rollouts#555."""
    world = halfway(stands)
    world.edit(steps=steps)
    world.reconcile()
    if stands is pausing:
        world.commands["resume"] = "2"
    world.run(3, requests=600)
    assert (world.state.stable, world.state.candidate, world.state.verified) == (V2, None, True)


def test_case_38_a_promotion_that_fails_leaves_traffic_with_the_version_that_was_proven() -> None:
    """flagger#1898: promotion was a second rollout."""
    world = halfway(promoting)
    world.router_follows(0)
    world.lose_pods(NEW)
    world.reconcile()
    assert (world.state.stable, world.state.weight(OLD), world.pods[OLD]) == (V1, 100, 2)
    world.pass_time(timedelta(minutes=11))
    world.reconcile()
    world.routers_follow()
    world.reconcile()
    assert (world.state.is_rejected(V2), world.pods) == (True, {OLD: 2})


def test_case_39_a_new_version_is_noticed_while_another_is_promoted_and_needs_its_own_approval() -> None:
    """flagger#30, #784: an approval of one let another one through."""
    world = halfway(promoting)
    world.approve(3)
    world.settle()
    assert world.state.candidate is not None
    assert (world.state.stable, world.state.candidate.target) == (V1, V3)
    assert world.state.weight(V3.name) == 10


@pytest.mark.parametrize("command", ["promote", "promote-full", "resume"])
@pytest.mark.parametrize("meant", ["m-2", NEW])
def test_case_39_an_approval_that_names_a_version_is_for_no_other(command: str, meant: str) -> None:
    """flagger, scheduler.go:935: an approval given for spec A lets spec B through."""
    world = canary(Policy(replicas=2, steps=(PolicyStep(10, pause=True), PolicyStep(50, HOUR))))
    world.approve(3)
    world.settle()  # while somebody still looks at version 2
    before = world.state
    world.commands[command] = f"{meant}@ada, ticket 7"
    made = world.settle()
    assert replace(world.state, commands={}, history=()) == replace(before, commands={}, history=())
    assert world.events[-1] is Happened.REFUSED
    assert f"noria.dev/{command} {meant}@ada, ticket 7: m-3 is on trial" in world.state.history[-1].message
    assert made.state.commands[command] == world.commands[command]
    world.commands[command] = f"m-3@{command}"
    world.settle()
    assert world.state.stable == V3 if command == "promote-full" else world.state.weight(V3.name) == 50


@pytest.mark.parametrize("id_", ["ada@example.com", "ticket-17@ada", "x-m-3@1", "m-4x@1", "@", V2.name])
def test_an_id_that_names_no_version_is_an_id_whatever_it_looks_like(id_: str) -> None:
    world = canary(Policy(replicas=2, steps=(PolicyStep(10, pause=True), PolicyStep(50, HOUR))))
    world.commands["promote"] = id_
    world.settle()
    assert (world.state.weight(NEW), Happened.REFUSED in world.events) == (50, False)


def test_case_46_users_move_between_a_version_and_the_champion_alone_and_shares_do_not_drift() -> None:
    """flagger#1532: with one-sided cookies all users ended at the challenger. `World` checks each write."""
    world = serving(1, Policy(replicas=10))
    for number in (2, 3):
        world.approve(number)
    begun: dict[str, int] = {}
    for weights in ((20, 10), (40, 10), (5, 30), (20, 10)) * 5:
        arms = tuple(Arm(f"m-{number}", weight) for number, weight in zip((2, 3), weights, strict=True))
        world.edit(experiment=Experiment(arms, duration=HOUR))
        world.settle()
        found = Counter(name for name, _ in users(world.state))
        assert [found[one.name] for one in (V1, V2, V3)] == [100 - sum(weights), *weights]
        if weights == (20, 10):
            begun = begun or dict(found)
            assert dict(found) == begun


def test_case_48_a_rollback_to_a_warm_version_is_instant_and_asks_no_judge() -> None:
    """flagger#453, #616."""
    world = turned()
    world.readable = False
    world.commands["undo"] = "1"
    world.reconcile()
    assert (world.state.stable, world.state.weight(OLD), world.state.candidate) == (V1, 100, None)


def test_case_51_an_undo_works_in_a_pause() -> None:
    """kruise-rollouts#257."""
    world = halfway(pausing)
    world.commands["undo"] = "2"
    world.reconcile()
    assert (world.state.candidate, world.state.weight(OLD)) == (None, 100)
    assert world.settle().phase is Phase.ROLLED_BACK


def test_case_52_an_undo_goes_to_the_last_good_version_not_merely_to_the_one_before() -> None:
    """kserve#2040."""
    world = turned()
    world.edit(steps=())
    world.approve(3)
    world.settle()
    world.approve(2, "Rejected")
    world.commands["undo"] = "1"
    world.settle()
    assert (world.state.stable, world.state.is_rejected(V3)) == (V1, True)


def test_a_version_that_serves_in_a_broken_champions_place_grows_with_replicas() -> None:
    """And loses no pod when they shrink: the router may lean on it for all that the champion cannot do."""
    world = canary(Policy(replicas=2, steps=(PolicyStep(50),)))
    world.lose_pods(OLD)
    world.approve(3)
    world.reconcile()
    assert [share.target for share in world.state.leaving] == [V2]
    assert world.pods[NEW] == 1
    world.edit(replicas=6)
    world.reconcile()
    assert world.pods[NEW] == 3
    world.become_ready(NEW)
    world.edit(replicas=2)
    world.reconcile()
    assert world.pods[NEW] == 3


def test_a_version_that_is_relieved_grows_for_the_weight_that_routers_still_send_by() -> None:
    world = canary(Policy(replicas=4, steps=(PolicyStep(50),)))
    world.lose_pods(OLD)
    world.edit(pinned="m-1")
    world.reconcile()
    assert world.state.weight(NEW) == 50
    world.lose_pods(NEW, 1)
    world.become_ready(OLD)
    world.lose_pods(OLD, 3)
    world.reconcile()
    assert 0 < world.state.weight(NEW) < 50
    world.edit(replicas=8)
    world.reconcile()
    assert world.pods[NEW] == 4


@pytest.mark.parametrize("moment", [beginning, shifting, stepping, pausing])
def test_case_54_all_that_a_rollout_made_is_known_and_one_made_again_begins_afresh(
    moment: Callable[[World], None],
) -> None:
    """Whatever has pods is a child of the plan's, and so of the deployment that is deleted; what is made
    again under its name finds nobody's weight."""
    world = serving(1, Policy(replicas=2, steps=CANARY))
    world.approve(2)
    world.reconcile()
    moment(world)
    made = world.reconcile()
    assert {child.target.name for child in made.children} == set(world.pods) == {OLD, NEW}
    assert world.records == made.records
    again = World(Policy(replicas=2, steps=CANARY))
    for number in (1, 2):
        again.approve(number)
    made = again.reconcile()
    assert (made.state.traffic, [child.target for child in made.children]) == ((), [V2])
