"""Calls are taken in before they are answered, so that those that wait are seen and bounded.

grpcio hands over one call at a time and keeps the others where nobody can count them: a server that answers
each on its event loop before it takes the next never knows how many wait, nor for how long. In: calls as they
begin, and requests that are whole. Out: their turns, in the order in which they became whole. Invariants: at
most `limit` requests wait; a flood of calls that are refused leaves room for an answer every `AT_ONCE` calls;
a server that has less to do than it could waits for nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

EVERY: Final = 0.01
"""Seconds between two looks for calls that grpcio holds back, while requests come closer than that."""
ROUNDS: Final = 6
"""Of the event loop in which no call began: then there are no more (grpcio takes two to hand one over)."""
AT_ONCE: Final = 4
"""Calls taken in for each turn given while as many wait as may."""
TOGETHER: Final = 16
"""Turns given at the end of a look. One alone would be all that gRPC has of a loop whose rounds are long, as
many clients over HTTP make them: there a look takes much longer than EVERY. More would hold up others.
"""


class Entrance:
    """Of one listener, for predictions that run on its event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._line: deque[asyncio.Future[None]] = deque()
        self._begun = 0
        self._turns = 0
        """Since the latest look."""
        self._latest = self._looked = 0.0
        """When (time.monotonic()) a turn was given without a line, and the latest look was over."""

    @property
    def waiting(self) -> int:
        return len(self._line)

    def begin(self) -> None:
        """A call has begun; its message may be on its way."""
        self._begun += 1

    async def turn(self) -> bool:
        """Wait for a turn; False when as many wait as may."""
        now = time.monotonic()
        if not self._line and (now - self._looked < EVERY or now - self._latest > EVERY):
            self._latest = now
            self._turns += 1
            return True
        if len(self._line) >= self._limit:
            return False
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[None] = loop.create_future()
        self._line.append(mine)
        if len(self._line) == 1:
            loop.call_soon(self._next, loop)
        await mine
        return True

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        if time.monotonic() - self._looked < EVERY:
            self._give(loop, 1)
        else:
            self._look(loop, self._begun, ROUNDS, AT_ONCE * max(1, self._turns))

    def _look(self, loop: asyncio.AbstractEventLoop, begun: int, rounds: int, more: int) -> None:
        """Until no call began for some rounds, or enough did."""
        if self._begun != begun and more > 0:
            if len(self._line) >= self._limit:
                more -= self._begun - begun
            loop.call_soon(self._look, loop, self._begun, ROUNDS, more)
        elif rounds:
            loop.call_soon(self._look, loop, begun, rounds - 1, more)
        else:
            self._looked, self._turns = time.monotonic(), 0
            self._give(loop, TOGETHER)

    def _give(self, loop: asyncio.AbstractEventLoop, turns: int) -> None:
        """The next turns, to the first ones whose clients are still there."""
        while self._line and turns:
            first = self._line.popleft()
            if not first.done():
                turns -= 1
                self._turns += 1
                self._latest = time.monotonic()
                first.set_result(None)
        if self._line:
            loop.call_soon(self._next, loop)
