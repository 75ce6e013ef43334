"""The registry: how ModelVersions are numbered, found and written.

Comes in: the ModelVersions of a namespace and everything else that remembers a number. Goes out: the next
number, the version that a TrainingJob already made, and the body of a new one. Invariants: a number is
never used twice, not even after its ModelVersion was deleted, as long as anything remembers it; one
version at most for each TrainingJob uid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from noria_operator.domain.rollout_words import Happened

Json = dict[str, Any]

_OF_NAMES = frozenset({Happened.CANCELLED, Happened.RETRIED})
"""What is told of versions that may have yet to be made."""


def number_of(model: str, name: str) -> int:
    """N of `<model>-<N>`, 0 for any other name."""
    match = re.fullmatch(rf"{re.escape(model)}-([1-9][0-9]{{0,9}})", name)
    return int(match[1]) if match else 0


def next_number(
    model: str, *, versions: Iterable[Json], jobs: Iterable[Json], deployments: Iterable[Json]
) -> int:
    """One more than the highest number that a version, a reservation or a deployment's status remembers."""
    highest = 0
    for version in versions:
        if version["spec"]["model"] == model:
            highest = max(
                highest, int(version["spec"]["version"]), number_of(model, version["metadata"]["name"])
            )
    for job in jobs:
        if job["spec"]["model"] == model:
            highest = max(highest, int(job.get("status", {}).get("reservedVersion") or 0))
    for deployment in deployments:
        if deployment["spec"]["model"] == model:
            highest = max([highest, *(number_of(model, name) for name in remembered(deployment))])
    return highest + 1


def remembered(deployment: Json) -> list[str]:
    """Names of all versions that a ModelDeployment's status speaks of, past ones too, but for arms of an
    experiment that were aborted, or may be tried again, before anybody made them: somebody will.
    """
    status = deployment.get("status", {})
    entries = [status.get(role) for role in ("stable", "candidate", "previous")]
    entries += [*status.get("others", []), *status.get("champions", [])]
    entries += [one for one in status.get("rejected", []) if one.get("revision")]
    entries += [one for one in status.get("history", []) if one.get("event") not in _OF_NAMES]
    return [entry["version"] for entry in entries if entry and entry.get("version")]


def made_by(uid: str, versions: Iterable[Json]) -> Json | None:
    """The version whose lineage names this TrainingJob uid, if there is one."""
    for version in versions:
        if lineage_uid(version) == uid:
            return version
    return None


def lineage_uid(version: Json) -> str:
    """Uid of the TrainingJob that a version comes from; empty for one written by hand."""
    job = version["spec"].get("lineage", {}).get("trainingJob", {})
    return str(job.get("uid", ""))
