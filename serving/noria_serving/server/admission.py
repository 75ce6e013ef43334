"""Which requests of a version may begin, in which order, and which are refused: no I/O, no clock, no model.

In: requests with the time by which each must be answered, and `now`. Out: the requests to run next, or a
RequestError. Invariants: at most `max_queue` requests wait; nobody is let in who would foreseeably wait
longer than `max_wait` or than the client does; a request whose deadline has passed is never begun; requests
begin in the order in which they came, and are held back for company no longer than `batch_wait_ms`.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from noria_serving.limits import Limits
from noria_serving.protocol.errors import RequestError

LATEST_RETRY: Final = 60
"""Seconds; nobody is told to come back later than this."""
MEMORY: Final = 0.2
"""Weight of the latest call in the running mean of seconds a request."""


class Refusal(StrEnum):
    """Why a request that was in order got no answer from the model."""

    QUEUE_FULL = "queue_full"
    """As many requests wait as may."""
    WAIT = "wait"
    """It waited too long for its turn, or would have."""
    DEADLINE = "deadline"
    """The client's time, or the server's for one request, was over."""
    GONE = "client_gone"
    """The client went away before its answer."""


@dataclass(slots=True, eq=False)
class Turn:
    """A request in line. `key`: requests with equal ones may be joined; None: with nobody."""

    rows: int
    deadline: float | None = None
    key: Hashable = None
    work: Any = None
    """What the line's owner needs to carry it out."""
    since: float = 0.0
    begun: bool = False


class Admission:
    """One version's line."""

    def __init__(self, limits: Limits, *, seconds: float, batch_rows: int = 1) -> None:
        """`seconds`: what a request takes, as far as is known; `batch_rows`: up to which they are joined."""
        self._limits = limits
        self._rows = batch_rows
        self._hold = limits.batch_wait_ms / 1000 if batch_rows > 1 else 0.0
        self.seconds = seconds
        self._line: deque[Turn] = deque()
        self._last = -math.inf
        self._gap = math.inf
        """Seconds between the latest two requests."""
        self.running = 0
        self.refused: Counter[str] = Counter({reason: 0 for reason in Refusal})

    @property
    def waiting(self) -> int:
        return len(self._line)

    def check(self, arrived: float, deadline: float | None, now: float) -> None:
        """May a request begin at once that came so long ago?"""
        if deadline is not None and now >= deadline:
            raise self.refuse(Refusal.DEADLINE)
        if now - arrived > self._limits.max_wait:
            raise self.refuse(Refusal.WAIT)

    def enter(self, turn: Turn, now: float) -> None:
        """Join the line; RequestError where that has no use."""
        self.check(now, turn.deadline, now)
        if len(self._line) >= self._limits.max_queue:
            raise self.refuse(Refusal.QUEUE_FULL)
        patience = self._limits.max_wait if turn.deadline is None else turn.deadline - now
        if self._line and self.expected > min(patience, self._limits.max_wait):
            raise self.refuse(Refusal.WAIT)
        self._gap, self._last = now - self._last, now
        turn.since = now
        self._line.append(turn)

    def leave(self, turn: Turn) -> None:
        """Give up a place in the line, if it has not begun."""
        if not turn.begun:
            self._line.remove(turn)
            turn.begun = True

    def clear(self) -> list[Turn]:
        """Nobody's turn comes any more: all who wait."""
        gone = [*self._line]
        for turn in gone:
            self.leave(turn)
        return gone

    @property
    def expected(self) -> float:
        """Seconds until a request that comes now would begin."""
        return (len(self._line) + self.running) * self.seconds

    def take(self, now: float) -> tuple[list[Turn], float | None]:
        """(what to run next in one call of the model, else when to ask again).

        Nothing and None: nobody waits. Turns whose deadline has passed are dropped here; telling their
        clients is the owner's part, who watches deadlines.
        """
        line = self._line
        while line and _late(line[0], now):
            line.popleft().begun = True
        if not line:
            return [], None
        batch = self._batch(now)
        due = self._due(batch, now)
        if due > now:
            return [], due
        for turn in batch:
            line.remove(turn)
            turn.begun = True
        self.running = len(batch)
        return batch, None

    def done(self, seconds: float) -> None:
        """The call for what `take` gave is over."""
        if self.running:
            self.seconds += MEMORY * (seconds / self.running - self.seconds)
        self.running = 0

    def _batch(self, now: float) -> list[Turn]:
        """The first in line, and those right behind it who fit beside it: nobody is overtaken."""
        first, *rest = self._line if self._rows > 1 else (self._line[0],)
        batch, rows = [first], first.rows
        for turn in rest:
            if _late(turn, now):
                continue
            if first.key is None or turn.key != first.key or rows + turn.rows > self._rows:
                break
            batch.append(turn)
            rows += turn.rows
        return batch

    def _due(self, batch: list[Turn], now: float) -> float:
        """When to begin: at once, unless more may join, and requests come so fast that somebody will."""
        first = batch[0]
        if self._gap > self._hold or first.key is None or len(batch) < len(self._line):
            return now
        if sum(turn.rows for turn in batch) >= self._rows:
            return now
        return min(first.since + self._hold, *map(self._latest, batch))

    def _latest(self, turn: Turn) -> float:
        """When to begin for an answer in time: the call takes some of it, as do thread and event loop."""
        if turn.deadline is None:
            return math.inf
        return min((turn.since + turn.deadline) / 2, turn.deadline - self.seconds)

    def refuse(self, reason: Refusal, *, elsewhere: int = 0) -> RequestError:
        """Count a refusal; the error that says so. `elsewhere`: requests that wait in another line."""
        self.refused[reason] += 1
        if reason == Refusal.DEADLINE:
            return RequestError("the request's time was over before the model could answer it", status=504)
        expected = self.expected + elsewhere * self.seconds
        seconds = min(max(math.ceil(expected), 1), LATEST_RETRY)
        said = f"{len(self._line) + elsewhere} requests wait for this model already"
        if not self._limits.max_queue:
            said = "this server takes no requests (NORIA_MAX_QUEUE is 0)"
        if reason == Refusal.WAIT:
            said = f"requests would wait longer than {self._limits.max_wait:g} s for this model"
        message = f"{said}; try again in {seconds} s"
        return RequestError(message, status=429, headers=[(b"retry-after", b"%d" % seconds)])


def _late(turn: Turn, now: float) -> bool:
    return turn.deadline is not None and now >= turn.deadline
