"""Everything that the planner of rollouts wants to know, read in one go.

Comes in: a ModelDeployment. Goes out: a `View`: policy, state, observation, and the versions behind it.
Invariants: it decides nothing and writes nothing; what cannot be read is reported as unread, never as zero.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from noria_operator.api import names
from noria_operator.api.modeldeployment import ModelDeployment, ModelDeploymentSpec
from noria_operator.api.modelversion import ModelVersion
from noria_operator.api.parsing import InvalidSpec, parse_as, read_over
from noria_operator.api.routers import CAPABILITIES, ROUTER
from noria_operator.api.server import Server
from noria_operator.controllers import access, serving_counts, serving_pods, serving_queries, serving_routers
from noria_operator.controllers.context import Context
from noria_operator.controllers.routing import Counters, Routing, Standing
from noria_operator.controllers.routing_kinds import ROUTINGS
from noria_operator.domain import refusals
from noria_operator.domain.conditions import Condition
from noria_operator.domain.revisions import recorded, version_of
from noria_operator.domain.rollout_analysis import refuses
from noria_operator.domain.rollout_arms import seats
from noria_operator.domain.rollout_first import as_told
from noria_operator.domain.rollout_observed import Observed, Seen
from noria_operator.domain.rollout_plan import Note
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_policy_wire import policy_of
from noria_operator.domain.rollout_state import Revision, State
from noria_operator.domain.rollout_target import APPROVED, choose
from noria_operator.domain.rollout_wire import state_of
from noria_operator.domain.server_pods import counts_ready, counts_requests
from noria_operator.domain.serving_children import selector
from noria_operator.kube.kinds import CONTROLLERREVISION, DEPLOYMENT, MODELVERSION, POD, Key
from noria_operator.kube.ownership import controller_uid
from noria_operator.routers.backends import Arm, Backend, arm_of, backend
from noria_operator.routers.first import first_share, untold
from noria_operator.routers.source import by_envoy

Json = dict[str, Any]


_UNREAD = "{}; no version begins or goes further by itself until all of it can be read"


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
    begun: tuple[Note, ...] = ()
    """What led to `state`, where no status was written and routers go by the pods of a first version."""

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
    deployment, newer, least = _read(obj)
    policy, state = replace(policy_of(deployment.spec), least=least), state_of(deployment.status)
    first = _first(ctx, obj)
    begun = as_told(policy, first, ctx.clock.now()) if first else None
    state = begun.state if begun else state
    commands = _commands(obj)
    versions, beyond = _versions(ctx, deployment, state, commands)
    unread = [newer] if newer else []
    unread += [f"ModelVersion {name}: {text}" for name, text in beyond.items()]
    policy = replace(
        policy,
        counted=policy.counted and _counts_champion(ctx, obj, deployment, state),
        unread=_UNREAD.format("; ".join(unread)) if unread else "",
    )
    server = _server(obj) if newer else deployment.spec.server
    known = tuple(
        version_of(deployment.metadata.name, each, None if name in beyond else server)
        for name, each in versions.items()
    )
    routing = ROUTINGS[deployment.spec.router.type]
    hurry = _is_stopped(commands, state)
    told, let_in = await asyncio.gather(
        serving_routers.told(ctx, obj, policy, state, routing, hurry=hurry),
        access.read(ctx, obj, hurry=hurry),
    )
    targets = dict.fromkeys(_targets(state) or choose(policy, state, known).challengers)
    pods = {one.name: serving_pods.pods_of(ctx, obj, one) for one in targets}
    seen = _seen(ctx, deployment, policy, state)
    refused = {} if hurry else await _refused(ctx, obj, policy, state, told.counts)
    observed = Observed(
        versions=known,
        ready=serving_pods.ready(ctx, obj, pods),
        in_force=told.in_force,
        counts=told.counts,
        timings=told.timings,
        active=told.active,
        under_way=told.under_way,
        seen={name: replace(one, refused=refused.get(name, "")) for name, one in seen.items()},
        commands=commands,
        present=serving_pods.present(ctx, obj, pods),
        problems=serving_pods.problems(ctx, obj, pods),
        restorable=_restorable(ctx, obj, state),
    )
    trial = [one.target for one in state.challengers]
    for wanted in choose(policy, state, observed.versions).challengers:
        if wanted != state.stable and wanted not in trial and not observed.obstacle:
            obstacle = await serving_pods.obstacle(ctx, deployment, versions.get(wanted.version))
            observed = replace(observed, obstacle=obstacle)
    standing = await routing.standing(ctx, obj)
    notes = begun.events if begun else ()
    return View(obj, deployment, policy, state, versions, observed, routing, standing, let_in, notes)


def _read(obj: Json) -> tuple[ModelDeployment, str, bool]:
    """The object as far as it can be read, what of it cannot be, and whether it is no more than the `_least`
    of it. Raises InvalidSpec: where its spec is wrong, it is read for what a person stops, and until that is
    done.
    """
    try:
        return *read_over(ModelDeployment, obj), False
    except InvalidSpec as error:
        deployment, _ = read_over(ModelDeployment, {**obj, "spec": _least(obj)})
        state = state_of(deployment.status)
        if not (_is_stopped(_commands(obj), state) or _is_ending(state)):
            raise
        return deployment, error.message, True


def _server(obj: Json) -> Server | None:
    """The settings that make a revision, where all of them can be read."""
    found = _alone(obj, server=obj["spec"].get("server"))
    return found.server if found else None


def _alone(obj: Json, **fields: Any) -> ModelDeploymentSpec | None:
    """What these fields of the spec say by themselves, where they can be read."""
    spec = {"model": obj["spec"].get("model"), **fields}
    try:
        return parse_as(ModelDeployment, {"metadata": obj["metadata"], "spec": spec}).spec
    except InvalidSpec:
        return None


def _is_stopped(commands: Mapping[str, str], state: State) -> bool:
    """Whether a person wants something stopped that is not yet."""
    return any(state.is_new(one, commands) for one in ("abort", "undo"))


def _is_ending(state: State) -> bool:
    """Whether what a person stopped is on its way, and nobody is on trial."""
    candidate, undo = state.candidate, state.undo
    if candidate is not None:
        return undo is not None and candidate.target == undo.target
    return bool(state.leaving) or not state.verified


def _least(obj: Json) -> Json:
    """The spec with what says how many pods the champion has, and how requests come to them; of which version
    it asks for, and how long pods are waited for and kept, with what can be read.
    """
    spec = {
        name: one
        for name, one in obj["spec"].items()
        if name in ("model", "replicas", "router") or (name == "version" and _alone(obj, version=one))
    }
    strategy = {
        name: one
        for name, one in (obj["spec"].get("strategy") or {}).items()
        if name == "type"
        or (name in ("progressDeadline", "keepPrevious") and _alone(obj, strategy={name: one}))
    }
    return {**spec, "strategy": strategy}


def _first(ctx: Context, obj: Json) -> Revision | None:
    """The version that routers send everything to though no status says so; only one whose pods are ours."""
    meta = obj["metadata"]
    if not (by_envoy(obj) and untold(obj)):
        return None
    pods: dict[Arm, list[Backend]] = {}
    for pod in ctx.store.list(POD, meta["namespace"], selector(meta["name"], meta["uid"])):
        arm, seen = arm_of(pod), backend(pod)
        if arm and seen:
            pods.setdefault(arm, []).append(seen)
    share = first_share(obj, pods)
    workload = share and ctx.store.get(Key(DEPLOYMENT, meta["namespace"], share["name"]))
    if not share or not workload or controller_uid(workload) != meta["uid"]:
        return None
    return Revision(share["version"], share["revision"], share["name"])


def _seen(ctx: Context, deployment: ModelDeployment, policy: Policy, state: State) -> dict[str, Seen]:
    """What only model servers and sources of queries know of each challenger, or of none yet."""
    return {
        mine.candidate.target.name if mine.candidate else "": Seen(
            serving_counts.counted(ctx, deployment, policy, mine),
            serving_queries.asked(ctx, deployment, policy, mine),
            serving_counts.paired(ctx, deployment, policy, mine),
            _other_inputs(ctx, deployment, mine),
        )
        for mine in seats(state) or [state]
    }


async def _refused(
    ctx: Context, obj: Json, policy: Policy, state: State, counts: Counters | None
) -> dict[str, str]:
    """What servers of challengers say most of what they refuse, by revision. Only those are asked, and waited
    for, against whom that speaks.
    """
    found = {}
    for mine in seats(state):
        if mine.candidate and refuses(policy.of(mine.candidate.target.version), mine, counts):
            pods = serving_pods.pods_of(ctx, obj, mine.candidate.target)
            told = await ctx.servers.refused(filter(counts_ready, pods))
            found[mine.candidate.target.name] = refusals.most(told)
    return found


def _other_inputs(ctx: Context, deployment: ModelDeployment, state: State) -> str:
    if state.stable is None or state.candidate is None:
        return ""
    names = (state.stable.version, state.candidate.target.version)
    space = deployment.metadata.namespace
    champion, challenger = (ctx.store.get(Key(MODELVERSION, space, name)) for name in names)
    return refusals.other_inputs(champion, challenger) if champion and challenger else ""


def _versions(
    ctx: Context, deployment: ModelDeployment, state: State, commands: Mapping[str, str]
) -> tuple[dict[str, ModelVersion], dict[str, str]]:
    """The versions that may matter: what is named anywhere, what an undo may go back to, and what is approved
    and not older than the champion. Fields of a later release are read over, and told by version, of those
    alone that have a place, or had one that a person goes back to.
    """
    placed = {one.version for one in _targets(state)}
    placed |= {state.undo.target.version} if state.undo else set()
    if state.is_new("undo", commands):
        placed |= {one.version for one in state.champions}
    named = placed | {deployment.spec.version}
    experiment = deployment.spec.strategy.experiment
    named |= {arm.version for arm in experiment.arms} if experiment else set()
    named |= {state.undo.left.version} if state.undo else set()
    floor = names.version_number(state.stable.version) if state.stable else 0
    found: dict[str, ModelVersion] = {}
    unread: dict[str, str] = {}
    same = {"spec.model": deployment.spec.model}
    for raw in ctx.store.list(MODELVERSION, deployment.metadata.namespace, fields=same):
        spec, name = raw.get("spec", {}), raw["metadata"]["name"]
        newer = raw.get("status", {}).get("phase") == APPROVED and spec.get("version", 0) >= floor
        if not (newer or name in named):
            continue
        try:
            version, beyond = read_over(ModelVersion, raw)
        except InvalidSpec:
            # Its own controller says so on the object; here it is as good as absent.
            continue
        if beyond and name not in placed:
            continue
        found[name] = version
        unread |= {name: beyond} if beyond else {}
    return found, unread


def _targets(state: State) -> list[Revision]:
    """Revisions with a place or with weight; none before the status of the first was written, whose pods may
    be there already.
    """
    places = [state.stable] if state.stable else []
    places += [one.target for one in state.challengers]
    places += [state.previous.target] if state.previous else []
    return places + [share.target for share in state.traffic]


def _record(ctx: Context, obj: Json, state: State, one: Revision) -> Json | None:
    """Of the pods of a revision, where there is one that is ours."""
    meta, name = obj["metadata"], names.record_name(one.name, state.restarts.get(one.name, ""))
    record = ctx.store.get(Key(CONTROLLERREVISION, meta["namespace"], name))
    return record if record is not None and controller_uid(record) == meta["uid"] else None


def _counts_champion(ctx: Context, obj: Json, deployment: ModelDeployment, state: State) -> bool:
    """Whether anybody counts what the champion answers: where no router does, it may be a container of the
    user's own, whatever the spec asks for by now.
    """
    if state.stable is None or CAPABILITIES[deployment.spec.router.type].counts == ROUTER:
        return True
    record = _record(ctx, obj, state, state.stable)
    return record is None or counts_requests(recorded(record)[0])


def _restorable(ctx: Context, obj: Json, state: State) -> frozenset[str]:
    """Former champions that are still approved and of whose pods there is a record."""
    namespace = obj["metadata"]["namespace"]

    def is_there(one: Revision) -> bool:
        version = ctx.store.get(Key(MODELVERSION, namespace, one.version)) or {}
        approved = version.get("status", {}).get("phase") == APPROVED
        return approved and _record(ctx, obj, state, one) is not None

    return frozenset(one.name for one in state.champions if is_there(one))


def _commands(obj: Json) -> dict[str, str]:
    given = obj["metadata"].get("annotations")
    said = {command: names.command_id(given, command) for command in names.DEPLOYMENT_COMMANDS}
    return {command: id_ for command, id_ in said.items() if id_}
