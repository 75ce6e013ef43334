"""Writes the status of a ModelDeployment, and the Events of what it says.

Comes in: a view and its plan. Goes out: one status write, if anything differs. All words are made in
`domain.rollout_conditions`. Invariant: Events follow the status that they tell of.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from noria_operator.api import names
from noria_operator.controllers import router
from noria_operator.controllers.context import Context
from noria_operator.controllers.serving_observe import View
from noria_operator.controllers.serving_pods import pods_alive
from noria_operator.domain import rollout_telling
from noria_operator.domain.rollout_conditions import Report, Trouble, status
from noria_operator.domain.rollout_plan import Plan
from noria_operator.domain.rollout_state import State
from noria_operator.domain.serving_children import selector
from noria_operator.domain.training_times import moment
from noria_operator.kube.kinds import DEPLOYMENT, MODELDEPLOYMENT, Key, key_of
from noria_operator.kube.metrics import ROLLBACKS
from noria_operator.kube.requests import selector as selector_text

Json = dict[str, Any]

MANY = 16
"""First versions that wait for their pods: more of them are a rush."""


async def tell(ctx: Context, view: View, made: Plan, trouble: Trouble | None) -> Json:
    """Write the status, then the Events of what it says."""
    stable = made.state.stable
    meta = view.deployment.metadata
    report = Report(
        plan=made,
        policy=view.policy,
        observed=view.observed,
        before=view.state,
        now=ctx.clock.now(),
        routers=view.standing.routers,
        waits_for=view.standing.waits_for,
        pods=pods_alive(ctx, view.obj, stable) if stable else 0,
        selector=_measured(view, made.state),
        url=f"http://{view.name}.{view.namespace}.svc",
        preview_url=f"http://{names.preview_name(view.name)}.{view.namespace}.svc"
        if view.deployment.spec.strategy.preview
        else None,
        trouble=trouble or view.standing.trouble,
        refused_hosts=router.refused_hosts(ctx.store, view.obj),
        access=view.access,
    )
    wanted = status(report, view.obj.get("status", {}), generation=meta.generation)
    written = await ctx.writer.status(MODELDEPLOYMENT, view.obj, wanted)
    before = State() if view.begun else view.state
    for note in rollout_telling.events_of(before, made, routers=view.standing.routers):
        kind: Literal["Normal", "Warning"] = "Warning" if note.warning else "Normal"
        await ctx.events.emit(view.obj, kind, note.reason.value, note.message)
        if note.cause:
            ROLLBACKS.labels(note.cause).inc()
    return written


def _measured(view: View, state: State) -> str:
    """The pods that tell an autoscaler the demand: those of the champion, and of whoever else gets requests
    or copies of them.

    A challenger that gets nothing yet, as before a switch, is idle, and so is a previous version that is kept
    warm, also where it is the same artifact under another number: they would make the busy ones look idle.
    """
    mine = selector_text(selector(view.name, view.uid))
    left = (share.target for share in state.leaving)
    trial = (one.target for one in state.challengers if state.reach_of(one.target).any)
    places = (state.stable, *trial, *left)
    asked = [target for target in places if target is not None]
    if not asked:
        return mine
    versions = ",".join(sorted({names.fit(target.version) for target in asked}))
    revisions = ",".join(sorted({target.revision for target in asked}))
    return f"{mine},{names.VERSION_LABEL} in ({versions}),{names.REVISION_LABEL} in ({revisions})"


def put_off(ctx: Context, view: View, made: Plan) -> datetime | None:
    """Until when the status may wait; None where it is to be written now, or tells nothing new."""
    until, key = _until(ctx, view, made), key_of(view.obj)
    if until is None:
        ctx.untold.discard(key)
    else:
        ctx.untold.add(key)
    return until


def _until(ctx: Context, view: View, made: Plan) -> datetime | None:
    told = view.deployment.status.observed_generation is not None
    if told or view.standing.trouble or router.refused_hosts(ctx.store, view.obj):
        return None
    candidate = made.state.candidate
    workload = candidate and ctx.store.get(Key(DEPLOYMENT, view.namespace, candidate.target.name))
    if not workload:
        return None
    rush = ctx.rush() or len(ctx.untold) > MANY
    asked, now = moment(workload["metadata"]["creationTimestamp"]), ctx.clock.now()
    return rollout_telling.put_off(view.state, made, view.observed, asked=asked, rush=rush, now=now)
