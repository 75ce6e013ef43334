"""The status of a TrainingJob: phase, message and conditions that always agree.

Comes in: the object, a phase and the sentence that goes with it. Goes out: the whole status to write.
Invariant: exactly one of working, succeeded and failed shows in the conditions, in Kubernetes' own words
(Complete, Failed, Suspended) and in kstatus' (Ready, Reconciling, Stalled).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from noria_operator.api.names import TRIGGER_ANNOTATION
from noria_operator.api.status import Trigger
from noria_operator.api.trainingjob import TrainingFailure, TrainingPhase
from noria_operator.domain.conditions import Condition, clip, merge_conditions
from noria_operator.domain.training_times import moment, stamp

Json = dict[str, Any]

HELD: Final = "HeldElsewhere"
"""Reason of the condition Suspended where a queue, or a person, had suspended the Job before."""


def is_finished(status: Mapping[str, Any]) -> bool:
    """Whether the TrainingJob ended, well or badly: its status is final."""
    return status.get("phase") in (TrainingPhase.SUCCEEDED, TrainingPhase.FAILED)


def progress(
    obj: Json, phase: TrainingPhase, message: str, now: datetime, *, elsewhere: bool = False
) -> Json:
    """A TrainingJob that is not done yet; `elsewhere`: it is suspended, and others hold its Job as well."""
    suspended = phase is TrainingPhase.SUSPENDED
    return _status(
        obj,
        phase,
        message,
        [
            Condition("Complete", False, phase.value, ""),
            Condition("Failed", False, phase.value, ""),
            Condition(
                "Suspended", suspended, HELD if elsewhere else phase.value, message if suspended else ""
            ),
            Condition("Ready", False, phase.value, message),
            Condition("Reconciling", not suspended, phase.value, message),
            Condition("Stalled", False, phase.value, ""),
        ],
        now,
    )


def succeed(obj: Json, version: str, now: datetime) -> Json:
    """A TrainingJob whose ModelVersion exists."""
    message = f"ModelVersion {version} was made"
    return _status(
        obj,
        TrainingPhase.SUCCEEDED,
        message,
        [
            Condition("Complete", True, "Registered", message),
            Condition("Failed", False, "Registered", ""),
            Condition("Suspended", False, "Registered", ""),
            Condition("Ready", True, "Registered", message),
            Condition("Reconciling", False, "Registered", ""),
            Condition("Stalled", False, "Registered", ""),
        ],
        now,
    ) | {"completionTime": stamp(now), "modelVersion": version}


def fail(obj: Json, reason: TrainingFailure, message: str, now: datetime) -> Json:
    """A TrainingJob that ended without a ModelVersion."""
    return _status(
        obj,
        TrainingPhase.FAILED,
        message,
        [
            Condition("Complete", False, reason.value, ""),
            Condition("Failed", True, reason.value, message),
            Condition("Suspended", False, reason.value, ""),
            Condition("Ready", False, reason.value, message),
            Condition("Reconciling", False, reason.value, ""),
            Condition("Stalled", True, reason.value, message),
        ],
        now,
    ) | {"completionTime": stamp(now)}


def _status(
    obj: Json, phase: TrainingPhase, message: str, conditions: list[Condition], now: datetime
) -> Json:
    before = dict(obj.get("status", {}))
    generation = int(obj["metadata"].get("generation", 0))
    trigger = trigger_of(obj)
    return before | {
        "phase": phase.value,
        "message": clip(message),
        "observedGeneration": generation,
        "startTime": before.get("startTime") or stamp(now),
        "conditions": merge_conditions(
            before.get("conditions", []), conditions, now=now, generation=generation
        ),
        **({"trigger": trigger} if trigger else {}),
    }


def timed(
    before: Mapping[str, Any], after: Json, *, begun: datetime | None, ended: bool, until: datetime
) -> Json:
    """`after` with how long pods have held what they ask for: from `begun` (of the newest one) on, while it
    runs. Who waits for a queue or a node, is suspended or is scored holds nothing; what was counted is not
    counted again, though a pod that was told to end may still be there, and one that failed before stays.
    """
    seen = before.get("runningSince")
    since = moment(seen) if seen else begun
    told = {name: value for name, value in after.items() if name != "runningSince"}
    if after["phase"] == TrainingPhase.RUNNING:
        return told | ({"runningSince": stamp(since)} if since else {})
    if since is None or not (seen or ended):
        return told
    ran = max(0, round((until - since).total_seconds()))
    return told | {"ranSeconds": int(before.get("ranSeconds") or 0) + ran}


def trigger_of(obj: Json) -> Json:
    """Why a ContinuousTraining made this TrainingJob; empty when it did not, or when the annotation is not
    readable.
    """
    text = obj["metadata"].get("annotations", {}).get(TRIGGER_ANNOTATION)
    if not text:
        return {}
    try:
        body = json.loads(text)
        return Trigger.model_validate(body).to_json()
    except (ValueError, RecursionError, ValidationError):
        return {}
