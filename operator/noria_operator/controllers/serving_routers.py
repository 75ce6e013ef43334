"""What the routers of a ModelDeployment tell, as far as the moment asks for it.

Comes in: a ModelDeployment, its policy and state. Goes out: `Told`. Invariant: nothing is asked that nobody
needs, and nothing at all where a person said to abort or undo: that waits for no router.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from noria_operator.controllers.context import Context
from noria_operator.controllers.routing import Counters, Routing, Timings
from noria_operator.domain.rollout_analysis import untimed
from noria_operator.domain.rollout_arms import seats
from noria_operator.domain.rollout_observed import InForce
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_state import Revision, State
from noria_operator.domain.rollout_traffic import left
from noria_operator.kube.errors import ApiError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What routers told; nothing was read by default."""

    in_force: tuple[InForce, ...] | None = None
    counts: Counters | None = None
    timings: Timings | None = None
    active: Mapping[str, int] | None = field(default_factory=dict)
    under_way: Mapping[str, int] = field(default_factory=dict)


async def told(
    ctx: Context, obj: Json, policy: Policy, state: State, routing: Routing, *, hurry: bool
) -> Told:
    """All that routers know; they are not asked in a `hurry`, as by a person who takes traffic away."""
    if hurry:
        return Told()
    return Told(
        *await asyncio.gather(
            _in_force(ctx, obj, state, routing),
            _counts(ctx, obj, state, routing),
            _timings(ctx, obj, policy, state, routing),
            routing.active(ctx, obj, [share.target for share in left(state)]),
            _under_way(ctx, obj, policy, state, routing),
        )
    )


async def _in_force(ctx: Context, obj: Json, state: State, routing: Routing) -> tuple[InForce, ...] | None:
    """The weights in force, read only while something is under way.

    Where the API server does not tell, they are not known: verdicts, deadlines and commands wait for nobody
    (argo-rollouts#4626). What was seen in force stays so, and of what was not people hear why.
    """
    if not state.traffic or (state.candidate is None and state.verified):
        return None
    try:
        read = await routing.in_force(ctx, obj, state)
    except ApiError as error:
        return None if state.verified else (InForce(unread=f"what it acts on cannot be read: {error}"),)
    return None if read is None else tuple(read)


async def _counts(ctx: Context, obj: Json, state: State, routing: Routing) -> Counters | None:
    """Counts of both arms, read only while there are two; None when nobody answered."""
    arms = _arms(state)
    return await routing.counts(ctx, obj, arms) if arms else None


async def _timings(ctx: Context, obj: Json, policy: Policy, state: State, routing: Routing) -> Timings | None:
    """Latencies of both arms, read only where they are judged; None when nobody answered."""
    arms = _arms(state)
    if not arms or policy.latency is None or state.analysis is None:
        return None
    return await routing.timings(ctx, obj, arms)


async def _under_way(
    ctx: Context, obj: Json, policy: Policy, state: State, routing: Routing
) -> Mapping[str, int]:
    """Requests that both arms have not answered, read only while none can have timed out."""
    arms = _arms(state)
    if not arms or not any(untimed(policy, mine, ctx.clock.now()) for mine in seats(state)):
        return {}
    return await routing.under_way(ctx, obj, arms)


def _arms(state: State) -> tuple[Revision, ...]:
    """Champion and challengers; nobody while there are not both."""
    if state.candidate is None or state.stable is None:
        return ()
    return state.stable, *(one.target for one in state.challengers)
