"""What a step of a rollout asks for: each setting is that of the last step which says something about it.

Comes in: the policy and where a rollout stands. Goes out: how requests are to reach the challenger, with how
many pods. Invariant: a challenger that is released gets everything, with all its pods, and nothing beside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_state import Mode, Reach, State, Step
from noria_operator.domain.rollout_traffic import FULL, need, sharing


def fingerprint(steps: tuple[PolicyStep, ...]) -> str:
    """Identifies a list of steps, so that an edit under a running rollout is noticed."""
    return _hashed(map(_spelled, steps))


def plan_of(spec: Policy, version: str) -> str:
    """Identifies what is asked of a challenger: its steps, or all arms of the experiment that it is in."""
    policy, experiment = spec.of(version), spec.experiment
    if experiment is None or not policy.compares:
        return fingerprint(policy.steps)
    arms = sorted(experiment.arms, key=lambda arm: arm.version)
    return _hashed(f"{arm.version}={_spelled(step)}" for arm in arms for step in experiment.steps(arm))


def _hashed(parts: Iterable[str]) -> str:
    return hashlib.sha256(",".join(parts).encode()).hexdigest()[:8]


def _spelled(one: PolicyStep) -> str:
    """What is at its default is left out, so that a field added by a newer Noria edits no step."""
    more = {
        "mirror": one.mirror,
        "match": one.match,
        "replicas": one.replicas,
        "gate": one.gate,
        "pause": one.pause and one.weight is not None,
        "from": one.ramp_from,
    }
    rest = "".join(f"/{name}={value}" for name, value in more.items() if value not in (0, None, False))
    return f"{one.weight}/{one.duration}/{one.min_requests}{rest}"


def goal(policy: Policy, step: Step) -> int:
    """The weight that the step asks for."""
    if step.kept_weight is not None:
        return step.kept_weight
    if step.released:
        return FULL
    weights = [_weight(one, step, i) for i, one in enumerate(_so_far(policy, step)) if one.weight is not None]
    return max(weights, default=0)


def _weight(one: PolicyStep, step: Step, index: int) -> int:
    """The weight of one step, for a ramp that is under way what it has come to."""
    top = one.weight or 0
    if one.ramp_from is None or index < step.index:
        return top
    return min(top, max(one.ramp_from, step.ramped or 0))


def ramped(one: PolicyStep, progress: float) -> int:
    """The weight of a ramp at this progress of the evidence: each doubling of it takes equally much more."""
    if one.ramp_from is None or one.weight is None:
        return 0
    return int(one.ramp_from * (one.weight / one.ramp_from) ** progress + 1e-9)


def asked(policy: Policy, step: Step) -> Reach:
    """How the step wants requests to reach the challenger; after the last step it is as in that."""
    weight, steps = goal(policy, step), _so_far(policy, step)
    if weight == FULL:
        return Reach(FULL)
    mirror = steps[-1].mirror if steps and not weight else 0
    match = next((one.match for one in reversed(steps) if one.match is not None), ())
    return Reach(weight, mirror, match)


def pods(policy: Policy, step: Step) -> int:
    """Pods of the challenger: what the step says, and never fewer than its requests and copies need."""
    reach, demand = asked(policy, step), policy.replicas
    least = max(sharing(policy, reach.weight), need(reach.mirror, demand))
    said = next((one.replicas for one in reversed(_so_far(policy, step)) if one.replicas), None)
    if said is None or demand == 0 or reach.weight == FULL:
        return least
    return max(least, -(-demand * int(said[:-1]) // FULL) if said.endswith("%") else int(said))


def leaves_copies(policy: Policy, step: Step) -> bool:
    """Whether the challenger gets copies of requests in this step, and none in the next."""
    now, later = current(policy, step), policy.steps[step.index + 1 : step.index + 2]
    return bool(now.mirror) and any(not one.mirror for one in later)


def sends(policy: Policy) -> bool:
    """Whether any step lets requests reach the challenger; else there is nothing to judge it by."""
    return any(one.weight or one.mirror or one.match for one in policy.steps)


def standing(steps: tuple[PolicyStep, ...], step: Step, weight: int) -> Step:
    """`step` at the last of `steps` that asks for no more than `weight`, with that weight."""
    least = [one.ramp_from or one.weight for one in steps]
    lower = [index for index, each in enumerate(least) if each is not None and each <= weight]
    if not lower:
        return replace(step, index=0)
    one, at = steps[lower[-1]], replace(step, index=lower[-1])
    if one.ramp_from is not None and weight <= (one.weight or 0):
        return replace(at, ramped=weight)
    return at if one.weight == weight else replace(at, kept_weight=weight)


def upheld(policy: Policy, step: Step, weight: int | None) -> Step:
    """`step`, which begins or goes on after `weight` was kept: that stays where the step, whose weights were
    edited meanwhile, asks for less.
    """
    free = replace(step, kept_weight=None)
    weighted = any(one.weight is not None for one in _so_far(policy, step))
    if weight is None or policy.compares or not weighted or goal(policy, free) >= weight:
        return free
    return replace(step, kept_weight=weight)


def current(policy: Policy, step: Step) -> PolicyStep:
    """What the spec says of the step; after the last one nothing."""
    return policy.steps[step.index] if step.index < len(policy.steps) else PolicyStep()


def filling(policy: Policy, state: State) -> int | None:
    """The step that requests of this moment count for: the present one while what it sets is in force, of a
    ramp its whole weight, and whatever weight a pause keeps; None where that is not.
    """
    step = state.step
    if step is None or step.mode is not Mode.RUNNING:
        return None
    least = max(goal(policy, replace(step, kept_weight=None)), current(policy, step).weight or 0)
    return step.index if state.reach.weight >= least else None


def at_endless_pause(policy: Policy, step: Step) -> bool:
    """Whether the step waits for a person."""
    return not (step.released or step.resumed) and current(policy, step).endless


def asleep(policy: Policy, state: State) -> bool:
    """Whether the step waits for `replicas`: of none no pod answers, and time tells nothing."""
    step = state.step
    if policy.replicas or state.stable is None or step is None:
        return False
    return not (step.released or at_endless_pause(policy, step))


def waits_for_spec(policy: Policy, state: State) -> bool:
    """Whether nothing is missing for the step but that the spec is read whole: routers act on all that they
    were told, and are told no more by it.
    """
    step = state.step
    return bool(policy.unread) and step is not None and step.mode is Mode.SHIFTING and state.verified


def left_alone(policy: Policy, state: State) -> bool:
    """Whether all that are on trial stay as they are: a person stops nobody of them, and steps and judge were
    not read.
    """
    back = state.undo.target if state.undo else None
    return policy.least and any(one.target != back for one in state.challengers)


def _so_far(policy: Policy, step: Step) -> tuple[PolicyStep, ...]:
    return policy.steps[: step.index + 1]
