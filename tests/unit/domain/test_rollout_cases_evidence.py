"""Acceptance cases of rollouts, by number: evidence, verdicts and deadlines.

`test_rollout_cases.py` says where each of the 55 is proven.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.domain.rollout_world import World, canary, revision, seconds, serving

from noria_operator.domain.queries import Asked, QueryPolicy
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_words import Happened, Phase
from noria_operator.domain.verdict import Counts, Verdict

V1, V2 = revision(1), revision(2)
OLD, NEW = V1.name, V2.name
HOUR = timedelta(hours=1)
DECIDING = Policy(replicas=2, steps=(PolicyStep(50, seconds(1)),))


def verdict(world: World) -> Verdict | None:
    assert world.state.analysis is not None
    return world.state.analysis.verdict


def failing(world: World) -> None:
    """Errors of the challenger that nobody could take for chance."""
    world.send(500, {NEW: 500})
    world.pass_time(seconds(1))


def test_case_12_an_attempt_has_one_analysis_however_often_it_is_looked_at() -> None:
    """argo-rollouts#1107: storms of runs."""
    world = canary(Policy(replicas=2, steps=(PolicyStep(10, HOUR),)))
    world.send(50)
    world.reconcile()
    for _ in range(9):
        world.send(50)
        world.pass_time(seconds(1))
        before = world.state
        world.reconcile()
        assert world.state == before
    world.pass_time(seconds(1))
    world.reconcile()
    assert world.state.analysis is not None
    assert world.state.analysis.evidence.windows == 1
    assert world.events.count(Happened.STARTED) == 2


def test_case_13_a_retry_begins_with_evidence_of_its_own() -> None:
    """argo-rollouts#2897: the failed run was used again."""
    world = canary()
    failing(world)
    world.settle()
    assert verdict(world) is Verdict.FAIL
    world.commands["retry"] = "1"
    world.settle()
    assert world.state.candidate is not None
    assert world.state.analysis is not None
    assert (world.state.candidate.attempt, world.state.analysis.evidence.windows) == (2, 0)
    world.run(0.5)
    assert not world.state.is_rejected(V2)


@pytest.mark.parametrize("broken", [9, 11], ids=["before the deadline", "after it"])
def test_case_16_a_mended_spec_is_not_aborted_for_the_time_that_the_broken_one_took(broken: int) -> None:
    """argo-rollouts#3082."""
    world = serving()
    world.approve(2)
    world.reconcile()
    world.pass_time(timedelta(minutes=broken))
    world.reconcile()
    mended = world.approve(2, config="bbbbbb")
    world.reconcile()
    world.routers_follow()
    for minutes in (0, 9):
        world.pass_time(timedelta(minutes=minutes))
        world.reconcile()
        assert world.state.candidate is not None
        assert world.state.candidate.target == mended
    world.settle()
    assert world.state.weight(mended.name) == 10


def test_case_17_a_deadline_is_for_rollouts_alone_and_may_be_shorter_than_the_warm_time() -> None:
    """argo-rollouts#1624, #3414."""
    world = serving(1, Policy(replicas=2, progress_deadline=seconds(5), keep_previous=HOUR))
    world.approve(2)
    world.settle()
    for _ in range(3):
        world.lose_pods(NEW)
        world.pass_time(timedelta(minutes=10))
        made = world.reconcile()
        assert (made.events, world.state.stable, world.state.weight(NEW)) == ((), V2, 100)
    assert world.pods == {OLD: 2, NEW: 2}


def test_case_18_pods_that_crash_again_and_again_are_aborted_at_the_deadline() -> None:
    """argo-rollouts#4128: pods "progressed" for ever."""
    world = serving()
    world.approve(2)
    world.problems[NEW] = "CrashLoopBackOff: no such file"
    world.reconcile()
    world.readable, world.routers = False, []
    for turn in range(12):
        world.reconcile()
        assert world.state.is_rejected(V2) == (turn >= 10)
        world.pass_time(timedelta(minutes=1))
    assert "no such file" in world.state.rejected[0].reason


def test_case_28_counts_that_are_lost_are_no_success() -> None:
    """argo-rollouts#1329: a run that was ended before it measured was Successful."""
    world = canary(DECIDING)
    world.readable = False
    world.run(2, requests=5000)
    assert (verdict(world), world.state.stable) == (Verdict.ERROR, V1)


def test_case_29_without_a_verdict_the_last_step_promotes_nobody() -> None:
    """argo-rollouts#3850."""
    world = canary(DECIDING)
    world.run(1, requests=20)
    assert world.state.step is not None
    assert (world.state.step.index, verdict(world), world.state.stable) == (1, Verdict.HOLD, V1)
    world.run(1, requests=2000)
    assert world.state.stable == V2


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (None, Verdict.ERROR),
        ({}, Verdict.HOLD),
        ({OLD: Counts(9000)}, Verdict.HOLD),
        ({NEW: Counts(9000)}, Verdict.HOLD),
        ({OLD: Counts(10**15), NEW: Counts(10**15, 10**15)}, Verdict.FAIL),
        ({OLD: Counts(9000), NEW: Counts(9000)}, Verdict.PASS),
    ],
    ids=["unreadable", "empty", "no challenger", "no champion", "huge", "good"],
)
def test_case_30_every_answer_to_the_question_for_counts_has_a_verdict(
    counts: Mapping[str, Counts] | None, expected: Verdict
) -> None:
    """flagger#1098: NaN was promoted."""
    world = canary(Policy(replicas=2, steps=(PolicyStep(50, HOUR),)))
    world.readable = counts is not None
    world.counts = [dict(counts or {}), {}]
    world.pass_time(seconds(10))
    world.reconcile()
    assert verdict(world) is expected


