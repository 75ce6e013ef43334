"""The trigger `schedule`: a run at the times of a cron expression.

Comes in: the trigger, its entry in status, since when it is there, now. Goes out: a request. Invariants: a
request is keyed by its scheduled time, so no time starts two runs; of missed times only the newest counts.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.schedule import due
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers import Request

Json = dict[str, Any]


def schedule(trigger: TriggerSpec, entry: Json, *, since: datetime, now: datetime) -> Request:
    """Ask for a run at each scheduled time after `since`, which is when the trigger (or its edit) was first
    seen.
    """
    plan = {"schedule": trigger.schedule, "timeZone": trigger.time_zone or "UTC"}
    known = entry.get("state") == plan and entry.get("lastScheduled")
    if not known:
        entry = {"lastScheduled": stamp(since)}
    handled = moment(entry["lastScheduled"])
    next_due = due(trigger.schedule or "", trigger.time_zone, since=handled, now=now)
    base = entry | {"name": trigger.name, "state": plan}
    base |= {"nextRun": stamp(next_due.next)} if next_due.next else {}
    if next_due.at is None:
        first = {"decision": "Wait", "message": f"waits for the schedule {trigger.schedule}"}
        return Request(first | base, "Schedule", due=next_due.next)
    if next_due.missed:
        text = f"the run of {stamp(next_due.at)} could not start in time and is skipped"
        base |= {"lastScheduled": stamp(next_due.at), "decision": "Skipped", "message": text}
        return Request(base, "Schedule", due=next_due.next)
    return Request(
        base,
        "Schedule",
        wanted=True,
        key=stamp(next_due.at),
        due=next_due.next,
        says=f"the run of {stamp(next_due.at)} is due",
        answer={"lastScheduled": stamp(next_due.at)},
    )
