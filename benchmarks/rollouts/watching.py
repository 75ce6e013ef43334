"""Follow many objects without asking again and again: a watch, and when each one met a condition.

Comes in: a kind and a condition. Goes out: how long after a start every object met it. Invariant: what is
measured costs the API server one watch, whoever is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from noria_operator.kube.kinds import Kind
from noria_operator.kube.login import from_kubeconfig

Json = dict[str, Any]
Condition = Callable[[Json], bool]


class Watched:
    """Objects of a kind as the watch shows them, by namespace and name."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Json] = {}
        self._changed = asyncio.Event()
        self._waiting: list[tuple[Condition, dict[tuple[str, str], float]]] = []

    def take(self, event: Json) -> None:
        """One event."""
        obj, now = event["object"], time.monotonic()
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        if event["type"] == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = obj
            for condition, met in self._waiting:
                if key not in met and condition(obj):
                    met[key] = now
        self._changed.set()

    async def until(self, condition: Condition, count: int, *, seconds: float) -> list[float]:
        """The moments at which `count` objects met the condition first; raises `TimeoutError`."""
        met = {key: time.monotonic() for key, obj in self.objects.items() if condition(obj)}
        entry = (condition, met)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(seconds):
                while len(met) < count:
                    await self.changed()
        except TimeoutError as error:
            raise TimeoutError(f"{len(met)} of {count} objects within {seconds:.0f} s") from error
        finally:
            self._waiting.remove(entry)
        return sorted(met.values())

    async def one(self, key: tuple[str, str], condition: Condition, *, seconds: float = 60) -> float:
        """The moment at which one object met the condition."""
        async with asyncio.timeout(seconds):
            while key not in self.objects or not condition(self.objects[key]):
                await self.changed()
        return time.monotonic()

    async def changed(self) -> None:
        """Wait for the next event."""
        self._changed.clear()
        await self._changed.wait()


@asynccontextmanager
async def watching(kubeconfig: Path, kind: Kind, *, labels: str = "") -> AsyncIterator[Watched]:
    """Watch all objects of a kind, or those that a label selector names, for the length of the block, which
    ends if the watch is refused. One that the API server breaks off, as too busy ones do, begins again.
    """
    watched, endpoint = Watched(), from_kubeconfig(kubeconfig)
    group = f"apis/{kind.group}" if kind.group else "api"
    url = f"{endpoint.server}/{group}/{kind.version}/{kind.plural}"
    # From what the API server knows at the moment: a busy one is asked to catch up with nothing.
    asked = {"watch": "1", "resourceVersion": "0", "timeoutSeconds": "7200", "labelSelector": labels}
    connector = aiohttp.TCPConnector(ssl=endpoint.tls)
    async with aiohttp.ClientSession(
        connector=connector, headers=endpoint.headers(), read_bufsize=2**24, timeout=aiohttp.ClientTimeout()
    ) as session:

        async def follow() -> None:
            while True:  # what was just installed is refused at first, and its watches end once
                async with session.get(url, params=asked) as answer:
                    if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
                        answer.raise_for_status()
                        async for line in answer.content:
                            event = json.loads(line)
                            if event["type"] == "ERROR":
                                sys.stderr.write(
                                    f"  the watch begins again: {event['object'].get('message')}\n"
                                )
                                break
                            watched.take(event)
                await asyncio.sleep(0.1)

        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(follow())
            yield watched
            task.cancel()
