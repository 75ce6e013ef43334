"""What the class of a Gateway says that it can do beyond the core of the Gateway API.

Comes in: a ModelDeployment whose HTTPRoute Noria writes. Goes out: why its gateway cannot copy a part of the
requests, or nothing. Invariant: what a class does not say, it is not taken to do: a gateway that knows no
`percent` takes the route as it is and copies everything. A class says it in status, or, since not all
controllers write that, by an annotation of the cluster's admin.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from noria_operator.api.names import SUPPORTED_FEATURES_ANNOTATION
from noria_operator.api.routers import PART_OF_COPIES
from noria_operator.controllers.context import Context
from noria_operator.kube.errors import Forbidden, NotFound
from noria_operator.kube.kinds import GATEWAY, GATEWAYCLASS

Json = dict[str, Any]


FRESH = timedelta(seconds=1)
"""For which an answer stands: a pass asks twice, and so do all who share a Gateway."""
MOST = 256
"""Gateways remembered; the oldest go first."""


async def no_part_of_copies(ctx: Context, obj: Json) -> str:
    """Why not, in a sentence that says what to do; empty where a part can be copied. Raises ApiError where
    the API server gave no answer to that.
    """
    gateway, now = obj["spec"]["router"]["gateway"], ctx.clock.now()
    named = gateway.get("namespace", obj["metadata"]["namespace"]), gateway["name"]
    async with ctx.turns(f"class of Gateway {'/'.join(named)}"):
        known = ctx.classes.get(named)
        if known is None or now - known[0] >= FRESH:
            ctx.classes.pop(named, None)
            known = ctx.classes[named] = (now, await _no_part_of_copies(ctx, *named))
            if len(ctx.classes) > MOST:
                del ctx.classes[next(iter(ctx.classes))]
    return known[1]


async def _no_part_of_copies(ctx: Context, namespace: str, name: str) -> str:
    advice = "write mirror: 100 or leave it out"
    try:
        found = await ctx.client.get(GATEWAY, namespace, name)
        of = found["spec"]["gatewayClassName"]
        features = _features(await ctx.client.get(GATEWAYCLASS, "", of))
    except (Forbidden, NotFound) as error:
        return (
            f"whether Gateway {namespace}/{name} copies a part of the requests cannot be read ({error}): "
            f"none are copied; {advice}, or let the operator get Gateways and GatewayClasses"
        )
    if PART_OF_COPIES in features:
        return ""
    return (
        f"GatewayClass {of} does not list {PART_OF_COPIES} in status.supportedFeatures, so Gateway "
        f"{namespace}/{name} may copy everything where a part is asked for: nothing is copied; {advice}, or, "
        "if its documentation says that it can (as Envoy Gateway can), let the cluster's admin annotate the "
        f"class with {SUPPORTED_FEATURES_ANNOTATION}: {PART_OF_COPIES}"
    )


def _features(found: Json) -> set[str]:
    """All that a GatewayClass lists; before version 1.3 of the Gateway API the list was of plain words."""
    listed = found.get("status", {}).get("supportedFeatures") or ()
    annotated = (found["metadata"].get("annotations") or {}).get(SUPPORTED_FEATURES_ANNOTATION, "")
    own = {one["name"] if isinstance(one, dict) else one for one in listed}
    return own | {word.strip() for word in annotated.split(",")}
