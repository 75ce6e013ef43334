"""The controller of routers, one a namespace, and the address of each ModelDeployment behind it.

Comes in: the key of a namespace, woken by its ModelDeployments and by the router's own objects; however many
of them changed meanwhile, one pass serves them all. Goes out: the router's anchors, Deployment, Service,
Secret and disruption budget, kept as the builders say. Invariants: the Secret exists before the pods that
mount it are asked for; nothing is written when nothing differs; nothing is made in a namespace without
ModelDeployments, and what is there is left to the garbage collector.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from noria_operator.api import names
from noria_operator.controllers.context import Context, Result
from noria_operator.controllers.router_certificates import Certificates, certificates
from noria_operator.domain.pod_status import ended, passes_probe
from noria_operator.kube.errors import Forbidden, Invalid
from noria_operator.kube.kinds import (
    CONTROLLERREVISION,
    DEPLOYMENT,
    MODELDEPLOYMENT,
    NAMESPACE,
    PDB,
    POD,
    SECRET,
    SERVICE,
    Key,
    Kind,
    key_of,
    kind_of,
)
from noria_operator.kube.store import Store
from noria_operator.routers import children
from noria_operator.routers.routes import claimed
from noria_operator.routers.source import by_envoy, routed

Json = dict[str, Any]

KIND: Kind = NAMESPACE
OWNS: tuple[Kind, ...] = ()

_OBJECTS = frozenset({CONTROLLERREVISION, DEPLOYMENT, SERVICE, PDB})
_ROUTER = {names.ROUTER_LABEL: "true"}


async def reconcile(ctx: Context, key: Key) -> Result:
    """One pass over the router of one namespace."""
    owners, due = _owners(ctx.store, key.name), None
    if owners:
        try:
            async with ctx.turns(key.name):
                due = await _maintain(ctx, key.name, owners)
        except (Forbidden, Invalid) as error:
            text = f"the API server refused an object of the router {names.ROUTER_NAME}: {error}"
            await ctx.events.emit(owners[0], "Warning", "WriteRefused", text)
            raise
    return Result(due)


def related(store: Store, obj: Json) -> list[Key]:
    """The namespace of a router's object, and of a ModelDeployment that its router must hear of."""
    kind, meta = kind_of(obj), obj["metadata"]
    labels = meta.get("labels") or {}
    if kind == MODELDEPLOYMENT:
        concerned = by_envoy(obj) and not _known(store, obj)
    else:
        shared = labels.get(names.ROUTER_LABEL) == "true" and names.DEPLOYMENT_LABEL not in labels
        concerned = kind in _OBJECTS and shared
    return [Key(NAMESPACE, "", meta["namespace"])] if concerned else []


async def ensure(ctx: Context, owner: Json) -> None:
    """Everything that stands between a client and the pods of `owner`. Raises NameConflict and ApiError.

    A router that is there is left to its own controller; one that is not is made here, by one pass while the
    others wait, so that what stands in its way is told in the status of each ModelDeployment that needs it.
    """
    namespace = owner["metadata"]["namespace"]
    if not _complete(ctx.store, namespace):
        async with ctx.turns(namespace):
            if not _complete(ctx.store, namespace):
                await _maintain(ctx, namespace, _owners(ctx.store, namespace))
    await ctx.writer.apply(SERVICE, children.deployment_service(owner), owner=owner)


