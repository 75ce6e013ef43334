"""How long a challenger's pods are waited for, which is what `progressDeadline` limits.

Comes in: whether they are there, and the time. Goes out: the time waited. Invariant: what was waited adds up,
so that pods which come and go earn no new deadline, until they were there for as long as the deadline without
a break: a rollout of days is not ended by all the minutes in which nodes were drained. A container that ran
so long (10 minutes) begins anew for the kubelet's back-off, too. How many pods were enough is remembered, so
that those which are wanted since, because `replicas` grew, are told from pods that were lost: as long as the
champion has not grown either, and then for the time of the deadline, in which its challenger may follow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Wait:
    """The time waited before `since`; that is when the present wait began, None where there is none. `back`
    is since when pods that were waited for are there without a break. `enough` pods were ready when none was
    missing last, and are since then; 0 where one was lost, none was ever there, or they were too few beside
    the champion's for too long, which they are since `behind`.
    """

    before: timedelta = timedelta()
    since: datetime | None = None
    back: datetime | None = None
    enough: int = 0
    behind: datetime | None = None

    def until(self, now: datetime) -> timedelta:
        """All the time waited."""
        return self.before + (now - self.since if self.since else timedelta())

    def going(self, now: datetime, limit: timedelta, *, missing: bool, paused: bool) -> Wait:
        """The wait that begins or ends now, or goes on as it is; a pause is no wait.

        One that was as long as the limit ends a rollout where somebody looks; of pods that came meanwhile
        nobody knows when.
        """
        waited = self.until(now)
        if not missing:
            waited = timedelta() if waited >= limit else waited
            return replace(self, before=waited, since=None, back=self.back or (now if waited else None))
        if self.back is not None and now - self.back >= limit:
            waited = timedelta()
        if self.since and not paused:
            return self
        return replace(self, before=waited, since=None if paused else now, back=None)

    def seen(self, ready: int, asked: int) -> Wait:
        """What was enough, where `ready` of `asked` pods are there."""
        enough = asked if ready >= asked else self.enough if ready >= self.enough else 0
        return self if enough == self.enough else replace(self, enough=enough)

    def beside(self, now: datetime, limit: timedelta, *, small: bool) -> Wait:
        """What was enough is so for `limit` at most where it is too `small` beside the champion's pods."""
        since = (self.behind or now) if small and self.enough else None
        late = since is not None and now - since >= limit
        return replace(self, enough=0 if late else self.enough, behind=None if late else since)

    def anew(self) -> Wait:
        """The wait for what is asked for next; who kept up still does."""
        return Wait(enough=self.enough, behind=self.behind)

    def keeps_up(self, ready: int) -> bool:
        """Whether no pod was lost of those that were enough: what is missing is wanted since then."""
        return 0 < self.enough <= ready

    def full(self, limit: timedelta) -> datetime | None:
        """When `limit` will have been waited, if the present wait goes on."""
        return self.since + limit - self.before if self.since else None
