"""Router type Service: one plain Service selects the pods of every version with weight.

Comes in: a ModelDeployment and its state. Goes out: that Service. Invariant: both versions are selected only
while no other version of the deployment has pods, since those would get requests too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from noria_operator.api import names
from noria_operator.controllers import routing
from noria_operator.controllers.context import Context
from noria_operator.controllers.routing import Standing
from noria_operator.domain.rollout_observed import InForce
from noria_operator.domain.rollout_state import Revision, State
from noria_operator.domain.serving_children import selector
from noria_operator.kube.errors import NotFound
from noria_operator.kube.kinds import POD, SERVICE
from noria_operator.routers import pod_service
from noria_operator.routers.httproute import written_at

Json = dict[str, Any]

READ_BACK = timedelta(seconds=1)
SETTLE = timedelta(seconds=3)
"""From a written selector until every node sends by it: EndpointSlices follow within a second, and kube-proxy
gathers changes for another one."""


pace = routing.counters_pace
preview_service = pod_service.preview
"""Straight to the challenger's pods, in the cluster."""
counts = routing.server_counts
"""Nobody but the servers sees a request."""
timings = routing.untold
"""`analysis.latency` is refused."""
under_way = routing.server_under_way
"""Servers count a request once it is answered, and tell beside that what they have not answered."""


def read_back(_: Context, __: Json) -> timedelta:
    """Nobody is asked but the clock."""
    return READ_BACK


async def standing(_: Context, __: Json) -> Standing:
    """Every node has the only router that there is."""
    return Standing(1)


async def apply(ctx: Context, owner: Json, state: State) -> None:
    """The Service of the ModelDeployment's name."""
    await ctx.writer.apply(SERVICE, pod_service.service(owner, _selected(ctx, owner, state)), owner=owner)


async def active(ctx: Context, obj: Json, left: Collection[Revision]) -> Mapping[str, int] | None:
    """What each of `left` still has and gets: a connection that was made while its pod was selected stays
    with it. Nobody is waited for once a rollout has begun, whose requests such pods would get too.
    """
    if "candidate" in obj.get("status", {}):
        return None
    return await routing.still_asked(ctx, obj, left)


async def in_force(ctx: Context, obj: Json, state: State) -> Sequence[InForce] | None:
    """The weights, once the Service selects what they ask for and nodes had time to follow."""
    meta = obj["metadata"]
    try:
        found = await ctx.client.get(SERVICE, meta["namespace"], meta["name"])
    except NotFound:
        return ()
    since = written_at(found, names.MANAGER)
    wanted = pod_service.of_weights(obj, state, others=False)
    settled = since is not None and ctx.clock.now() - since >= SETTLE
    if found["spec"].get("selector") != wanted or not settled:
        return (InForce(),)
    weights = {share.target.name: share.weight for share in state.traffic}
    return (InForce(state.traffic_version, weights, assumed=True),)


def _selected(ctx: Context, owner: Json, state: State) -> dict[str, str]:
    meta = owner["metadata"]
    weighted = {
        (names.fit(share.target.version), share.target.revision) for share in state.traffic if share.weight
    }
    others = any(
        tuple(map(pod["metadata"]["labels"].get, (names.VERSION_LABEL, names.REVISION_LABEL))) not in weighted
        and not pod["metadata"].get("deletionTimestamp")
        for pod in ctx.store.list(POD, meta["namespace"], selector(meta["name"], meta["uid"]))
    )
    return pod_service.of_weights(owner, state, others=others)
