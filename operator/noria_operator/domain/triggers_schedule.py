"""The trigger `schedule`: a run at the times of a cron expression.

Comes in: the trigger, its entry in status, since when it is there, now. Goes out: a request. Invariants: a
request is keyed by its scheduled time, so no time starts two runs; of missed times only the newest counts; a
trigger that asks for no run by itself (others combine it) neither is late nor misses one.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.schedule import STARTING_DEADLINE, due
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers import Request

Json = dict[str, Any]

_LATER: Final = timedelta(seconds=1)


def schedule(
    trigger: TriggerSpec, entry: Json, *, since: datetime, now: datetime, grace: timedelta = timedelta()
) -> Request:
    """Ask for a run at each scheduled time after `since`, which is when the trigger (or its edit) was first
    seen; it may start by `grace` later than in time.
    """
    plan = {"schedule": trigger.schedule, "timeZone": trigger.time_zone or "UTC"}
    state: Json = entry.get("state") or {}
    if not entry.get("lastScheduled") or state | plan != state:
        entry, state = {"lastScheduled": stamp(since)}, {}
    handled = moment(entry["lastScheduled"])
    ahead = state.get("ahead")
    if ahead and moment(ahead) <= now:
        # It was handled before its time, by a clock that was ahead (`triggers_clock`).
        handled, ahead = max(handled, moment(ahead)), None
    deadline = STARTING_DEADLINE + grace
    next_due = due(trigger.schedule or "", trigger.time_zone, since=handled, now=now, deadline=deadline)
    coming = {"nextRun": stamp(next_due.next)} if next_due.next else {}
    base = entry | {"name": trigger.name, "state": plan | ({"ahead": ahead} if ahead else {})} | coming
    if next_due.at is None:
        text = f"waits for the schedule {trigger.schedule}"
        first = {"decision": "Wait", "reason": "NotDue", "message": text}
        return Request(first | base, "Schedule", due=next_due.next)
    key, starts = stamp(next_due.at), trigger.effect == "Retrain"
    if next_due.missed:
        text = f"the run of {key} could not start in time and is skipped"
        told = {"decision": "Skipped", "reason": "Missed", "message": text}
        if not starts:
            told = {"decision": "No", "reason": "Over", "message": f"{key} is more than an hour ago"}
        return Request(base | told | {"lastScheduled": key}, "Schedule", due=next_due.next)
    late = {"nextRun": key} if starts else {}  # overdue for as long as something holds it
    return Request(
        base | late | {"reason": "Due"},
        "Schedule",
        wanted=True,
        key=key,
        due=min(filter(None, (next_due.next, next_due.at + deadline + _LATER))),
        says=f"the run of {key} is due",
        answer={"lastScheduled": key} | coming,
        fell_due=next_due.at,
    )
