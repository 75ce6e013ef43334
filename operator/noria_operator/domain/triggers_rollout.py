"""Whether the version of the last run is still on its way into traffic: no new run starts meanwhile.

Comes in: the name of the last TrainingJob, the ModelDeployment and the ModelVersions. Goes out: a
sentence that says what is going on, or nothing. Invariant: a version that nobody will roll out (rejected,
older than the stable one or than what an undo left, waiting for a person, for other arms of an experiment or
for a store that does not answer, or the deployment is pinned to another) holds nothing back, nor does a first
one whose pods were not ready in time: the next version is what may serve.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from noria_operator.api.names import version_number

Json = dict[str, Any]


def rolling_out(job: str, deployment: Json | None, versions: Sequence[Json]) -> str:
    """What the last run's version waits for; empty when a new run may start."""
    if deployment is None:
        return ""
    name, status = deployment["metadata"]["name"], deployment.get("status", {})
    candidate = (status.get("candidate") or {}).get("version")
    late = first_is_late(status)
    if candidate and not late:
        return f"ModelDeployment {name} is rolling out {candidate}"
    version = next((one for one in versions if made_by(one, job)), None) if job else None
    if version is None or (late and version["metadata"]["name"] == candidate):
        return ""
    own, told = version["metadata"]["name"], version.get("status", {})
    phase = told.get("phase", "Pending")
    if phase in ("Pending", "Validating"):
        return "" if "verification" in told else f"ModelVersion {own} is being verified"
    if phase != "Approved" or passed_over(version, deployment) or _lacks_arms(deployment, versions):
        return ""
    return f"ModelDeployment {name} is about to roll out {own}"


def made_by(version: Json, job: str) -> bool:
    """Whether a ModelVersion came from this TrainingJob."""
    lineage = version["spec"].get("lineage") or {}
    return bool((lineage.get("trainingJob") or {}).get("name") == job)


def first_is_late(status: Json) -> bool:
    """Whether nothing serves because the pods of the first version were not ready in time."""
    late = ("Stalled", "True", "ProgressDeadlineExceeded")
    told = ((one["type"], one["status"], one.get("reason")) for one in status.get("conditions", ()))
    return not status.get("stable") and late in told


def _lacks_arms(deployment: Json, versions: Iterable[Json]) -> bool:
    """Whether an experiment, which comes before all else, waits for versions that may be the next run's."""
    experiment = (deployment["spec"].get("strategy") or {}).get("experiment") or {}
    stable = (deployment.get("status", {}).get("stable") or {}).get("version", "")
    there = {one["metadata"]["name"] for one in versions if one.get("status", {}).get("phase") == "Approved"}
    named = (arm["version"] for arm in experiment.get("arms") or ())
    return any(one not in there and one != stable and not refused(one, deployment) for one in named)


def passed_over(version: Json, deployment: Json) -> bool:
    """Whether the deployment had this version already, refused it, follows another, or went back past it."""
    own, status, spec = version["metadata"]["name"], deployment.get("status", {}), deployment["spec"]
    if spec.get("version") not in (None, own) or spec["model"] != version["spec"]["model"]:
        return True
    if refused(own, deployment):
        return True
    stable = (status.get("stable") or {}).get("version", "")
    undone = {} if spec.get("version") else status.get("undo") or {}
    left = (undone.get("left") or {}).get("version", "")
    return stable == own or max(map(version_number, (stable, left))) >= int(version["spec"]["version"])


def refused(version: str, deployment: Json) -> bool:
    """Whether the deployment rolled this version back, and is not trying it again right now."""
    return any(not one.get("retrying") for one in _said(version, deployment))


def may_be_tried(version: str, deployment: Json) -> bool:
    """Whether it was refused, but will be tried again by itself, or was aborted before anybody made it."""
    return any(one.get("nextRetryTime") or not one.get("revision") for one in _said(version, deployment))


def blameless(version: str, deployment: Json) -> bool:
    """Whether nothing is known against it: another version won the experiment in which it was, or it was
    aborted before anybody made it.
    """
    won = (one.get("lost") and one.get("byHand") for one in _said(version, deployment))
    return any(won) or not any(one.get("revision") for one in _said(version, deployment))


def _said(version: str, deployment: Json) -> list[Json]:
    rejected = deployment.get("status", {}).get("rejected", [])
    return [one for one in rejected if one.get("version") == version]
