"""Several challengers in one step: each move of one challenger is made for each of them.

Comes in: a state with challengers. Goes out: the same state as one of them sees it, and back. Invariants:
moves that know one challenger are used for several as they are; the others keep what they have, in their
order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from noria_operator.domain.conditions import clip
from noria_operator.domain.rollout_analysis import Reading, read, weigh
from noria_operator.domain.rollout_observed import Observed
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_scene import Outcome, Scene, ran
from noria_operator.domain.rollout_state import Candidate, Rival, State

Move = Callable[[Scene, State], Outcome | None]


def facing(state: State, place: int) -> State:
    """The state with the challenger at `place` as the first, the others after it."""
    if place == 0:
        return state
    rivals = _all(state)
    return _of(state, [rivals.pop(place), *rivals])


def back(state: State, place: int, count: int) -> State:
    """The first challenger at its `place` again; where it is gone, the `count` before tells so."""
    if place == 0:
        return state
    rivals = _all(state)
    if len(rivals) < count:
        return state
    first = rivals.pop(0)
    return _of(state, [*rivals[:place], first, *rivals[place:]])


def seats(state: State) -> list[State]:
    """The state as each challenger sees it."""
    return [facing(state, place) for place in range(len(state.challengers))]


def views(scene: Scene, state: State) -> list[tuple[Scene, State]]:
    """What each challenger sees. Most moves of a pass ask that of the same state, so it is made once."""
    if not state.others:
        return [(scene, state)] if state.candidate else []
    if not scene.views or scene.views[0][1] is not state:
        scene.views[:] = [(scene.of(mine), mine) for mine in seats(state)]
    return scene.views


def standings(state: State) -> str:
    """How each arm stands, in a few words."""
    told = []
    for mine in seats(state):
        name = mine.candidate.target.version if mine.candidate else ""
        verdict = mine.analysis.verdict if mine.analysis else None
        told.append(f"{name} {mine.reach}" + (f" {verdict.value}" if verdict else ""))
    return ", ".join(told)


def for_a_winner(policy: Policy) -> str:
    """What an experiment waits for whose arms have all had their time and requests."""
    if policy.asks_for_a_winner:
        return "; annotate noria.dev/promote: <version> to name the winner, or abort"
    return ", waiting for a winner"


def without_first(state: State) -> State:
    """The state in which the first challenger is on trial no more; the step ends with the last one."""
    rest = _all(state)[1:]
    return _of(state, rest) if rest else replace(state, candidate=None, step=None)


def kept(scene: Scene, state: State, why: str) -> State:
    """The state with its step paused for this reason, in which every challenger keeps the weight that it
    has.
    """
    step = state.step
    if step is None:
        return state
    weights = [state.weight(one.target.name) for one in state.challengers]
    others = tuple(
        replace(one, kept_weight=weight) for one, weight in zip(state.others, weights[1:], strict=True)
    )
    stopped = replace(step, since=scene.now, spent=ran(step, scene.now))
    step = replace(stopped, paused=True, why=clip(why), kept_weight=weights[0])
    return replace(state, step=step, others=others)


def each(move: Move) -> Move:
    """The move for every challenger, until one applies. `scene` is what the first of them sees."""

    def made(scene: Scene, state: State) -> Outcome | None:
        outcome = move(scene, state)
        if outcome is not None or not state.others:
            return outcome
        every = views(scene, state)
        for place, (view, mine) in enumerate(every[1:], 1):
            outcome = move(view, mine)
            if outcome is not None:
                return back(outcome[0], place, len(every)), outcome[1]
        return None

    return made


def _all(state: State) -> list[Rival]:
    if state.candidate is None:
        return []
    first, step = Rival(state.candidate, state.analysis), state.step
    if step is not None:
        first = replace(first, requests=step.requests, kept_weight=step.kept_weight, wait=step.wait)
    return [first, *state.others]


def _of(state: State, rivals: list[Rival]) -> State:
    first, *others = rivals
    step = state.step
    if step is not None:
        step = replace(step, requests=first.requests, kept_weight=first.kept_weight, wait=first.wait)
    return replace(state, candidate=first.candidate, analysis=first.analysis, step=step, others=tuple(others))


def read_all(policy: Policy, state: State, observed: Observed, now: datetime) -> dict[Candidate, Reading]:
    """What is seen of each challenger up to now."""
    return {
        one: read(policy.of(one.target.version), facing(state, place), observed, now)
        for place, one in enumerate(state.challengers)
    }


def weigh_all(
    policy: Policy, before: State, after: State, readings: Mapping[Candidate, Reading], now: datetime
) -> State:
    """`after` with the analysis of each challenger to keep; of the last one also when it is gone. `readings`
    has one for each that is new, too.
    """
    count = len(after.challengers)
    if not count and len(before.challengers) > 1:
        return after  # which of them the last analysis was of, what they were rejected for says
    for place in range(count or 1):
        mine = facing(after, place)
        one = mine.candidate or before.candidate
        if one is None:
            return after
        earlier = facing(before, before.challengers.index(one)) if one in before.challengers else before
        weighed = weigh(policy.of(one.target.version), earlier, mine, readings[one], now)
        after = back(weighed, place, count)
    return after
