"""How long a challenger's pods are waited for, which is what `progressDeadline` limits.

Comes in: whether they are there, and the time. Goes out: the time waited. Invariant: what was waited adds up,
so that pods which come and go earn no new deadline, until they were there for as long as the deadline without
a break: a rollout of days is not ended by all the minutes in which nodes were drained. A container that ran
so long (10 minutes) begins anew for the kubelet's back-off, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Wait:
    """The time waited before `since`; that is when the present wait began, None where there is none. `back`
    is since when pods that were waited for are there without a break.
    """

    before: timedelta = timedelta()
    since: datetime | None = None
    back: datetime | None = None

    def until(self, now: datetime) -> timedelta:
        """All the time waited."""
        return self.before + (now - self.since if self.since else timedelta())

    def going(self, now: datetime, limit: timedelta, *, missing: bool, paused: bool) -> Wait:
        """The wait that begins or ends now, or goes on as it is; a pause is no wait."""
        waited = self.until(now)
        if not missing:
            return Wait(waited, back=self.back or (now if waited else None))
        if self.back is not None and now - self.back >= limit:
            waited = timedelta()
        if paused:
            return Wait(waited)
        return self if self.since else Wait(waited, now)

    def full(self, limit: timedelta) -> datetime | None:
        """When `limit` will have been waited, if the present wait goes on."""
        return self.since + limit - self.before if self.since else None
