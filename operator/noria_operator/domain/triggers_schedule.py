"""The trigger `schedule`: a run at the times of a cron expression.

Comes in: the trigger, its entry in status, since when it is there, now. Goes out: a request. Invariants: a
request is keyed by its scheduled time, so no time starts two runs; of missed times only the newest counts.
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


def schedule(trigger: TriggerSpec, entry: Json, *, since: datetime, now: datetime) -> Request:
    """Ask for a run at each scheduled time after `since`, which is when the trigger (or its edit) was first
    seen.
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
    next_due = due(trigger.schedule or "", trigger.time_zone, since=handled, now=now)
    coming = {"nextRun": stamp(next_due.next)} if next_due.next else {}
    base = entry | {"name": trigger.name, "state": plan | ({"ahead": ahead} if ahead else {})} | coming
    if next_due.at is None:
        text = f"waits for the schedule {trigger.schedule}"
        first = {"decision": "Wait", "reason": "NotDue", "message": text}
        return Request(first | base, "Schedule", due=next_due.next)
    if next_due.missed:
        text = f"the run of {stamp(next_due.at)} could not start in time and is skipped"
        base |= {"lastScheduled": stamp(next_due.at), "decision": "Skipped", "reason": "Missed"}
        base |= {"message": text}
        return Request(base, "Schedule", due=next_due.next)
    key = stamp(next_due.at)
    return Request(
        base | {"nextRun": key, "reason": "Due"},  # overdue for as long as something holds it
        "Schedule",
        wanted=True,
        key=key,
        due=min(filter(None, (next_due.next, next_due.at + STARTING_DEADLINE + _LATER))),
        says=f"the run of {key} is due",
        answer={"lastScheduled": key} | coming,
    )
