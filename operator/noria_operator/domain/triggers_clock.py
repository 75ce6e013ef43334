"""Times in status that lie ahead of the clock count as now.

A node may boot with a clock that is a year ahead, lead for a minute, and be corrected. What it wrote then
would silence a loop for a year: schedules that were handled, windows that have not begun, runs after which to
wait. Comes in: the object, now. Goes out: the object as a pass takes it, which writes it down. Invariants: no
time is moved into the future; a window may begin as late as `warmup` says; a follow-up moves with its run;
a clock that is behind the object itself, which the API server dated, is wrong and mends nothing; a scheduled
time that was handled early is remembered until it has come.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.domain.training_times import TOLERANCE, moment, stamp

Json = dict[str, Any]

_PARTS: Final = ("triggers", "runs", "olderRuns", "queued", "lastTrigger")
_AHEAD: Final = frozenset({"nextRun", "forecast", "ahead"})
"""Fields that tell of times to come."""
_SECOND: Final = timedelta(seconds=1)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def not_ahead(obj: Json, training: ContinuousTraining, now: datetime) -> Json:
    """The object with no time in status later than it can be; the same one where there is none."""
    status = obj.get("status", {})
    if now < moment(obj["metadata"]["creationTimestamp"]) - TOLERANCE:
        return obj
    latest = stamp(now + TOLERANCE - _SECOND)
    if not any(_later(status.get(name), latest) for name in _PARTS):
        return obj  # as nearly always, which costs no copy
    mend = _Mending(now, {"windowStartedAt": training.spec.warmup})
    found = {name: mend.of(status[name]) for name in _PARTS if status.get(name)}
    if planned := status.get("followUp"):
        found["followUp"] = planned | {"at": stamp(moment(planned["at"]) - _early(status, planned, now))}
    changed = {name: value for name, value in found.items() if value != status[name]}
    return obj | {"status": status | changed} if changed else obj


def _later(value: Any, latest: str) -> bool:
    """Whether some time in it may be later; stamps sort as times do, but for parts of a second."""
    if isinstance(value, dict):
        value = [one for key, one in value.items() if key not in _AHEAD]
    if isinstance(value, list):
        for one in value:
            if isinstance(one, dict | list):
                if _later(one, latest):
                    return True
            elif isinstance(one, str) and one > latest and _TIME.fullmatch(one):
                return True
    return False


def _early(status: Json, planned: Json, now: datetime) -> timedelta:
    """By how much the run that is to be followed started in the future."""
    times = (moment(run["at"]) for run in status.get("runs", ()) if run["trainingJob"] == planned["of"])
    ahead = next(times, now) - now
    return ahead if ahead > TOLERANCE else timedelta()


@dataclass(frozen=True)
class _Mending:
    now: datetime
    later: Mapping[str, timedelta]
    """By how much a field may lie ahead."""

    def of(self, value: Any, name: str = "") -> Any:
        """The value with all the times in it."""
        if isinstance(value, list):
            return [self.of(one, name) for one in value]
        if isinstance(value, dict):
            known = {key: one if key in _AHEAD else self.of(one, key) for key, one in value.items()}
            return known | self._handled(value, known)
        if isinstance(value, str) and _TIME.fullmatch(value) and moment(value) > self._latest(name):
            return stamp(self.now)
        return value

    def _latest(self, name: str) -> datetime:
        return self.now + self.later.get(name, timedelta()) + TOLERANCE

    def _handled(self, before: Json, after: Json) -> Json:
        """The state of a schedule that was handled for a time to come."""
        handled = before.get("lastScheduled")
        if handled == after.get("lastScheduled"):
            return {}
        state = after.get("state") or {}
        return {"state": state | {"ahead": max(str(handled), state.get("ahead", ""))}}
