"""The controller of ModelDeployments: gather, plan, write; again as soon as something may have moved.

Comes in: a key. Goes out: children, status, Events. All decisions are in `domain.rollout`. Invariants: a
status that takes weight away is written before anything else; what grows is written before the status that
relies on it, what shrinks after the status that allows it; a pass that changes nothing writes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from noria_operator.api import names
from noria_operator.api.parsing import InvalidSpec
from noria_operator.controllers import (
    access,
    router,
    router_certificates,
    serving_children,
    serving_queries,
)
from noria_operator.controllers.context import Context, Result
from noria_operator.controllers.modeldeployment_status import put_off, tell
from noria_operator.controllers.routing import preview
from noria_operator.controllers.serving_observe import View, gather
from noria_operator.domain.conditions import of_type
from noria_operator.domain.rollout import plan as plan_rollout
from noria_operator.domain.rollout_conditions import Trouble
from noria_operator.domain.rollout_due import step_due
from noria_operator.domain.rollout_observed import Observed
from noria_operator.domain.rollout_plan import Plan
from noria_operator.kube.errors import Forbidden, Invalid, NameConflict, Terminal
from noria_operator.kube.kinds import (
    CONTROLLERREVISION,
    DEPLOYMENT,
    ENDPOINTSLICE,
    HTTPROUTE,
    MODELDEPLOYMENT,
    MODELVERSION,
    PDB,
    POD,
    PVC,
    SERVICE,
    Key,
    Kind,
    key_of,
    kind_of,
)
from noria_operator.kube.store import Store

Json = dict[str, Any]

KIND: Kind = MODELDEPLOYMENT
OWNS: tuple[Kind, ...] = (DEPLOYMENT, SERVICE, CONTROLLERREVISION, ENDPOINTSLICE, PDB, POD, HTTPROUTE)

PATIENCE = timedelta(seconds=10)
"""How long routers are asked that often after something happened."""
AFTER_TROUBLE = timedelta(minutes=1)
"""When a refused write is tried again, or trouble looked at: it may be gone without telling us."""


async def reconcile(ctx: Context, key: Key) -> Result:
    """One pass over one ModelDeployment."""
    obj = ctx.store.get(key)
    if obj is None or obj["metadata"].get("deletionTimestamp"):
        ctx.untold.discard(key)
        return Result()
    try:
        view = await gather(ctx, obj)
    except InvalidSpec as error:
        raise Terminal(error.reason, error.message) from error
    made = _planned(ctx, view, view.observed)
    trouble, told_by = await _act(ctx, view, made)
    return _again(ctx, view, made, trouble, told_by)


def _planned(ctx: Context, view: View, observed: Observed) -> Plan:
    made = plan_rollout(view.policy, view.state, observed, ctx.clock.now())
    return replace(made, events=(*view.begun, *made.events))


async def _act(ctx: Context, view: View, made: Plan) -> tuple[Trouble | None, datetime | None]:
    """What stands in the way, and until when the status was put off."""
    told = view.state
    if takes_weight(view, made):
        view = replace(view, obj=await tell(ctx, view, made, None), begun=())
        told, made = made.state, replace(made, events=())
    trouble = await _refusal(view.routing.apply(ctx, view.obj, told), address=True)
    trouble = trouble or await _refusal(preview(ctx, view.obj, view.routing.preview_service(view.obj, told)))
    trouble = trouble or await _refusal(serving_children.grow(ctx, view, made))
    if trouble is not None:
        await tell(ctx, view, _without_growth(ctx, replace(view, state=told), trouble), trouble)
        return trouble, None
    told_by = put_off(ctx, view, made)
    if told_by is None:
        view = replace(view, obj=await tell(ctx, view, made, None))
    if (made.state.traffic, made.state.stable) != (told.traffic, told.stable):
        # Nobody's pods go while a router still names them.
        trouble = await _refusal(view.routing.apply(ctx, view.obj, made.state), address=True)
        if trouble is not None:
            await tell(ctx, view, replace(made, events=()), trouble)
            return trouble, None
    for last in (serving_children.shrink, serving_children.protect):
        refusal = await _refusal(last(ctx, view, made))
        if refusal is not None:  # nothing that serves depends on it
            await ctx.events.emit(view.obj, "Warning", refusal.reason, refusal.message)
        trouble = trouble or refusal
    return trouble, told_by


def takes_weight(view: View, made: Plan) -> bool:
    """Whether any version loses weight: routers must hear of that before anything that could fail."""
    return any(made.state.weight(one.target.name) < one.weight for one in view.state.traffic)


async def _refusal(writes: Awaitable[None], *, address: bool = False) -> Trouble | None:
    """Write; what the API server or a foreign object refuses is for the status to tell.

    Requests go by what is written for the `address`: where somebody else has its name, none arrives.
    """
    try:
        await writes
    except NameConflict as error:
        return Trouble(error.reason, error.message, fatal=address)
    except Terminal as error:
        return Trouble(error.reason, error.message)
    except (Forbidden, Invalid) as error:
        advice = "change what the message names in spec.server, or ask the cluster's admin"
        return Trouble(
            "WriteRefused", f"the API server refused an object of this deployment: {error}; {advice}"
        )
    return None


def _without_growth(ctx: Context, view: View, trouble: Trouble) -> Plan:
    """The plan when no new pods can be had: a rollout in progress goes on, none begins. What was told already
    is not decided again.
    """
    return _planned(ctx, view, replace(view.observed, obstacle=trouble.message))


def _again(ctx: Context, view: View, made: Plan, trouble: Trouble | None, told_by: datetime | None) -> Result:
    """When to look again: soon while weights are on their way, regularly during a rollout, else when time
    is up.
    """
    state, now = made.state, ctx.clock.now()
    waits = [made.due - now] if made.due and made.due > now else []
    waits += [told_by - now] if told_by else []
    waits += [AFTER_TROUBLE] if trouble or view.standing.trouble else []
    if not state.verified and view.standing.routers:
        young = bool(state.history) and now - state.history[-1].at < PATIENCE
        soon = view.routing.read_back(ctx, view.obj)
        waits.append(soon if young else ctx.config.evidence_interval)
    if any(share.draining_since for share in state.traffic):
        waits.append(ctx.config.evidence_interval)
    judged = state.candidate is not None and state.stable is not None
    if judged or (state.candidate and state.step and not state.step.stalled and trouble is None):
        waits.append(view.routing.pace(ctx.config, view.policy))
        asked = serving_queries.again(view.policy, view.observed, state)
        waits += [asked - now if asked > now else ctx.config.evidence_interval] if asked else []
        due = step_due(view.policy, state, now)
        waits += [due - now] if due else []
    asked_again = access.again(view.access)
    waits += [asked_again] if asked_again else []
    if made.children:
        crowned = view.state.stable is None and state.stable is not None
        waits.append(serving_children.keys_due(now, crowned=crowned))
    return Result(min(waits) if waits else None)


# -- who else wakes a ModelDeployment ------------------------------------------------------------


def related(store: Store, obj: Json) -> list[Key]:
    """Versions wake the deployments of their model; claims those that wait for something; router pods those
    that wait for routers, and a router those whose Secrets it misses; HTTPRoutes those that name them;
    deployments those that want the same hosts.
    """
    kind, meta = kind_of(obj), obj["metadata"]
    namespace = meta.get("namespace")
    if kind == MODELVERSION:
        model = {"spec.model": str(obj.get("spec", {}).get("model"))}
        return [key_of(each) for each in store.list(MODELDEPLOYMENT, namespace, fields=model)]
    if kind == MODELDEPLOYMENT:
        return _rivals(store, obj)
    if kind == HTTPROUTE:
        named = {"spec.router.gateway.route": meta["name"]}
        return [key_of(each) for each in store.list(MODELDEPLOYMENT, namespace, fields=named)]
    if kind == PVC:
        waiting = store.list(MODELDEPLOYMENT, namespace)
        return [key_of(each) for each in waiting if not _is_true(each, "UpToDate")]
    if kind in (POD, DEPLOYMENT) and (meta.get("labels") or {}).get(names.ROUTER_LABEL) == "true":
        heeds = _heeds(store, obj)
        return [key_of(each) for each in store.list(MODELDEPLOYMENT, namespace) if heeds(each)]
    return []


def _heeds(store: Store, obj: Json) -> Callable[[Json], bool]:
    """Who heeds a router's Deployment, or pod."""
    if kind_of(obj) == DEPLOYMENT:
        return partial(router_certificates.misses, obj)
    up = any(router.ready(pod) for pod in router.pods(store, obj["metadata"]["namespace"]))
    return partial(_heeds_routers, up=up)


def _rivals(store: Store, obj: Json) -> list[Key]:
    """Those for whom what `obj` asks for, or no longer asks for, may decide who has a host."""
    namespace = obj["metadata"]["namespace"]
    asked = [{"spec.hosts": host} for host in obj["spec"].get("hosts") or ()]
    found = (
        store.list(MODELDEPLOYMENT, namespace, fields=one) for one in [*asked, {"Stalled": "HostConflict"}]
    )
    keys = dict.fromkeys(key_of(each) for group in found for each in group)
    return [key for key in keys if key != key_of(obj)]


def _heeds_routers(obj: Json, *, up: bool) -> bool:
    """Whether it waits for routers to act, or whether being `up` is not what its status says of them."""
    found = obj.get("status", {})
    shares = found.get("traffic", ())
    if "candidate" in found or any(not (one.get("verified") or one.get("assumed")) for one in shares):
        return True
    reason = of_type(found.get("conditions", ()), "Servable").get("reason")
    return reason == "NoRouter" if up else reason in {"Serving", "NoReadyPods"}


def _is_true(obj: Json, condition: str) -> bool:
    found = obj.get("status", {}).get("conditions", ())
    return any(one["type"] == condition and one["status"] == "True" for one in found)
