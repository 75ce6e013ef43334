"""Moves that bring a challenger up: state in, next state out, None when one does not apply.

Comes in: a `Scene` and the state. Goes out: the next state and what to tell people. Invariants: weight
follows ready pods; the champion keeps its place until the challenger's full weight was read back.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from noria_operator.domain import disagreement
from noria_operator.domain.analysis import Analysis
from noria_operator.domain.queries import anew, further
from noria_operator.domain.rollout_arms import for_a_winner, views
from noria_operator.domain.rollout_evidence import decided
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_scene import (
    Outcome,
    Scene,
    apart,
    attempt,
    begun,
    crowned,
    happened,
    has_its_pods,
    kept_warm,
    named,
    ran,
    received,
    released,
    returns,
)
from noria_operator.domain.rollout_state import Mode, Reach, State, Step
from noria_operator.domain.rollout_steps import (
    asked,
    asleep,
    at_endless_pause,
    current,
    goal,
    leaves_copies,
    plan_of,
    pods,
    ramped,
    sends,
    standing,
    upheld,
)
from noria_operator.domain.rollout_traffic import FULL, demand_now, held, lowered, need, shift
from noria_operator.domain.rollout_words import Happened
from noria_operator.domain.verdict import Judgement, Verdict


def start(scene: Scene, state: State) -> Outcome | None:
    """A wanted version becomes the challenger once every router agrees that nobody else is under way, and
    there are pods to try it with.

    One that a person goes back to was judged before: no steps, no analysis. One that was gone back from goes
    through both again, though it is warm. One that was leaving goes on with the weight it has.
    """
    if scene.target.arms is not None:
        return None  # an experiment; see `join`
    wanted, policy = scene.target.revision, scene.policy
    if wanted is None or state.candidate is not None or wanted == state.stable or scene.observed.obstacle:
        return None
    if returns(state, wanted):
        return None
    weight = state.weight(wanted.name)
    if not state.verified:
        return None
    back = state.undo is not None and wanted == state.undo.target
    alone = policy.recreate and state.stable is not None
    direct = alone or back or state.stable is None or not policy.steps
    if (alone and state.leaving) or not (direct or policy.replicas):
        # Those that leave would wait for the champion's pods for ever; of no pods nobody can be judged.
        return None
    plan = plan_of(scene.spec, wanted.version)
    step = Step(len(policy.steps), scene.now, released=direct, plan=plan, recreate=alone)
    step = step if direct else standing(policy.steps, step, weight)
    candidate = attempt(scene, state, wanted)
    warm = state.previous is not None and state.previous.target == wanted
    state = replace(
        state,
        candidate=candidate,
        step=step,
        previous=None if alone or warm else state.previous,
        analysis=Analysis(version=wanted.version) if state.stable and not back and not alone else None,
    )
    count = len(policy.steps)
    how = "without canary" if direct else f"in {count} step{'s' if count > 1 else ''}"
    how = f"once {named(state.stable)} is down, and nothing answers until it is ready" if alone else how
    who = apart(wanted, state.stable)
    message = f"{who} starts {how}, attempt {candidate.attempt}, champion {named(state.stable)}"
    return happened(
        scene, shift(policy, scene.observed, state, Reach(weight)), Happened.STARTED, wanted.version, message
    )


def settle(scene: Scene, state: State) -> Outcome | None:
    """Give the challenger the step's weight once its pods can carry it, and no more than they can carry at
    any time; of a spec that is not read whole no more than it has.
    """
    if state.candidate is None or state.step is None:
        return None
    target, policy = state.candidate.target, scene.policy
    ready, current = scene.observed.ready.get(target.name, 0), state.reach
    wanted = lowered(policy, scene.observed, state, asked(policy, state.step))
    enough = pods(policy, state.step)
    if policy.unread and not state.step.released:
        wanted, enough = current, max(enough, need(current.weight, policy.replicas))
    if state.stable is None:
        all_of_it = wanted.weight == FULL and ready >= need(FULL, policy.replicas)
        reach = wanted if all_of_it else Reach(current.weight)
    elif ready >= enough:
        reach = wanted if _may_begin(scene, state, state.step) else current
    else:
        # Who lost no pod keeps what it has for a while: the champion's new ones may be ready before its own.
        lost = not state.step.wait.keeps_up(ready)
        reach = held(current, wanted, ready, demand_now(policy, state, scene.observed) if lost else 0)
    moved = shift(policy, scene.observed, state, reach)
    if reach.any and moved.analysis is not None and moved.analysis.since is None:
        moved = replace(moved, analysis=replace(moved.analysis, since=scene.now))
    if moved == state:
        return None
    if reach != held(current, wanted, FULL, FULL) and reach != wanted:
        cause = scene.observed.problems.get(target.name, f"{ready} of its pods are ready")
        message = f"{target.version} goes from {current} to {reach} until its pods are there: {cause}"
        return happened(scene, moved, Happened.FALLBACK, target.version, message, warning=True)
    return moved, None


def _may_begin(scene: Scene, state: State, step: Step) -> bool:
    """Whether a challenger that got no request yet may get some: in no pause, and of an experiment once all
    have their pods, so that they are compared in the same time.
    """
    if state.analysis is None or state.analysis.since is not None:
        return True
    return not step.paused and all(has_its_pods(view, mine) for view, mine in views(scene, state))


def track(scene: Scene, state: State) -> Outcome | None:
    """Keep what the step is doing and since when."""
    step = state.step
    if state.candidate is None or step is None:
        return None
    arms = views(scene, state)
    if asleep(scene.policy, state) or not all(has_its_pods(*arm) for arm in arms):
        mode = Mode.WAITING
    elif not state.verified or any(
        mine.reach != asked(view.policy, mine.step) for view, mine in arms if mine.step
    ):
        mode = Mode.SHIFTING
    else:
        mode = Mode.RUNNING
    if mode == step.mode:
        return None
    spent = ran(step, scene.now)
    moved = replace(step, since=scene.now, spent=spent, mode=mode, stalled=False)
    analysis = state.analysis
    if mode is Mode.RUNNING and not spent and analysis is not None:
        analysis = _asked_anew(scene, state, step, analysis)
    return replace(state, step=moved, analysis=analysis), None


def _asked_anew(scene: Scene, state: State, step: Step, analysis: Analysis) -> Analysis:
    """A step with `analysis` that runs from now on begins queries anew, a ramp at its first weight and at its
    last. As it climbs it has queries that passed asked again, and what speaks against the challenger counts.
    """
    one, queries = current(scene.policy, step), scene.policy.queries
    if not one.gate:
        return analysis
    if step.ramped is None or state.reach.weight >= (one.weight or 0):
        return replace(analysis, queries=anew(queries, analysis.queries, scene.now))
    return replace(analysis, queries=further(queries, analysis.queries))


def advance(scene: Scene, state: State) -> Outcome | None:
    """The next step begins when this one's time and requests are full and nothing speaks against it."""
    step, policy = state.step, scene.policy
    if step is None or state.candidate is None or step.mode != Mode.RUNNING or step.paused:
        return None
    if step.released or step.index >= len(policy.steps) or at_endless_pause(policy, step):
        return None
    done = all(_is_done(view, mine) for view, mine in views(scene, state))
    return next_step(scene, state) if done else None


