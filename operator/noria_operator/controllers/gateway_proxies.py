"""Whether the proxies of a gateway act on an HTTPRoute of Noria's, where the cluster's admin lets them be
asked.

Comes in: a ModelDeployment and its route with the mark of its state. Goes out: what the proxies' answers come
to; None where nobody named them. Invariant: which addresses are opened stands in the installation's
configuration alone; a user's object chooses among the Gateways there.
"""

from __future__ import annotations

from typing import Any

from noria_operator.controllers.context import Context
from noria_operator.domain.gateway_probes import Probe, Told, path_of, weighed
from noria_operator.kube.metrics import GATEWAY_PROBES
from noria_operator.routers import httproute_probe

Json = dict[str, Any]


def probe_of(ctx: Context, obj: Json) -> Probe | None:
    """How the proxies that `obj` goes through may be asked. A route of a user's has no rule for that."""
    gateway, namespace = obj["spec"]["router"]["gateway"], obj["metadata"]["namespace"]
    if "name" not in gateway:
        return None
    return ctx.config.gateway_probes.get((gateway.get("namespace", namespace), gateway["name"]))


async def told(ctx: Context, obj: Json, route: Json) -> Told | None:
    """Ask all of them about `route`, as `httproute_probe.probed` made it."""
    probe, meta = probe_of(ctx, obj), obj["metadata"]
    if probe is None:
        return None
    path = path_of(meta["namespace"], meta["name"])
    answers = await ctx.gateways.answers(probe, obj["spec"].get("hosts") or [], path)
    found = weighed(answers, httproute_probe.mark(route))
    GATEWAY_PROBES.labels(probe.name, found.outcome).inc()
    return found
