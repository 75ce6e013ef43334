"""Moves that keep a rollout in order: time spent waiting, holds that last too long, people who are waited
for, edited steps, versions that leave or whose time is over.

Comes in: a `Scene` and the state. Goes out: the next state and what to tell people, or None when a move does
not apply. Invariant: no move here gives a challenger more weight than it has.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from noria_operator.domain.rollout_analysis import said
from noria_operator.domain.rollout_arms import kept, seats, views
from noria_operator.domain.rollout_experiment import choice_of
from noria_operator.domain.rollout_retreat import abort
from noria_operator.domain.rollout_scene import (
    Outcome,
    Scene,
    happened,
    has_its_pods,
    hold_ends,
    spelled,
    too_few,
)
from noria_operator.domain.rollout_state import Mode, State, Step
from noria_operator.domain.rollout_steps import (
    asked,
    at_endless_pause,
    goal,
    plan_of,
    pods,
    standing,
    waits_for_spec,
)
from noria_operator.domain.rollout_traffic import demand_now, forget, need, shift
from noria_operator.domain.rollout_words import Cause, Happened


def clock(scene: Scene, state: State) -> Outcome | None:
    """The time that the challenger's pods are waited for; a pause does not count. In it, too, pods follow the
    champion's in time or what they do not carry goes back.
    """
    step = state.step
    if step is None or state.candidate is None:
        return None
    missing, limit = not has_its_pods(scene, state), scene.policy.progress_deadline
    wait = step.wait.going(scene.now, limit, missing=missing, paused=step.paused)
    ready = scene.observed.ready.get(state.candidate.target.name, 0)
    wait = wait.seen(ready, pods(scene.policy, step))
    most = max(state.reach.weight, state.reach.mirror)
    small = state.stable is not None and ready < need(most, demand_now(scene.policy, state, scene.observed))
    wait = wait.beside(scene.now, limit, small=small)
    return None if wait == step.wait else (replace(state, step=replace(step, wait=wait)), None)


def hold(scene: Scene, state: State) -> Outcome | None:
    """A step that waits too long for requests or evidence ends as the user chose: in a pause, or in an
    abort.
    """
    step, candidate, policy = state.step, state.candidate, scene.policy
    if step is None or candidate is None or step.paused or step.released:
        return None
    stays = step.mode is Mode.RUNNING or waits_for_spec(policy, state)
    if not stays or at_endless_pause(policy, step):
        return None
    if policy.compares:
        return _hold_all(scene, state, step)
    if scene.now < hold_ends(policy, state, step):
        return None
    judged = scene.reading.judgement.message if scene.reading.judgement else "no evidence"
    why = "; ".join(filter(None, (too_few(scene, state), judged)))
    reason = f"no decision within maxHold {spelled(policy.max_hold)}: {why}"
    if policy.abort_on_max_hold:
        return abort(scene, state, reason, Cause.HOLD)
    state = kept(scene, state, reason)
    message = f"{reason}; annotate noria.dev/resume, promote or abort"
    return happened(scene, state, Happened.PAUSED, candidate.target.version, message, warning=True)


def _hold_all(scene: Scene, state: State, step: Step) -> Outcome | None:
    """An experiment without a winner after its time and maxHold; a person who resumes gives it maxHold
    again.
    """
    if scene.now < max(hold_ends(scene.policy, mine, step) for mine in seats(state)):
        return None
    few = (too_few(*arm) for arm in views(scene, state))
    why = "; ".join(filter(None, (*few, choice_of(scene, state).message)))
    reason = f"no winner within maxHold {spelled(scene.policy.max_hold)}: {why}"
    if scene.policy.abort_on_max_hold:
        return abort(scene, state, reason, Cause.HOLD, everyone=True)
    message = f"{reason}; annotate noria.dev/promote: <version>, resume or abort"
    first = state.challengers[0].target.version
    return happened(scene, kept(scene, state, reason), Happened.PAUSED, first, message, warning=True)


def call(scene: Scene, state: State) -> Outcome | None:
    """That a step waits for a person is told one time, when all that it asks for is in force, however the
    rollout came to it.
    """
    step, candidate, policy = state.step, state.candidate, scene.policy
    if step is None or candidate is None or step.mode != Mode.RUNNING or step.paused or step.told:
        return None
    if not at_endless_pause(policy, step):
        return None
    place, version = f"step {step.index + 1} of {len(policy.steps)}", candidate.target.version
    message = f"{version} pauses at {place} with {state.reach}; annotate noria.dev/resume, promote or abort"
    return happened(scene, replace(state, step=replace(step, told=True)), Happened.PAUSED, version, message)


def tell(scene: Scene, state: State) -> Outcome | None:
    """That harm in too few bursts holds the rollout is told once, when it is found."""
    candidate, step, analysis, judgement = (
        state.candidate,
        state.step,
        state.analysis,
        scene.reading.judgement,
    )
    if candidate is None or step is None or step.released or analysis is None or judgement is None:
        return None
    if analysis.lone_burst or not judgement.lone_burst:
        return None
    state = replace(state, analysis=said(analysis, judgement))
    found = (one for one in judgement.measures if one.lone_burst)
    message = "; ".join(f"{one.measure}: {one.message}" for one in found)
    return happened(scene, state, Happened.BURST, candidate.target.version, message, warning=True)


def remap(scene: Scene, state: State) -> Outcome | None:
    """Steps edited under a rollout: the weight stays, the step is the nearest one that asks for no more;
    where none does, it is the first one, with what that asks for. A pause goes on, with the weight of its
    beginning; steps that are gone may be back when it ends.
    """
    step, candidate, steps = state.step, state.candidate, scene.policy.steps
    if step is None or candidate is None:
        return None
    version = candidate.target.version
    plan = plan_of(scene.spec, version)
    if step.plan == plan or (step.paused and not (steps or step.released)):
        return None
    held_at = step.kept_weight if step.paused else None
    anew = replace(step, since=scene.now, spent=timedelta(), told=False, resumed=False)
    fresh = replace(anew, kept_weight=None, plan=plan)
    if scene.policy.compares and not step.released:
        message = "the experiment changed; weights follow, and what was seen still counts"
        edited = replace(state, step=replace(fresh, index=0, kept_weight=held_at))
        return happened(scene, edited, Happened.EDITED, version, message)
    straight = replace(step, index=len(steps), released=True, kept_weight=held_at, plan=plan)
    if step.released:
        return replace(state, step=straight), None
    if not steps:
        # As when it starts without any.
        message = f"no steps are left; {version} takes all traffic once its pods are ready"
        return happened(scene, replace(state, step=straight), Happened.EDITED, version, message)
    weight = state.weight(candidate.target.name) if held_at is None else held_at
    if fresh.index >= len(steps) or goal(scene.policy, fresh) != weight:
        fresh = replace(standing(steps, fresh, weight), requests=0)
    fresh = fresh if held_at is None else replace(fresh, kept_weight=held_at)
    reach = asked(scene.policy, fresh)
    message = f"steps changed; going on at step {fresh.index + 1} of {len(steps)} with {reach}"
    message += f", after weight {weight}" if reach.weight != weight else ""
    return happened(scene, replace(state, step=fresh), Happened.EDITED, version, message)


def relieve(scene: Scene, state: State) -> Outcome | None:
    """Versions that leave give their weight to the champion as its pods become ready."""
    moved = shift(scene.policy, scene.observed, state, state.reach) if state.leaving else state
    return None if moved is state else (moved, None)


def expire(scene: Scene, state: State) -> Outcome | None:
    """The previous version goes when its warm time is over and nobody sends it anything; earlier where pods
    divide the traffic, since its own would get some of the next rollout's. It is never kept for longer from
    now on than the policy says, whatever the clock or the policy was when its time began.
    """
    previous = state.previous
    if previous is None or not state.verified:
        return None
    in_the_way = scene.policy.by_pods and state.candidate is not None
    if scene.now >= previous.keep_until or in_the_way:
        return replace(state, previous=None), None
    longest = scene.now + scene.policy.keep_previous
    if longest < previous.keep_until:
        return replace(state, previous=replace(previous, keep_until=longest)), None
    return None


def drop(scene: Scene, state: State) -> Outcome | None:
    """Revisions without a place leave once their weight 0 is in force and their last request is answered."""
    left = forget(state, scene.observed.active, scene.now)
    return None if left is state else (left, None)
