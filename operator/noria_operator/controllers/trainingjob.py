"""The controller of TrainingJobs: gather, decide, act, until nothing is left to do at once.

Comes in: a key. Goes out: Jobs, one ModelVersion, status, Events. All decisions are in `domain.training`.
Invariants: what a status promises (a reserved version number) is written before it is used; a Job is
created and never written again but for `suspend`; a finished TrainingJob makes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal, cast

from noria_operator.api import names
from noria_operator.api.parsing import InvalidSpec, parse_as
from noria_operator.api.trainingjob import TrainingJob
from noria_operator.controllers.context import Context, Result
from noria_operator.controllers.training_counts import count_run
from noria_operator.controllers.trainingjob_runs import gather, images
from noria_operator.controllers.trainingjob_served import served
from noria_operator.domain.drift.columns import Seen
from noria_operator.domain.evaluation import champion_name, champion_of
from noria_operator.domain.registry import lineage_uid
from noria_operator.domain.training import decide, has_begun, refuse, rest
from noria_operator.domain.training_jobs import check_name, evaluate_name, select_name, train_name
from noria_operator.domain.training_plan import Case, Observed, Plan
from noria_operator.domain.training_selection import chosen, selects
from noria_operator.domain.training_status import is_finished
from noria_operator.kube.errors import Invalid, NameConflict, Terminal
from noria_operator.kube.kinds import (
    JOB,
    MODELDEPLOYMENT,
    MODELVERSION,
    POD,
    TRAININGJOB,
    Key,
    Kind,
    key_of,
    kind_of,
)
from noria_operator.kube.store import Store

Json = dict[str, Any]

KIND: Kind = TRAININGJOB
OWNS: tuple[Kind, ...] = (JOB, POD)
_STEPS = 8
"""A pass takes at most so many steps, then lets other keys have their turn."""
_SOON = timedelta(milliseconds=100)


async def reconcile(ctx: Context, key: Key) -> Result:
    """Bring one TrainingJob as far as it gets without waiting."""
    for _ in range(_STEPS):
        obj = ctx.store.get(key)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return Result()
        plan = await _decide(ctx, obj)
        try:
            await _create(ctx, obj, plan.create)
        except Invalid as error:
            text = f"the API server refuses what the spec asks for: {error.message}"
            plan = refuse(obj, text, ctx.clock.now())
        await _act(ctx, obj, plan)
        if not plan.again:
            return Result(max(plan.due - ctx.clock.now(), _SOON) if plan.due and not plan.delete else None)
    return Result(_SOON)


def related(store: Store, obj: Json) -> list[Key]:
    """A ModelVersion wakes the TrainingJob that it names in its lineage."""
    if kind_of(obj) != MODELVERSION:
        return []
    uid, namespace = lineage_uid(obj), obj["metadata"]["namespace"]
    name = obj["spec"].get("lineage", {}).get("trainingJob", {}).get("name", "")
    job = store.get(Key(TRAININGJOB, namespace, name)) if name else None
    return [key_of(job)] if job is not None and job["metadata"]["uid"] == uid else []


async def _decide(ctx: Context, obj: Json) -> Plan:
    now, seen = ctx.clock.now(), await _observe(ctx, obj)
    try:
        job = parse_as(TrainingJob, obj)
    except InvalidSpec as error:
        if is_finished(obj.get("status", {})):
            return rest(obj, obj["spec"].get("ttlSecondsAfterFinished"), seen, now)
        if error.newer or has_begun(obj, seen):  # it waits for an operator that can read it
            raise Terminal(error.reason, error.message) from error
        return refuse(obj, error.message, now)
    return decide(Case(obj, job, seen, images(ctx, obj["metadata"]["namespace"]), now))


async def _observe(ctx: Context, obj: Json) -> Observed:
    meta, spec = obj["metadata"], obj["spec"]
    namespace = meta["namespace"]
    status = obj.get("status", {})
    live, trained = not is_finished(status), bool(status.get("artifact"))
    train = await gather(ctx, obj, train_name(meta["name"]), unread=live and not trained)
    judged = bool(status.get("evaluation"))
    select = None
    if selects(spec):
        unread = live and not chosen(status)
        select = await gather(ctx, obj, select_name(meta["name"]), unread=unread)
    evaluate = await gather(ctx, obj, evaluate_name(meta["name"]), unread=live and not judged)
    looked = None
    if spec.get("dataQuality"):
        unread = live and not status.get("dataQuality")
        looked = await gather(ctx, obj, check_name(meta["name"]), unread=unread)
    if not live or not (trained or spec.get("dataQuality")):
        # Nothing to register yet, or nothing any more.
        return Observed(train, evaluate, select=select, check=looked)
    versions = ctx.store.list(MODELVERSION, namespace)
    deployment = ctx.store.get(Key(MODELDEPLOYMENT, namespace, str(spec.get("deployment", ""))))
    champion = champion_of(deployment, versions)
    asked: Mapping[str, Seen] | None = {}
    if spec.get("dataQuality") and looked is None and not status.get("dataQuality"):
        asked = await served(ctx, obj, deployment, champion.version) if deployment and champion else {}
    return Observed(
        train,
        evaluate,
        champion,
        versions,
        ctx.store.list(TRAININGJOB, namespace),
        ctx.store.list(MODELDEPLOYMENT, namespace),
        champion_name(deployment),
        select,
        looked,
        asked,
    )


async def _act(ctx: Context, obj: Json, plan: Plan) -> None:
    namespace = obj["metadata"]["namespace"]
    for name in plan.stop:
        job = ctx.store.get(Key(JOB, namespace, name))
        if job is not None:
            await ctx.writer.delete(JOB, job)
    # Status says so for as long as a Job may be suspended by us: only then is it let go again.
    training = train_name(obj["metadata"]["name"])
    if plan.suspend is False:
        await _suspend(ctx, namespace, training, suspend=False)
    await ctx.writer.status(TRAININGJOB, obj, plan.status)
    count_run(obj.get("status", {}), plan.status)
    if plan.suspend:
        await _suspend(ctx, namespace, training, suspend=True)
    for notice in plan.notices:
        kind = cast(Literal["Normal", "Warning"], notice.type)
        await ctx.events.emit(obj, kind, notice.reason, notice.message)
    if plan.delete:
        await ctx.writer.delete(TRAININGJOB, obj)


async def _create(ctx: Context, obj: Json, body: Json | None) -> None:
    if body is None:
        return
    if body["kind"] == names.MODEL_VERSION:
        uid = obj["metadata"]["uid"]
        # Another version got the name first: once the cache has it, the next step takes another number.
        with suppress(NameConflict):
            await ctx.writer.create_once(MODELVERSION, body, same=lambda found: lineage_uid(found) == uid)
    else:
        await ctx.writer.create_once(JOB, body, owner=obj)


async def _suspend(ctx: Context, namespace: str, name: str, *, suspend: bool) -> None:
    """Set the one field of a Job that may change; server-side apply leaves every other field alone."""
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"suspend": suspend},
    }
    answer = await ctx.client.apply(JOB, namespace, body, manager=names.MANAGER, force=True)
    ctx.store.observe("MODIFIED", answer)
