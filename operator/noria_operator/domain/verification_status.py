"""The status of a ModelVersion: phase, history, who serves it, conditions.

Comes in: the object, a phase with reason and sentence, its users. Goes out: the whole status to write.
Invariants: each change of phase is in the history once (the last 20 are kept); a rejected version that is
still served says so, and rejecting it moved nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from noria_operator.api.modelversion import VersionPhase
from noria_operator.domain.conditions import Condition, clip, merge_conditions
from noria_operator.domain.training_times import moment, stamp

Json = dict[str, Any]

HISTORY: Final = 20
_VERIFIED: Final = (VersionPhase.APPROVED, VersionPhase.PENDING_APPROVAL, VersionPhase.ARCHIVED)
_UNVERIFIED: Final = (VersionPhase.PENDING, VersionPhase.VALIDATING)
_SERVED: Final = "; still used by "


@dataclass(frozen=True)
class Trial:
    """Which verification Job it is, counted from 1, and when it may begin; absent: at once."""

    attempt: int = 1
    not_before: datetime | None = None


def trial_of(obj: Json) -> Trial:
    """The present verification, as the last pass left it."""
    told = obj.get("status", {}).get("verification")
    return Trial(int(told["attempt"]), moment(told["notBefore"])) if told else Trial()


def phase_of(obj: Json) -> VersionPhase:
    """The phase that the last pass, or a person, left."""
    text = obj.get("status", {}).get("phase")
    return VersionPhase(text) if text in list(VersionPhase) else VersionPhase.PENDING


def describe(
    obj: Json,
    phase: VersionPhase,
    reason: str,
    message: str,
    *,
    served: Sequence[str],
    now: datetime,
    trial: Trial | None = None,
) -> Json:
    """The status of a version in this phase; `trial` where its next verification is another one."""
    before = dict(obj.get("status", {}))
    message = message.partition(_SERVED)[0]
    if phase in (VersionPhase.REJECTED, VersionPhase.ARCHIVED) and served:
        message = f"{message}{_SERVED}{', '.join(served)}: pin or promote another version there"
    generation = int(obj["metadata"].get("generation", 0))
    conditions = merge_conditions(
        before.get("conditions", []), _conditions(phase, reason, message), now=now, generation=generation
    )
    before.pop("servedBy", None)  # absent while nobody serves it: an empty list is printed as []
    users = {"servedBy": list(served[:64])} if served else {}
    if trial is not None and trial.not_before is not None:
        before["verification"] = {"attempt": trial.attempt, "notBefore": stamp(trial.not_before)}
    if phase not in _UNVERIFIED:
        before.pop("verification", None)
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
    working = phase in _UNVERIFIED
    rejected = phase is VersionPhase.REJECTED
    verified = True if phase in _VERIFIED else False if rejected else None
    return [
        Condition("Ready", phase is VersionPhase.APPROVED, reason, message),
        Condition("Reconciling", working, reason, message if working else ""),
        Condition("Stalled", rejected, reason, message if rejected else ""),
        Condition("ArtifactReady", verified, reason, message),
    ]
