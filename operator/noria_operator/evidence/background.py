"""Reading in the background, so that no pass waits for it.

Comes in: a key and something to await. Goes out: the latest result for the key, on a later look. Invariants:
one thing at a time is read for a key; results are bounded in number, and what is forgotten is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

Result = TypeVar("Result")

REMEMBERED: Final = 4096
"""Results kept; the oldest go first."""


class Background(Generic[Result]):
    """The latest results by key."""

    def __init__(self) -> None:
        self._latest: dict[Hashable, Result] = {}
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
        return self._latest.get(key)

    def read(self, key: Hashable, reading: Callable[[], Awaitable[Result]]) -> None:
        """Read, unless this is being read already."""
        if key not in self._reading:
            self._reading[key] = asyncio.create_task(self._read(key, reading))

    async def _read(self, key: Hashable, reading: Callable[[], Awaitable[Result]]) -> None:
        try:
            found = await reading()
            self._latest.pop(key, None)
            self._latest[key] = found
            if len(self._latest) > REMEMBERED:
                del self._latest[next(iter(self._latest))]
        finally:
            del self._reading[key]