def _is_done(scene: Scene, state: State) -> bool:
    step, judgement = state.step, scene.reading.judgement
    if step is None:
        return False
    one = current(scene.policy, step)
    if scene.policy.compares:
        # An arm holds nobody up; whether it may win is asked at the end.
        return _is_full(scene, state, step, one)
    if one.ramp_from is not None and state.reach.weight < (one.weight or 0):
        return False
    if one.gate and _just_begun(state, scene.now):
        return False
    return _may_go_on(scene.policy, step, judgement) and _is_full(scene, state, step, one)


def _just_begun(state: State, now: datetime) -> bool:
    """Whether queries were begun anew at this moment, so that the judgement may be of those before."""
    kept = state.analysis.queries if state.analysis else {}
    return any(one.since == now for one in kept.values())


def _may_go_on(policy: Policy, step: Step, judgement: Judgement | None) -> bool:
    """Whether the evidence lets the next step begin; where the last copies are sent, what they alone can tell
    has to be known.
    """
    gate = current(policy, step).gate
    if judgement is None:
        return not gate
    if judgement.suspicious or (gate and judgement.verdict != Verdict.PASS):
        return False
    compared = (one for one in judgement.measures if one.measure == disagreement.MEASURE)
    return not (leaves_copies(policy, step) and any(one.verdict is Verdict.HOLD for one in compared))


def _is_full(scene: Scene, state: State, step: Step, one: PolicyStep) -> bool:
    ends = begun(scene.policy, state, step) + one.duration
    return scene.now >= ends and received(scene, step) >= one.min_requests


