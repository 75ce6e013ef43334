"""When a rollout has to be looked at though nothing happened: what time alone decides.

Comes in: the policy and the state. Goes out: a moment, or None. Invariant: what a move of the planner waits
for is named here, but for what previous versions and retries decide.
"""

from __future__ import annotations

from datetime import datetime

from noria_operator.domain.rollout_arms import seats
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_scene import begun, hold_ends
from noria_operator.domain.rollout_state import Mode, State, Step
from noria_operator.domain.rollout_steps import current


def step_due(policy: Policy, state: State, now: datetime) -> datetime | None:
    """The next moment at which the step's pods are late, also behind the champion's, its time is full, it has
    been held too long, or an open window of counts closes. In a pause only the champion's pods count.
    """
    step = state.step
    if step is None or step.stalled:
        return None
    arms, limit = seats(state) or [state], policy.progress_deadline
    waits = [mine.step.wait for mine in arms if mine.step]
    times = [one.behind + limit for one in waits if one.behind]
    if step.paused:
        return min((at for at in times if at > now), default=None)
    times += [at for at in (one.full(limit) for one in waits) if at is not None]
    if step.mode != Mode.WAITING:
        times += [at for mine in arms for at in _of_time(policy, mine, step)]
    for analysis in (mine.analysis for mine in arms):
        if analysis is not None and analysis.since is not None:
            times.append(analysis.since + policy.min_duration)
        if analysis is not None and analysis.window_from is not None:
            times.append(analysis.window_from + policy.interval)
    return min((at for at in times if at > now), default=None)


def _of_time(policy: Policy, state: State, step: Step) -> list[datetime]:
    asked = policy.of(state.candidate.target.version) if state.candidate else policy
    one = asked.steps[0] if asked.compares else current(asked, step)
    times = [begun(asked, state, step) + one.duration, hold_ends(asked, state, step)]
    return times + ([step.since + asked.interval] if one.ramp_from else [])
