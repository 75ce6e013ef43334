"""What one receiver is still to be told: in order, one at a time, again and again for an hour.

Comes in: occurrences. Goes out: attempts by the sender. Invariants: adding never waits; the line is bounded,
and the oldest is dropped when it is full; what is dropped is counted and logged; an occurrence is pending
until it was taken or dropped.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Protocol

from noria_operator.domain.notification_targets import Target
from noria_operator.domain.notifications import Occurrence
from noria_operator.kube import metrics
from noria_operator.kube.clock import Clock
from noria_operator.notifications.sender import Answer

log = logging.getLogger(__name__)

PATIENCE = timedelta(hours=1)
"""How long after an occurrence its message is tried; also how far back a new leader looks."""
CAPACITY = 1000
_REASONS = "full", "expired", "refused"
"""Why a message may be dropped."""
FIRST_DELAY, LONGEST_DELAY = 1.0, 300.0
"""Seconds between attempts: doubled each time, ±20 %."""


class Sends(Protocol):
    """What an outbox needs of a sender."""

    async def send(self, target: Target, one: Occurrence) -> Answer: ...


class Outbox:
    """The line of one receiver. `run` empties it for as long as it runs."""

    def __init__(
        self, target: Target, sender: Sends, clock: Clock, *, capacity: int = CAPACITY, rand: random.Random
    ) -> None:
        self.target = target
        self._sender = sender
        self._clock = clock
        self._capacity = capacity
        self._random = rand
        self._line: OrderedDict[str, Occurrence] = OrderedDict()
        self._filled, self._emptied = asyncio.Event(), asyncio.Event()
        self._emptied.set()
        for reason in _REASONS:
            # Prometheus sees no increase in a counter that begins with the first one.
            metrics.NOTIFICATIONS_DROPPED.labels(target.name, reason)

    def add(self, one: Occurrence) -> None:
        """Have the receiver told."""
        if len(self._line) >= self._capacity:
            self._drop(next(iter(self._line.values())), "full", f"{self._capacity} messages wait already")
        self._line[one.id] = one
        self._changed()

    @property
    def oldest(self) -> datetime | None:
        """When the earliest of what is pending happened; None when nothing is."""
        return min((one.at for one in self._line.values()), default=None)

    async def run(self) -> None:
        """Send what is in the line, for ever."""
        while True:
            await self._filled.wait()
            one = next(iter(self._line.values()))
            try:
                await self._deliver(one)
            except Exception:
                log.exception("A notification could not be made", extra={"target": self.target.name})
                self._drop(one, "refused", "see the error above")

    async def emptied(self) -> None:
        """Wait until nothing is pending."""
        await self._emptied.wait()

    async def _deliver(self, one: Occurrence) -> None:
        tries = 0
        while one.id in self._line:  # it may be dropped meanwhile
            if self._clock.now() - one.at > PATIENCE:
                self._drop(one, "expired", f"not taken within {PATIENCE}")
                return
            answer = await self._sender.send(self.target, one)
            metrics.NOTIFICATION_ATTEMPTS.labels(
                self.target.name, "failed" if answer.problem else "sent"
            ).inc()
            if not answer.problem:
                self._line.pop(one.id, None)
                self._changed()
                return
            if answer.refused:
                self._drop(one, "refused", answer.problem)
                return
            if not tries:
                self._tell(
                    "A receiver of notifications was not reached; it is tried again", one, answer.problem
                )
            await asyncio.sleep(self._delay(tries, answer.retry_after))
            tries += 1

    def _delay(self, tries: int, asked: float | None) -> float:
        """Its own, or what the receiver asks for if that is longer: one that is down may say 0 each time."""
        own = min(FIRST_DELAY * 2.0**tries, LONGEST_DELAY) * self._random.uniform(0.8, 1.2)
        return float(max(own, min(asked or 0.0, LONGEST_DELAY)))

    def _drop(self, one: Occurrence, reason: str, problem: str) -> None:
        if self._line.pop(one.id, None) is not None:
            metrics.NOTIFICATIONS_DROPPED.labels(self.target.name, reason).inc()
            self._tell("A notification was dropped", one, problem)
            self._changed()

    def _tell(self, message: str, one: Occurrence, problem: str) -> None:
        place = f"{one.namespace}/{one.name}"
        about = {"target": self.target.name, "event": one.type, "object": place, "problem": problem}
        log.warning(message, extra=about)

    def _changed(self) -> None:
        metrics.NOTIFICATIONS_PENDING.labels(self.target.name).set(len(self._line))
        full, empty = (self._filled, self._emptied) if self._line else (self._emptied, self._filled)
        full.set()
        empty.clear()