def climb(scene: Scene, state: State) -> Outcome | None:
    """A ramp goes on as far as the evidence allows, once an interval at most, and never back."""
    step, policy, judgement = state.step, scene.policy, scene.reading.judgement
    if step is None or step.mode != Mode.RUNNING or step.paused or step.kept_weight is not None:
        return None
    if step.released or judgement is None or judgement.suspicious:
        return None
    weight = ramped(current(policy, step), judgement.progress)
    if weight <= goal(policy, step) or scene.now - step.since < policy.interval:
        return None
    # What the step waits for beside the weight begins with the last climb.
    return replace(state, step=replace(step, ramped=weight, since=scene.now, spent=timedelta())), None


def next_step(scene: Scene, state: State, why: str = "") -> Outcome:
    """Begin the step after the present one; after the last, wait for the verdict. `why` names a command."""
    if state.step is None or state.candidate is None:
        return state, None
    index, steps, version = state.step.index + 1, scene.policy.steps, state.candidate.target.version
    step = replace(state.step, index=index, since=scene.now, spent=timedelta())
    if not scene.policy.compares:
        fresh = Step(index, scene.now, wait=step.wait.anew(), plan=step.plan)
        step = upheld(scene.policy, fresh, state.step.kept_weight)
    state = replace(state, step=step)
    tail = f" ({why})" if why else ""
    if index >= len(steps) and scene.policy.compares:
        arms = ", ".join(one.target.version for one in state.challengers)
        event = Happened.PAUSED if scene.policy.asks_for_a_winner else Happened.STEP
        message = f"{arms}: time and requests are full{for_a_winner(scene.policy)}"
        return happened(scene, state, event, version, message)
    if index >= len(steps):
        waits = ", waiting for a verdict" if sends(scene.policy) else ""
        message = f"{version}: steps done{waits}{tail}"
        return happened(scene, state, Happened.STEP, version, message)
    reach = asked(scene.policy, step)
    message = f"{version}: step {index + 1} of {len(steps)}, {reach}{tail}"
    return happened(scene, state, Happened.STEP, version, message)


def release(scene: Scene, state: State) -> Outcome | None:
    """The verdict Pass after the last step lets all traffic follow; where no step sends any, there is nothing
    to judge.
    """
    step, candidate, judgement = state.step, state.candidate, scene.reading.judgement
    if step is None or candidate is None or step.paused or step.released:
        return None
    if step.index < len(scene.policy.steps) or step.mode != Mode.RUNNING:
        return None
    if scene.policy.compares:
        return None
    version = candidate.target.version
    if not sends(scene.policy):
        event, why = Happened.STEP, f"{version} takes all traffic: no step sends it any to be judged by"
    elif judgement is not None and judgement.verdict == Verdict.PASS:
        event, why = Happened.PASSED, judgement.message
    else:
        return None
    return happened(scene, replace(state, step=released(step, scene.now)), event, version, why)


def promote(scene: Scene, state: State) -> Outcome | None:
    """A challenger whose full weight every router has in force is the champion: a new label, no second
    rollout. Pods that are wanted since it got that, because `replicas` grew, it gets as any champion does; it
    needs no more than the old one has ready.
    """
    step, candidate = state.step, state.candidate
    if step is None or candidate is None or not step.released or not state.verified:
        return None
    if state.others:
        return None
    if step.paused and state.stable is not None:  # a first version has nobody to give its traffic back to
        return None
    target = candidate.target
    ready = scene.observed.ready.get(target.name, 0)
    demand = demand_now(scene.policy, state, scene.observed) if state.stable else 0
    enough = ready >= need(FULL, scene.policy.replicas) or (step.wait.keeps_up(ready) and ready >= demand)
    if state.weight(target.name) != FULL or not enough:
        return None
    state = decided(scene, state, target, promoted=True)
    old = state.stable
    previous = kept_warm(scene, state, old) if old else state.previous
    previous = None if step.recreate else previous
    state = replace(crowned(state, candidate.target), candidate=None, step=None, previous=previous)
    warm = previous is not None and previous.keep_until > scene.now
    message = f"{candidate.target.version} has all traffic" + (f"; {named(old)} stays warm" if warm else "")
    return happened(
        scene,
        shift(scene.policy, scene.observed, state),
        Happened.PROMOTED,
        candidate.target.version,
        message,
    )
