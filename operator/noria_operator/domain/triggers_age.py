"""The trigger `maxAge`: the champion was registered too long ago.

Comes in: the trigger, its entry in status, the champion, now. Goes out: a request. Invariant: age is counted
from the ModelVersion's creation, so neither a restart of anything nor a rollout makes a model younger.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from noria_operator.api.triggers import TriggerSpec
from noria_operator.api.types import format_duration
from noria_operator.domain.triggers import Champion, Request

Json = dict[str, Any]


def max_age(trigger: TriggerSpec, champion: Champion | None, now: datetime) -> Request:
    """Asks for as long as the champion is older than allowed."""
    if trigger.max_age is None:
        raise ValueError(f"{trigger.name} has no maxAge")
    entry: Json = {"name": trigger.name, "threshold": format_duration(trigger.max_age)}
    if champion is None or champion.made is None:
        gone = champion and f"ModelVersion {champion.name} is gone, so nobody knows how old it is"
        told = {"reason": "VersionGone" if gone else "NothingServed", "decision": "Wait"}
        told |= {"message": gone or "nothing is served yet, so nothing is old"}
        return Request(entry | told, trigger.reason)
    old_at = champion.made + trigger.max_age
    entry |= {"version": champion.name, "value": _whole(now - champion.made)}
    if now < old_at:
        text = f"{champion.name} is not older than {entry['threshold']} before {old_at:%Y-%m-%d %H:%M} UTC"
        told = {"decision": "No", "reason": "NotOld", "message": text}
        return Request(entry | told, trigger.reason, due=old_at)
    text = f"{champion.name} is older than {entry['threshold']}"
    entry |= {"reason": "TooOld"}
    return Request(
        entry, trigger.reason, wanted=True, key=champion.name, says=text, lasting=True, fell_due=old_at
    )


def _whole(age: timedelta) -> str:
    """In whole hours, so that an age that grows writes status once an hour; below one in minutes. A clock
    that is behind the API server's makes nothing younger than new.
    """
    age = max(age, timedelta())
    unit = timedelta(hours=1) if age >= timedelta(hours=1) else timedelta(minutes=1)
    return format_duration(age // unit * unit)