def test_case_31_a_failed_analysis_stops_the_rollout_and_its_reason_is_in_status_and_event() -> None:
    """argo-rollouts#1411, #404."""
    world = canary()
    failing(world)
    made = world.reconcile()
    event = next(note for note in made.events if note.reason is Happened.ROLLED_BACK)
    assert event.warning
    told = world.settle()
    assert told.phase is Phase.ROLLED_BACK
    state = world.state
    for text in (event.message, told.message, state.rejected[0].reason, state.history[-1].message):
        assert "500 errors" in text


def commanded(world: World) -> None:
    world.commands["abort"] = "1"


def never_ready(world: World) -> None:
    world.lose_pods(NEW)
    world.reconcile()
    world.pass_time(timedelta(minutes=11))


def held(world: World) -> None:
    world.edit(abort_on_max_hold=True)
    world.pass_time(2 * HOUR)


@pytest.mark.parametrize(
    ("happens", "cause"),
    [(failing, "errors"), (commanded, "command"), (never_ready, "deadline"), (held, "hold")],
)
def test_a_rollback_tells_its_cause_in_one_word(happens: Callable[[World], None], cause: str) -> None:
    world = canary()
    happens(world)
    notes = [note for note in world.reconcile().events if note.reason is Happened.ROLLED_BACK]
    assert [note.cause for note in notes] == [cause]


@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "a step"])
def test_case_42_errors_abort_a_rollout_that_waits_for_a_person(by_hand: bool) -> None:
    """flagger#1801."""
    world = canary(Policy(replicas=2, steps=(PolicyStep(10), PolicyStep(pause=True), PolicyStep(50))))
    if by_hand:
        world.commands["pause"] = "1"
    world.run(0.5)
    assert world.plan is not None
    assert world.plan.phase is Phase.PAUSED
    failing(world)
    world.reconcile()
    assert world.state.is_rejected(V2)


def test_case_42_errors_abort_a_rollout_that_waits_at_a_gate() -> None:
    world = canary(Policy(replicas=2, steps=(PolicyStep(10, gate=True), PolicyStep(50))))
    failing(world)
    world.reconcile()
    assert world.state.is_rejected(V2)


def test_case_43_a_pause_does_not_begin_the_analysis_again() -> None:
    """flagger#1141."""
    world = canary(Policy(replicas=2, steps=(PolicyStep(10), PolicyStep(pause=True), PolicyStep(50, HOUR))))
    world.run(1)
    assert world.state.analysis is not None
    seen = world.state.analysis.evidence
    world.commands["resume"] = "1"
    world.run(1)
    assert seen.windows > 0
    assert world.state.analysis is not None
    assert world.state.analysis.evidence.windows > seen.windows
    assert world.state.analysis.evidence.challenger.requests > seen.challenger.requests


@pytest.mark.parametrize("requests", [0, 2], ids=["none", "few"])
def test_case_44_little_traffic_neither_promotes_nor_aborts(requests: int) -> None:
    """flagger#1035."""
    world = canary(DECIDING)
    world.run(5, requests=requests)
    world.pass_time(timedelta(days=1))
    made = world.settle()
    assert (made.phase, world.state.stable, world.state.is_rejected(V2)) == (Phase.PAUSED, V1, False)


def test_case_53_a_few_bad_points_are_not_averaged_away_by_a_good_hour() -> None:
    """kayenta#780: 7 of 10 points a hundred times worse still passed."""
    world = canary(Policy(replicas=2, steps=(PolicyStep(10, timedelta(hours=9)),)))
    for _ in range(60):
        world.send(3000)
        world.pass_time(timedelta(minutes=1))
        world.reconcile()
    assert verdict(world) is Verdict.PASS
    for _ in range(7):
        world.send(3000, {NEW: 20})
        world.pass_time(timedelta(minutes=1))
        world.reconcile()
    world.settle()
    assert world.state.is_rejected(V2)


def test_case_45_a_query_that_nobody_knows_is_no_pass() -> None:
    """flagger#1581: an unknown metric passed."""
    query = QueryPolicy("late", "typo", success="result < 1")
    world = canary(replace(DECIDING, queries=(query,)))
    world.queries = {"late": Asked(problem="there is no query template typo")}
    world.run(10, requests=2000)
    assert (world.state.stable, verdict(world)) == (V1, Verdict.ERROR)
    assert "no query template typo" in (world.plan.message if world.plan else "")
    assert not world.state.is_rejected(V2), "nor is the version to blame"
