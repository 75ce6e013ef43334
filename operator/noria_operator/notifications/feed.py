"""From the store to the outboxes: what is new since the last leader told it.

Comes in: every change of an object, on the leader alone. Goes out: occurrences, once to each receiver
that wants it. Invariants: nothing here waits, so no reconcile pass does; what a leader had not delivered when
it ended is told by the next one (at least once), for `PATIENCE`; what happened before a receiver was set up
is not told, nor what is yet to come: a leader whose clock was ahead has told it.

How far each receiver got stands on the operator's own Lease, which is written every two seconds anyway: a
moment up to which all was delivered or dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from noria_operator.api.types import format_time
from noria_operator.domain.notification_targets import Target
from noria_operator.domain.notifications import Occurrence, occurrences
from noria_operator.domain.training_times import TOLERANCE
from noria_operator.kube.clock import Clock
from noria_operator.kube.kinds import OWN_KINDS, Json, kind_of
from noria_operator.kube.store import EventType, Store
from noria_operator.notifications.outbox import PATIENCE, Outbox, Sends

log = logging.getLogger(__name__)

ANNOTATION = "noria.dev/notified"
SETTLING = timedelta(seconds=10)
"""Status writes that are this young may not have been seen yet: times in status are those of decisions, in
whole seconds, and children are written in between.
"""
REMEMBERED = 10_000
"""Occurrences that are known to be told however long ago that was: some stand for weeks (a spent budget), and
are read anew with each change of their object.
"""
FAREWELL_SECONDS = 3.0
"""How long a leader that was told to stop goes on sending."""


class Feed:
    """All notifications of one operator."""

    def __init__(
        self,
        targets: Sequence[Target],
        store: Store,
        sender: Sends,
        clock: Clock,
        *,
        rand: random.Random | None = None,
    ) -> None:
        chance = rand or random.Random()
        self._outboxes = [Outbox(one, sender, clock, rand=chance) for one in targets]
        self._store = store
        self._clock = clock
        self._seen: dict[str, datetime] = {}
        self._started: datetime | None = None
        self._closed = False

    def begin(self, inherited: Mapping[str, str]) -> None:
        """From now on, tell what happens; first what the last leader left untold: `inherited` are the
        annotations that it left on the lease.
        """
        if self._outboxes:
            self._replay(_reached(inherited.get(ANNOTATION, "")))
            self._store.subscribe(self._changed)

    async def run(self) -> None:
        """Send, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for outbox in self._outboxes:
                tasks.create_task(outbox.run())

    async def farewell(self) -> None:
        """Wait a moment for what is pending, after the last status was written."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                for outbox in self._outboxes:
                    await outbox.emptied()
        self._closed = True

    def annotations(self) -> dict[str, str]:
        """How far each receiver got, for the Lease; nothing before `begin`, so that what the
        last leader left stays.
        """
        if self._started is None:
            return {}
        settled = self._clock.now() - (timedelta() if self._closed else SETTLING)
        reached = {}
        for outbox in self._outboxes:
            oldest = outbox.oldest
            until = settled if oldest is None else min(settled, oldest - timedelta(microseconds=1))
            reached[outbox.target.name] = format_time(until)
        return {ANNOTATION: json.dumps(reached, sort_keys=True)}

    def _replay(self, reached: Mapping[str, datetime]) -> None:
        self._started = now = self._clock.now()
        objects = (obj for kind in OWN_KINDS for obj in self._store.list(kind))
        for one in sorted((one for obj in objects for one in _read(obj, now)), key=lambda one: one.at):
            self._seen[one.id] = now
            for outbox in self._outboxes:
                untold = reached.get(outbox.target.name, now) < one.at <= now + TOLERANCE
                if untold and outbox.target.wants(one):
                    outbox.add(one)

    def _changed(self, type: EventType, obj: Json) -> None:
        if type == "DELETED" or kind_of(obj) not in OWN_KINDS:
            return
        now = self._clock.now()
        for one in _read(obj, now):
            news = self._seen.pop(one.id, None) is None
            self._seen[one.id] = now
            if news and -TOLERANCE <= now - one.at <= PATIENCE:
                self._offer(one)
        self._forget(now)

    def _offer(self, one: Occurrence) -> None:
        for outbox in self._outboxes:
            if outbox.target.wants(one):
                outbox.add(one)

    def _forget(self, now: datetime) -> None:
        """Drop ids of what is too old to be told again; the dictionary is in order of touching."""
        while len(self._seen) > REMEMBERED:
            first = next(iter(self._seen))
            if now - self._seen[first] <= PATIENCE:
                return
            del self._seen[first]


def _read(obj: Json, now: datetime) -> list[Occurrence]:
    """What happened to it lately; a status written by hand must not stop what else waits for the change."""
    try:
        return occurrences(obj, now - PATIENCE)
    except (KeyError, TypeError, ValueError) as error:
        about = {"kind": obj["kind"], "object": obj["metadata"]["name"], "error": repr(error)}
        log.warning("A status cannot be read; nothing is told of it", extra=about)
        return []


def _reached(text: str) -> dict[str, datetime]:
    """The moments that `annotations` wrote; empty when they cannot be read."""
    try:
        return {
            name: datetime.fromisoformat(at).astimezone(UTC) for name, at in json.loads(text or "{}").items()
        }
    except (ValueError, AttributeError, TypeError):
        return {}
