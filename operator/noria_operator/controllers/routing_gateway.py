"""Router type Gateway: an HTTPRoute by which a gateway of the cluster divides the traffic.

Comes in: a ModelDeployment and its state. Goes out: the HTTPRoute of its name, or the weights in one that a
user made and names, and a Service of its name that leads to the champion, for clients in the cluster.
Invariants: a route of a user's is written only as it was read (guarded by resourceVersion); weights are taken
to be in force only when the gateway's controller accepted the very route that holds them, and never while one
of its proxies tells of others; a gateway that may not know how to copy a part of the requests is asked for no
copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from noria_operator.api import names
from noria_operator.api.types import parse_duration
from noria_operator.controllers import gateway_class, gateway_proxies, routing
from noria_operator.controllers.context import Context
from noria_operator.controllers.routing import Standing
from noria_operator.domain.gateway_class import Abilities
from noria_operator.domain.gateway_probes import Outcome, Told
from noria_operator.domain.rollout_conditions import Trouble
from noria_operator.domain.rollout_observed import InForce
from noria_operator.domain.rollout_state import State
from noria_operator.domain.rollout_traffic import FULL
from noria_operator.kube.errors import ApiError, NotFound, Terminal
from noria_operator.kube.kinds import HTTPROUTE, SERVICE, Key, key_of
from noria_operator.kube.ownership import controller_uid
from noria_operator.routers import httproute, httproute_probe, httproute_rivals, pod_service

Json = dict[str, Any]

READ_BACK = timedelta(seconds=1)
ASKED = timedelta(milliseconds=200)
"""Where proxies are asked: gateways take new weights within some hundred milliseconds."""
SETTLE = "5s"
"""Default of `router.gateway.settle`."""
_DISABLED = Trouble(
    "GatewayDisabled",
    "this installation writes no HTTPRoutes: install the Gateway API (v1) in the cluster, then set the "
    "chart's routers.gateway.enabled to true",
    fatal=True,
)


pace = routing.counters_pace
preview_service = pod_service.preview
"""Straight to the challenger's pods, in the cluster."""
counts = routing.server_counts
"""What gateways count differs from one to the next; the servers' own counts are always there."""
active = routing.still_asked
"""A gateway that is slower than `settle` sends by the old weights, and `router.timeout` may be longer than a
pod that is told to end works on."""
timings = routing.untold
"""`analysis.latency` is refused."""
under_way = routing.server_under_way
"""Servers count a request once it is answered, and tell beside that what they have not answered."""


def read_back(ctx: Context, obj: Json) -> timedelta:
    """By whether there is somebody to ask."""
    return ASKED if gateway_proxies.probe_of(ctx, obj) else READ_BACK


async def standing(ctx: Context, obj: Json) -> Standing:
    """By the status of the route, by older routes of the same gateway, and by its class where copies of a
    part are asked for.
    """
    if not ctx.config.gateway:
        return Standing(0, trouble=_DISABLED)
    key = _key(obj)
    found = ctx.store.get(key)
    waits_for = f"no gateway has accepted HTTPRoute {key.name} yet; see kubectl describe httproute {key.name}"
    if found is None:
        return Standing(0, waits_for, None if _is_own(obj) else _missing(key))
    gateways = await gateway_class.known(ctx, found)
    said = httproute.standing(found, whole=_is_own(obj), gateways=gateways)
    # What has to be mended comes before what may mend itself.
    gone = _gone(found, gateways, fatal=not said.served)
    trouble = gone or await _refused(ctx, obj, found, said) or _unprogrammed(gateways)
    return Standing(int(said.served), waits_for, trouble)


async def _refused(ctx: Context, obj: Json, route: Json, said: httproute.Standing) -> Trouble | None:
    """What gateways do not take, or do not do, of what the route asks for."""
    name = route["metadata"]["name"]
    if said.problem:
        text = f"a gateway refuses HTTPRoute {name}: {said.problem}; change the route or its Gateway"
        return Trouble("RouteRefused", text, fatal=not said.served)
    if _is_own(obj) and (lost := httproute_rivals.taken(route, _alike(ctx, route))):
        return _conflict(route, lost)
    if any(0 < step.get("mirror", 0) < FULL for step in obj["spec"].get("strategy", {}).get("steps", ())):
        problem = await _no_part_of_copies(ctx, obj)
        return Trouble("CopiesUnsupported", problem) if problem else None
    return None


