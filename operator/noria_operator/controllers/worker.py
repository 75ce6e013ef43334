"""The workers: take a key from the queue, run one reconcile pass, decide how the key goes on.

Success forgets earlier failures; `Conflict` comes again almost at once with fresher data; `Terminal` is
written into the object as Stalled; where the object or its whole namespace goes, nothing is left to do;
anything else comes again with back-off, and an Event says so if that does not help. Nothing here ends the
process but what must: a lost lease.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar

from noria_operator.controllers.context import Context, Controller, Result
from noria_operator.domain.conditions import Condition, clip, merge_conditions
from noria_operator.kube import metrics
from noria_operator.kube.errors import (
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NamespaceTerminating,
    NotFound,
    Terminal,
)
from noria_operator.kube.kinds import Key
from noria_operator.kube.lease import LeaseLost
from noria_operator.kube.queue import Closed, Queue

log = logging.getLogger(__name__)

PASSING: ContextVar[Key | None] = ContextVar("passing", default=None)
"""Whose pass is running, for whoever hears of what it writes."""
PASS_SECONDS = 60.0
"""Longest a pass may take: one that hangs in a read would hold its key for ever."""
CONFLICT_DELAY = 0.02
FAILING = 6
"""Passes in a row that fail, which is about a quarter of a minute, before people are told."""


async def work(queue: Queue, ctx: Context, controllers: Iterable[Controller]) -> None:
    """Reconcile key after key until the queue is closed; several of these run at once."""
    by_kind = {controller.KIND: controller for controller in controllers}
    while True:
        try:
            key = await queue.get()
        except Closed:
            return
        try:
            await reconcile(queue, ctx, by_kind[key.kind], key)
        finally:
            queue.done(key)


async def reconcile(queue: Queue, ctx: Context, controller: Controller, key: Key) -> None:
    """One pass over one key, with every outcome accounted for."""
    started, passing = time.perf_counter(), PASSING.set(key)
    try:
        outcome = await _pass(queue, ctx, controller, key)
    finally:
        PASSING.reset(passing)
    seconds = time.perf_counter() - started
    metrics.RECONCILES.labels(key.kind.kind, outcome).inc()
    metrics.RECONCILE_SECONDS.labels(key.kind.kind).observe(seconds)
    log.debug(
        "Reconciled", extra=_about(key) | {"outcome": outcome, "milliseconds": round(seconds * 1000, 1)}
    )


async def _pass(queue: Queue, ctx: Context, controller: Controller, key: Key) -> str:
    try:
        async with asyncio.timeout(PASS_SECONDS):
            result = await _guarded(ctx, controller, key)
    except LeaseLost:
        raise
    except Conflict as error:
        queue.retry(key, first=CONFLICT_DELAY)
        log.debug("The object changed meanwhile", extra=_about(key) | {"error": str(error)})
        return "conflict"
    except ApiError as error:
        if _going(ctx, key, error):
            queue.forget(key)
            log.debug("What was looked at is going", extra=_about(key) | {"error": str(error)})
            return "gone"
        await _tell_refusal(ctx, key, error)
        delay = queue.retry(key)
        log.warning(
            "The API server refused; the pass is repeated",
            extra=_about(key) | {"error": str(error), "delay": delay},
        )
        await _tell_failing(queue, ctx, key, error)
        return "error"
    except Exception as error:
        delay = queue.retry(key)
        log.exception("A pass failed and is repeated", extra=_about(key) | {"delay": delay})
        await _tell_failing(queue, ctx, key, error)
        return "error"
    queue.forget(key)
    if result.after is None:
        return "success"
    queue.add_after(key, result.after)
    return "requeue_after"


async def _guarded(ctx: Context, controller: Controller, key: Key) -> Result:
    try:
        return await controller.reconcile(ctx, key)
    except Terminal as error:
        await mark_stalled(ctx, key, error)
        return Result(after=error.retry)


async def mark_stalled(ctx: Context, key: Key, error: Terminal) -> None:
    """Write Stalled=True and Ready=False with the reason, and the message; the rest of status stays."""
    obj = ctx.store.get(key)
    if obj is None or obj["metadata"].get("deletionTimestamp"):
        return
    status, generation = obj.get("status", {}), obj["metadata"].get("generation", 0)
    before = status.get("conditions", [])
    told = any(one["type"] == "Stalled" and one["reason"] == error.reason for one in before)
    stalled = merge_conditions(
        before,
        [
            Condition("Ready", False, error.reason, error.message),
            Condition("Reconciling", False, error.reason, error.message),
            Condition("Stalled", True, error.reason, error.message),
        ],
        now=ctx.clock.now(),
        generation=generation,
    )
    kept = [one for one in before if one["type"] not in {"Ready", "Reconciling", "Stalled"}]
    told_now = {"observedGeneration": generation, "message": clip(error.message), **error.told}
    changed = {**status, **told_now, "conditions": stalled + kept}
    await ctx.writer.status(key.kind, obj, changed)
    if not told:
        await ctx.events.emit(obj, "Warning", error.reason, error.message)


def _going(ctx: Context, key: Key, error: ApiError) -> bool:
    """Whether the pass failed because its object, or the namespace with all that is in it, is deleted.

    Namespaces are in no cache: a create of a router's object finds nothing missing but its namespace.
    """
    return isinstance(error, NamespaceTerminating) or (
        isinstance(error, NotFound) and ctx.store.get(key) is None
    )


async def _tell_refusal(ctx: Context, key: Key, error: ApiError) -> None:
    """What an admission policy, a quota or a schema refused is for the owner of the object to know."""
    obj = ctx.store.get(key)
    if obj is None or not isinstance(error, Forbidden | Invalid):
        return
    refused = Terminal("WriteRefused", f"the API server refused a write: {error}")
    await ctx.events.emit(obj, "Warning", refused.reason, refused.message)
    with suppress(ApiError):  # it may be the status that was refused
        await mark_stalled(ctx, key, refused)


async def _tell_failing(queue: Queue, ctx: Context, key: Key, error: Exception) -> None:
    """The message says the kind of error alone, so that it stays the same and comes once in a while."""
    obj = ctx.store.get(key)
    if obj is None or queue.failures(key) < FAILING or isinstance(error, Forbidden | Invalid):
        return
    message = (
        f"nothing moves here: the operator fails again and again ({type(error).__name__}) and goes on "
        "trying, every five minutes at last; its log says why"
    )
    await ctx.events.emit(obj, "Warning", "PassFailing", message)


def _about(key: Key) -> dict[str, str]:
    return {"kind": key.kind.kind, "namespace": key.namespace, "object": key.name}
