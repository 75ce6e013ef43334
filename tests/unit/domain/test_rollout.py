"""The planner, case by case. Numbers in docstrings are the acceptance cases of the rollout specification."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache

import pytest
from tests.unit.domain.rollout_world import CANARY, World, canary, report, revision, seconds, serving

from noria_operator.api.names import DEPLOYMENT_COMMANDS
from noria_operator.domain.commands import EARLIER
from noria_operator.domain.rollout_commands import COMMANDS
from noria_operator.domain.rollout_conditions import conditions
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_state import REMEMBERED, Revision
from noria_operator.domain.rollout_words import Happened, Phase
from noria_operator.domain.verdict import Verdict

V1, V2, V3 = revision(1), revision(2), revision(3)
NEW = V2.name


def phase(world: World) -> Phase:
    assert world.plan is not None
    return world.plan.phase


def routed(world: World) -> list[Revision]:
    return [share.target for share in world.state.traffic]


# -- the first version


def test_without_an_approved_version_it_waits_and_says_what_for() -> None:
    world = World()
    world.approve(1, "Validating")
    made = world.reconcile()
    assert (made.phase, made.children) == (Phase.PENDING, ())
    assert "Approved" in made.message


def test_the_first_version_gets_all_traffic_without_a_canary_once_its_pods_are_ready() -> None:
    world = World()
    world.approve(1)
    world.reconcile()
    assert world.pods == {V1.name: 2}
    assert world.state.traffic == ()
    world.ready[V1.name] = 1
    world.reconcile()
    assert world.state.traffic == ()
    world.become_ready()
    world.reconcile()
    assert (world.state.weight(V1.name), world.state.verified, world.state.stable) == (100, False, None)
    world.routers_follow()
    world.reconcile()
    assert world.state.stable == V1
    assert phase(world) is Phase.HEALTHY


def test_a_first_version_that_never_becomes_ready_stays_and_says_why() -> None:
    world = World()
    world.approve(1)
    world.reconcile()
    world.problems[V1.name] = "CrashLoopBackOff: wrong digest"
    world.pass_time(timedelta(minutes=11))
    made = world.reconcile()
    assert made.phase is Phase.DEGRADED
    assert "wrong digest" in made.message
    assert world.state.candidate is not None
    assert world.events.count(Happened.STALLED) == 1
    assert world.reconcile().events == ()


def test_a_first_version_that_was_aborted_says_how_to_try_it_again() -> None:
    world = World()
    world.approve(1)
    world.reconcile()
    world.commands["abort"] = "1"
    made = world.settle()
    assert made.phase is Phase.PENDING
    assert made.message.startswith("nothing serves; m-1 was rejected: noria.dev/abort 1")
    assert "noria.dev/retry" in made.message


def test_the_champion_in_another_configuration_is_told_from_the_champion() -> None:
    world = serving()
    other = world.approve(1, config="bbbbbb")
    world.reconcile()
    world.commands["abort"] = "1"
    made = world.settle()
    said = [one.message for one in world.state.history][-2:]
    told = f"m-1 in another configuration ({other.name})"
    assert said[0] == f"{told} starts in 2 steps, attempt 1, champion m-1"
    assert said[1] == f"{told} was rolled back: noria.dev/abort 1"
    assert made.message.startswith(f"m-1 serves; {told} was rejected: noria.dev/abort 1")


def test_which_configuration_takes_the_place_of_which_is_told() -> None:
    world = canary()
    other = world.approve(2, config="bbbbbb")
    world.reconcile()
    told = world.state.history[-1]
    assert (told.event, told.message) == (
        Happened.SUPERSEDED,
        f"m-2 in another configuration ({other.name}) takes the place of m-2",
    )
    world = serving()
    former = world.approve(1, config="bbbbbb")
    world.settle()
    world.approve(2)
    world.reconcile()
    assert world.state.history[-1].message == (
        f"m-2 takes the place of m-1 in another configuration ({former.name})"
    )


def test_of_two_rejected_configurations_of_a_version_each_has_its_own_reason() -> None:
    world = canary()
    for number, config in enumerate(("aaaaaa", "bbbbbb"), start=1):
        world.approve(2, config=config)
        world.settle()
        world.commands["abort"] = str(number)
        made = world.settle()
        assert f"m-2 was rejected: noria.dev/abort {number};" in made.message
    world.approve(2, config="aaaaaa")
    assert "m-2 was rejected: noria.dev/abort 1;" in world.settle().message


def test_every_start_of_a_version_is_an_attempt_until_it_is_promoted() -> None:
    world = canary()
    world.edit(pinned="m-1")
    world.settle()
    assert world.events[-1] is Happened.CANCELLED
    world.edit(pinned=None)
    world.settle()
    assert "m-2 starts in 2 steps, attempt 2, champion m-1" in world.state.history[-1].message
    world.commands["promote-full"] = "1"
    world.settle()
    world.approve(2, config="bbbbbb")
    world.reconcile()
    assert "starts in 2 steps, attempt 1, champion m-2" in world.state.history[-1].message


@pytest.mark.parametrize(("steps", "how"), [(CANARY[:1], "1 step"), (CANARY, "2 steps")])
def test_a_rollout_says_how_many_steps_it_has(steps: tuple[PolicyStep, ...], how: str) -> None:
    world = serving(policy=Policy(replicas=2, steps=steps))
    world.approve(2)
    world.reconcile()
    assert world.state.history[-1].message == f"m-2 starts in {how}, attempt 1, champion m-1"


def test_a_newer_version_takes_the_place_of_a_first_version_that_never_became_ready() -> None:
    world = World()
    world.approve(1)
    world.reconcile()
    world.pass_time(timedelta(minutes=11))
    world.reconcile()
    world.approve(2)
    world.settle()
    assert world.state.stable == V2


# -- canary


def test_a_canary_starts_with_the_pods_of_its_step_and_no_weight() -> None:
    world = serving()
    world.approve(2)
    world.reconcile()
    assert world.pods == {V1.name: 2, NEW: 1}
    assert world.state.weight(NEW) == 0


def test_weight_follows_ready_pods_and_is_verified_only_when_every_router_has_it() -> None:
    """Case 19."""
    world = serving()
    world.approve(2)
    world.reconcile()
    assert world.state.weight(NEW) == 0
    world.become_ready()
    world.reconcile()
    assert (world.state.weight(NEW), world.state.verified) == (10, False)
    world.router_follows(0)
    world.reconcile()
    assert not world.state.verified
    world.router_follows(1)
    world.reconcile()
    assert world.state.verified


def test_a_good_challenger_goes_through_its_steps_and_is_promoted_without_a_second_rollout() -> None:
    """Cases 36 and 38."""
    world = canary()
    world.run(1)
    assert world.state.weight(NEW) == 50
    world.run(1)
    assert world.state.stable == V2
    assert world.state.previous is not None
    assert world.state.previous.target == V1
    assert world.pods == {NEW: 2, V1.name: 2}
    assert phase(world) is Phase.HEALTHY
    assert world.events.count(Happened.STARTED) == 2


def test_the_champion_comes_first_in_traffic_and_the_challenger_second() -> None:
    world = canary()
    assert routed(world) == [V1, V2]
    world.run(8)
    assert routed(world) == [V2, V1]
    world.approve(3)
    world.settle()
    assert routed(world) == [V2, V3, V1]


def test_the_previous_version_stays_warm_for_its_time_and_then_goes() -> None:
    """Case 24 and 25."""
    world = canary()
    world.run(8)
    assert world.state.previous is not None
    due = world.state.previous.keep_until
    world.now = due - seconds(1)
    assert world.reconcile().due == due
    assert V1.name in world.pods
    world.now = due
    world.settle()
    assert world.pods == {NEW: 2}
    assert [share.target for share in world.state.traffic] == [V2]


def test_keeping_the_previous_version_for_no_time_removes_it_at_once() -> None:
    """Case 25."""
    world = canary(Policy(replicas=2, steps=CANARY, keep_previous=timedelta()))
    world.run(8)
    assert world.pods == {NEW: 2}


def test_without_steps_a_challenger_takes_over_once_all_its_pods_are_ready() -> None:
    """Case 48."""
    world = serving(policy=Policy(replicas=2))
    world.approve(2)
    world.reconcile()
    assert world.pods[NEW] == 2
    world.ready[NEW] = 1
    world.reconcile()
    assert world.state.weight(NEW) == 0
    world.settle()
    assert world.state.stable == V2


def test_a_step_waits_for_its_requests_and_its_duration() -> None:
    world = canary()
    world.pass_time(timedelta(minutes=5))
    world.settle()
    assert world.state.weight(NEW) == 10
    world.run(0.5, requests=300)
    assert world.state.weight(NEW) == 10 or world.state.weight(NEW) == 50
    world.run(0.5, requests=300)
    assert world.state.weight(NEW) == 50


def test_no_traffic_holds_and_then_pauses_at_max_hold() -> None:
    """Case 44."""
    world = canary()
    world.pass_time(timedelta(minutes=59))
    world.settle()
    assert phase(world) is Phase.PROGRESSING
    world.pass_time(timedelta(minutes=2))
    made = world.settle()
    assert (made.phase, world.state.weight(NEW)) == (Phase.PAUSED, 10)
    assert "resume" in made.message
    world.commands["resume"] = "1"
    world.settle()
    assert phase(world) is Phase.PROGRESSING


def test_max_hold_aborts_when_the_user_chose_so() -> None:
    world = canary(Policy(replicas=2, steps=CANARY, abort_on_max_hold=True))
    world.pass_time(timedelta(hours=2))
    world.settle()
    assert world.state.is_rejected(V2)


@pytest.mark.parametrize("gate", [False, True])
def test_max_hold_begins_once_the_least_time_of_evidence_is_over(gate: bool) -> None:
    """Who asks for three hours of evidence does not give a version up for them."""
    steps = (PolicyStep(50, gate=gate),)
    policy = Policy(replicas=2, steps=steps, min_duration=timedelta(hours=3), abort_on_max_hold=True)
    world = canary(policy)
    world.run(1, requests=1000)
    for _ in range(4):
        world.pass_time(timedelta(minutes=40))
        made = world.settle()
        assert made.phase is Phase.PROGRESSING
        assert "waiting for analysis.minDuration" in made.message
    late = world.fork()
    late.readable = False
    late.pass_time(timedelta(minutes=70))
    assert late.settle().phase is Phase.PROGRESSING
    late.pass_time(timedelta(minutes=20))
    assert late.settle().phase is Phase.ROLLED_BACK
    world.pass_time(timedelta(minutes=40))
    world.settle()
    assert world.state.stable == V2


def test_counts_that_cannot_be_read_hold_the_rollout() -> None:
    """Cases 28, 29 and 30: an error is neither a pass nor a fail."""
    world = canary()
    world.readable = False
    world.run(3, requests=5000)
    assert world.state.weight(NEW) == 10
    assert world.state.analysis is not None
    assert world.state.analysis.verdict is Verdict.ERROR
    world.readable = True
    world.run(1, requests=5000)
    assert world.state.weight(NEW) == 50


def test_a_burst_of_errors_holds_the_step_until_it_is_explained() -> None:
    """Case 53: more weight is not given to what just failed, though one window alone does not abort."""
    steps = (PolicyStep(10, seconds(1)), PolicyStep(50))
    world = canary(Policy(replicas=2, steps=steps, interval=timedelta(minutes=5)))
    world.send(500, {NEW: 4})
    world.pass_time(seconds(2))
    made = world.settle()
    assert world.state.weight(NEW) == 10
    assert not world.state.is_rejected(V2)
    assert "few bursts of errors" in made.message


def test_a_burst_of_errors_is_told_once_and_errors_at_another_time_abort() -> None:
    """What is said does not depend on how often counts are read within the window."""
    world = canary()
    for _ in range(3):
        world.send(500, {NEW: 2})
        world.pass_time(seconds(1))
        world.reconcile()
    assert world.events.count(Happened.BURST) == 1
    assert "waiting for another" in world.state.history[-1].message
    for _ in range(3):
        world.run(1, requests=500)
        assert world.state.weight(NEW) == 10
        world.send(500, {NEW: 4})
        world.pass_time(seconds(10))
        world.settle()
    assert world.state.is_rejected(V2)
    assert world.events.count(Happened.BURST) == 1


def test_a_pause_step_waits_for_resume_and_a_timed_one_goes_on_by_itself() -> None:
    steps = (
        PolicyStep(10),
        PolicyStep(pause=True),
        PolicyStep(20),
        PolicyStep(pause=True, duration=seconds(30)),
        PolicyStep(40),
    )
    world = canary(Policy(replicas=2, steps=steps))
    world.run(5)
    assert (phase(world), world.state.weight(NEW)) == (Phase.PAUSED, 10)
    world.commands["resume"] = "go"
    world.run(2)
    assert world.state.weight(NEW) == 40 or world.state.stable == V2


# -- promote


def test_every_command_that_is_heard_is_known() -> None:
    assert set(COMMANDS) == set(DEPLOYMENT_COMMANDS)


def test_promote_goes_on_to_the_next_step_and_after_the_last_one_to_all_traffic() -> None:
    """Case 14: without requests or evidence, step by step."""
    world = canary()
    weights = []
    for id_ in ("a", "b", "c"):
        world.commands["promote"] = id_
        world.settle()
        weights.append(world.state.weight(NEW))
    assert weights == [50, 50, 100]
    assert world.state.stable == V2
    assert any("(noria.dev/promote a)" in entry.message for entry in world.state.history)


@pytest.mark.parametrize("command", ["promote", "resume"])
def test_a_pause_for_people_ends_with_promote_or_resume(command: str) -> None:
    world = canary(
        Policy(replicas=2, steps=(PolicyStep(10), PolicyStep(pause=True), PolicyStep(50, seconds(60))))
    )
    world.run(1)
    assert (phase(world), world.state.weight(NEW)) == (Phase.PAUSED, 10)
    world.commands[command] = "1"
    world.settle()
    assert (phase(world), world.state.weight(NEW)) == (Phase.PROGRESSING, 50)


@pytest.mark.parametrize(
    ("steps", "reach"),
    [
        ((PolicyStep(replicas="100%", pause=True),), "weight 0"),
        ((PolicyStep(match=(("a", "b"),), pause=True), PolicyStep(50)), "weight 0 and requests with a: b"),
        ((PolicyStep(10, pause=True), PolicyStep(50)), "weight 10"),
        ((PolicyStep(5), PolicyStep(20, pause=True)), "weight 20"),
    ],
)
def test_a_pause_for_people_is_told_once_and_when_its_weight_is_in_force(
    steps: tuple[PolicyStep, ...], reach: str
) -> None:
    """Nobody knows else that they are waited for."""
    world = serving(1, Policy(replicas=2, steps=steps))
    world.approve(2)
    told: list[str] = []
    for _ in range(12):
        events = world.reconcile().events
        told += [note.message for note in events if note.reason is Happened.PAUSED]
        assert len(told) == (phase(world) is Phase.PAUSED)
        world.become_ready()
        world.routers_follow()
    assert f" of {len(steps)} with {reach};" in told[0]
    world.lose_pods(NEW)
    world.settle()
    assert (phase(world), world.events.count(Happened.PAUSED)) == (Phase.PAUSED, 1)


def test_an_edit_that_leads_into_a_pause_is_told_as_one() -> None:
    world = canary(Policy(replicas=2, steps=(PolicyStep(10, timedelta(hours=9)),)))
    world.edit(steps=(PolicyStep(10, pause=True), PolicyStep(50)))
    world.settle()
    assert world.events[-2:] == [Happened.EDITED, Happened.PAUSED]


def test_promote_ends_a_pause_by_hand_with_the_next_step_and_resume_where_it_stood() -> None:
    for command, weight in (("promote", 50), ("resume", 10)):
        world = canary()
        world.commands["pause"] = "1"
        world.settle()
        world.commands[command] = "1"
        world.settle()
        assert (phase(world), world.state.weight(NEW)) == (Phase.PROGRESSING, weight)


def test_promote_full_passes_all_steps_pauses_and_evidence() -> None:
    """Case 14."""
    world = canary(Policy(replicas=2, steps=(PolicyStep(10), PolicyStep(pause=True), PolicyStep(50))))
    world.readable = False
    world.commands["promote-full"] = "1"
    world.settle()
    assert (world.state.stable, world.state.weight(NEW)) == (V2, 100)


# -- abort


def test_harm_takes_the_weight_away_first_and_the_pods_only_when_no_router_sends_there() -> None:
    """Cases 2, 4 and 31."""
    world = canary()
    world.send(500, {NEW: 500})
    world.pass_time(seconds(1))
    made = world.reconcile()
    assert (made.phase, world.state.weight(NEW), world.state.verified) == (Phase.ROLLED_BACK, 0, False)
    assert world.pods[NEW] == 1
    world.router_follows(0)
    world.reconcile()
    assert world.pods[NEW] == 1
    world.router_follows(1)
    world.reconcile()
    assert NEW not in world.pods
    assert world.state.rejected[0].version == "m-2"
    assert "500 errors" in world.state.rejected[0].reason
    assert world.state.analysis is not None
    assert world.state.analysis.evidence.challenger.errors == 500
    assert Happened.ROLLED_BACK in world.events


def test_a_rejected_version_is_not_tried_again_by_itself_but_by_retry_or_a_new_version() -> None:
    """Case 13: a retry begins with fresh evidence."""
    world = canary()
    world.send(500, {NEW: 500})
    world.settle()
    world.pass_time(timedelta(days=1))
    world.settle()
    assert world.state.candidate is None
    world.commands["retry"] = "1"
    world.settle()
    assert world.state.candidate is not None
    assert world.state.candidate.attempt == 2
    assert world.state.analysis is not None
    assert world.state.analysis.evidence.challenger.errors == 0
    world.run(9)
    assert world.state.stable == V2


def test_a_rejection_that_is_no_longer_remembered_is_not_tried_again_either() -> None:
    world = serving()
    for number in range(2, REMEMBERED + 4):
        world.approve(number)
        world.settle()
        assert world.state.candidate is not None
        assert world.state.candidate.target == revision(number)
        world.commands["abort"] = str(number)
        world.settle()
    assert len(world.state.rejected) == REMEMBERED
    assert (world.state.candidate, phase(world)) == (None, Phase.ROLLED_BACK)


def test_none_of_many_rejections_is_forgotten_in_favour_of_the_next_lower_version() -> None:
    """Each abort lets the version before the aborted one begin."""
    world = serving()
    last = REMEMBERED + 4
    for number in range(2, last):
        world.approve(number)
    aborted = []
    for count in range(2 * REMEMBERED):
        world.settle()
        if world.state.candidate is None:
            break
        aborted.append(world.state.candidate.target)
        world.commands["abort"] = str(count)
    world.approve(last)
    world.settle()
    world.commands["abort"] = "the newest"
    world.settle()
    assert (world.state.candidate, phase(world)) == (None, Phase.ROLLED_BACK)
    assert len(aborted) == len(set(aborted)) >= REMEMBERED


def test_a_newer_version_starts_after_a_rejected_one() -> None:
    world = canary()
    world.send(500, {NEW: 500})
    world.settle()
    world.approve(3)
    world.settle()
    assert world.state.candidate is not None
    assert world.state.candidate.target == V3


def test_a_new_configuration_of_a_rejected_version_is_another_revision() -> None:
    """Case 16."""
    world = canary()
    world.send(500, {NEW: 500})
    world.settle()
    world.approve(1, config="bbbbbb")
    world.approve(2, config="bbbbbb")
    world.settle()
    assert world.state.candidate is not None
    assert world.state.candidate.target == revision(2, "bbbbbb")


def test_the_abort_command_wins_over_promote_and_a_wrong_state_of_everything_else() -> None:
    """Cases 14 and 15."""
    world = canary()
    world.commands |= {"promote-full": "a", "abort": "b"}
    world.readable = False
    world.reconcile()
    assert (world.state.candidate, world.state.weight(NEW)) == (None, 0)
    assert world.state.commands == {"promote-full": "a", "abort": "b"}
    assert world.reconcile().events == ()


def test_a_promotion_by_hand_can_still_be_aborted() -> None:
    """Case 14."""
    world = canary()
    world.commands["promote-full"] = "a"
    world.reconcile()
    world.become_ready()
    world.reconcile()
    assert world.state.weight(NEW) == 100
    world.commands["abort"] = "b"
    world.settle()
    assert world.state.stable == V1
    assert world.state.weight(V1.name) == 100


def test_an_abort_when_nothing_rolls_out_is_acknowledged_and_changes_nothing_else() -> None:
    """Cases 7 and 17."""
    world = serving()
    before = world.state
    world.commands["abort"] = "x"
    assert world.reconcile().events == ()
    assert world.state.commands == {"abort": "x"}
    assert (world.state.stable, world.state.traffic) == (before.stable, before.traffic)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("promote", "no version is on trial"),
        ("promote-full", "no version is on trial"),
        ("pause", "no version is on trial"),
        ("resume", "no version is on trial"),
        ("retry", "no version that is asked for was rejected"),
    ],
)
def test_a_command_that_comes_too_late_or_too_early_says_that_it_did_nothing(command: str, why: str) -> None:
    world = serving()
    before = world.state
    world.commands[command] = "x"
    (told,) = world.reconcile().events
    assert (told.reason, told.message) == (Happened.REFUSED, f"noria.dev/{command} x: {why}")
    assert world.state.commands == {command: "x"}
    assert (world.state.stable, world.state.traffic) == (before.stable, before.traffic)


def test_refused_commands_push_nothing_else_out_of_history() -> None:
    """As of a pipeline that promotes every hour, whatever there is."""
    world = serving()
    before = [entry.event for entry in world.state.history]
    for count in range(2 * REMEMBERED):
        world.commands["promote"] = str(count)
        world.reconcile()
    told = [entry for entry in world.state.history if entry.event == Happened.REFUSED]
    assert [entry.event for entry in world.state.history if entry not in told] == before
    assert told[-1].message.startswith(f"noria.dev/promote {2 * REMEMBERED - 1}: ")
    assert 1 < len(told) < REMEMBERED / 2


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"resume": "x"}, "m-2 waits for no person; promote ends what it waits for"),
        ({"retry": "x"}, "no version that is asked for was rejected"),
    ],
)
def test_a_command_that_a_rollout_has_no_use_for_says_so(given: dict[str, str], why: str) -> None:
    world = canary()
    world.commands |= given
    (told,) = world.reconcile().events
    assert (told.reason, told.message.partition(": ")[2]) == (Happened.REFUSED, why)


@pytest.mark.parametrize("why", ["a claim", "no replicas", "routers"])
def test_an_abort_ends_a_rollout_that_has_yet_to_begin(why: str) -> None:
    """To people it is under way: the phase is Progressing."""
    world = serving()
    if why == "a claim":
        world.obstacle = "claim models is not there"
    elif why == "no replicas":
        world.edit(replicas=0)
    else:
        world.told = [world.state.traffic_version + 1] * 2
        world.state = replace(
            world.state, traffic=tuple(replace(one, verified=False) for one in world.state.traffic)
        )
    world.approve(2)
    assert world.reconcile().phase is Phase.PROGRESSING
    assert world.state.candidate is None
    world.commands["abort"] = "x"
    (told,) = world.reconcile().events
    assert (told.reason, told.message) == (Happened.CANCELLED, "m-2 will not be tried: noria.dev/abort x")
    world.obstacle = ""
    world.edit(replicas=2)
    made = world.settle()
    assert (made.phase, world.state.candidate) == (Phase.ROLLED_BACK, None)
    world.commands["retry"] = "x"
    world.settle()
    assert world.state.weight(NEW) == 10


def test_an_abort_that_an_object_was_made_with_rejects_no_first_version() -> None:
    """As of an object that was exported with its annotations, or restored without its status."""
    world = World()
    world.approve(1)
    world.commands["abort"] = "of another life"
    world.settle()
    assert (world.state.stable, world.state.weight(V1.name)) == (V1, 100)


def test_an_abort_of_a_first_version_that_takes_all_traffic_says_that_nobody_else_could() -> None:
    world = World()
    world.approve(1)
    world.reconcile()
    world.become_ready()
    world.reconcile()
    assert (world.state.stable, world.state.weight(V1.name)) == (None, 100)
    world.commands["abort"] = "x"
    (told,) = world.reconcile().events
    why = "m-1 is the first version and takes all traffic; nobody else could"
    assert (told.reason, told.message) == (Happened.REFUSED, f"noria.dev/abort x: {why}")
    assert world.state.weight(V1.name) == 100


def test_pods_that_are_never_ready_abort_at_the_deadline_with_their_reason() -> None:
    """Case 18."""
    world = serving()
    world.approve(2)
    world.reconcile()
    world.problems[NEW] = "CrashLoopBackOff: out of memory"
    for _ in range(10):
        world.pass_time(timedelta(minutes=1))
        world.reconcile()
    assert world.state.is_rejected(V2)
    assert "out of memory" in world.state.rejected[0].reason


def test_pods_that_flap_do_not_earn_a_new_deadline_each_time() -> None:
    """Case 18."""
    world = canary()
    for _ in range(60):
        world.lose_pods(NEW)
        world.reconcile()
        world.routers_follow()
        world.pass_time(seconds(50))
        world.reconcile()
        if world.state.candidate is None:
            break
        world.become_ready(NEW)
        world.settle()
        world.pass_time(seconds(10))
    assert world.state.is_rejected(V2)


@pytest.mark.parametrize(("apart", "goes_on"), [(9, False), (10, True)])
def test_pods_that_were_there_as_long_as_the_deadline_have_it_anew(apart: float, goes_on: bool) -> None:
    """A rollout of days loses a pod now and then: nodes are drained, pods evicted."""
    world = canary(Policy(replicas=2, steps=(PolicyStep(10, timedelta(days=9)),)))
    for _ in range(6):
        world.lose_pods(NEW)
        world.reconcile()
        world.pass_time(timedelta(minutes=2))
        world.settle()
        world.pass_time(timedelta(minutes=apart))
        world.settle()
    assert (world.state.candidate is not None) is goes_on


def test_a_pause_without_pods_gives_no_new_deadline() -> None:
    world = canary(Policy(replicas=2, steps=(PolicyStep(10, timedelta(days=9)),)))
    world.lose_pods(NEW)
    world.reconcile()
    world.pass_time(timedelta(minutes=9))
    world.commands["pause"] = "1"
    world.reconcile()
    world.pass_time(timedelta(hours=3))
    world.commands["resume"] = "1"
    world.reconcile()
    assert world.state.candidate is not None
    world.pass_time(timedelta(minutes=1))
    world.reconcile()
    assert world.state.is_rejected(V2)


def test_an_operator_that_was_down_past_the_deadline_does_not_abort_pods_that_became_ready() -> None:
    """Case 40."""
    world = serving()
    world.approve(2)
    world.reconcile()
    world.become_ready()
    world.pass_time(timedelta(hours=1))
    world.reconcile()
    assert world.state.candidate is not None
    assert world.state.weight(NEW) == 10


def test_a_pause_does_not_count_against_the_deadline() -> None:
    world = serving()
    world.approve(2)
    world.reconcile()
    world.commands["pause"] = "1"
    world.reconcile()
    world.pass_time(timedelta(hours=3))
    assert world.reconcile().phase is Phase.PAUSED
    world.commands["resume"] = "1"
    world.settle()
    assert world.state.weight(NEW) == 10


def test_a_pause_with_all_traffic_can_still_be_aborted() -> None:
    world = canary()
    world.commands["promote-full"] = "1"
    world.reconcile()
    world.become_ready()
    world.reconcile()
    assert world.state.weight(NEW) == 100
    world.commands["pause"] = "1"
    world.settle()
    assert (world.state.stable, phase(world)) == (V1, Phase.PAUSED)
    world.commands["abort"] = "1"
    world.settle()
    assert (world.state.candidate, world.state.weight(V1.name)) == (None, 100)


def test_a_pause_does_not_keep_a_first_version_from_being_the_champion() -> None:
    world = World()
    world.approve(1)
    world.reconcile()
    world.become_ready()
    world.reconcile()
    world.commands["pause"] = "1"
    world.settle()
    assert (world.state.stable, phase(world)) == (V1, Phase.HEALTHY)


def test_analysis_goes_on_in_a_pause_and_may_still_abort() -> None:
    """Case 42."""
    world = canary()
    world.commands["pause"] = "1"
    world.settle()
    world.send(500, {NEW: 500})
    world.settle()
    assert world.state.is_rejected(V2)


# -- undo


def champions(*numbers: int, keep: timedelta = timedelta(hours=9)) -> World:
    """A world in which these versions became the champion one after the other, without canaries."""
    world = serving(numbers[0], Policy(replicas=2, keep_previous=keep))
    for number in numbers[1:]:
        world.approve(number)
        world.settle()
        assert world.state.stable == revision(number)
    return world


def test_undo_to_the_warm_previous_version_is_one_write_and_is_not_rolled_forward_again() -> None:
    """Cases 1, 8 and 48."""
    world = champions(1, 2)
    world.commands["undo"] = "17"
    world.reconcile()
    assert (world.state.stable, world.state.weight(V1.name)) == (V1, 100)
    world.pass_time(timedelta(days=1))
    made = world.settle()
    assert (world.state.stable, world.state.candidate, made.phase) == (V1, None, Phase.ROLLED_BACK)
    assert "m-2 was rejected: undone by noria.dev/undo 17" in made.message
    assert world.events.count(Happened.UNDONE) == 1


def test_undo_to_a_version_that_is_not_warm_waits_for_all_its_pods_and_asks_no_judge() -> None:
    """Cases 1, 6 and 8."""
    world = champions(1, 2, keep=timedelta())
    world.edit(steps=CANARY)
    assert V1.name not in world.pods
    world.commands["undo"] = "17"
    world.reconcile()
    assert (world.state.weight(V2.name), world.pods[V1.name], world.state.analysis) == (100, 2, None)
    world.ready[V1.name] = 1
    world.reconcile()
    assert world.state.weight(V2.name) == 100
    world.settle()
    assert (world.state.stable, world.state.weight(V1.name)) == (V1, 100)


@pytest.mark.parametrize("paused", [False, True])
def test_undo_in_a_rollout_goes_back_to_the_champion_in_one_write(paused: bool) -> None:
    """Case 51."""
    world = canary()
    if paused:
        world.commands["pause"] = "1"
        world.settle()
    world.commands["undo"] = "2"
    world.reconcile()
    assert (world.state.candidate, world.state.weight(V1.name)) == (None, 100)
    assert world.state.is_rejected(V2)
    assert not world.state.is_rejected(V1)
    world.settle()
    assert (world.state.candidate, phase(world)) == (None, Phase.ROLLED_BACK)


def test_an_undo_of_an_undo_is_refused_with_what_does_it() -> None:
    world = serving(1, Policy(replicas=2))
    world.approve(2)
    world.settle()
    world.commands["undo"] = "1"
    world.settle()
    world.commands["undo"] = "m-2@2"
    (told,) = world.reconcile().events
    assert (told.reason, told.message) == (
        Happened.REFUSED,
        "noria.dev/undo m-2@2: m-2 is no good version from before; annotate noria.dev/retry to try it again",
    )


def test_an_undo_that_waits_for_pods_of_the_warm_version_says_so_and_is_not_done() -> None:
    world = serving(1, Policy(replicas=4, keep_previous=timedelta(hours=1)))
    world.approve(2)
    world.settle()
    world.lose_pods(V1.name, 1)
    world.commands["undo"] = "1"
    made = world.reconcile()
    assert world.state.stable == V2
    assert (made.phase, made.message) == (
        Phase.PROGRESSING,
        "m-1 is still warm and takes all traffic once all its pods are ready: 1 of 4 ready",
    )
    told = {one.type: one for one in conditions(report(world))}
    assert (told["UpToDate"].status, told["UpToDate"].message) == (False, made.message)
    world.become_ready()
    assert world.settle().phase is Phase.ROLLED_BACK
    assert world.state.stable == V1


@pytest.mark.parametrize(
    ("policy", "warm"),
    [
        (Policy(replicas=2), "; m-1 stays warm"),
        (Policy(replicas=2, keep_previous=timedelta()), ""),
        (Policy(replicas=1, recreate=True), ""),
    ],
)
def test_that_a_former_champion_stays_warm_is_told_where_it_does(policy: Policy, warm: str) -> None:
    world = serving(1, policy)
    world.approve(2)
    world.reconcile()
    world.settle()
    assert world.state.history[-1].message == f"m-2 has all traffic{warm}"


def test_undo_comes_before_a_promotion_of_the_same_time() -> None:
    """Case 15."""
    world = canary()
    world.commands |= {"promote-full": "a", "undo": "b"}
    world.settle()
    assert (world.state.stable, world.state.candidate) == (V1, None)


def test_undo_goes_to_the_last_good_version_and_a_second_one_further_back() -> None:
    """Case 52: not to the merely previous one, which was left as bad."""
    world = champions(1, 2, 3)
    for id_, back in (("a", V2), ("b", V1)):
        world.commands["undo"] = id_
        world.settle()
        assert world.state.stable == back
    world.commands["undo"] = "c"
    world.settle()
    assert world.state.stable == V1
    assert world.state.history[-1].event == Happened.REFUSED
    assert "no good version from before m-1" in world.state.history[-1].message


def test_an_undo_that_a_gitops_tool_puts_back_is_not_carried_out_again() -> None:
    """Git keeps the annotation of an undo of weeks ago, and a person gave others since."""
    world = champions(1, 2, 3, 4, 5)
    given = ["git", *(f"cli-{count}" for count in range(3))]
    for count, id_ in enumerate(given):
        world.commands["undo"] = id_
        world.settle()
        assert world.state.stable == revision(4 - count)
    before = world.state
    for id_ in (*given, *given):
        world.commands["undo"] = id_
        world.settle()
        assert (world.state.stable, world.state.rejected) == (V1, before.rejected)
        assert world.state.commands == {"undo": id_}
    told = world.state.history[-1]
    assert (told.event, told.message) == (
        Happened.REFUSED,
        "noria.dev/undo cli-2: this id was carried out before; give another one if it is meant",
    )


def test_of_each_command_as_many_ids_are_remembered_as_may_be_put_back() -> None:
    world = champions(1)
    for count in range(EARLIER + 3):
        world.commands["restart"] = f"{count}"
        world.settle()
        world.commands["restart"] = "git"
        world.settle()
    assert world.events.count(Happened.RESTARTED) == EARLIER + 4
    assert len(world.state.earlier["restart"]) == EARLIER
    world.commands["restart"] = "0"
    world.settle()
    assert world.events.count(Happened.RESTARTED) == EARLIER + 5


def test_an_old_stop_that_is_put_back_refuses_no_new_approval() -> None:
    world = canary()
    for id_ in ("git", "cli"):
        world.commands["pause"] = id_
        world.settle()
        world.commands["resume"] = id_
        world.settle()
    world.commands |= {"pause": "git", "promote-full": "now"}
    world.settle()
    assert (world.state.stable, world.state.candidate) == (V2, None)


def test_undo_passes_over_versions_that_were_rejected_or_whose_pods_nobody_remembers() -> None:
    """Case 52."""
    world = champions(1, 2, 3, 4)
    world.approve(3, "Rejected")
    world.lose_record(V2)
    world.commands["undo"] = "a"
    world.settle()
    assert world.state.stable == V1


def test_undo_to_a_named_version_leaves_those_in_between() -> None:
    world = champions(1, 2, 3)
    world.commands["undo"] = "m-1@17"
    world.settle()
    assert world.state.stable == V1
    assert world.state.champions == (V1,)
    world.approve(4)
    world.settle()
    assert (world.state.stable, world.state.undo) == (revision(4), None)


@pytest.mark.parametrize(("id_", "why"), [("m-9@1", "there are m-1"), ("m-2@1", "there are m-1")])
def test_undo_to_what_never_was_a_good_champion_is_refused_and_says_what_was(id_: str, why: str) -> None:
    world = champions(1, 2)
    before = world.state
    world.commands["undo"] = id_
    world.reconcile()
    assert (world.state.stable, world.state.traffic) == (before.stable, before.traffic)
    assert world.state.commands == {"undo": id_}
    assert why in world.state.history[-1].message
    assert world.reconcile().events == ()


def test_undo_restores_the_configuration_that_belonged_to_the_revision() -> None:
    """Case 34: also when the version stays and only its configuration goes back."""
    world = champions(1)
    other = world.approve(1, config="bbbbbb")
    world.settle()
    assert world.state.stable == other
    world.commands["undo"] = "a"
    world.settle()
    assert (world.state.stable, world.state.candidate) == (V1, None)
    third = world.approve(1, config="cccccc")
    world.settle()
    assert (world.state.stable, world.state.undo) == (third, None)


def test_retry_takes_back_an_undo() -> None:
    world = champions(1, 2)
    world.commands["undo"] = "a"
    world.settle()
    world.commands["retry"] = "b"
    world.settle()
    assert (world.state.stable, world.state.undo) == (V2, None)
    assert not world.state.is_rejected(V2)


def test_what_is_gone_back_to_can_be_aborted_and_has_a_deadline_too() -> None:
    """Cases 14 and 18."""
    for abort in (True, False):
        world = champions(1, 2, keep=timedelta())
        world.commands["undo"] = "a"
        world.reconcile()
        if abort:
            world.commands["abort"] = "b"
        else:
            world.pass_time(timedelta(minutes=11))
        world.reconcile()
        world.settle()
        assert (world.state.stable, world.state.candidate) == (V2, None)
        assert world.state.is_rejected(V1)


@pytest.mark.parametrize("gone", [False, True])
def test_an_undo_ends_where_its_version_is_rejected_or_deleted_on_the_way(gone: bool) -> None:
    world = champions(1, 2, keep=timedelta())
    world.commands["undo"] = "a"
    world.reconcile()
    if gone:
        del world.versions[V1.version]
    else:
        world.approve(1, "Rejected")
    made = world.settle()
    assert (world.state.stable, world.state.candidate) == (V2, None)
    assert V1.name not in world.pods
    assert f"an undo asks for m-1, which is {'gone' if gone else 'Rejected'}" in made.message


@pytest.mark.parametrize("again", ["a person", "the spec"])
def test_an_undo_that_comes_too_late_is_told_and_can_be_tried_again(again: str) -> None:
    """What serves is what a person wanted to leave: that is not Healthy."""
    world = champions(1, 2, keep=timedelta())
    world.edit(retry_limit=int(again == "the spec"))
    world.commands["undo"] = "1"
    world.reconcile()
    world.pass_time(timedelta(minutes=10))
    for _ in range(3):
        world.routers_follow()
        made = world.reconcile()
    assert (world.state.stable, made.phase) == (V2, Phase.ROLLED_BACK)
    assert "m-1 was rejected: not ready within progressDeadline 10m" in made.message
    if again == "the spec":
        world.pass_time(timedelta(minutes=10))
    else:
        world.commands["retry"] = "1"
    made = world.settle()
    assert (world.state.stable, made.phase) == (V1, Phase.ROLLED_BACK)
    assert "m-2 was rejected: undone by noria.dev/undo 1" in made.message
    world.commands["retry"] = "2"
    world.settle()
    assert (world.state.stable, world.state.rejected, phase(world)) == (V2, (), Phase.HEALTHY)


def test_a_person_who_aborts_an_undo_stays_where_it_began() -> None:
    world = champions(1, 2, keep=timedelta())
    world.commands["undo"] = "1"
    world.reconcile()
    world.commands["abort"] = "1"
    made = world.settle()
    assert (world.state.stable, made.phase) == (V2, Phase.HEALTHY)


def test_a_second_undo_while_the_first_is_on_its_way_restarts_nothing() -> None:
    world = champions(1, 2, keep=timedelta())
    world.commands["undo"] = "a"
    world.reconcile()
    before = world.state.candidate
    world.commands["undo"] = "b"
    world.reconcile()
    assert world.state.candidate == before
    assert "m-1 is on its way already" in world.state.history[-1].message


@pytest.mark.parametrize("phase", [None, "PendingApproval"])
def test_undo_goes_back_also_while_the_spec_names_a_version_that_cannot_be_had(phase: str | None) -> None:
    world = champions(1, 2)
    world.edit(pinned="m-3")
    if phase:
        world.approve(3, phase)
    world.settle()
    world.commands["undo"] = "a"
    made = world.settle()
    assert (world.state.stable, made.phase) == (V1, Phase.ROLLED_BACK)
    assert "m-3" in made.message
    assert "noria.dev/retry" in made.message
    assert not world.state.is_rejected(revision(3)), "nobody tried it"
    world.approve(3)
    world.settle()
    assert world.state.stable == V1, "it holds until the spec asks for something else, or a person says retry"
    world.commands["retry"] = "b"
    world.run(10, requests=1000)
    assert world.state.stable == revision(3)


def test_an_undo_ends_with_the_pin_on_a_version_that_never_came() -> None:
    world = champions(1, 2)
    world.edit(pinned="m-3")
    world.commands["undo"] = "a"
    world.settle()
    assert world.state.stable == V1
    world.edit(pinned="m-2")
    world.commands["retry"] = "b"
    world.run(10, requests=1000)
    assert (world.state.stable, world.state.undo) == (V2, None)


# -- restart


def restarts(world: World) -> dict[str, str]:
    assert world.plan is not None
    return {child.target.version: child.restart for child in world.plan.children}


def test_a_restart_is_for_the_champions_pods_and_makes_no_new_version() -> None:
    world = canary()
    before = world.state
    world.commands["restart"] = "17"
    world.reconcile()
    assert restarts(world) == {"m-1": "17", "m-2": ""}
    assert (world.state.traffic, world.state.candidate, world.state.stable) == (
        before.traffic,
        before.candidate,
        before.stable,
    )
    assert world.events.count(Happened.RESTARTED) == 1
    assert world.reconcile().events == ()


def test_the_next_champion_is_not_restarted_by_the_restart_of_the_last_one() -> None:
    world = champions(1, 2)
    world.commands["restart"] = "17"
    world.settle()
    world.approve(3)
    world.settle()
    assert restarts(world) == {"m-3": "", "m-2": "17"}


def test_what_was_restarted_is_gone_back_to_as_it_was_restarted() -> None:
    """Case 34."""
    world = champions(1, keep=timedelta())
    world.commands["restart"] = "17"
    world.settle()
    world.approve(2)
    world.settle()
    world.commands["undo"] = "a"
    world.settle()
    assert (world.state.stable, restarts(world)) == (V1, {"m-1": "17"})


def test_a_first_version_that_does_not_start_can_be_restarted_and_nothing_at_all_cannot() -> None:
    world = World()
    world.commands["restart"] = "1"
    assert world.reconcile().events[0].reason is Happened.REFUSED
    world.approve(1)
    world.reconcile()
    world.commands["restart"] = "2"
    world.reconcile()
    assert restarts(world) == {"m-1": "2"}


def test_a_pod_that_cannot_take_the_place_of_another_is_told_while_the_champion_serves() -> None:
    world = champions(1)
    world.problems[V1.name] = "ImagePullBackOff"
    made = world.reconcile()
    assert (made.phase, made.message) == (Phase.HEALTHY, "m-1 serves; ImagePullBackOff")


# -- changes under way


def test_a_superseding_version_starts_only_after_the_champion_verifiably_has_all_traffic() -> None:
    """Cases 2, 5, 10 and 39."""
    world = canary()
    world.approve(3)
    world.reconcile()
    assert world.state.candidate is None
    assert world.state.weight(V1.name) == 100
    assert V3.name not in world.pods
    world.routers_follow()
    world.reconcile()
    assert world.state.candidate is not None
    assert world.state.candidate.target == V3
    assert NEW not in world.pods
    assert not world.state.is_rejected(V2)


def test_going_back_to_the_champion_cancels_in_one_write() -> None:
    """Cases 8 and 51."""
    world = canary()
    world.commands["pause"] = "1"
    world.settle()
    world.edit(pinned="m-1")
    world.reconcile()
    assert (world.state.candidate, world.state.weight(V1.name)) == (None, 100)
    world.settle()
    assert (phase(world), world.pods) == (Phase.HEALTHY, {V1.name: 2})


def test_pinning_the_warm_previous_version_is_one_write() -> None:
    """Cases 1 and 48."""
    world = canary()
    world.run(8)
    world.edit(pinned="m-1")
    world.reconcile()
    assert (world.state.stable, world.state.weight(V1.name)) == (V1, 100)
    assert world.state.previous is not None
    assert world.state.previous.target == V2
    world.settle()
    assert phase(world) is Phase.HEALTHY


def test_a_previous_version_without_its_full_capacity_is_waited_for() -> None:
    """Cases 1, 6 and 20."""
    world = canary()
    world.run(8)
    world.lose_pods(V1.name, 1)
    world.edit(pinned="m-1")
    made = world.reconcile()
    assert world.state.stable == V2
    assert made.message == "m-1 is still warm and takes all traffic once all its pods are ready: 1 of 2 ready"
    world.become_ready()
    world.reconcile()
    assert world.state.stable == V1


def test_following_never_goes_back_when_the_served_version_is_rejected() -> None:
    """Case 52."""
    world = canary()
    world.run(8)
    world.approve(2, "Rejected")
    made = world.settle()
    assert world.state.stable == V2
    assert "no longer Approved" in made.message


def test_a_pinned_version_that_does_not_exist_moves_nothing_and_says_so() -> None:
    world = serving()
    world.edit(pinned="m-9")
    made = world.settle()
    assert world.state.stable == V1
    assert "m-9 does not exist" in made.message


def test_a_new_server_configuration_is_rolled_out_like_a_new_version() -> None:
    """Case 11 and 34."""
    world = serving()
    other = world.approve(1, config="bbbbbb")
    world.edit(replicas=4)
    world.settle()
    assert world.state.candidate is not None
    assert world.state.candidate.target == other
    assert world.pods == {V1.name: 4, other.name: 1}


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ((PolicyStep(5), PolicyStep(9, timedelta(hours=1))), "step 2 of 2 with weight 10"),
        ((PolicyStep(10, timedelta(hours=1)), PolicyStep(30)), "step 1 of 2 with weight 10"),
        ((PolicyStep(20, timedelta(hours=1)),), "step 1 of 1 with weight 20, after weight 10"),
        (
            (PolicyStep(mirror=100, duration=timedelta(hours=1)), PolicyStep(50)),
            "step 1 of 2 with weight 0 and copies of 100 % of requests, after weight 10",
        ),
        ((PolicyStep(replicas="100%", pause=True),), "step 1 of 1 with weight 0, after weight 10"),
    ],
)
def test_what_is_told_of_edited_steps_is_what_they_lead_to(steps: tuple[PolicyStep, ...], told: str) -> None:
    world = canary(Policy(replicas=4, steps=(PolicyStep(10, timedelta(hours=1)), PolicyStep(50))))
    world.edit(steps=steps)
    world.settle()
    (edited,) = [one for one in world.state.history if one.event == Happened.EDITED]
    assert edited.message == f"steps changed; going on at {told}"
    assert f"with {world.state.reach}" in edited.message


def test_edited_steps_keep_the_weight_and_go_on_at_the_nearest_lower_step() -> None:
    """Case 35."""
    world = canary()
    world.run(0.5, requests=600)
    assert world.state.weight(NEW) == 50
    world.edit(steps=(PolicyStep(5), PolicyStep(40, seconds(60)), PolicyStep(80, timedelta(hours=1))))
    world.settle()
    assert world.state.step is not None
    assert (world.state.step.index, world.state.weight(NEW)) == (1, 50)
    assert Happened.EDITED in world.events
    world.run(1.5)
    assert world.state.weight(NEW) == 80


def test_a_pod_that_is_lost_while_steps_are_edited_is_missed_by_the_weight_that_stays() -> None:
    """What the same place in the new steps asks for is not what was enough."""
    world = canary()
    world.edit(replicas=4)
    world.settle()
    world.run(0.5, requests=600)
    assert (world.state.weight(NEW), world.pods[NEW]) == (50, 2)
    world.edit(steps=(PolicyStep(5), PolicyStep(25, timedelta(hours=1))))
    world.lose_pods(NEW, 1)
    world.reconcile()
    assert world.state.weight(NEW) == 25
    world.become_ready()
    world.settle()
    assert world.state.weight(NEW) == 50


def test_a_scale_up_gives_the_challenger_its_pods_and_changes_no_weight_by_itself() -> None:
    """Cases 22 and 26."""
    world = canary()
    world.run(1, requests=600)
    assert world.state.weight(NEW) == 50
    world.edit(replicas=10)
    world.reconcile()
    assert world.pods == {V1.name: 10, NEW: 5}
    assert world.state.weight(NEW) == 50
    world.become_ready(NEW)
    world.become_ready()
    world.reconcile()
    assert world.state.weight(NEW) == 50


def test_a_challenger_without_pods_gets_no_traffic_until_they_are_back() -> None:
    """Cases 3, 19 and 55."""
    world = canary()
    world.lose_pods(NEW)
    world.reconcile()
    assert world.state.weight(NEW) == 0
    assert Happened.FALLBACK in world.events
    world.settle()
    assert world.state.weight(NEW) == 10


def test_an_unhealthy_champion_does_not_block_a_good_challenger() -> None:
    """Case 9."""
    world = canary()
    world.lose_pods(V1.name)
    for _ in range(60):
        world.send(600)
        world.pass_time(seconds(10))
        world.become_ready(NEW)
        world.routers_follow()
        world.reconcile()
    assert world.state.stable == V2


def test_without_ready_routers_nothing_is_verified_and_nothing_moves_on() -> None:
    world = canary()
    world.routers = []
    world.counts = []
    world.reconcile()
    assert not world.state.verified
    world.pass_time(timedelta(hours=1))
    world.reconcile()
    assert world.state.weight(NEW) == 10


def test_equal_weights_of_an_older_configuration_are_not_taken_for_these() -> None:
    world = canary()
    before, told = [dict(one) for one in world.routers], list(world.told)
    world.lose_pods(NEW)
    world.reconcile()
    world.become_ready(NEW)
    world.reconcile()
    assert world.state.weight(NEW) == 10
    world.routers, world.told = before, told
    world.reconcile()
    assert not world.state.verified, "these are the weights of before"
    world.routers_follow()
    world.reconcile()
    assert world.state.verified


def test_an_obstacle_starts_nothing_and_is_the_message() -> None:
    world = World()
    world.approve(1)
    world.obstacle = "claim models does not exist"
    made = world.reconcile()
    assert (made.children, made.message) == ((), "claim models does not exist")


def test_replicas_of_zero_leave_no_pods_and_a_first_version_its_place() -> None:
    world = serving(policy=Policy(replicas=0, steps=CANARY))
    assert world.state.stable == V1
    assert world.pods == {V1.name: 0}


def test_a_new_version_waits_for_replicas_to_be_judged_with() -> None:
    world = serving(policy=Policy(replicas=0, steps=CANARY))
    world.approve(2)
    made = world.settle()
    assert (world.state.stable, world.state.candidate, made.events) == (V1, None, ())
    assert "replicas" in made.message
    assert f"{V2.version} starts" in made.message
    world.edit(replicas=2)
    world.settle()
    assert (world.state.stable, world.state.weight(NEW)) == (V1, 10)


def test_without_steps_a_new_version_takes_the_place_of_one_that_sleeps() -> None:
    world = serving(policy=Policy(replicas=0))
    world.approve(2)
    world.settle()
    assert world.state.stable == V2


def test_a_person_may_go_back_while_no_pod_is_asked_for() -> None:
    world = serving(policy=Policy(replicas=2, steps=CANARY))
    world.approve(2)
    world.settle()
    world.commands["promote-full"] = "1"
    world.settle()
    assert world.state.stable == V2
    world.edit(replicas=0)
    world.commands["undo"] = "1"
    world.settle()
    assert world.state.stable == V1


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_rollout_stays_where_it_is_while_no_pod_is_asked_for(index: int) -> None:
    """At no step does time that passes without a request count: neither its duration nor maxHold."""
    steps = (PolicyStep(10, timedelta(hours=1)), PolicyStep(50, timedelta(hours=1)))
    world = canary(Policy(replicas=2, steps=steps, max_hold=timedelta(hours=2)))
    for count in range(index):
        world.commands["promote"] = str(count)
        world.settle()
    weight = (10, 50, 50)[index]
    world.edit(replicas=0)
    made = world.settle()
    assert "replicas" in made.message
    for _ in range(4):
        world.pass_time(timedelta(hours=3))
        world.settle()
        assert world.state.step is not None
        assert (world.state.step.index, world.state.weight(NEW), world.state.step.paused) == (
            index,
            weight,
            False,
        )
    world.edit(replicas=2)
    world.reconcile()
    assert world.state.weight(NEW) == 0, "its pods are not there yet"
    world.settle()
    assert world.state.step is not None
    assert (world.state.step.index, world.state.weight(NEW)) == (index, weight)


TURNS = 60


def _turn(world: World, *, crash: bool) -> None:
    world.send(300)
    world.pass_time(seconds(10))
    world.reconcile(crash=crash)
    world.become_ready()
    world.routers_follow()


@cache
def _before_each_turn() -> list[World]:
    """Version 2 from its approval on, as long as nothing crashes."""
    world, found = serving(), []
    world.approve(2)
    for _ in range(TURNS):
        found.append(world.fork())
        _turn(world, crash=False)
    return found


@pytest.mark.parametrize("crash_at", range(30))
def test_a_crash_after_any_status_write_changes_nothing_in_the_end(crash_at: int) -> None:
    """Case 40."""
    world = _before_each_turn()[crash_at].fork()
    for turn in range(crash_at, TURNS):
        _turn(world, crash=turn == crash_at)
    assert (world.state.stable, set(world.pods)) == (V2, {V1.name, NEW})


def test_watching_traffic_writes_nothing_between_windows() -> None:
    """Case 12: one run for each attempt, judged once a window."""
    world = canary()
    world.send(50)
    world.reconcile()
    written = 0
    for _ in range(9):
        world.send(1)
        world.pass_time(seconds(1))
        before = world.state
        world.reconcile()
        written += world.state != before
    assert written == 0
