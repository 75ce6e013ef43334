"""Small rules for tasks that depend on one another: who ends whom.

In all of them a task that is cancelled is also waited for, so that nothing of it runs on afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")


async def first(work: Awaitable[T], guard: asyncio.Task[None]) -> T:
    """The result of `work`, unless `guard` fails before: then its error, and `work` is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, guard}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            guard.result()
        return await task
    finally:
        await cancelled(task)


async def before(stop: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Whether `work` ended before `stop` was set; if not, it is cancelled."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return False
        await task
        return True
    finally:
        await cancelled(task, stopping)


async def every(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Wait until all have ended or one has failed; they go on when this is cancelled."""
    done, _ = await asyncio.wait(list(tasks), return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


async def cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Cancel and wait; what they raise from now on is of no interest."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Turns:
    """One at a time by name: `async with turns("name"):` is entered by one at a time, who looks again inside
    at what was missing. What nobody holds or waits for is not remembered.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __call__(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock
