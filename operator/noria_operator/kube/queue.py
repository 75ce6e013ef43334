"""The work queue: which objects wait for a reconcile pass.

The rules are those of client-go's workqueue. A key waits at most once; a key that a worker holds is not given
to another, and if it is added meanwhile it comes again after `done`. Delays are due times: the earliest one
counts. A failing key waits exponentially longer each time. Edits by people go before everything else, but
not for ever: a thousand of them at once would keep what they started from being finished. What only accounts
for the work of others (`late`) comes when nothing else waits, or has its turn now and then.

Nothing here awaits but `get`; all calls come from one event loop.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import deque
from datetime import timedelta

from noria_operator.kube import metrics
from noria_operator.kube.kinds import Key

FIRST_DELAY = 0.5
LONGEST_DELAY = 300.0
JITTER = 0.2
URGENT_IN_A_ROW = 4
"""Keys of the urgent lane before one of the other lane has its turn."""
BEFORE_LATE = 20
"""Keys of those two lanes before one of the late lane has its turn."""


class Closed(Exception):
    """The queue was closed: the worker should end."""


class Queue:
    """De-duplicating, delaying, back-off keeping. `get` and `done` bracket the work on one key."""

    def __init__(self, *, rand: random.Random | None = None) -> None:
        self._random = rand or random.Random()
        self._urgent: dict[Key, float] = {}
        self._normal: dict[Key, float] = {}
        self._late: dict[Key, float] = {}
        self._busy: dict[Key, float] = {}
        self._dirty: dict[Key, bool] = {}
        self._failures: dict[Key, int] = {}
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key, bool]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._getters: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self._in_a_row = 0
        self._before_late = 0
        self._moved = 0.0

    def add(self, key: Key, *, urgent: bool = False) -> None:
        """Have the key reconciled soon; `urgent` for what a person just did."""
        if key in self._busy:
            self._dirty[key] = self._dirty.get(key, False) or urgent
            return
        if key in self._urgent or (key in self._normal and not urgent):
            return
        since = self._normal.pop(key, self._late.pop(key, None))
        self._enter(self._urgent if urgent else self._normal, key, since)

    def _enter(self, lane: dict[Key, float], key: Key, since: float | None) -> None:
        lane[key] = self._now() if since is None else since
        if since is None:
            metrics.QUEUE_ADDS.labels(key.kind.kind).inc()
        metrics.QUEUE_DEPTH.set(len(self))
        self._wake()

    def add_after(self, key: Key, delay: timedelta | float, *, late: bool = False) -> None:
        """Have the key reconciled after this much time (seconds); an earlier due time stays. `late`: after
        everything else that waits then.
        """
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
        if seconds <= 0:
            self.add(key)
            return
        due = self._now() + seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, next(self._order), key, late))
            self._arm()

    def retry(self, key: Key, *, first: float = FIRST_DELAY) -> float:
        """The pass failed: again after first·2ⁿ seconds (at most 300, ±20 %), which is returned.

        What the pass itself woke (its own writes are news too) waits as long: a pass that writes and then
        fails would never back off. What people do meanwhile does not wait.
        """
        if self._dirty.get(key) is False:
            del self._dirty[key]
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(first * 2.0**failures, LONGEST_DELAY) * self._random.uniform(1 - JITTER, 1 + JITTER)
        metrics.QUEUE_RETRIES.labels(key.kind.kind).inc()
        self.add_after(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """The pass succeeded: the next failure starts from the shortest delay again."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """The next key, which is the caller's until `done`. Raises `Closed`."""
        while True:
            if self._closed:
                raise Closed
            lane = self._next_lane()
            if lane:
                key = next(iter(lane))
                metrics.QUEUE_SECONDS.observe(self._now() - lane.pop(key))
                self._moved = self._busy[key] = self._now()
                metrics.QUEUE_DEPTH.set(len(self))
                metrics.QUEUE_BUSY.set(len(self._busy))
                return key
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()  # this one was woken for a key that another can take
                raise

    def done(self, key: Key) -> None:
        """The caller is finished with the key."""
        del self._busy[key]
        metrics.QUEUE_BUSY.set(len(self._busy))
        if key in self._dirty:
            self.add(key, urgent=self._dirty.pop(key))

    def close(self) -> None:
        """No more work is handed out; what is held may be finished."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._wake()

    def stalled_for(self) -> float:
        """Seconds that a worker has held one key, or that keys have waited with none handed out: what the
        health check looks at. A long queue that moves is load, and a restart would only add to it.
        """
        now = self._now()
        waiting = min((*self._urgent.values(), *self._normal.values(), *self._late.values()), default=now)
        return now - min((max(waiting, self._moved), *self._busy.values()))

    def failures(self, key: Key) -> int:
        """How often in a row the key failed."""
        return self._failures.get(key, 0)

    def idle(self) -> bool:
        """Nothing waits and nothing is held (delayed keys do not count)."""
        return not (len(self) or self._busy)

    def __len__(self) -> int:
        return len(self._urgent) + len(self._normal) + len(self._late)

    def _next_lane(self) -> dict[Key, float]:
        if self._late and (self._before_late >= BEFORE_LATE or not (self._urgent or self._normal)):
            self._before_late = 0
            return self._late
        self._before_late += 1
        urgent = bool(self._urgent) and (self._in_a_row < URGENT_IN_A_ROW or not self._normal)
        self._in_a_row = self._in_a_row + 1 if urgent else 0
        return self._urgent if urgent else self._normal

    def _promote(self) -> None:
        self._timer = None
        now = self._now()
        while self._heap and self._heap[0][0] <= now:
            due, _, key, late = heapq.heappop(self._heap)
            if self._due.get(key) == due:  # else an earlier due time replaced this one
                del self._due[key]
                self._come_due(key, late=late)
        self._arm()

    def _come_due(self, key: Key, *, late: bool) -> None:
        waits = key in self._busy or key in self._urgent or key in self._normal
        if not late or waits:
            self.add(key)
        elif key not in self._late:
            self._enter(self._late, key, None)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap and not self._closed:
            self._timer = asyncio.get_running_loop().call_at(self._heap[0][0], self._promote)

    def _wake(self) -> None:
        for _ in range(len(self._getters) if self._closed else 1):
            while self._getters:
                getter = self._getters.popleft()
                if not getter.done():
                    getter.set_result(None)
                    break

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
