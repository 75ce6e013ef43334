"""Reads a Job of ours with its pods out of the cache, and asks the API server where the cache may lag.

Comes in: an owner and the Job's name. Goes out: a `Run`, or None when there is no such Job. Invariant: a
Job that Kubernetes calls ended is never judged without its pods: what they said is the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from noria_operator.api import names
from noria_operator.controllers.context import Context
from noria_operator.domain.job_shape import Images
from noria_operator.domain.training_problems import claims_of
from noria_operator.domain.training_runs import Run, ended
from noria_operator.kube.errors import NameConflict
from noria_operator.kube.kinds import JOB, POD, PVC, Key
from noria_operator.kube.ownership import controller_uid

Json = dict[str, Any]

JOB_NAME_LABEL = "batch.kubernetes.io/job-name"


async def gather(ctx: Context, owner: Json, name: str, *, unread: bool = True) -> Run | None:
    """The Job `name` of `owner`; raises `NameConflict` when it belongs to somebody else.

    `unread` says that its result is still to be read; else neither pods that are gone nor the name matter.
    """
    meta = owner["metadata"]
    job = ctx.store.get(Key(JOB, meta["namespace"], name))
    if job is None or job["metadata"].get("deletionTimestamp"):
        return None
    if controller_uid(job) != meta["uid"]:
        if unread:
            raise NameConflict(JOB, name)
        return None
    labels = {names.OWNER_UID_LABEL: meta["uid"], JOB_NAME_LABEL: name}
    run = Run(job, tuple(ctx.store.list(POD, meta["namespace"], labels)))
    if unread and run.finished and ended(run, "Succeeded") is None and ended(run, "Failed") is None:
        # Jobs and pods arrive on two watches: the Job's end may be seen before the last word of its pod.
        run = Run(job, tuple(await ctx.client.list(POD, meta["namespace"], labels=labels)))
    modes = _access_modes(ctx, run.pods)
    waiting = bool(modes) and any(pod.get("status", {}).get("phase") == "Pending" for pod in run.pods)
    return Run(run.job, run.pods, modes, tuple(ctx.store.list(POD, meta["namespace"])) if waiting else ())


def images(ctx: Context, namespace: str) -> Images:
    """What Jobs of ours run in a namespace."""
    config = ctx.config
    return Images(
        config.server_image,
        config.image_pull_policy,
        namespace in config.allow_code_namespaces,
        config.fetching(namespace),
        config.pull_secrets,
    )


def _access_modes(ctx: Context, pods: Sequence[Json]) -> Mapping[str, Sequence[str]]:
    """Access modes of the claims that these pods mount, as far as the cache knows them."""
    modes = {}
    for pod in pods:
        for claim in claims_of(pod):
            found = ctx.store.get(Key(PVC, pod["metadata"]["namespace"], claim))
            if found is not None:
                modes[claim] = found["spec"].get("accessModes", [])
    return modes
