"""The controller of ModelVersions: verify once, then keep status true to who serves the version.

Comes in: a key. Goes out: a verification Job, status, Events. All decisions are in `domain.verification`.
Invariant: it opens no artifact and moves no traffic; a rejected version changes nothing but its own
status.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal, cast

from noria_operator.api.modelversion import ModelVersion, VersionPhase
from noria_operator.api.parsing import InvalidSpec, parse_as
from noria_operator.controllers.context import Context, Result
from noria_operator.controllers.trainingjob_runs import gather, images
from noria_operator.domain.retention import archivable, in_use, retained
from noria_operator.domain.training_jobs import verify_name
from noria_operator.domain.verification import Matter, Registry, decide
from noria_operator.domain.verification_status import phase_of, trial_of
from noria_operator.kube.errors import Invalid, Terminal
from noria_operator.kube.kinds import JOB, MODELDEPLOYMENT, MODELVERSION, POD, Key, Kind, key_of, kind_of
from noria_operator.kube.store import Store

Json = dict[str, Any]

KIND: Kind = MODELVERSION
OWNS: tuple[Kind, ...] = (JOB, POD)
_STEPS = 4
_UNVERIFIED = (VersionPhase.PENDING, VersionPhase.VALIDATING)
_SOON = timedelta(milliseconds=100)


async def reconcile(ctx: Context, key: Key) -> Result:
    """Bring one ModelVersion as far as it gets without waiting."""
    for _ in range(_STEPS):
        obj = ctx.store.get(key)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return Result()
        try:
            version = parse_as(ModelVersion, obj)
        except InvalidSpec as error:
            raise Terminal(error.reason, error.message) from error
        matter = Matter(
            obj,
            version,
            await gather(ctx, obj, _job_name(obj), unread=phase_of(obj) in _UNVERIFIED),
            _registry(ctx.store, obj),
            images(ctx, key.namespace),
            ctx.clock.now(),
        )
        plan = decide(matter)
        if plan.create is not None:
            await _create(ctx, obj, plan.create)
        await ctx.writer.status(MODELVERSION, obj, plan.status)
        for notice in plan.notices:
            kind = cast(Literal["Normal", "Warning"], notice.type)
            await ctx.events.emit(obj, kind, notice.reason, notice.message)
        if not plan.again:
            return Result(max(plan.due - ctx.clock.now(), _SOON) if plan.due else None)
    return Result(_SOON)


def _job_name(obj: Json) -> str:
    return verify_name(obj["metadata"]["name"], trial_of(obj).attempt)


async def _create(ctx: Context, obj: Json, job: Json) -> None:
    try:
        await ctx.writer.create_once(JOB, job, owner=obj)
    except Invalid as error:
        text = f"the API server refuses the verification Job; make another version: {error.message}"
        raise Terminal("InvalidSpec", text) from error


def related(store: Store, obj: Json) -> list[Key]:
    """Who is served changed, or a newer version came: the versions that tell of another use by the deployment
    than there is now, and old ones. A first version is told of once it serves, not before.
    """
    kind, namespace = kind_of(obj), obj["metadata"].get("namespace", "")
    if kind not in (MODELVERSION, MODELDEPLOYMENT):
        return []
    same = {"spec.model": obj["spec"]["model"]}
    versions = store.list(MODELVERSION, namespace, fields=same)
    names = set(archivable(retained(versions, store.list(MODELDEPLOYMENT, namespace, fields=same))))
    there = store.get(key_of(obj)) is not None  # it may have been deleted
    if kind == MODELDEPLOYMENT and not (there and _starts(obj)):
        user = f"{obj['metadata']['name']} ("
        uses = in_use([obj]) if there else {}
        for one in versions:
            name = one["metadata"]["name"]
            told = [entry for entry in one.get("status", {}).get("servedBy", []) if entry.startswith(user)]
            if sorted(told) != sorted(uses.get(name, [])):
                names.add(name)
    known = {one["metadata"]["name"] for one in versions}
    return [Key(MODELVERSION, namespace, name) for name in sorted(names & known)]


def _starts(deployment: Json) -> bool:
    """Whether its first version is on its way."""
    status = deployment.get("status", {})
    return "candidate" in status and "stable" not in status


def _registry(store: Store, obj: Json) -> Registry:
    """A deployment serves versions of its own model only, whichever field names them."""
    namespace, same = obj["metadata"]["namespace"], {"spec.model": obj["spec"]["model"]}
    complete = store.synced(MODELVERSION) and store.synced(MODELDEPLOYMENT)
    return Registry(
        store.list(MODELVERSION, namespace, fields=same),
        store.list(MODELDEPLOYMENT, namespace, fields=same),
        complete,
    )
