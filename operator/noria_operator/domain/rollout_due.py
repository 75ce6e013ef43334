"""When a rollout has to be looked at though nothing happened: what time alone decides.

Comes in: the policy and the state. Goes out: a moment, or None. Invariant: what a move of the planner waits
for is named here, but for what previous versions and retries decide.
"""

from __future__ import annotations

from datetime import datetime

from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_state import Mode, State
from noria_operator.domain.rollout_steps import current


def step_due(policy: Policy, state: State, now: datetime) -> datetime | None:
    """The next moment at which the step's pods are late, its time is full, it has been held too long, or an
    open window of counts closes.
    """
    step = state.step
    if step is None or step.paused or step.stalled:
        return None
    if step.mode == Mode.WAITING:
        times = [step.since + policy.progress_deadline - step.waited]
    else:
        one = current(policy, step)
        times = [step.since + one.duration, step.since + one.duration + policy.max_hold]
        times += [step.since + policy.interval] if one.ramp_from else []
    if state.analysis is not None and state.analysis.since is not None:
        times.append(state.analysis.since + policy.min_duration)
    if state.analysis is not None and state.analysis.window_from is not None:
        times.append(state.analysis.window_from + policy.interval)
    return min((at for at in times if at > now), default=None)
