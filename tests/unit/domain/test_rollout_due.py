from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tests.unit.domain.rollout_world import START, revision

from noria_operator.domain.rollout_due import step_due
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_state import Analysis, Candidate, Mode, Rival, State, Step
from noria_operator.domain.rollout_wait import Wait

MINUTE = timedelta(minutes=1)
POLICY = Policy(
    steps=(PolicyStep(10, 5 * MINUTE), PolicyStep(50)), progress_deadline=3 * MINUTE, max_hold=60 * MINUTE
)
RUNNING = Step(index=0, since=START, mode=Mode.RUNNING)


def at(step: Step, analysis: Analysis | None = None) -> State:
    return State(candidate=Candidate(revision(2), 1, START), step=step, analysis=analysis)


@pytest.mark.parametrize(
    ("state", "now", "due"),
    [
        (State(), START, None),
        (at(RUNNING), START, START + 5 * MINUTE),
        (at(RUNNING), START + 5 * MINUTE, START + 65 * MINUTE),
        (at(RUNNING), START + 66 * MINUTE, None),
        (at(replace(RUNNING, index=1)), START, START + 60 * MINUTE),
        (at(replace(RUNNING, index=2)), START, START + 60 * MINUTE),
        (at(replace(RUNNING, paused=True)), START, None),
        (at(replace(RUNNING, mode=Mode.WAITING, wait=Wait(since=START))), START, START + 3 * MINUTE),
        (at(replace(RUNNING, mode=Mode.WAITING, wait=Wait(MINUTE, START))), START, START + 2 * MINUTE),
        (at(replace(RUNNING, mode=Mode.WAITING, stalled=True)), START, None),
        (at(replace(RUNNING, wait=Wait(behind=START))), START, START + 3 * MINUTE),
        (at(replace(RUNNING, paused=True, wait=Wait(behind=START))), START, START + 3 * MINUTE),
    ],
)
def test_what_time_alone_decides(state: State, now: datetime, due: datetime | None) -> None:
    assert step_due(POLICY, state, now) == due


def test_the_least_time_of_evidence_is_waited_for() -> None:
    policy = replace(POLICY, min_duration=2 * MINUTE)
    assert step_due(policy, at(RUNNING, Analysis(since=START)), START) == START + 2 * MINUTE


@pytest.mark.parametrize(("index", "held"), [(1, 60), (2, 180)])
def test_a_verdict_is_waited_for_after_the_least_time_of_evidence(index: int, held: int) -> None:
    policy, last = replace(POLICY, min_duration=120 * MINUTE), replace(RUNNING, index=index)
    assert (
        step_due(policy, at(last, Analysis(since=START)), START + 2 * held / 3 * MINUTE)
        == START + held * MINUTE
    )


def test_an_open_window_of_counts_is_closed_in_time() -> None:
    opened = Analysis(since=START - 5 * MINUTE, window_from=START)
    state = at(replace(RUNNING, since=START), opened)
    assert step_due(POLICY, state, START) == START + POLICY.interval
    assert step_due(POLICY, state, START + POLICY.interval) == START + 5 * MINUTE


def test_evidence_of_an_arm_that_joined_later_is_waited_for() -> None:
    policy = replace(POLICY, min_duration=MINUTE, interval=timedelta(seconds=7))
    later = Rival(Candidate(revision(3), 1, START), Analysis(since=START, window_from=START + MINUTE))
    state = replace(at(RUNNING, Analysis(since=START - 9 * MINUTE)), others=(later,))
    assert step_due(policy, state, START) == START + MINUTE
    assert step_due(policy, state, START + MINUTE) == START + MINUTE + timedelta(seconds=7)


def test_a_ramp_is_looked_at_an_interval_after_its_last_move() -> None:
    policy = Policy(steps=(PolicyStep(50, ramp_from=5),), interval=timedelta(seconds=7))
    state = State(step=Step(0, START, mode=Mode.RUNNING))
    assert step_due(policy, state, START) == START + timedelta(seconds=7)
