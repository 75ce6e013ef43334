"""Everything that the planner of rollouts wants to know, read in one go.

Comes in: a ModelDeployment. Goes out: a `View`: policy, state, observation, and the versions behind it.
Invariants: it decides nothing and writes nothing; what cannot be read is reported as unread, never as zero.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from noria_operator.api import names
from noria_operator.api.modeldeployment import ModelDeployment
from noria_operator.api.modelversion import ModelVersion
from noria_operator.api.parsing import InvalidSpec, parse_as
from noria_operator.controllers import access, router, serving_counts, serving_queries, serving_routers
from noria_operator.controllers.context import Context
from noria_operator.controllers.routing import Routing, Standing
from noria_operator.controllers.routing_kinds import ROUTINGS
from noria_operator.domain import serving_payload
from noria_operator.domain.conditions import Condition
from noria_operator.domain.pod_status import ended
from noria_operator.domain.revisions import version_of
from noria_operator.domain.rollout_arms import seats
from noria_operator.domain.rollout_observed import Observed, Seen
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_policy_wire import policy_of
from noria_operator.domain.rollout_state import Revision, State
from noria_operator.domain.rollout_target import APPROVED, choose
from noria_operator.domain.rollout_wire import state_of
from noria_operator.domain.serving_children import revision_selector, selector
from noria_operator.domain.serving_problems import claim_obstacle, is_pinned, problem
from noria_operator.domain.training_locations import Location
from noria_operator.kube.apply import controller_uid
from noria_operator.kube.errors import ApiError
from noria_operator.kube.kinds import (
    CONTROLLERREVISION,
    DEPLOYMENT,
    ENDPOINTSLICE,
    MODELVERSION,
    NODE,
    POD,
    PVC,
    Key,
)
from noria_operator.routers.backends import backend
from noria_operator.routers.source import by_envoy

Json = dict[str, Any]
Pods = Mapping[str, list[Json]]
"""By name of the revision."""
SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_SHARED = frozenset({"ReadWriteMany", "ReadOnlyMany"})


@dataclass(frozen=True, slots=True)
class View:
    """One ModelDeployment with all that matters to it; `versions` by name."""

    obj: Json
    deployment: ModelDeployment
    policy: Policy
    state: State
    versions: Mapping[str, ModelVersion]
    observed: Observed
    routing: Routing
    standing: Standing
    access: Condition | None = None
    """AccessReady, where not everybody may call."""

    @property
    def uncounted(self) -> bool:
        """Whether there is nothing that rollouts could be judged by."""
        return bool(self.policy.steps) and not (self.policy.counted or self.policy.queries)

    @property
    def namespace(self) -> str:
        return self.deployment.metadata.namespace

    @property
    def name(self) -> str:
        return self.deployment.metadata.name

    @property
    def uid(self) -> str:
        return self.deployment.metadata.uid


async def gather(ctx: Context, obj: Json) -> View:
    """Read cache, routers and, for claims of one node, the nodes. Raises InvalidSpec."""
    deployment = parse_as(ModelDeployment, obj)
    policy, state = policy_of(deployment.spec), state_of(deployment.status)
    versions = _versions(ctx, deployment, state)
    seen = [version_of(deployment.metadata.name, each, deployment.spec.server) for each in versions.values()]
    routing = ROUTINGS[deployment.spec.router.type]
    commands = _commands(obj)
    told, let_in = await asyncio.gather(
        serving_routers.told(ctx, obj, policy, state, routing, hurry=_aborts(commands, state)),
        access.read(ctx, obj),
    )
    pods = {one.name: pods_of(ctx, obj, one) for one in dict.fromkeys(_targets(state))}
    observed = Observed(
        versions=tuple(seen),
        ready=_ready(ctx, obj, pods),
        in_force=told.in_force,
        counts=told.counts,
        timings=told.timings,
        active=told.active,
        seen=_seen(ctx, deployment, policy, state),
        commands=commands,
        present=_present(ctx, obj, pods),
        problems=_problems(ctx, obj, pods),
        restorable=_restorable(ctx, obj, state),
    )
    trial = [one.target for one in state.challengers]
    for wanted in choose(policy, state, observed.versions).challengers:
        if wanted != state.stable and wanted not in trial and not observed.obstacle:
            obstacle = await _obstacle(ctx, deployment, versions.get(wanted.version))
            observed = replace(observed, obstacle=obstacle)
    standing = await routing.standing(ctx, obj)
    return View(obj, deployment, policy, state, versions, observed, routing, standing, let_in)


def _seen(ctx: Context, deployment: ModelDeployment, policy: Policy, state: State) -> dict[str, Seen]:
    """What only model servers and sources of queries know of each challenger, or of none yet."""
    return {
        mine.candidate.target.name if mine.candidate else "": Seen(
            serving_counts.counted(ctx, deployment, policy, mine),
            serving_queries.asked(ctx, deployment, policy, mine),
            serving_counts.paired(ctx, deployment, policy, mine),
        )
        for mine in seats(state) or [state]
    }


def _versions(ctx: Context, deployment: ModelDeployment, state: State) -> dict[str, ModelVersion]:
    """The versions that may matter: what is named anywhere, and what is approved and not older than the
    champion.
    """
    named = {one.version for one in _targets(state)} | {deployment.spec.version}
    experiment = deployment.spec.strategy.experiment
    named |= {arm.version for arm in experiment.arms} if experiment else set()
    named |= {state.undo.left.version} if state.undo else set()
    floor = names.version_number(state.stable.version) if state.stable else 0
    found = {}
    same = {"spec.model": deployment.spec.model}
    for raw in ctx.store.list(MODELVERSION, deployment.metadata.namespace, fields=same):
        spec, name = raw.get("spec", {}), raw["metadata"]["name"]
        newer = raw.get("status", {}).get("phase") == APPROVED and spec.get("version", 0) >= floor
        if not (newer or name in named):
            continue
        try:
            found[name] = parse_as(ModelVersion, raw)
        except InvalidSpec:
            # Its own controller says so on the object; here it is as good as absent.
            continue
    return found


def _targets(state: State) -> list[Revision]:
    places = [state.stable] if state.stable else []
    places += [one.target for one in state.challengers]
    places += [state.previous.target] if state.previous else []
    return places + [share.target for share in state.traffic]


def _restorable(ctx: Context, obj: Json, state: State) -> frozenset[str]:
    """Former champions that are still approved and of whose pods there is a record."""
    namespace, uid = obj["metadata"]["namespace"], obj["metadata"]["uid"]

    def is_there(one: Revision) -> bool:
        version = ctx.store.get(Key(MODELVERSION, namespace, one.version)) or {}
        name = names.record_name(one.name, state.restarts.get(one.name, ""))
        record = ctx.store.get(Key(CONTROLLERREVISION, namespace, name))
        approved = version.get("status", {}).get("phase") == APPROVED
        return approved and record is not None and controller_uid(record) == uid

    return frozenset(one.name for one in state.champions if is_there(one))


def _commands(obj: Json) -> dict[str, str]:
    given = obj["metadata"].get("annotations")
    said = {command: names.command_id(given, command) for command in names.DEPLOYMENT_COMMANDS}
    return {command: id_ for command, id_ in said.items() if id_}


def _aborts(commands: Mapping[str, str], state: State) -> bool:
    """Whether an abort is asked for that was not obeyed yet."""
    return commands.get("abort") not in (None, state.commands.get("abort"))


# -- pods --------------------------------------------------------------------------------


def _ready(ctx: Context, obj: Json, pods: Pods) -> dict[str, int]:
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


def _present(ctx: Context, obj: Json, pods: Pods) -> dict[str, int]:
    """Pods that take room, by revision; those of any other under an empty name."""
    meta = obj["metadata"]
    found = {name: _taking_room(each) for name, each in pods.items()}
    everything = ctx.store.list(POD, meta["namespace"], selector(meta["name"], meta["uid"]))
    return {**found, "": _taking_room(everything) - sum(found.values())}


def _taking_room(pods: Iterable[Json]) -> int:
    return sum(not ended(pod) for pod in pods)


def pods_of(ctx: Context, obj: Json, target: Revision) -> list[Json]:
    """The pods of a revision."""
    meta = obj["metadata"]
    return ctx.store.list(POD, meta["namespace"], revision_selector(meta["name"], meta["uid"], target))


def pods_alive(ctx: Context, obj: Json, target: Revision) -> int:
    """Pods of a revision as a ReplicaSet counts them: those that neither ended nor are being deleted."""
    kept = (pod for pod in pods_of(ctx, obj, target) if not pod["metadata"].get("deletionTimestamp"))
    return _taking_room(kept)


def _problems(ctx: Context, obj: Json, pods: Pods) -> dict[str, str]:
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


async def _obstacle(ctx: Context, deployment: ModelDeployment, version: ModelVersion | None) -> str:
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
