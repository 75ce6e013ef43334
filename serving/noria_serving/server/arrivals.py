"""How many requests came to the event loop before one, and wait for it.

The loop reads from all connections that have something for it, and then answers what became whole, each at
once where the model is quick: the queue of predictions on the loop is what came in one round. In: requests as
they become whole. Out: how many came before each. Invariant: nothing has to be given back, so no client that
leaves and no error can make the line look longer than it is.
"""

from __future__ import annotations

import asyncio


class Arrivals:
    """Of one port."""

    def __init__(self) -> None:
        self._count = 0

    def ahead(self, loop: asyncio.AbstractEventLoop) -> int:
        """A request is whole: how many have come since the loop last answered any."""
        ahead = self._count
        if not ahead:
            loop.call_soon(self._over)  # among the answers, so before the loop reads again
        self._count = ahead + 1
        return ahead

    def _over(self) -> None:
        self._count = 0
