"""What a Gateway and its class are, and can do beyond the core of the Gateway API, read from the API server.

Comes in: a ModelDeployment whose HTTPRoute Noria writes. Goes out: why its gateway cannot copy a part of the
requests, or nothing; whether its proxies tell of weights by the route they answer by. Comes in: any route.
Goes out: what is known of the Gateways that took it. Invariant: what is not said of a class, it is not taken
to do: a gateway that knows no `percent` takes the route as it is and copies everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from noria_operator.api.names import SUPPORTED_FEATURES_ANNOTATION
from noria_operator.api.routers import PART_OF_COPIES
from noria_operator.controllers.context import Context
from noria_operator.domain.gateway_class import Abilities, abilities, unprogrammed
from noria_operator.kube.errors import ApiError, Forbidden, NotFound
from noria_operator.kube.kinds import GATEWAY, GATEWAYCLASS
from noria_operator.routers.httproute import reported

Json = dict[str, Any]


FRESH = timedelta(seconds=1)
"""For which an answer stands: a pass asks twice, and so do all who share a Gateway."""
LASTING = timedelta(minutes=1)
"""The same for who controls the class, and whether the Gateway is there."""


async def no_part_of_copies(ctx: Context, obj: Json) -> str:
    """Why not, in a sentence that says what to do; empty where a part can be copied. Raises ApiError where
    the API server gave no answer to that.
    """
    advice = "write mirror: 100 or leave it out"
    found, where = await _abilities(ctx, _named(obj), FRESH), "/".join(_named(obj))
    if found.unread:
        return (
            f"whether Gateway {where} copies a part of the requests cannot be read ({found.unread}): "
            f"none are copied; {advice}, or let the operator get Gateways and GatewayClasses"
        )
    if found.copies_parts:
        return ""
    return (
        f"GatewayClass {found.name} does not list {PART_OF_COPIES} in status.supportedFeatures, so Gateway "
        f"{where} may copy everything where a part is asked for: nothing is copied; {advice}, or, if the "
        "gateway's documentation says that it can (Envoy Gateway 1.3 and newer can), let the cluster's admin "
        f"annotate the class with {SUPPORTED_FEATURES_ANNOTATION}: {PART_OF_COPIES}"
    )


async def weighs_in_routes(ctx: Context, obj: Json) -> bool:
    """Whether a proxy that answers by a route acts on the weights in it; not where the class cannot be read
    and none is remembered.
    """
    found = await _remembered(ctx, _named(obj))
    return not (found.unread or found.weighs_endpoints)


async def known(ctx: Context, route: Json) -> Mapping[tuple[str, str], Abilities]:
    """Of each Gateway that the status of a route tells of, by namespace and name."""
    return {named: await _remembered(ctx, named) for named in reported(route)}


def _named(obj: Json) -> tuple[str, str]:
    """Namespace and name of its Gateway."""
    gateway = obj["spec"]["router"]["gateway"]
    return gateway.get("namespace", obj["metadata"]["namespace"]), gateway["name"]


async def _remembered(ctx: Context, named: tuple[str, str]) -> Abilities:
    """The last that was read, where the API server gives no answer."""
    try:
        return await _abilities(ctx, named, LASTING)
    except ApiError:
        _, found = ctx.classes.get(named, (None, Abilities(unread="no answer")))
        return found


async def _abilities(ctx: Context, named: tuple[str, str], fresh: timedelta) -> Abilities:
    now = ctx.clock.now()
    async with ctx.turns(f"class of Gateway {'/'.join(named)}"):
        known = ctx.classes.get(named)
        if known is None or now - known[0] >= fresh:
            known = ctx.classes[named] = (now, await _read(ctx, *named))
    return known[1]


async def _read(ctx: Context, namespace: str, name: str) -> Abilities:
    try:
        gateway = await ctx.client.get(GATEWAY, namespace, name)
    except (Forbidden, NotFound) as error:
        return Abilities(unread=str(error), gone=isinstance(error, NotFound))
    try:
        found = abilities(await ctx.client.get(GATEWAYCLASS, "", gateway["spec"]["gatewayClassName"]))
    except (Forbidden, NotFound) as error:
        found = Abilities(unread=str(error))
    return replace(found, unprogrammed=unprogrammed(gateway, ctx.clock.now()))
