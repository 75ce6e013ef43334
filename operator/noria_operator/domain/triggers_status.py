"""Conditions of a ContinuousTraining.

Comes in: the status being written and the deployment. Goes out: the status with conditions and message.
Invariants: Ready means that all triggers are watched, so that it is never True beside Stalled; a suspended
loop is still Ready, and says that it starts nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from noria_operator.domain.conditions import Condition, clip, merge_conditions
from noria_operator.domain.triggers import ALARMS
from noria_operator.domain.triggers_performance import UNSUITABLE
from noria_operator.domain.triggers_template import unusable

Json = dict[str, Any]


def ready(obj: Json, status: Json, deployment: Json | None, held: str, now: datetime) -> Json:
    """The status of an object whose spec can be used."""
    name = obj["spec"]["deployment"]
    if deployment is None:
        message = f"ModelDeployment {name} does not exist; create it, or correct spec.deployment"
        conditions = [
            Condition("Ready", False, "DeploymentMissing", message),
            Condition("Reconciling", True, "DeploymentMissing", message),
            Condition("Stalled", False, "DeploymentMissing", ""),
        ]
    elif wrong := unusable(obj, deployment):
        message = wrong
        conditions = [
            Condition("Ready", False, "InvalidSpec", message),
            Condition("Reconciling", False, "InvalidSpec", ""),
            Condition("Stalled", True, "InvalidSpec", message),
        ]
    else:
        reason = "Suspended" if obj["spec"].get("suspend") else "Watching"
        stalled = _unsuitable(status, reason)
        told = (f"watching {name}", f"no run starts: {held}" if held else "", stalled.message)
        message = "; ".join(filter(None, told))
        conditions = [
            Condition("Ready", not stalled.status, stalled.reason, message),
            Condition("Reconciling", False, stalled.reason, ""),
            stalled,
        ]
    conditions.append(_alarm(status))
    generation = int(obj["metadata"].get("generation", 0))
    before = obj.get("status", {}).get("conditions", [])
    return status | {
        "message": clip(message),
        "observedGeneration": generation,
        "conditions": merge_conditions(before, conditions, now=now, generation=generation),
    }


def _unsuitable(status: Json, reason: str) -> Condition:
    """Whether a trigger asks what the served model cannot tell; the others are watched."""
    entries = [one for one in status.get("triggers", []) if one.get("reason") == UNSUITABLE]
    if not entries:
        return Condition("Stalled", False, reason, "")
    said = "; ".join(f"trigger {one['name']}: {one.get('message', '')}" for one in entries)
    return Condition("Stalled", True, UNSUITABLE, clip(said))


def _alarm(status: Json) -> Condition:
    """Whether a trigger that warns or blocks fires."""
    firing = [one for one in status.get("triggers", []) if one.get("decision") in ALARMS]
    if not firing:
        return Condition("Alarm", False, "TriggersQuiet", "")
    said = "; ".join(f"{one['name']}: {one.get('message', '')}" for one in firing)
    return Condition("Alarm", True, "TriggersFire", clip(said))
