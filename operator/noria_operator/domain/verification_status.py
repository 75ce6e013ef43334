"""The status of a ModelVersion: phase, history, who serves it, conditions.

Comes in: the object, a phase with reason and sentence, its users. Goes out: the whole status to write.
Invariants: each change of phase is in the history once (the last 20 are kept); a rejected version that is
still served says so, and rejecting it moved nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from noria_operator.api.modelversion import VersionPhase
from noria_operator.domain.conditions import Condition, clip, merge_conditions
from noria_operator.domain.training_times import stamp

Json = dict[str, Any]

HISTORY: Final = 20
_VERIFIED: Final = (VersionPhase.APPROVED, VersionPhase.PENDING_APPROVAL, VersionPhase.ARCHIVED)
_SERVED: Final = "; still used by "


def phase_of(obj: Json) -> VersionPhase:
    """The phase that the last pass, or a person, left."""
    text = obj.get("status", {}).get("phase")
    return VersionPhase(text) if text in list(VersionPhase) else VersionPhase.PENDING


def describe(
    obj: Json, phase: VersionPhase, reason: str, message: str, *, served: Sequence[str], now: datetime
) -> Json:
    """The status of a version in this phase."""
    before = dict(obj.get("status", {}))
    message = message.partition(_SERVED)[0]
    if phase in (VersionPhase.REJECTED, VersionPhase.ARCHIVED) and served:
        message = f"{message}{_SERVED}{', '.join(served)}: pin or promote another version there"
    generation = int(obj["metadata"].get("generation", 0))
    conditions = merge_conditions(
        before.get("conditions", []), _conditions(phase, reason, message), now=now, generation=generation
    )
    before.pop("servedBy", None)  # absent while nobody serves it: an empty list is printed as []
    users = {"servedBy": sorted(served)[:64]} if served else {}
    return (
        before
        | users
        | {
            "phase": phase.value,
            "observedGeneration": generation,
            "history": _history(before, phase, reason, now),
            "message": clip(message),
            "conditions": conditions,
        }
    )


def _history(before: Json, phase: VersionPhase, reason: str, now: datetime) -> list[Json]:
    history = list(before.get("history", []))
    last = history[-1]["to"] if history else ""
    if last != phase.value:
        history.append({"at": stamp(now), "from": last, "to": phase.value, "reason": clip(reason)})
    return history[-HISTORY:]


def _conditions(phase: VersionPhase, reason: str, message: str) -> list[Condition]:
    working = phase in (VersionPhase.PENDING, VersionPhase.VALIDATING)
    rejected = phase is VersionPhase.REJECTED
    verified = True if phase in _VERIFIED else False if rejected else None
    return [
        Condition("Ready", phase is VersionPhase.APPROVED, reason, message),
        Condition("Reconciling", working, reason, message if working else ""),
        Condition("Stalled", rejected, reason, message if rejected else ""),
        Condition("ArtifactReady", verified, reason, message),
    ]
