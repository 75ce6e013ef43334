"""What the controller of ModelDeployments asks of a router, whatever its kind; each kind is a module.

Comes in: a ModelDeployment and the state that its status holds. Goes out: objects by which requests are
divided as that state says, and what can be told of them. Invariants: a router follows the persisted state and
nothing else, so that a pass after a crash finds its own work; what a router cannot tell is told as unread,
never made up.

There is no `remove`: everything a router consists of belongs to a ModelDeployment and goes with it, and
`router.type` is immutable.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from noria_operator.controllers.context import Config, Context
from noria_operator.controllers.serving_pods import pods_of
from noria_operator.domain.latency import Histogram
from noria_operator.domain.pod_status import passes_probe
from noria_operator.domain.rollout_conditions import Trouble
from noria_operator.domain.rollout_observed import InForce
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_state import Revision, State
from noria_operator.domain.server_pods import counts_ready
from noria_operator.domain.verdict import Counts
from noria_operator.kube.kinds import SERVICE, Key
from noria_operator.kube.ownership import controller_uid

Json = dict[str, Any]
Counters = Mapping[str, Mapping[str, Counts]]
"""By uid of the pod that counted, and name of the revision."""

Timings = Mapping[str, Mapping[str, Histogram]]
"""The same for latencies."""


@dataclass(frozen=True, slots=True)
class Standing:
    """`routers` is how many of them take requests; `waits_for` says what to look at while there is none;
    `trouble` is what a person has to change.
    """

    routers: int
    waits_for: str = ""
    trouble: Trouble | None = None


class Routing(Protocol):
    """A kind of router."""

    def read_back(self, ctx: Context, obj: Json) -> timedelta:
        """How soon `in_force` is asked again while new weights are on their way."""

    def pace(self, config: Config, policy: Policy) -> timedelta:
        """How often counts are read during a rollout."""

    async def standing(self, ctx: Context, obj: Json) -> Standing:
        """Whether requests arrive, and what keeps the router from doing as the spec asks."""

    async def apply(self, ctx: Context, owner: Json, state: State) -> None:
        """Everything between a client and the pods of `owner`, with the weights of `state`. Raises
        NameConflict, Terminal and ApiError."""

    def preview_service(self, owner: Json, state: State) -> Json:
        """The Service that leads to the challenger."""

    async def in_force(self, ctx: Context, obj: Json, state: State) -> Sequence[InForce] | None:
        """What routers act on; None when one of them cannot be read, empty when there is none."""

    async def counts(self, ctx: Context, obj: Json, arms: Collection[Revision]) -> Counters | None:
        """Requests and errors of each of `arms`; None when nobody could be read, or nobody of an arm that
        serves."""

    async def timings(self, ctx: Context, obj: Json, arms: Collection[Revision]) -> Timings | None:
        """Latencies of each of `arms`; None when nobody could be read, or nobody measures them."""

    async def active(self, ctx: Context, obj: Json, left: Collection[Revision]) -> Mapping[str, int] | None:
        """Requests that each of `left` still answers, empty when a router could not be read; None where
        nobody counts them."""

    async def under_way(self, ctx: Context, obj: Json, arms: Collection[Revision]) -> Mapping[str, int]:
        """Requests that weights divide and each of `arms` has not answered, as far as they can be read."""


async def preview(ctx: Context, owner: Json, wanted: Json) -> None:
    """The Service that leads to the challenger, where the spec asks for it. Raises NameConflict, ApiError."""
    meta = owner["metadata"]
    if (owner["spec"].get("strategy") or {}).get("preview"):
        await ctx.writer.apply(SERVICE, wanted, owner=owner)
        return
    found = ctx.store.get(Key(SERVICE, meta["namespace"], wanted["metadata"]["name"]))
    if found is not None and controller_uid(found) == meta["uid"]:
        await ctx.writer.delete(SERVICE, found)


def counters_pace(config: Config, _: Policy) -> timedelta:
    """How often model servers' counts are read: one answer a pod, of some KB."""
    return config.counters_interval


async def untold(_: Context, __: Json, ___: Collection[Revision]) -> None:
    """For what nobody counts or measures."""


async def server_counts(ctx: Context, obj: Json, arms: Collection[Revision]) -> Counters | None:
    """Counts of the model servers themselves, for routers that tell none; None where nobody of an arm that
    serves could be read, or counts, as in containers of users' own: there is nothing to compare the other one
    with.

    A pod that answers nobody counts nothing but what ended in it: that one is seen by its readiness.
    """
    found: dict[str, dict[str, Counts]] = {}
    read = False
    for arm in arms:
        pods = pods_of(ctx, obj, arm)
        told = await ctx.servers.answered(pods)
        answers = any(pod["metadata"]["uid"] in told for pod in pods)
        if not answers and any(map(passes_probe, pods)):
            return None
        read = read or answers
        found |= {uid: {arm.name: counted} for uid, counted in told.items()}
    return found if read else None


async def server_under_way(ctx: Context, obj: Json, arms: Collection[Revision]) -> Mapping[str, int]:
    """As the model servers tell it themselves."""
    return {arm.name: await ctx.servers.under_way(pods_of(ctx, obj, arm)) for arm in arms}


async def still_asked(ctx: Context, obj: Json, left: Collection[Revision]) -> Mapping[str, int]:
    """Requests that pods of each of `left` have not answered, and pods that still get some, for routers that
    tell of none. Containers of users' own count nothing that could tell; a pod that serves and does not
    answer is not known to be left alone.
    """
    now, found = ctx.clock.now(), {}
    for one in left:
        pods = pods_of(ctx, obj, one)
        told = await ctx.servers.asked(pods)
        if any(counts_ready(pod) and pod["metadata"]["uid"] not in told for pod in pods):
            continue
        found[one.name] = sum(
            ctx.stillness.busy(uid, had, now) + under_way for uid, (had, under_way) in told.items()
        )
    return found
