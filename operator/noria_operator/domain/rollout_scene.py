"""What every move of a rollout looks at and leaves behind.

Comes in: policy, observation, target, reading and the time, bound together as a `Scene`. Goes out: small
answers that several moves share. Invariant: nothing here moves anything.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from noria_operator.domain.conditions import clip
from noria_operator.domain.rollout_analysis import Reading
from noria_operator.domain.rollout_state import (
    CHAMPIONS,
    REMEMBERED,
    Entry,
    Happened,
    Mode,
    Note,
    Observed,
    Policy,
    PolicyStep,
    Revision,
    State,
    Step,
)
from noria_operator.domain.rollout_target import Target
from noria_operator.domain.rollout_traffic import FULL


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that a move may look at."""

    policy: Policy
    observed: Observed
    target: Target
    reading: Reading
    now: datetime


Outcome = tuple[State, Note | None]


def fingerprint(steps: tuple[PolicyStep, ...]) -> str:
    """Identifies a list of steps, so that an edit under a running rollout is noticed."""
    text = ",".join(f"{one.weight}/{one.duration}/{one.min_requests}" for one in steps)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def goal(policy: Policy, step: Step) -> int:
    """The weight that the step asks for; a pause keeps that of the step before it."""
    if step.kept_weight is not None:
        return step.kept_weight
    if step.released:
        return FULL
    return next((one.weight for one in reversed(policy.steps[: step.index + 1]) if one.weight is not None), 0)


def nearest(steps: tuple[PolicyStep, ...], weight: int) -> tuple[int, int | None]:
    """The last step that asks for no more than `weight`, and the weight to keep there where it asks for
    less.
    """
    lower = [i for i, one in enumerate(steps) if one.weight is not None and one.weight <= weight]
    index = lower[-1] if lower else 0
    return index, weight if lower and steps[index].weight != weight else None


def at_endless_pause(policy: Policy, step: Step) -> bool:
    """Whether the step waits for a person."""
    return not step.released and step.index < len(policy.steps) and policy.steps[step.index].endless


def happened(
    scene: Scene, state: State, event: Happened, version: str, message: str, *, warning: bool = False
) -> Outcome:
    """The state with one more line of history, and the Event for it."""
    text = clip(message)
    entry = Entry(scene.now, event.value, version, text)
    return replace(state, history=(*state.history, entry)[-REMEMBERED:]), Note(event, text, warning)


def crowned(state: State, target: Revision) -> State:
    """The state with `target` as its champion, last of those that can be gone back to.

    Going back drops those after it, as they were left; any other way keeps them.
    """
    past, undo = state.champions, state.undo if state.undo and state.undo.target == target else None
    if undo is not None and target in past:
        past = past[: past.index(target)]
    champions = (*(one for one in past if one != target), target)[-CHAMPIONS:]
    return replace(state, stable=target, champions=champions, undo=undo)


def stopped(step: Step, now: datetime) -> Step:
    """The step with its waiting time up to `now` put aside, so that flapping pods do not earn a new
    deadline.
    """
    waits = step.mode == Mode.WAITING and not step.paused
    return replace(step, waited=step.waited + (now - step.since) if waits else step.waited, since=now)


def named(target: Revision | None) -> str:
    return target.version if target else "none"


def spelled(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m" if not rest and minutes else f"{seconds}s"
