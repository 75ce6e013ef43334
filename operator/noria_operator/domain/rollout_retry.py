"""A rejected revision is tried again by itself, a bounded number of times, each after twice as long.

Comes in: a `Scene` and the state. Goes out: the next state and what to tell people, or None. Invariants: only
what the spec asks for now is tried again, so a successor cancels it; what a person rejected (abort, undo)
waits for a person; a revision that is tried again counts as rejected anew once it is no longer asked for.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_scene import Outcome, Scene, happened
from noria_operator.domain.rollout_state import REMEMBERED, Rejected, State
from noria_operator.domain.rollout_words import Happened

LONGEST = timedelta(days=1)
"""Longest time between two tries, unless the first one waits longer already."""


def retry(scene: Scene, state: State) -> Outcome | None:
    """Keep the times of retries true to the spec, and begin the one whose time has come."""
    counts = (one for one in state.rejected if not (_redeemed(state, one) or _of_nobody(scene, state, one)))
    kept = tuple(_current(scene, one) for one in counts)
    if kept != state.rejected:
        return replace(state, rejected=kept), None
    due = next((one for one in kept if one.retry_at is not None and one.retry_at <= scene.now), None)
    if due is None or state.candidate is not None:
        return None
    begun = replace(due, retries=due.retries + 1, retry_at=None, retrying=True)
    state = replace(state, rejected=tuple(begun if one is due else one for one in kept))
    message = f"{due.version} is tried again by itself, retry {begun.retries} of {scene.policy.retry_limit}"
    return happened(scene, state, Happened.RETRIED, due.version, message)


def next_retry(state: State) -> datetime | None:
    """When the planner must look again for the sake of a retry."""
    return min((one.retry_at for one in state.rejected if one.retry_at is not None), default=None)


def distance(policy: Policy, retries: int) -> timedelta:
    """The time from a rejection to the next try, after so many retries."""
    first = policy.retry_delay
    return min(first * (1 << retries), max(first, LONGEST))


def _redeemed(state: State, one: Rejected) -> bool:
    """Whether a retry made it the champion."""
    stable = state.stable
    return one.retrying and stable is not None and one.of(stable)


def _of_nobody(scene: Scene, state: State, one: Rejected) -> bool:
    """Whether only an experiment that the spec has no more named it, before there was such a version. Where
    as many are remembered as may be, each tells that older ones were forgotten, too.
    """
    named = one.revision or scene.spec.of(one.version).compares
    return not named and len(state.rejected) < REMEMBERED


def _current(scene: Scene, one: Rejected) -> Rejected:
    wanted = scene.target.wanted
    # An arm would be compared alone, with a champion of another time.
    asked = wanted is not None and one.of(wanted) and not scene.spec.of(one.version).compares
    retrying = one.retrying and asked
    waits = asked and not retrying and not one.by_hand and one.retries < scene.policy.retry_limit
    at = one.at + distance(scene.policy, one.retries) if waits else None
    return replace(one, retrying=retrying, retry_at=at)
