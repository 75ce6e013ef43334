"""Moves that take traffic away from a challenger, or replace it: state in, next state out, None when one
does not apply.

Comes in: a `Scene` and the state. Goes out: the next state and what to tell people. Invariants: the
challenger loses its weight first, everything else comes after; a rejected revision never starts by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from noria_operator.api.names import version_number
from noria_operator.domain.conditions import clip
from noria_operator.domain.rollout_arms import without_first
from noria_operator.domain.rollout_children import recreating
from noria_operator.domain.rollout_evidence import decided
from noria_operator.domain.rollout_scene import (
    Outcome,
    Scene,
    apart,
    crowned,
    happened,
    kept_warm,
    named,
    returns,
    spelled,
)
from noria_operator.domain.rollout_state import REMEMBERED, Rejected, Revision, State
from noria_operator.domain.rollout_traffic import demand_now, shift
from noria_operator.domain.rollout_words import Cause, Happened
from noria_operator.domain.verdict import Verdict


def abort(
    scene: Scene, state: State, reason: str, cause: str, *, by_hand: bool = False, everyone: bool = False
) -> Outcome:
    """Nothing for the first challenger, or for `everyone` in the trial, remembered as rejected; their pods go
    once weight 0 is verified.

    Where there is none any more, the versions that still leave are meant, and what waits to be tried again;
    where nobody has any weight but the champion, what waits to begin, too.
    """
    candidate, ended = state.candidate, state.challengers if everyone else state.challengers[:1]
    losers = [one.target for one in ended] or [share.target for share in state.leaving]
    unborn = [one for one in _unborn(scene, state) if everyone and one not in losers]
    if not (losers or unborn) or (state.stable is None and candidate and state.weight(candidate.target.name)):
        # A first version that already takes all traffic has nobody to give it back to.
        return state, None
    text, untried = clip(reason), _untried(state, unborn)
    for loser in (*losers, *unborn):
        state = rejecting(scene, state, loser, text, by_hand=by_hand)
    if not losers:
        return happened(scene, state, Happened.CANCELLED, unborn[-1].version, f"{untried}: {text}")
    message = f"{', '.join(apart(loser, state.stable) for loser in losers)} was rolled back: {text}"
    message += f"; {untried}" if untried else ""
    state = without_candidate(scene, replace(state, others=()) if everyone else state)
    event, version = Happened.ROLLED_BACK, losers[-1].version
    return happened(scene, state, event, version, message, warning=True, cause=cause)


def _unborn(scene: Scene, state: State) -> tuple[Revision, ...]:
    """Who would begin as soon as nothing is in the way: arms beside those that have begun; where nobody has,
    the next one, and who is tried again by itself. Before there is a champion nobody: what an object was made
    with is older than it.
    """
    if state.stable is None:
        return ()
    target = scene.target
    new = target.newcomers(state.stable)
    if state.candidate is not None:
        return new if scene.policy.compares else ()
    asked = target.wanted or target.unmet
    wanted = (asked,) if asked else ()
    again = tuple(one for one in wanted if any(past.retry_at and past.within(one) for past in state.rejected))
    return again if state.leaving else tuple(dict.fromkeys((*new, *again)))


def _untried(state: State, unborn: Sequence[Revision]) -> str:
    """What an abort means for those who have not begun; `state` is that of before."""
    new = ", ".join(one.version for one in unborn if not state.is_rejected(one))
    again = ", ".join(one.version for one in unborn if state.is_rejected(one))
    told = (f"{new} will not be tried" if new else "", f"{again} will not be tried again" if again else "")
    return "; ".join(filter(None, told))


def rejecting(scene: Scene, state: State, loser: Revision, reason: str, *, by_hand: bool = False) -> State:
    """The state that remembers the revision as one to be left alone; `by_hand`: until a person says retry."""
    state = decided(scene, state, loser, promoted=False)
    others = tuple(one for one in state.rejected if not one.within(loser))
    tried = sum(one.retries for one in state.rejected if one not in others)
    rejected = Rejected(loser.version, loser.revision, reason, scene.now, tried, by_hand=by_hand)
    return replace(state, rejected=_remembered(scene, (*others, rejected)))


def _remembered(scene: Scene, rejected: tuple[Rejected, ...]) -> tuple[Rejected, ...]:
    """As many as a status has room for: the oldest versions are forgotten, which are not tried again either
    (`rollout_target`), but for arms that the spec names, and the last one.
    """
    experiment = scene.spec.experiment
    arms = {arm.version for arm in experiment.arms} if experiment else set()
    last = {one.version: one for one in rejected if one.version in arms}
    while len(rejected) > REMEMBERED:
        free = (one for one in rejected[:-1] if last.get(one.version) is not one)
        oldest = min(free, key=lambda one: version_number(one.version))
        rejected = tuple(one for one in rejected if one is not oldest)
    return rejected


def without_candidate(scene: Scene, state: State) -> State:
    """The state in which the first challenger is on its way no more: what it had is the champion's, as far as
    its ready pods carry it.
    """
    state = without_first(state)
    return shift(scene.policy, scene.observed, state, state.reach)


def fail(scene: Scene, state: State) -> Outcome | None:
    """The verdict Fail aborts, whatever the step, paused or not."""
    judgement = scene.reading.judgement
    if state.candidate is None or judgement is None or judgement.verdict is not Verdict.FAIL:
        return None
    failed = next(one.measure for one in judgement.measures if one.verdict is Verdict.FAIL)
    return abort(scene, state, judgement.message, failed.split()[0])  # the name of a query is the user's


def overdue(scene: Scene, state: State) -> Outcome | None:
    """Pods that are not ready in time abort the rollout; a first version stays, because nothing else could
    serve.
    """
    step, candidate, limit = state.step, state.candidate, scene.policy.progress_deadline
    if step is None or candidate is None or step.paused or step.stalled:
        return None
    if step.wait.since is None or step.wait.until(scene.now) < limit:
        return None
    cause = scene.observed.problems.get(candidate.target.name, "its pods are not ready")
    reason = f"not ready within progressDeadline {spelled(limit)}: {cause}"
    if state.stable is not None:
        return abort(scene, state, reason, Cause.DEADLINE)
    state = replace(state, step=replace(step, stalled=True))
    message = f"{candidate.target.version} is {reason}"
    return happened(scene, state, Happened.STALLED, candidate.target.version, message, warning=True)


def retarget(scene: Scene, state: State) -> Outcome | None:
    """A challenger that is no longer wanted gives its traffic back as the champion can carry it; its
    successor starts once what was written is verified.
    """
    candidate, wanted = state.candidate, scene.target.revision
    if candidate is None or candidate.target in scene.target.challengers:
        return None
    alone = state.stable is None or recreating(scene.policy, state)
    if alone and state.weight(candidate.target.name):
        # It is about to take all traffic, and nobody else could; the next one replaces it as any champion is
        # replaced.
        return None
    old, who = candidate.target.version, apart(candidate.target, state.stable)
    state = without_candidate(scene, state)
    if wanted is None or wanted == state.stable:
        message = f"{who} is no longer wanted; its traffic goes to {named(state.stable)}"
        return happened(scene, state, Happened.CANCELLED, old, message)
    message = f"{apart(wanted, candidate.target)} takes the place of {who}"
    return happened(scene, state, Happened.SUPERSEDED, old, message)


def revert(scene: Scene, state: State) -> Outcome | None:
    """Going back to the warm previous version is one write, once it carries what the champion does: pods that
    are wanted since, because `replicas` grew, neither of them may have.
    """
    wanted = scene.target.revision
    if wanted is None or state.candidate is not None or state.stable is None or not returns(state, wanted):
        return None
    if scene.observed.ready.get(wanted.name, 0) < demand_now(scene.policy, state, scene.observed):
        return None
    left = state.stable
    kept = kept_warm(scene, state, left)
    state = shift(scene.policy, scene.observed, replace(crowned(state, wanted), previous=kept))
    message = f"{wanted.version} was still warm and takes all traffic from {left.version}"
    return happened(scene, state, Happened.REVERTED, wanted.version, message)
