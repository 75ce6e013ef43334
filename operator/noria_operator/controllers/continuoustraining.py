"""The controller of ContinuousTrainings: read the evidence, weigh the triggers, start at most one
TrainingJob.

Comes in: a key. Goes out: TrainingJobs, status, Events. All decisions are in `domain.triggers_plan` and the
modules of the triggers beside it. Invariants: a run is in status before its TrainingJob is made; nothing that
is kept between two passes is needed: the window's start is in status, and the model servers remember what was
counted since; while all that a pass looks at stays as it was and all windows are open, it only reads them.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Literal, cast

from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.api.parsing import InvalidSpec
from noria_operator.controllers.context import Context, Result
from noria_operator.controllers.continuoustraining_requests import requests, reread
from noria_operator.controllers.training_counts import count_decisions
from noria_operator.domain.budget import Block
from noria_operator.domain.schedule import ScheduleError
from noria_operator.domain.training_status import is_finished
from noria_operator.domain.training_times import stamp
from noria_operator.domain.triggers_clock import not_ahead
from noria_operator.domain.triggers_hold import Watched, newest
from noria_operator.domain.triggers_moved import of_its_deployment
from noria_operator.domain.triggers_open import LONGEST, Open
from noria_operator.domain.triggers_plan import RetrainPlan, decide
from noria_operator.domain.triggers_unanswered import given_back
from noria_operator.kube.errors import Invalid, NotFound, Terminal
from noria_operator.kube.kinds import (
    CONTINUOUSTRAINING,
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

KIND: Kind = CONTINUOUSTRAINING
OWNS: tuple[Kind, ...] = (TRAININGJOB, JOB, POD)
COUNTED = frozenset(
    {"Performance", "EstimatedPerformance", "ConceptDrift", "NewSamples", "Drift", "DataQuality", "Fairness"}
)
"""Kinds of triggers that look at what model servers count."""
_STEPS = 4
_SOON = timedelta(milliseconds=100)
_AHEAD = (
    "status told of times that are yet to come: the clock of a leader was ahead, or this one's is behind; "
    "they count as now. Check the clocks of the nodes"
)


async def reconcile(ctx: Context, key: Key) -> Result:
    """Bring one ContinuousTraining as far as it gets without waiting."""
    known = ctx.store.get(key)
    if known is None:
        return Result()
    if (waits := await _only_read(ctx, key, known)) is not None:
        return waits
    model = known["spec"]["template"]["spec"]["model"]
    # Loops of one model take turns: each sees what the one before started.
    async with ctx.turns(f"training of {key.namespace}/{model}"):
        return await _reconcile(ctx, key)


async def _only_read(ctx: Context, key: Key, obj: Json) -> Result | None:
    """Read the open windows, where all that a pass looks at is as the last one found it; None: that, or what
    is read, may say more.
    """
    last = ctx.open.used(key)
    if last is None or not last.stands(obj, await _watched(ctx, obj), ctx.clock.now()):
        return None
    read = await reread(ctx, last.seen, last.windows)
    return _again(ctx, last.training, last.until) if read else None


async def _reconcile(ctx: Context, key: Key) -> Result:
    for _ in range(_STEPS):
        known = ctx.store.get(key)
        if known is None or known["metadata"].get("deletionTimestamp"):
            return Result()
        try:
            training, now = ctx.trainings(known), ctx.clock.now()
            mended = not_ahead(known, training, now)
            seen = await _watched(ctx, mended)
            obj = given_back(of_its_deployment(mended, seen.deployment))
            if seen.deployment is None:
                ctx.counts.forget(key.namespace, obj["spec"]["deployment"])
            asked, windows = await requests(ctx, obj, training, seen)
            plan = decide(obj, training, asked, seen, ctx.clock.now())
        except (InvalidSpec, ScheduleError) as error:
            raise _unusable(str(error)) from error
        await _act(ctx, known, plan)
        if mended is not known:
            await ctx.events.emit(known, "Warning", "TimesAhead", _AHEAD)
        if not plan.again:
            if windows and ctx.store.get(key) is known:
                until = min(filter(None, (plan.due, now + LONGEST)))
                ctx.open[key] = Open(known, training, seen, windows, now, until)
            return _again(ctx, training, plan.due)
    return Result(_SOON)


def related(store: Store, obj: Json) -> list[Key]:
    """A ModelDeployment, or a version or TrainingJob of its model, wakes the ContinuousTrainings that watch
    it.
    """
    kind, namespace = kind_of(obj), obj["metadata"].get("namespace", "")
    if kind not in (MODELDEPLOYMENT, MODELVERSION, TRAININGJOB):
        return []
    model, name = obj["spec"]["model"], obj["metadata"]["name"]
    wanted = {"spec.deployment": name} if kind == MODELDEPLOYMENT else {"spec.template.spec.model": model}
    return [key_of(training) for training in store.list(CONTINUOUSTRAINING, namespace, fields=wanted)]


async def _watched(ctx: Context, obj: Json) -> Watched:
    meta, store = obj["metadata"], ctx.store
    namespace = meta["namespace"]
    active = obj.get("status", {}).get("active")
    if active and store.get(Key(TRAININGJOB, namespace, active)) is None:
        # It is gone, or a former leader made it a moment ago and the cache does not show it yet.
        with suppress(NotFound):
            store.observe("ADDED", await ctx.client.get(TRAININGJOB, namespace, active))
    deployment = store.get(Key(MODELDEPLOYMENT, namespace, obj["spec"]["deployment"]))
    # Mostly the same model; each other's versions are looked at where they differ.
    models = {obj["spec"]["template"]["spec"]["model"]} | (
        {deployment["spec"]["model"]} if deployment else set()
    )
    found = [store.list(MODELVERSION, namespace, fields={"spec.model": model}) for model in sorted(models)]
    own = store.owned(TRAININGJOB, namespace, meta["uid"])
    names = {job["metadata"]["name"] for job in own}
    model = obj["spec"]["template"]["spec"]["model"]
    others = [
        job["metadata"]["name"]
        for job in store.list(TRAININGJOB, namespace, fields={"spec.model": model})
        if job["metadata"]["name"] not in names and not is_finished(job.get("status", {}))
    ]
    return Watched(own, deployment, [*chain(*found)], others, ctx.gap(), *_theirs(ctx, obj))


def _theirs(ctx: Context, obj: Json) -> tuple[Json, str]:
    """The newest run of the other loops of the deployment, and when the one before it began; one that is yet
    to come, as a clock that was ahead wrote it, is mended by its own loop first.
    """
    meta, latest = obj["metadata"], stamp(ctx.clock.now())
    loops = ctx.store.list(
        CONTINUOUSTRAINING, meta["namespace"], fields={"spec.deployment": obj["spec"]["deployment"]}
    )
    others = (one.get("status", {}) for one in loops if one["metadata"]["uid"] != meta["uid"])
    return newest([run for status in others for run in status.get("runs", ()) if run["at"] <= latest])


async def _act(ctx: Context, obj: Json, plan: RetrainPlan) -> None:
    if plan.create is not None:
        try:
            await ctx.writer.create_once(TRAININGJOB, plan.create, owner=obj)
        except Invalid as error:
            text = f"the API server refuses the TrainingJob; correct spec.template: {error.message}"
            raise _unusable(text) from error
    await ctx.writer.status(CONTINUOUSTRAINING, obj, plan.status)
    count_decisions(obj, plan.status)
    for notice in plan.notices:
        kind = cast(Literal["Normal", "Warning"], notice.type)
        await ctx.events.emit(obj, kind, notice.reason, notice.message)
    for look in plan.jobs:
        await ctx.writer.create_once(JOB, look, owner=obj)
    for name in plan.drop:
        found = ctx.store.get(Key(JOB, obj["metadata"]["namespace"], name))
        if found is not None:
            await ctx.writer.delete(JOB, found)
    for name in plan.delete:
        job = ctx.store.get(Key(TRAININGJOB, obj["metadata"]["namespace"], name))
        if job is not None:
            await ctx.writer.delete(TRAININGJOB, job)


def _unusable(text: str) -> Terminal:
    """No run starts with such a spec."""
    invalid = Block.INVALID.value
    return Terminal(invalid, text, told={"blockedBy": invalid})


def _again(ctx: Context, training: ContinuousTraining, due: datetime | None) -> Result:
    """When to look again: at the next date, and as often as counters are read where they are watched."""
    waits = [due - ctx.clock.now()] if due else []
    if any(trigger.reason in COUNTED for trigger in training.spec.triggers):
        waits.append(ctx.config.counters_interval)
    return Result(max(min(waits), _SOON) if waits else None)
