"""The trigger `newSamples`: production has labelled enough rows since the last run.

Comes in: the trigger, its entry in status, the labels joined since the entry's window began, now. Goes out: a
request. Invariants: labels are added up in windows of an hour, the one that brings enough is shorter, so that
pods may come and go, a request that is held stands, and status is written once an hour; any run starts the
count anew, whoever asked for it, and gives back what it counted when it comes to nothing; a run of another
loop of the deployment starts it anew once it led to a version.
"""

from __future__ import annotations

from dataclasses import replace
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


def new_samples(
    trigger: TriggerSpec, entry: Json, *, labels: int | None, now: datetime, elsewhere: str = ""
) -> Request:
    """`labels` joined since the window began; None while no server could be read, or one that does not answer
    may have more: what it counted before the window closes would be in none. `elsewhere` is the newest run of
    another loop, where it led to a version, by when it began.
    """
    if trigger.new_samples is None:
        raise ValueError(f"{trigger.name} has no newSamples")
    needed = trigger.new_samples.count
    state = entry.get("state") or {}
    known = str(state.get("elsewhereAt", elsewhere))  # an earlier release kept none
    mark: Json = {"elsewhereAt": max(known, elsewhere)}
    fresh = {"windowStartedAt": stamp(now), "state": {"labels": 0} | mark}
    base: Json = {"name": trigger.name, "threshold": str(needed)}
    begun = counted_since(entry)
    if begun is None or elsewhere > known:
        return Request(base | fresh | _so_far(0, needed), trigger.reason)
    closed = int(state.get("labels") or 0)
    total = closed + (labels or 0)
    if labels is not None and (now >= begun + WINDOW or closed < needed <= total):
        begun, closed = now, total
    base |= {"windowStartedAt": stamp(begun), "state": {"labels": closed} | mark}
    # The window is open: what was written when it began stands, so that counting costs no writes.
    waits = Request(
        base | _so_far(closed, needed),
        trigger.reason,
        due=begun + WINDOW,
        answer=fresh | _so_far(0, needed),
        answered_by="Any",
        back={"labels": total},
    )
    if closed < needed:
        return waits
    return replace(
        waits,
        entry=base | {"value": str(closed), "samples": closed, "reason": "EnoughLabels"},
        wanted=True,
        key=stamp(begun),
        says=f"{closed} labels were joined since the last run, {needed} are enough",
    )


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
