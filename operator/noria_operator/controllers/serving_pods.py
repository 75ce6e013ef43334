"""What is seen of the pods of served revisions, and what keeps them from running.

Comes in: a ModelDeployment and its revisions. Goes out: their pods, numbers of them by revision, problems in
words. Invariants: nothing is decided or written; all of it is from the cache, but for the number of nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from noria_operator.api import names
from noria_operator.api.modeldeployment import ModelDeployment
from noria_operator.api.modelversion import ModelVersion
from noria_operator.controllers import router
from noria_operator.controllers.context import Context
from noria_operator.domain import serving_payload
from noria_operator.domain.pod_status import ended
from noria_operator.domain.rollout_state import Revision
from noria_operator.domain.serving_children import revision_selector, selector
from noria_operator.domain.serving_problems import claim_obstacle, is_pinned, problem
from noria_operator.domain.training_locations import Location
from noria_operator.kube.errors import ApiError
from noria_operator.kube.kinds import DEPLOYMENT, ENDPOINTSLICE, NODE, POD, PVC, Key
from noria_operator.routers.backends import backend
from noria_operator.routers.source import by_envoy

Json = dict[str, Any]
Pods = Mapping[str, list[Json]]
"""By name of the revision."""
SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_SHARED = frozenset({"ReadWriteMany", "ReadOnlyMany"})


def pods_of(ctx: Context, obj: Json, target: Revision) -> list[Json]:
    """The pods of a revision."""
    meta = obj["metadata"]
    return ctx.store.list(POD, meta["namespace"], revision_selector(meta["name"], meta["uid"], target))


def pods_alive(ctx: Context, obj: Json, target: Revision) -> int:
    """Pods of a revision as a ReplicaSet counts them: those that neither ended nor are being deleted."""
    kept = (pod for pod in pods_of(ctx, obj, target) if not pod["metadata"].get("deletionTimestamp"))
    return _taking_room(kept)


def ready(ctx: Context, obj: Json, pods: Pods) -> dict[str, int]:
    """Pods that are ready and known to whoever divides requests: Envoy is told of pods, others look at the
    endpoints of Services.
    """
    if by_envoy(obj):
        return {name: sum(map(_takes_requests, each)) for name, each in pods.items()}
    meta = obj["metadata"]
    mine = {names.OWNER_UID_LABEL: meta["uid"]}  # which EndpointSlices take over from their Service
    slices = _by_service(ctx.store.list(ENDPOINTSLICE, meta["namespace"], mine))
    found = {}
    for name, each in pods.items():
        addresses = {
            endpoint["addresses"][0]
            for slice_ in slices.get(name, ())
            for endpoint in slice_.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready")
        }
        found[name] = min(len(addresses), sum(map(router.ready, each)))
    return found


def _takes_requests(pod: Json) -> bool:
    known = backend(pod)
    return known is not None and known.ready


def _by_service(slices: Iterable[Json]) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = {}
    for each in slices:
        found.setdefault(each["metadata"].get("labels", {}).get(SERVICE_NAME_LABEL, ""), []).append(each)
    return found


def present(ctx: Context, obj: Json, pods: Pods) -> dict[str, int]:
    """Pods that take room, by revision; those of any other under an empty name."""
    meta = obj["metadata"]
    found = {name: _taking_room(each) for name, each in pods.items()}
    everything = ctx.store.list(POD, meta["namespace"], selector(meta["name"], meta["uid"]))
    return {**found, "": _taking_room(everything) - sum(found.values())}


def _taking_room(pods: Iterable[Json]) -> int:
    return sum(not ended(pod) for pod in pods)


def problems(ctx: Context, obj: Json, pods: Pods) -> dict[str, str]:
    """What keeps each revision from its ready pods, where something does."""
    if not pods:
        return {}
    namespace, claims = obj["metadata"]["namespace"], _claims(ctx, obj["metadata"]["namespace"])
    others = ctx.store.list(POD, namespace)
    found = {}
    for name, each in pods.items():
        text = problem(ctx.store.get(Key(DEPLOYMENT, namespace, name)), each, claims, others)
        if text:
            found[name] = text
    return found


def _claims(ctx: Context, namespace: str) -> dict[str, Sequence[str]]:
    return {
        claim["metadata"]["name"]: claim["spec"].get("accessModes", [])
        for claim in ctx.store.list(PVC, namespace)
    }


async def obstacle(ctx: Context, deployment: ModelDeployment, version: ModelVersion | None) -> str:
    """Why not all pods of a version that has none yet could run; empty where nothing speaks against it."""
    if version is None:
        return ""
    claims, server = _claims(ctx, deployment.metadata.namespace), deployment.spec.server
    pinned = is_pinned(server.node_selector)
    for claim in (Location.parse(version.spec.artifact.uri).claim, serving_payload.claim(server.payload_log)):
        modes = claims.get(claim or "")
        nodes = 0
        if modes is not None and not _SHARED & set(modes) and not pinned:
            nodes = await _nodes(ctx)
        found = claim_obstacle(claim, claims, nodes=nodes, pinned=pinned)
        if found:
            return found
    return ""


async def _nodes(ctx: Context) -> int:
    """How many nodes there are; 0 when they may not be listed, as in an installation for some namespaces
    only.
    """
    try:
        return len(await ctx.client.list(NODE))
    except ApiError:
        return 0
