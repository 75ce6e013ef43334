"""Asks every trigger of a ContinuousTraining what it says now, with the labels that the model servers
joined.

Comes in: the object and what it watches. Goes out: one `Request` a trigger, the manual one first.
Invariant: reads only; servers that do not answer leave a window open, they never close it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from noria_operator.api import names
from noria_operator.api.continuoustraining import ContinuousTraining, Performance
from noria_operator.controllers.context import Context
from noria_operator.domain.quality import Labels
from noria_operator.domain.serving_children import selector
from noria_operator.domain.training_times import moment
from noria_operator.domain.triggers import (
    MANUAL,
    Champion,
    Request,
    manual,
    performance,
    schedule,
    window_start,
)
from noria_operator.domain.triggers_plan import Watched
from noria_operator.kube.kinds import POD

Json = dict[str, Any]


async def requests(ctx: Context, obj: Json, training: ContinuousTraining, seen: Watched) -> Sequence[Request]:
    """The answers of this pass, in the order in which they are served."""
    status, meta = obj.get("status", {}), obj["metadata"]
    entries = {entry["name"]: entry for entry in status.get("triggers", [])}
    champion, now = _champion(seen), ctx.clock.now()
    said = names.command_id(meta.get("annotations"), "retrain")
    asked = manual(said, status.get("commands", {}).get("retrain"), entries.get(MANUAL))
    found = [asked] if asked else []
    for trigger in training.spec.triggers:
        entry = entries.get(trigger.name, {})
        if trigger.performance is None:
            # An added or edited trigger counts from now on, those of a new object from its creation on.
            edited = bool(entry) or bool(status.get("observedGeneration"))
            since = now if edited else moment(meta["creationTimestamp"])
            found.append(schedule(trigger, entry, since=since, now=now))
            continue
        rule = trigger.performance
        labels = await _labels(ctx, seen.deployment, rule, entry, champion)
        found.append(performance(trigger, rule, entry, champion=champion, labels=labels, now=now))
    return found


async def _labels(
    ctx: Context, deployment: Json | None, rule: Performance, entry: Json, champion: Champion | None
) -> Labels | None:
    """The labels of the champion since the open window started; None when there is none or nobody answers."""
    since = window_start(entry, rule, champion) if champion else None
    if champion is None or since is None or deployment is None:
        return None
    meta = deployment["metadata"]
    pods = ctx.store.list(POD, meta["namespace"], selector(meta["name"], meta["uid"]))
    return await ctx.servers.labels(meta["namespace"], meta["name"], pods, since=since, version=champion.name)


def _champion(seen: Watched) -> Champion | None:
    """The stable version of the deployment, with the metrics of its acceptance where it was evaluated."""
    status = (seen.deployment or {}).get("status", {})
    name = (status.get("stable") or {}).get("version")
    if not name:
        return None
    version = next((one for one in seen.versions if one["metadata"]["name"] == name), None)
    metrics = ((version or {}).get("spec", {}).get("evaluation") or {}).get("metrics", {})
    return Champion(name, dict(metrics))
