"""Moves of an experiment, in which several challengers are compared with the champion at once.

Comes in: a `Scene` and the state. Goes out: the next state and what to tell people, or None when a move does
not apply. Invariants: arms get their first requests together; an arm that fails leaves the others as they
are; at the end at most one is left, which takes over as any challenger does.
"""

from __future__ import annotations

from dataclasses import replace

from noria_operator.domain import divisions, experiment
from noria_operator.domain.analysis import Analysis
from noria_operator.domain.experiment import Choice, Contender, Metric, Score
from noria_operator.domain.rollout_arms import facing, views
from noria_operator.domain.rollout_retreat import rejecting
from noria_operator.domain.rollout_scene import Outcome, Scene, attempt, happened, named, released
from noria_operator.domain.rollout_state import Mode, Rival, State, Step
from noria_operator.domain.rollout_steps import plan_of
from noria_operator.domain.rollout_traffic import BACKENDS, shift
from noria_operator.domain.rollout_words import Happened


def join(scene: Scene, state: State) -> Outcome | None:
    """The next arm of an experiment becomes a challenger, beside those that are one already; the step begins
    again. Nobody joins while a person holds the experiment, after its end, or before there is room for all,
    so that they begin together.
    """
    trial = [one.target for one in state.challengers]
    missing = [one for one in scene.target.arms or () if one not in trial]
    step, blocked = state.step, scene.observed.obstacle or not scene.spec.replicas or not state.verified
    if not missing or blocked or (step is not None and (step.paused or step.released)):
        return None
    if len({*missing, *(share.target for share in state.traffic)}) > BACKENDS:
        return None
    wanted = missing[0]
    candidate = attempt(scene, state, wanted)
    fresh = Step(0, scene.now, plan=plan_of(scene.spec, wanted.version))
    begun = Analysis(version=wanted.version)
    if step is None:
        state = replace(state, candidate=candidate, analysis=begun, step=fresh)
    else:
        fresh = replace(fresh, requests=step.requests, wait=step.wait)
        state = replace(state, others=(*state.others, Rival(candidate, begun)), step=fresh)
    warm = state.previous is not None and state.previous.target == wanted
    state = shift(scene.spec, scene.observed, replace(state, previous=None) if warm else state, state.reach)
    arms = scene.spec.of(wanted.version).rivals
    message = (
        f"{wanted.version} starts as one of {arms} arms, attempt {candidate.attempt}, "
        f"champion {named(state.stable)}"
    )
    return happened(scene, state, Happened.STARTED, wanted.version, message)


def finish(scene: Scene, state: State) -> Outcome | None:
    """Once time and requests are full, the winner is the only challenger that is left, and takes over."""
    step = state.step
    if step is None or step.paused or step.released or step.mode != Mode.RUNNING:
        return None
    if not scene.policy.compares or step.index < len(scene.policy.steps):
        return None
    choice = choice_of(scene, state)
    return None if choice.winner is None else crown(scene, state, choice.winner, choice.message)


def crown(scene: Scene, state: State, place: int, why: str, *, by_hand: bool = False) -> Outcome:
    """All traffic for the challenger at `place`; the others are remembered as behind it."""
    mine = facing(state, place)
    winner, step, losers = mine.candidate, mine.step, [one.candidate.target for one in mine.others]
    if winner is None or step is None:
        return state, None
    behind = why if by_hand else f"{winner.target.version} won: {why}"
    for loser in losers:
        mine = rejecting(scene, mine, loser, behind, by_hand=True)
    arms = scene.spec.experiment.arms if scene.spec.experiment else ()
    names = {arm.version for arm in arms} - {winner.target.version}
    rejected = tuple(replace(one, lost=one.lost or one.version in names) for one in mine.rejected)
    step = replace(released(step, scene.now), index=len(scene.policy.steps), paused=False)
    mine = replace(mine, others=(), step=step, rejected=rejected)
    mine = shift(scene.policy, scene.observed, mine, mine.reach)
    left = f"; {', '.join(one.version for one in losers)} end here" if losers else ""
    event = Happened.BY_HAND if by_hand else Happened.PASSED
    return happened(scene, mine, event, winner.target.version, f"{why}{left}")


def choice_of(scene: Scene, state: State) -> Choice:
    """Who is the best by now, and whether that suffices."""
    asked = scene.spec.experiment
    if asked is None:
        return Choice(None, "")
    quality = scene.spec.quality if asked.metric == "quality" else None
    contenders = [_contender(view, mine, asked.metric) for view, mine in views(scene, state)]
    return experiment.choose(Metric(asked.metric, quality), asked.promote, contenders, scene.policy.rivals)


def _contender(scene: Scene, state: State, metric: str) -> Contender:
    """What the first challenger of `state` did, the open window included."""
    analysis, reading = state.analysis or Analysis(), scene.reading
    version = state.candidate.target.version if state.candidate else ""
    champion = f"champion {named(state.stable)}"
    edge = None
    if metric == "quality":
        seen = scene.observed.of(state.candidate).counted
        parts = seen.parts if seen is not None and seen.readable else {}
        arms = (
            Score(version, labels={when: one.challenger for when, one in parts.items()}),
            Score(champion, labels={when: one.champion for when, one in parts.items()}),
        )
    else:
        slow = analysis.latency
        divided = divisions.plus(analysis.divided, reading.division, reading.window)
        if metric == "latency":
            edge = slow.edge if slow else None
            divided = divisions.plus(slow.divided, reading.division, reading.slow) if slow else {}
        arms = (
            Score(version, {name: one.challenger for name, one in divided.items()}),
            Score(champion, {name: one.champion for name, one in divided.items()}),
        )
    return Contender(*arms, since=analysis.since, judgement=reading.judgement, edge=edge)
