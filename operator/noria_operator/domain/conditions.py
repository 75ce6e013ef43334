"""Conditions as Kubernetes writes them (KEP-1623) and as kstatus reads them.

Comes in: the conditions of the last status and what is true now. Goes out: the new list. Invariant:
`lastTransitionTime` moves only when a condition's status flips, so an unchanged state writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from noria_operator.api.status import MESSAGE_LIMIT
from noria_operator.api.types import format_time
from noria_operator.domain.training_times import moment


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; `status` None means Unknown."""

    type: str
    status: bool | None
    reason: str
    message: str = ""


def merge_conditions(
    before: Iterable[Mapping[str, Any]], now_true: Iterable[Condition], *, now: datetime, generation: int
) -> list[dict[str, Any]]:
    """The list to write: one entry for each of `now_true`, in that order."""
    old = {condition.get("type"): condition for condition in before}
    merged = []
    for condition in now_true:
        status = {True: "True", False: "False", None: "Unknown"}[condition.status]
        last = old.get(condition.type, {})
        stays = last.get("status") == status and last.get("lastTransitionTime")
        merged.append(
            {
                "type": condition.type,
                "status": status,
                "reason": condition.reason,
                "message": clip(condition.message),
                "observedGeneration": generation,
                "lastTransitionTime": last["lastTransitionTime"]
                if stays
                else format_time(now.replace(microsecond=0)),
            }
        )
    return merged


def of_type(conditions: Iterable[Mapping[str, Any]], type: str) -> Mapping[str, Any]:
    """The condition of that type; an empty one where there is none."""
    return next((one for one in conditions if one["type"] == type), {})


def since(conditions: Iterable[Mapping[str, Any]], type: str) -> datetime | None:
    """When the condition of that type last flipped."""
    times = (one.get("lastTransitionTime") for one in conditions if one["type"] == type)
    return next((moment(time) for time in times if time), None)


def clip(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """`text` on one line of at most `limit` characters, without control characters."""
    plain = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(plain.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