async def _maintain(ctx: Context, namespace: str, deployments: Sequence[Json]) -> timedelta | None:
    """When to look again whether its pods can mount what they should."""
    anchors = [
        await ctx.writer.apply(CONTROLLERREVISION, anchor)
        for anchor in children.anchors(namespace, deployments)
    ]
    wanted = children.certificates_wanted(deployments)
    mounted = certificates(ctx.store, namespace, wanted, ctx.clock.now())
    settings = _settings(ctx, deployments, mounted)
    live = ctx.store.get(Key(DEPLOYMENT, namespace, names.ROUTER_NAME))
    if live is None:
        live = await ctx.writer.apply(
            DEPLOYMENT, children.deployment(namespace, anchors, settings, live=None)
        )
    await ctx.writer.create_once(SECRET, children.secret(namespace, settings, live))
    await ctx.writer.apply(DEPLOYMENT, children.deployment(namespace, anchors, settings, live=live))
    await ctx.writer.apply(SERVICE, children.service(namespace, anchors, settings))
    await _budget(ctx, namespace, children.disruption_budget(namespace, anchors, settings))
    # Only what nothing names any more: an anchor takes with it what belongs to it alone.
    held = {anchor["metadata"]["name"] for anchor in anchors}
    for found in ctx.store.list(CONTROLLERREVISION, namespace, _ROUTER):
        if found["metadata"]["name"] not in held:
            await ctx.writer.delete(CONTROLLERREVISION, found)
    return mounted.due


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
    if not owner["spec"].get("hosts") or not by_envoy(owner):
        return ""
    wanting = [routed(each, {}) for each in store.list(MODELDEPLOYMENT, meta["namespace"]) if by_envoy(each)]
    granted, refused = claimed(meta["namespace"], wanting)
    owners = {host: name for name, hosts in granted.items() for host in hosts}
    told = [f"{host} ({owners.get(host, 'reserved')})" for host in refused.get(meta["name"], ())]
    if not told:
        return ""
    return f"spec.hosts that lead to another ModelDeployment: {', '.join(told)}; take them out here, or there"


def pods(store: Store, namespace: str) -> list[Json]:
    """The namespace's router pods that run."""
    found = store.list(POD, namespace, _ROUTER)
    return [pod for pod in found if pod.get("status", {}).get("phase") == "Running"]


def by_pods(store: Store, namespace: str) -> bool:
    """Whether each router there is told of endpoints only by operators that take them from pods: no version
    needs a Service then.

    Not so before routers of an earlier Noria are replaced: an operator of their time may answer them still.
    """
    live = store.get(Key(DEPLOYMENT, namespace, names.ROUTER_NAME))
    if live is None or not children.by_pods(live["spec"]["template"]):
        return False
    found = store.list(POD, namespace, _ROUTER)
    return all(children.by_pods(pod) for pod in found if not ended(pod))


def ready(pod: Json) -> bool:
    """Whether a pod gets new requests."""
    return passes_probe(pod) and not pod["metadata"].get("deletionTimestamp")


def _owners(store: Store, namespace: str) -> list[Json]:
    """The ModelDeployments that the router is there for."""
    found = store.list(MODELDEPLOYMENT, namespace)
    return [each for each in found if by_envoy(each) and not each["metadata"].get("deletionTimestamp")]


def _known(store: Store, deployment: Json) -> bool:
    """Whether the router belongs to this ModelDeployment as it is now: a pass would change nothing."""
    meta = deployment["metadata"]
    if store.get(key_of(deployment)) is None or meta.get("deletionTimestamp"):
        return False
    if deployment.get("status", {}).get("observedGeneration") != meta.get("generation"):
        return False  # it may ask for more routers, or for fewer
    held = store.owned(CONTROLLERREVISION, meta["namespace"], meta["uid"])
    return any(names.ROUTER_LABEL in (each["metadata"].get("labels") or {}) for each in held)


def _complete(store: Store, namespace: str) -> bool:
    """Whether all of the router's objects are there, as far as the cache tells; Secrets are never read."""
    wanted = [Key(kind, namespace, names.ROUTER_NAME) for kind in (DEPLOYMENT, SERVICE, PDB)]
    found = [obj for key in wanted if (obj := store.get(key)) is not None]
    if any(obj["metadata"].get("deletionTimestamp") for obj in found):
        return False
    replicas = next((obj["spec"].get("replicas", 0) for obj in found if kind_of(obj) == DEPLOYMENT), 0)
    return replicas > 0 and len(found) >= (3 if replicas > 1 else 2)


def _settings(ctx: Context, owners: Sequence[Json], mounted: Certificates) -> children.Settings:
    return children.Settings(
        image=ctx.config.router_image,
        xds_address=ctx.config.xds_address,
        master_key=ctx.config.master_key(),
        pull_policy=ctx.config.image_pull_policy,
        pull_secrets=ctx.config.pull_secrets,
        address=ctx.config.router_address,
        replicas=children.replicas_wanted(owners),
        certificates=mounted.mount,
        missing=mounted.missing,
        guards=children.guards_wanted(owners),
    )
