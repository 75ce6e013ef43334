"""The router of a namespace and the address of a ModelDeployment, kept as the builders say.

Comes in: a ModelDeployment that is looked at. Goes out: the router's Deployment, Service, Secret and
disruption budget, and the deployment's own Service. Invariants: the Secret exists before the pods that mount
it are asked for; nothing is written when nothing differs.
"""

from __future__ import annotations

from typing import Any

from noria_operator.api import names
from noria_operator.controllers.context import Context
from noria_operator.kube.kinds import DEPLOYMENT, MODELDEPLOYMENT, PDB, POD, SECRET, SERVICE, Key
from noria_operator.kube.store import Store
from noria_operator.routers import children
from noria_operator.routers.routes import claimed
from noria_operator.routers.traffic import RoutedDeployment

Json = dict[str, Any]


async def ensure(ctx: Context, owner: Json) -> None:
    """Everything that stands between a client and the pods of `owner`. Raises NameConflict and ApiError."""
    namespace = owner["metadata"]["namespace"]
    owners = [
        each
        for each in ctx.store.list(MODELDEPLOYMENT, namespace)
        if not each["metadata"].get("deletionTimestamp")
    ]
    settings = _settings(ctx, owners)
    live = ctx.store.get(Key(DEPLOYMENT, namespace, names.ROUTER_NAME))
    if live is None:
        bare = children.deployment(namespace, owners, settings, live=None)
        live = await ctx.writer.apply(DEPLOYMENT, bare)
    await ctx.writer.create_once(SECRET, children.secret(namespace, settings, live))
    await ctx.writer.apply(DEPLOYMENT, children.deployment(namespace, owners, settings, live=live))
    await ctx.writer.apply(SERVICE, children.service(namespace, owners))
    await _budget(ctx, namespace, children.disruption_budget(namespace, owners, settings))
    await ctx.writer.apply(SERVICE, children.deployment_service(owner), owner=owner)


async def _budget(ctx: Context, namespace: str, wanted: Json | None) -> None:
    if wanted is not None:
        await ctx.writer.apply(PDB, wanted)
        return
    found = ctx.store.get(Key(PDB, namespace, names.ROUTER_NAME))
    if found is not None:
        await ctx.writer.delete(PDB, found)


def refused_hosts(store: Store, owner: Json) -> str:
    """Why some of `spec.hosts` do not lead to this deployment; empty when all of them do."""
    meta = owner["metadata"]
    if not owner["spec"].get("hosts"):
        return ""
    wanting = [
        RoutedDeployment(each["metadata"]["name"], hosts=tuple(each["spec"].get("hosts") or ()))
        for each in store.list(MODELDEPLOYMENT, meta["namespace"])
    ]
    granted, refused = claimed(meta["namespace"], wanting)
    owners = {host: name for name, hosts in granted.items() for host in hosts}
    told = [f"{host} ({owners.get(host, 'reserved')})" for host in refused.get(meta["name"], ())]
    if not told:
        return ""
    return f"spec.hosts that lead to another ModelDeployment: {', '.join(told)}; take them out here, or there"


def pods(store: Store, namespace: str) -> list[Json]:
    """The namespace's router pods that run."""
    found = store.list(POD, namespace, {names.ROUTER_LABEL: "true"})
    return [pod for pod in found if pod.get("status", {}).get("phase") == "Running"]


def ready(pod: Json) -> bool:
    """Whether a pod gets new requests."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = pod.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _settings(ctx: Context, owners: list[Json]) -> children.Settings:
    return children.Settings(
        image=ctx.config.router_image,
        xds_address=ctx.config.xds_address,
        master_key=ctx.config.master_key(),
        pull_policy=ctx.config.image_pull_policy,
        replicas=children.replicas_wanted(owners),
    )
