"""Writes the objects of served revisions as a plan says, in the order that keeps traffic safe.

Comes in: a view and its plan. Goes out: Deployments, Services, ControllerRevisions, one disruption
budget and one Secret.
Invariants: what grows is written before the status that relies on it, what shrinks or goes only after the
status that allows it; the template of a revision is the recorded one.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from noria_operator.api import names
from noria_operator.controllers import router
from noria_operator.controllers.context import Context
from noria_operator.controllers.serving_observe import View
from noria_operator.domain import serving_children as build
from noria_operator.domain.keys import KEY_AHEAD, key_period, period_start, periods_wanted
from noria_operator.domain.revisions import record, recorded, restart_of, restarted, revision_of
from noria_operator.domain.rollout_plan import Child, Plan
from noria_operator.domain.rollout_state import Revision
from noria_operator.domain.serving import Serving, pod_template, recorded_grpc_port
from noria_operator.kube.errors import Terminal
from noria_operator.kube.kinds import CONTROLLERREVISION, DEPLOYMENT, PDB, SECRET, SERVICE, Key
from noria_operator.kube.ownership import controller_uid
from noria_operator.routers.source import by_envoy

Json = dict[str, Any]


async def grow(ctx: Context, view: View, plan: Plan) -> None:
    """Make what is missing, bring what exists to its labels and to at least its size. Raises Terminal,
    ApiError.
    """
    children = [child for child in plan.children if child.replicas is not None]
    if not children:
        return
    await _keys(ctx, view)
    for child in children:
        await _child(ctx, view, child)


async def _keys(ctx: Context, view: View) -> None:
    """This period's feedback key, and the next one's ahead of time, once there is a champion: every pod knows
    it before any signs.
    """
    wanted, master = periods_wanted(ctx.clock.now()), ctx.config.master_key()
    for period in wanted if view.state.stable else wanted[:1]:
        secret = build.keys_secret(view.namespace, view.name, view.uid, master, period=period)
        await ctx.writer.create_once(SECRET, secret, owner=view.obj)


def keys_due(now: datetime, *, crowned: bool) -> timedelta:
    """Until the next key has to be made; `crowned` when there is a champion only since this pass, which left
    the next period's to another one.
    """
    if crowned and len(periods_wanted(now)) > 1:
        return timedelta()
    return period_start(periods_wanted(now)[-1] + 1) - KEY_AHEAD - now


async def shrink(ctx: Context, view: View, plan: Plan) -> None:
    """Take away pods that no weight needs any more, and revisions that have no place. Raises ApiError."""
    for child in plan.children if plan.state.verified else ():
        # As long as a router may still act on an older, larger weight, nobody loses pods.
        if child.replicas is not None and _size(ctx, view, child.target) > child.replicas:
            template, _ = await _recorded(ctx, view, child)
            await _workload(ctx, view, child, template, child.replicas)
    wanted = {child.target.name for child in plan.children}
    for kind, kept in ((DEPLOYMENT, wanted), (SERVICE, wanted), (CONTROLLERREVISION, plan.records)):
        for found in ctx.store.owned(kind, view.namespace, view.uid):
            labels = found["metadata"].get("labels", {})
            if names.REVISION_LABEL in labels and found["metadata"]["name"] not in kept:
                await ctx.writer.delete(kind, found)


async def protect(ctx: Context, view: View, plan: Plan) -> None:
    """Once a champion answers, let drains evict no more than a part of the pods at a time. Raises
    NameConflict, ApiError.
    """
    if plan.state.stable is not None:
        body = build.disruption_budget(view.namespace, view.name, view.uid)
        await ctx.writer.apply(PDB, body, owner=view.obj)


async def _child(ctx: Context, view: View, child: Child) -> None:
    template, port = await _recorded(ctx, view, child)
    if not by_envoy(view.obj) or not router.by_pods(ctx.store, view.namespace):
        service = build.service(
            view.namespace, view.name, view.uid, child.target,
            port=port, grpc_port=recorded_grpc_port(template), headless=_headless(ctx, view, child.target),
        )  # fmt: skip
        await ctx.writer.apply(SERVICE, service, owner=view.obj)
    await _workload(ctx, view, child, template, max(child.replicas or 0, _size(ctx, view, child.target)))


async def _workload(ctx: Context, view: View, child: Child, template: Json, replicas: int) -> None:
    live = ctx.store.get(Key(DEPLOYMENT, view.namespace, child.target.name))
    body = build.workload(view.namespace, view.name, view.uid, child, template, replicas=replicas, live=live)
    await ctx.writer.apply(DEPLOYMENT, body, owner=view.obj)


def _headless(ctx: Context, view: View, target: Revision) -> bool:
    """Whether the revision's Service has no address: none needs one behind an Envoy of before, but one that
    has it keeps it, since that never changes.
    """
    found = ctx.store.get(Key(SERVICE, view.namespace, target.name))
    unlike = found is not None and found["spec"].get("clusterIP") != build.HEADLESS
    return by_envoy(view.obj) and not unlike


def _size(ctx: Context, view: View, target: Revision) -> int:
    found = ctx.store.get(Key(DEPLOYMENT, view.namespace, target.name))
    return int(found["spec"].get("replicas", 1)) if found else 0


async def _recorded(ctx: Context, view: View, child: Child) -> tuple[Json, int]:
    """The recorded template, or a new one that is recorded now, with the image of this installation."""
    known = ctx.store.get(Key(CONTROLLERREVISION, view.namespace, child.record))
    if known is None:
        number = names.version_number(child.target.version)
        body = record(child.record, number, *_template(ctx, view, child))
        labels = build.child_labels(view.name, child.target)
        body["metadata"] |= {"namespace": view.namespace, "labels": labels}
        known = await ctx.writer.create_once(CONTROLLERREVISION, body, owner=view.obj)
    return recorded(known)


def _template(ctx: Context, view: View, child: Child) -> tuple[Json, int]:
    """That of running pods whose record was lost, so that they are not replaced; else one made now.

    A restart makes one now as well, unless the spec has other settings than the revision by now: then its
    pods are replaced by equal ones.
    """
    target = child.target
    running = ctx.store.get(Key(DEPLOYMENT, view.namespace, target.name))
    if running is not None and controller_uid(running) == view.uid:
        template = running["spec"]["template"]
        port = template["spec"]["containers"][0]["ports"][0]["containerPort"]
        if restart_of(template) == child.restart or not _is_asked_for(view, target):
            return restarted(template, child.restart), port
    serving = _serving(ctx, view, target)
    return restarted(pod_template(serving), child.restart), serving.port


def _is_asked_for(view: View, target: Revision) -> bool:
    """Whether the spec would give the version this very revision."""
    version = view.versions.get(target.version)
    return version is not None and revision_of(view.name, version, view.deployment.spec.server) == target


def _serving(ctx: Context, view: View, target: Revision) -> Serving:
    version = view.versions.get(target.version)
    if version is None:
        message = (
            f"ModelVersion {target.version} is gone and so is the record of its pods; pin another version"
        )
        raise Terminal("VersionUnavailable", message)
    server = view.deployment.spec.server
    if version.spec.artifact.format == "custom" and server.runtime != "custom":
        message = f"{target.version} has format custom; set spec.server.runtime to custom and name your image"
        raise Terminal("InvalidSpec", message)
    return Serving(
        namespace=view.namespace,
        deployment=view.name,
        version=version,
        server=server,
        labels=build.pod_labels(view.name, view.uid, target),
        selector=build.revision_selector(view.name, view.uid, target),
        image=server.image or ctx.config.server_image,
        pull_policy=ctx.config.image_pull_policy,
        uid=view.uid,
        key_period=key_period(ctx.clock.now()),
        allow_code=view.namespace in ctx.config.allow_code_namespaces,
        fetching=ctx.config.fetching(view.namespace),
        pull_secrets=() if server.image else ctx.config.pull_secrets,
    )
