"""How long a challenger's pods are waited for, which is what `progressDeadline` limits.

Comes in: whether they are missing, and the time. Goes out: the time waited. Invariant: what was waited adds
up, so that pods which come and go earn no new deadline.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Wait:
    """The time waited before `since`; that is when the present wait began, None where there is none."""

    before: timedelta = timedelta()
    since: datetime | None = None

    def until(self, now: datetime) -> timedelta:
        """All the time waited."""
        return self.before + (now - self.since if self.since else timedelta())

    def going(self, now: datetime, *, missing: bool) -> Wait:
        """The wait that begins or ends now, or goes on as it is."""
        if missing == (self.since is not None):
            return self
        return Wait(self.until(now), now if missing else None)

    def full(self, limit: timedelta) -> datetime | None:
        """When `limit` will have been waited, if the present wait goes on."""
        return self.since + limit - self.before if self.since else None
