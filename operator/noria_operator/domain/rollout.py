"""The planner of rollouts: one pure function from what is known to what has to become true.

Comes in: the policy of the spec, the state kept in status, what the cluster shows, the time. Goes out: a
`Plan`: the next state (to be persisted before anything is done), the children that must exist, events.

Invariants, each held by a property test at every write: a version gets weight only up to what its ready pods
carry; the champion keeps its full capacity until the challenger is promoted and the warm time is over; a
failed challenger's weight goes first; commands, abort and deadline are looked at before anything that could
fail; planning twice with the same inputs changes nothing the second time.
"""

from __future__ import annotations

from datetime import datetime

from noria_operator.domain.rollout_advance import advance, climb, promote, release, settle, start, track
from noria_operator.domain.rollout_analysis import Reading
from noria_operator.domain.rollout_arms import each, read_all, weigh_all
from noria_operator.domain.rollout_children import children, records
from noria_operator.domain.rollout_clock import not_ahead
from noria_operator.domain.rollout_commands import obey
from noria_operator.domain.rollout_experiment import finish, join
from noria_operator.domain.rollout_observed import Observed
from noria_operator.domain.rollout_plan import Note, Plan
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_report import message_of, phase_of
from noria_operator.domain.rollout_retreat import fail, overdue, retarget, revert
from noria_operator.domain.rollout_retry import next_retry, retry
from noria_operator.domain.rollout_scene import Scene
from noria_operator.domain.rollout_state import State
from noria_operator.domain.rollout_steps import left_alone
from noria_operator.domain.rollout_target import choose
from noria_operator.domain.rollout_traffic import divided, verify
from noria_operator.domain.rollout_upkeep import call, clock, drop, expire, hold, relieve, remap, tell

MOVES = (
    *(obey, each(fail), promote, each(retarget), remap),
    *(track, each(clock), each(overdue), revert),
    *(each(settle), relieve, climb, advance, finish, release, each(tell), call, hold),
    *(expire, drop, retry, start, join),
)
"""In order of urgency: the first that applies is made, then all are asked again. Who leaves, and which steps
count, is settled before pods and time are measured by them.
"""
_BOLD = (remap, climb, advance, finish, release, retry)
"""What is made only of a spec that is read whole: what is left out might forbid it."""

_MOST_MOVES = 200
"""Far more than any pass makes; moves that undo each other are a bug to be seen, not an endless loop."""


def plan(policy: Policy, state: State, observed: Observed, now: datetime) -> Plan:
    """Everything that should happen now. `state` must be the one that routers are served from."""
    before = state = not_ahead(state, now)
    state = verify(state, observed.in_force)
    readings = read_all(policy, before, observed, now)
    moves = [move for move in MOVES if not (policy.unread and move in _BOLD)]
    notes: list[Note] = []
    for _ in range(_MOST_MOVES):
        target = choose(policy, state, observed.versions)
        scene = Scene(policy, observed, target, Reading(observed), now, policy, readings).of(state)
        asked = [obey] if left_alone(policy, state) else moves
        outcome = next(filter(None, (move(scene, state) for move in asked)), None)
        if outcome is None:
            break
        state = outcome[0]
        notes += [outcome[1]] if outcome[1] else []
    else:
        raise RuntimeError(f"the rollout's moves do not come to rest: {notes[-5:]}")
    state = divided(before, state)
    unread = {one: Reading(observed) for one in state.challengers}
    if not left_alone(policy, state):
        state = weigh_all(policy, before, state, unread | readings, now)
    made = children(policy, state, observed)
    return Plan(
        state=state,
        phase=phase_of(policy, state, observed, target),
        message=message_of(policy, state, observed, target, now),
        wanted=target.wanted,
        children=made,
        records=records(state, made),
        events=tuple(notes),
        due=_due(state, now),
    )


def _due(state: State, now: datetime) -> datetime | None:
    """When to look again though nothing happens; what is overdue waits for something else."""
    times = (state.previous.keep_until if state.previous else None, next_retry(state))
    return min((at for at in times if at is not None and at > now), default=None)
