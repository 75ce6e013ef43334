"""Router type Envoy: the namespace's own router, which is told its weights by xDS from status, or from the
pods of a first version before there is one.

Comes in: a ModelDeployment. Goes out: the router's objects and the Service in front of it. Invariant: weights
are never written here: the status that holds them is what routers are answered from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from noria_operator.controllers import router, router_certificates
from noria_operator.controllers.context import Config, Context
from noria_operator.controllers.routing import Counters, Standing, Timings
from noria_operator.domain.access import lost_headers
from noria_operator.domain.rollout_conditions import Trouble
from noria_operator.domain.rollout_observed import InForce
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_state import Revision, State
from noria_operator.routers import children

Json = dict[str, Any]

UNCOUNTED = timedelta(seconds=10)
"""How often model servers are asked for what only they count, whether or not routers counted anything."""
CALM = timedelta(minutes=10)
"""How often a rollout that nobody sends anything is looked at, for what nobody thought of: as often as all
objects are. A thousand that stand at a step would take a twentieth of a core once a minute."""
READ_BACK = timedelta(milliseconds=100)
"""They take milliseconds."""


def pace(config: Config, policy: Policy) -> timedelta:
    """The pulse wakes a rollout when something was counted."""
    by_servers = (policy.quality, policy.max_distance, policy.disagreement)
    asked = any(one is not None for one in by_servers)
    return max(config.evidence_interval, UNCOUNTED if asked else CALM)


def read_back(_: Context, __: Json) -> timedelta:
    """Routers are asked themselves."""
    return READ_BACK


async def standing(ctx: Context, obj: Json) -> Standing:
    """By the router's pods."""
    namespace = obj["metadata"]["namespace"]
    ready = sum(map(router.ready, router.pods(ctx.store, namespace)))
    text = "no router pod is ready; see kubectl describe deployment noria-router"
    lost = lost_headers(obj)
    trouble = router_certificates.trouble(ctx.store, obj)
    return Standing(ready, text, trouble or (Trouble("HeaderTakenOff", lost) if lost else None))


async def apply(ctx: Context, owner: Json, _: State) -> None:
    """The router and the Service of the ModelDeployment's name."""
    await router.ensure(ctx, owner)


def preview_service(owner: Json, _: State) -> Json:
    """The router again, which knows the challenger by this name."""
    return children.preview_service(owner)


async def in_force(ctx: Context, obj: Json, _: State) -> Sequence[InForce] | None:
    """Every ready router is asked."""
    meta = obj["metadata"]
    ready = [pod for pod in router.pods(ctx.store, meta["namespace"]) if router.ready(pod)]
    return await ctx.router.in_force(meta["namespace"], meta["name"], ready)


async def counts(ctx: Context, obj: Json, arms: Collection[Revision]) -> Counters | None:
    """As the routers count: a version that crashes, hangs or resets cannot hide it."""
    namespace = obj["metadata"]["namespace"]
    clusters = {arm.name for arm in arms}
    return await ctx.router.counts(namespace, router.pods(ctx.store, namespace), clusters) or None


async def timings(ctx: Context, obj: Json, arms: Collection[Revision]) -> Timings | None:
    """From the histograms of the routers."""
    namespace = obj["metadata"]["namespace"]
    clusters = {arm.name for arm in arms}
    return await ctx.router.timings(namespace, router.pods(ctx.store, namespace), clusters) or None


async def active(ctx: Context, obj: Json, left: Collection[Revision]) -> Mapping[str, int]:
    """As every router that runs counts them, also one that ends."""
    if not left:
        return {}
    namespace = obj["metadata"]["namespace"]
    clusters = {one.name for one in left}
    return await ctx.router.active(namespace, router.pods(ctx.store, namespace), clusters) or {}


async def under_way(ctx: Context, obj: Json, arms: Collection[Revision]) -> Mapping[str, int]:
    """As those routers count them that can be read."""
    namespace = obj["metadata"]["namespace"]
    clusters = {arm.name for arm in arms}
    return await ctx.router.under_way(namespace, router.pods(ctx.store, namespace), clusters)
