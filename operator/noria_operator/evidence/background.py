"""Reading in the background, so that no pass waits for it.

Comes in: a key and something to await. Goes out: the latest result for the key, on a later look. Invariants:
one thing at a time is read for a key; results are bounded in number, those that nobody looks at any more go,
and what is forgotten is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Final, Generic, TypeVar

Result = TypeVar("Result")

REMEMBERED: Final = 4096
"""Results kept; those that nobody looked at for longest go first."""
UNUSED: Final = 3600.0
"""Seconds for which a result is kept that nobody looks at: of a window that was closed, say, whose counts may
take megabytes. Every object is looked at more often than that, six times over.
"""


@dataclass(frozen=True, slots=True)
class Look(Generic[Result]):
    """What was read, or why it cannot be; neither: there is nothing yet."""

    found: Result | None = None
    problem: str = ""


@dataclass(slots=True)
class _Found(Generic[Result]):
    """A result: when its reading began, and when somebody looked at it last, by the clock."""

    began: float
    looked: float
    result: Result


class Background(Generic[Result]):
    """The latest results by key."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._latest: dict[Hashable, _Found[Result]] = {}
        """By when somebody looked at it last, oldest first."""
        self._reading: dict[Hashable, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Give up what is being read."""
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settled(self) -> None:
        """Wait for what is being read."""
        await asyncio.gather(*self._reading.values())

    def latest(self, key: Hashable) -> Result | None:
        """What was read last; None before the first time."""
        found = self._latest.pop(key, None)
        if found is None:
            return None
        self._latest[key] = found
        found.looked = self._clock()
        return found.result

    def read(
        self,
        key: Hashable,
        reading: Callable[[], Awaitable[Result]],
        *,
        every: timedelta = timedelta(),
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Read, unless this is being read already, or what was read last began less than `every` ago; `then`
        is called once the result can be looked at.
        """
        known = self._latest.get(key)
        due = known is None or self._clock() - known.began >= every.total_seconds()
        if due and key not in self._reading:
            self._reading[key] = asyncio.create_task(self._read(key, reading, then))

    async def _read(
        self, key: Hashable, reading: Callable[[], Awaitable[Result]], then: Callable[[], None]
    ) -> None:
        began = self._clock()
        try:
            found = await reading()
            self._latest.pop(key, None)
            self._latest[key] = _Found(began, self._clock(), found)
            self._forget()
        finally:
            del self._reading[key]
        then()

    def _forget(self) -> None:
        while len(self._latest) > REMEMBERED or self._unused() > UNUSED:
            del self._latest[next(iter(self._latest))]

    def _unused(self) -> float:
        """Seconds since somebody looked at the result that nobody looked at for longest."""
        return self._clock() - next(iter(self._latest.values())).looked
