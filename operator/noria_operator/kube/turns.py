"""One at a time by name: many passes that find the same thing missing make it once.

Comes in: a name. Goes out: a lock that all who hold or wait for this name share. Invariant: what nobody holds
or waits for is not remembered.
"""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Turns:
    """`async with turns("name"):` is entered by one at a time; look again inside at what was missing."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __call__(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock
