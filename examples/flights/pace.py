"""How fast the simulated year passes: requests a second, changed while it runs, and an optional date to stop
before.

In: `set(rate, pause_at)` from whoever drives the demo. Out: `turn(date)`, which returns when the next request
may go. Invariant: a change of the rate takes effect at the next request at the latest; after a hold nothing
is sent in a burst.
"""

from __future__ import annotations

import asyncio
from typing import Final

SLACK: Final = 0.1
"""Seconds of delay that may be caught up: the event loop sleeps in milliseconds, requests may be closer
together.
"""


class Pace:
    """One for a replay; 0 requests a second holds the clock."""

    def __init__(self, rate: float = 0.0) -> None:
        self._rate = rate
        self._pause_at: str | None = None
        self._changed = asyncio.Event()
        self._next = 0.0

    @property
    def rate(self) -> float:
        return self._rate

    @property
    def pause_at(self) -> str | None:
        return self._pause_at

    def set(self, *, rate: float | None = None, pause_at: str | None = None) -> None:
        """Change what is given; an empty `pause_at` takes the pause away."""
        if rate is not None:
            self._rate = rate
        if pause_at is not None:
            self._pause_at = pause_at or None
        self._changed.set()

    def held(self, date: str) -> bool:
        """Whether a flight of this date must wait."""
        return self._rate <= 0 or (self._pause_at is not None and date >= self._pause_at)

    async def turn(self, date: str) -> None:
        """Wait for the slot of the next request."""
        while self.held(date):
            self._changed.clear()
            await self._changed.wait()
        now = asyncio.get_running_loop().time()
        self._next = max(self._next + 1 / self._rate, now - SLACK)
        if self._next > now:
            await asyncio.sleep(self._next - now)
