"""The trigger `newSamples`: production has labelled enough rows since the last run.

Comes in: the trigger, its entry in status, the labels joined since the entry's window began, now. Goes out: a
request. Invariants: labels are added up in windows of an hour, so that pods may come and go and status is
written once an hour at most; any run starts the count anew, whoever asked for it, and gives back what it
counted when it comes to nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers import Request

Json = dict[str, Any]

WINDOW: Final = timedelta(hours=1)
"""After so long the labels of a window go into status."""


def counted_since(entry: Json) -> datetime | None:
    """Since when labels count for the open window; None before the first one."""
    return moment(entry["windowStartedAt"]) if entry.get("windowStartedAt") else None


def new_samples(trigger: TriggerSpec, entry: Json, *, labels: int | None, now: datetime) -> Request:
    """`labels` joined since the window began; None while no server could be read."""
    if trigger.new_samples is None:
        raise ValueError(f"{trigger.name} has no newSamples")
    needed = trigger.new_samples.count
    fresh = {"windowStartedAt": stamp(now), "state": {"labels": 0}}
    base: Json = {"name": trigger.name, "threshold": str(needed)}
    begun = counted_since(entry)
    if begun is None:
        return Request(base | fresh | _so_far(0, needed), trigger.reason)
    closed = int((entry.get("state") or {}).get("labels") or 0)
    base |= {"windowStartedAt": entry["windowStartedAt"], "state": {"labels": closed}}
    total = closed + (labels or 0)
    back = {"labels": total}
    due = begun + WINDOW
    if total >= needed:
        return Request(
            base | {"value": str(total), "samples": total, "reason": "EnoughLabels"},
            trigger.reason,
            wanted=True,
            key=entry["windowStartedAt"],
            says=f"{total} labels were joined since the last run, {needed} are enough",
            answer=fresh | _so_far(0, needed),
            answered_by="Any",
            back=back,
        )
    if labels is not None and now >= due:
        base |= {"windowStartedAt": stamp(now), "state": {"labels": total}}
        return Request(
            base | _so_far(total, needed),
            trigger.reason,
            answer=fresh | _so_far(0, needed),
            answered_by="Any",
            back=back,
        )
    # The window is open: what was written when it began stands, so that counting costs no writes.
    base |= _so_far(closed, needed)
    answer = fresh | _so_far(0, needed)
    return Request(base, trigger.reason, due=due, answer=answer, answered_by="Any", back=back)


def counted_again(entry: Json, back: Json) -> Json:
    """The entry once the run that these labels started, or that came between, came to nothing."""
    state = entry.get("state") or {}
    return entry | {"state": state | {"labels": int(state.get("labels") or 0) + int(back.get("labels") or 0)}}


def _so_far(labels: int, needed: int) -> Json:
    return {
        "value": str(labels),
        "samples": labels,
        "decision": "No",
        "reason": "TooFewLabels",
        "message": f"{labels} of {needed} labels were joined since the last run; counted once an hour",
    }