async def apply(ctx: Context, owner: Json, state: State) -> None:
    """The Service of the ModelDeployment's name, and the weights; none before a version has some."""
    await ctx.writer.apply(
        SERVICE, pod_service.service(owner, pod_service.of_champion(owner, state)), owner=owner
    )
    shares = _shares(state)
    if not shares or not ctx.config.gateway:
        return
    if _is_own(owner):
        in_part = any(0 < share.mirror < FULL for share in state.traffic)
        problem = await _no_part_of_copies(ctx, owner) if in_part else ""
        if problem is not None:  # else the route stays as it is until the class can be read
            route = _own(ctx, owner, state, copies=not problem)
            await ctx.writer.apply(HTTPROUTE, route, owner=owner)
        return
    found, former = ctx.store.get(_key(owner)), _former(ctx, owner)
    for each in (former, found):
        if each is not None:  # `standing` says where there is none
            await _write(ctx, each, rules=_rewritten(ctx, owner, each, state))
    if former is not None and found is not None and (await _said(ctx, owner, found)).served:
        await _write(ctx, ctx.store.get(key_of(former)) or former, parentRefs=[])


def _former(ctx: Context, owner: Json) -> Json | None:
    """The route that Noria wrote before the spec named one of the user's, while it is attached."""
    meta = owner["metadata"]
    found = ctx.store.get(Key(HTTPROUTE, meta["namespace"], meta["name"]))
    if found is None or key_of(found) == _key(owner) or controller_uid(found) != meta["uid"]:
        return None
    return found if found["spec"].get("parentRefs") else None


async def _write(ctx: Context, route: Json, **fields: Any) -> None:
    """Change these fields of a route, as it was read."""
    key, version = key_of(route), route["metadata"]["resourceVersion"]
    if any(route["spec"].get(name) != value for name, value in fields.items()):
        patch = {"metadata": {"resourceVersion": version}, "spec": fields}
        answer = await ctx.client.merge(HTTPROUTE, key.namespace, key.name, patch)
        ctx.store.observe("MODIFIED", answer)


async def in_force(ctx: Context, obj: Json, state: State) -> Sequence[InForce] | None:
    """The weights, once the route with them was accepted, and every proxy was seen to act on it, or where
    that cannot be seen, `settle` is over.
    """
    key = _key(obj)
    known = ctx.store.get(key)
    if known is None or not (await _said(ctx, obj, known)).served:
        return ()
    if not await _holds(ctx, obj, known, state):
        return (InForce(),)
    weights = dict(_shares(state))
    told = await gateway_proxies.told(ctx, obj, _own(ctx, obj, state)) if _is_own(obj) else None
    if told is not None and told.outcome is Outcome.IN_FORCE:
        read = await gateway_class.weighs_in_routes(ctx, obj)
        return (InForce(state.traffic_version, weights, assumed=not read),)
    try:
        found = await ctx.client.get(HTTPROUTE, key.namespace, key.name)
    except NotFound:
        return ()
    since = httproute.written_at(found, names.MANAGER)
    settle = parse_duration(obj["spec"]["router"]["gateway"].get("settle", SETTLE))
    fresh = since is not None and ctx.clock.now() - since < settle
    if fresh or not await _holds(ctx, obj, found, state):
        return (InForce(),)
    return (_after_settle(state, weights, told),)


def _after_settle(state: State, weights: Mapping[str, int], told: Told | None) -> InForce:
    """What is believed of a gateway that had its time."""
    if told is None:
        return InForce(state.traffic_version, weights, assumed=True)
    if told.outcome is Outcome.BEHIND:
        return InForce(unread=f"{told.message}; weights wait for them")
    return InForce(
        state.traffic_version, weights, assumed=True, unread=f"{told.message}; weights are assumed"
    )


async def _no_part_of_copies(ctx: Context, obj: Json) -> str | None:
    """As the class says; None where the API server gave no answer, for which an abort does not wait."""
    with suppress(ApiError):
        return await gateway_class.no_part_of_copies(ctx, obj)
    return None


async def _holds(ctx: Context, obj: Json, route: Json, state: State) -> bool:
    """Whether this route has the weights of `state`, and every gateway took it as it is."""
    if not (await _said(ctx, obj, route)).current:
        return False
    if _is_own(obj):
        return httproute.says(route, _own(ctx, obj, state))
    try:
        return bool(_rewritten(ctx, obj, route, state) == route["spec"].get("rules"))
    except Terminal:
        return False


