"""What the champion was asked in the day before a run, for the check of its rows.

Comes in: a TrainingJob, the ModelDeployment and its stable version. Goes out: counts by feature in that
version's bins. Invariants: nothing waits for the source of the counts; what nobody can tell is empty, and so
is what a rollout leaves of the requests that it leads past the champion by a header.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.controllers.context import Context
from noria_operator.domain.drift.columns import Seen
from noria_operator.domain.server_pods import counts_ready
from noria_operator.domain.serving_children import selector
from noria_operator.domain.training_times import moment
from noria_operator.domain.triggers_aside import leads_aside
from noria_operator.kube.kinds import POD

Json = dict[str, Any]

BEFORE: Final = timedelta(days=1)
"""A whole day, since nights differ; of its first minutes servers may know nothing."""


async def served(ctx: Context, obj: Json, deployment: Json, version: str) -> Mapping[str, Seen] | None:
    """Columns of `version`; None: nobody has told yet. The window begins at the same moment in each pass."""
    if leads_aside(deployment):
        return {}
    meta, day = deployment["metadata"], moment(obj["metadata"]["creationTimestamp"]) - BEFORE
    since = _undivided(deployment, day)
    pods = ctx.store.list(POD, meta["namespace"], selector(meta["name"], meta["uid"]))
    if not any(map(counts_ready, pods)):  # nothing runs, or containers that are none of ours
        return {}
    found = await ctx.counts.window(meta["namespace"], meta["name"], pods, since=since)
    if found is None:
        return {} if ctx.counts.problem(meta["namespace"], meta["name"], since) else None
    return found.seen(version)


def _undivided(deployment: Json, since: datetime) -> datetime:
    """Since when all requests were divided by chance: where rollouts lead some by a header, the last one that
    did was over by the event that is told last.
    """
    strategy = deployment["spec"].get("strategy") or {}
    parts = (*strategy.get("steps", ()), *(strategy.get("experiment") or {}).get("arms", ()))
    if not any(one.get("match") for one in parts):
        return since
    return max([since, *(moment(one["at"]) for one in deployment.get("status", {}).get("history", ()))])
