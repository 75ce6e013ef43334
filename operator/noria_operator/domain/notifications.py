"""What happened to objects of ours that somebody may want to be told: read from their status, nowhere else.

Comes in: an object as the API server has it. Goes out: its occurrences, newest last. Invariants: an
occurrence was persisted before it is seen here, so a restart finds it again; its id comes from the object's
uid and from what status says of it, so the same occurrence has the same id whoever reads it, and however
often.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from noria_operator.api import names
from noria_operator.api.modelversion import VersionPhase
from noria_operator.api.trainingjob import REFUSALS
from noria_operator.domain.budget import Block
from noria_operator.domain.rollout_words import Happened
from noria_operator.domain.training_times import moment

Json = dict[str, Any]

STEP: Final = "rollout.step"

ROLLOUT: Final = {
    Happened.STARTED: "rollout.started",
    Happened.STEP: STEP,
    Happened.PAUSED: "rollout.paused",
    Happened.RESUMED: "rollout.resumed",
    Happened.BY_HAND: "rollout.byhand",
    Happened.BURST: "rollout.burst",
    Happened.FALLBACK: "rollout.unavailable",
    Happened.STALLED: "rollout.stalled",
    Happened.PROMOTED: "rollout.promoted",
    Happened.ROLLED_BACK: "rollout.aborted",
    Happened.CANCELLED: "rollout.cancelled",
    Happened.SUPERSEDED: "rollout.superseded",
    Happened.UNDONE: "rollout.undone",
    Happened.REVERTED: "rollout.rolledback",
    Happened.RETRIED: "rollout.retried",
}
"""Word of a ModelDeployment's history → type; what is not named here is told to nobody."""
VERSION: Final = {
    VersionPhase.APPROVED: "version.approved",
    VersionPhase.PENDING_APPROVAL: "version.waiting",
    VersionPhase.REJECTED: "version.rejected",
}
SUCCEEDED, FAILED, GATE_FAILED = "training.succeeded", "training.failed", "training.rejected"
RETRAINING, OVER_BUDGET = "retraining.started", "retraining.blocked"
ALARM: Final = {"Warn": "trigger.warned", "Block": "trigger.blocked"}
"""Decision on a trigger → type."""

TYPES: Final = frozenset(
    {*ROLLOUT.values(), *VERSION.values(), *ALARM.values(), SUCCEEDED, FAILED, GATE_FAILED}
    | {RETRAINING, OVER_BUDGET}
)
TROUBLE: Final = frozenset(
    {
        *("rollout.aborted", "rollout.burst", "rollout.unavailable", "rollout.stalled", "rollout.undone"),
        *("version.rejected", FAILED, GATE_FAILED, OVER_BUDGET, *ALARM.values()),
    }
)
"""Types that call for somebody's attention."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One thing that happened: `type` as in `TYPES`, `version` the ModelVersion concerned (may be empty)."""

    id: str
    type: str
    at: datetime
    kind: str
    namespace: str
    name: str
    uid: str
    version: str
    message: str


def occurrences(obj: Json, since: datetime) -> list[Occurrence]:
    """What happened to the object after `since`, as far as its status remembers, and that a budget is spent
    for as long as it is; oldest first.
    """
    read = _READERS.get(obj["kind"])
    return sorted(read(obj, since), key=lambda one: one.at) if read else []


def _rollout(obj: Json, since: datetime) -> Iterator[Occurrence]:
    for entry in reversed(obj.get("status", {}).get("history", ())):
        at = moment(entry["at"])
        if at <= since:
            return
        type_ = ROLLOUT.get(entry["event"])
        if type_ is not None:
            version, message = entry.get("version", ""), entry.get("message", "")
            yield _one(obj, type_, at, version, message, key=(entry["event"], version, message))


def _version(obj: Json, since: datetime) -> Iterator[Occurrence]:
    name, status = obj["metadata"]["name"], obj.get("status", {})
    said = status.get("message", "")  # of the last change of phase
    for entry in reversed(status.get("history", ())):
        at = moment(entry["at"])
        if at <= since:
            return
        type_ = VERSION.get(entry["to"])
        why, said = said or entry.get("reason", ""), ""
        if type_ is not None:
            message = f"{name} is {entry['to']}: {why}"
            yield _one(obj, type_, at, name, message, key=(entry["to"],))


def _training(obj: Json, since: datetime) -> Iterator[Occurrence]:
    status = obj.get("status", {})
    for one in status.get("conditions", ()):
        if one["type"] not in ("Complete", "Failed") or one["status"] != "True":
            continue
        at = moment(one["lastTransitionTime"])
        if at <= since:
            continue
        failed = GATE_FAILED if one["reason"] in REFUSALS else FAILED
        type_ = SUCCEEDED if one["type"] == "Complete" else failed
        why = (status.get("trigger") or {}).get("name")
        message = one.get("message", "") + (f" (retraining, trigger {why})" if why else "")
        yield _one(obj, type_, at, status.get("modelVersion", ""), message, key=(one["type"],))


def _retraining(obj: Json, since: datetime) -> Iterator[Occurrence]:
    status = obj.get("status", {})
    last = status.get("lastTrigger")
    if last and moment(last["at"]) > since:
        message = (
            f"TrainingJob {last['trainingJob']} was started by trigger {last['name']} ({last['reason']})"
        )
        yield _one(obj, RETRAINING, moment(last["at"]), "", message, key=(last["trainingJob"],))
    for entry in status.get("triggers", ()):
        type_ = ALARM.get(entry.get("decision", ""))
        if type_ is not None and "since" in entry and moment(entry["since"]) > since:
            message = f"trigger {entry['name']}: {entry.get('message', '')}"
            yield _one(obj, type_, moment(entry["since"]), "", message, key=(entry["name"],))
    runs, told = status.get("runs") or (), status.get("lastEvaluation")
    held = f"held by {Block.BUDGET.value}"
    refused = next((one for one in status.get("triggers", ()) if held in one.get("message", "")), None)
    if refused and runs and told:
        message = f"trigger {refused['name']}: {refused['message']}"
        # One occurrence for each spent budget: the last run that it paid for names it.
        yield _one(obj, OVER_BUDGET, moment(told), "", message, key=(runs[-1]["at"],), dated=False)


_READERS = {
    names.MODEL_DEPLOYMENT: _rollout,
    names.MODEL_VERSION: _version,
    names.TRAINING_JOB: _training,
    names.CONTINUOUS_TRAINING: _retraining,
}


def _one(
    obj: Json,
    type_: str,
    at: datetime,
    version: str,
    message: str,
    *,
    key: tuple[str, ...],
    dated: bool = True,
) -> Occurrence:
    meta = obj["metadata"]
    parts = (meta["uid"], type_, *((at.isoformat(),) if dated else ()), *key)
    id_ = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    namespace, uid = meta["namespace"], meta["uid"]
    return Occurrence(id_, type_, at, obj["kind"], namespace, meta["name"], uid, version, message)