async def _said(ctx: Context, obj: Json, route: Json) -> httproute.Standing:
    gateways = await gateway_class.known(ctx, route)
    return httproute.standing(route, whole=_is_own(obj), gateways=gateways)


def _own(ctx: Context, owner: Json, state: State, *, copies: bool = True) -> Json:
    """The route of the deployment's name. Copies go to one version at most: the challenger."""
    copied = [(share.target.name, share.mirror) for share in state.traffic if share.mirror and copies]
    matched = {share.target.name: share.match for share in state.traffic if share.match}
    shares, probe = _shares(state), gateway_proxies.probe_of(ctx, owner)
    number = names.version_number(state.stable.version) if state.stable else 0
    route = httproute.own_route(owner, shares, copied=copied, matched=matched, number=number)
    if probe is None:
        return route
    return httproute_probe.probed(route, uid=owner["metadata"]["uid"], version=state.traffic_version)


def _rewritten(ctx: Context, owner: Json, route: Json, state: State) -> list[Json]:
    """Raises Terminal when the user has to change the route first."""
    meta = owner["metadata"]
    services = (one["metadata"] for one in ctx.store.owned(SERVICE, meta["namespace"], meta["uid"]))
    versions = {one["name"] for one in services if names.REVISION_LABEL in one.get("labels", {})}
    mine = {meta["name"]} | versions | {name for name, _ in _shares(state)}
    try:
        return httproute.rewritten(route, mine, _shares(state))
    except httproute.Unusable as error:
        raise Terminal("RouteUnusable", str(error)) from error


def _shares(state: State) -> list[tuple[str, int]]:
    return [(share.target.name, share.weight) for share in state.traffic]


def _is_own(obj: Json) -> bool:
    return "route" not in obj["spec"]["router"]["gateway"]


def _key(obj: Json) -> Key:
    meta = obj["metadata"]
    name = obj["spec"]["router"]["gateway"].get("route", meta["name"])
    return Key(HTTPROUTE, meta["namespace"], name)


def _missing(key: Key) -> Trouble:
    text = (
        f"there is no HTTPRoute {key.name} in namespace {key.namespace}; make it, or let router.gateway.name "
    )
    return Trouble("RouteNotFound", f"{text}say a Gateway, and Noria makes one", fatal=True)


def _gone(route: Json, gateways: Mapping[httproute.Named, Abilities], *, fatal: bool) -> Trouble | None:
    """Those of the Gateways that took the route."""
    gone = ["/".join(named) for named, known in gateways.items() if known.gone]
    if not gone:
        return None
    text = (
        f"HTTPRoute {route['metadata']['name']} is attached to Gateway {', '.join(sorted(gone))}, which does "
        "not exist any more; make it again, or attach the route to another one"
    )
    return Trouble("GatewayNotFound", text, fatal=fatal)


def _unprogrammed(gateways: Mapping[httproute.Named, Abilities]) -> Trouble | None:
    """One that nothing answers for; it may be reached all the same, where one listener of several is wrong,
    or others give out the address.
    """
    for named, known in gateways.items():
        if known.unprogrammed:
            where = "/".join(named)
            text = f"Gateway {where} is not programmed: {known.unprogrammed}; see kubectl describe gateway"
            return Trouble("GatewayNotProgrammed", f"{text} -n {named[0]} {named[1]}")
    return None


def _alike(ctx: Context, route: Json) -> Iterator[Json]:
    """Routes that may ask for the same: of a thousand deployments each is asked about in every pass."""
    for host, path in httproute_rivals.claims(route):
        fields = {"spec.hostnames": host, "spec.rules.matches.path": path}
        yield from ctx.store.list(HTTPROUTE, fields=fields)


def _conflict(route: Json, lost: Mapping[httproute_rivals.Claim, str]) -> Trouble:
    """Requests that this deployment asks for and another route gets; where that is all of them, nobody meets
    its versions.
    """
    told = [
        f"{'any host' if host == '*' else host}{path} (HTTPRoute {name})"
        for (host, path), name in lost.items()
    ]
    text = (
        f"an older route of the gateway takes {', '.join(sorted(told))}: requests there meet what it leads "
        "to; give this deployment spec.hosts of its own, or take the older one away"
    )
    return Trouble("HostConflict", text, fatal=lost.keys() >= httproute_rivals.claims(route))
