"""Traffic of users whose true labels are sent back, as an application does that learns the truth later.

Comes in: the address of a model with three features whose label is whether the first is positive. Goes out:
how many answers each version gave, and everything that failed. Invariant: the label of each answer since
`telling` is reported once.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import aiohttp
import numpy as np
from tests.e2e.load import CONNECTIONS
from tests.e2e.traffic import Traffic

Json = dict[str, Any]
BATCH = 20
"""Labels that are reported together."""


@dataclass
class Labelled(Traffic):
    """A context manager: asks `rate` times a second in the name of `users` in turn until it ends."""

    url: str
    headers: dict[str, str]
    users: list[str]
    rate: float = 100.0
    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    labelled: int = 0
    telling: bool = False
    """Whether labels are reported."""

    async def _run(self) -> None:
        numbers, waiting = np.random.default_rng(7), list[Json]()
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        timeout = aiohttp.ClientTimeout(total=15)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as requests,
        ):
            began = monotonic()
            for due, user in enumerate(itertools.cycle(self.users)):
                if self._stop.is_set():
                    break
                row = numbers.normal(size=3).tolist()
                requests.create_task(self._one(session, user, row, waiting))
                await asyncio.sleep(max(0.0, began + due / self.rate - monotonic()))

    async def _one(
        self, session: aiohttp.ClientSession, user: str, row: list[float], waiting: list[Json]
    ) -> None:
        tensor = {"name": "input-0", "shape": [1, 3], "datatype": "FP32", "data": row}
        answer = await self._post(session, self.url, {"inputs": [tensor]}, {"x-user": user})
        if answer is None:
            return
        self.versions[answer["model_version"]] += 1
        if not self.telling:
            return
        waiting.append({"token": answer["parameters"]["feedback_token"], "labels": [int(row[0] > 0)]})
        if len(waiting) >= BATCH:
            items = waiting[:]
            waiting.clear()
            if await self._post(session, self.url.replace("/infer", "/feedback"), {"items": items}, {}):
                self.labelled += len(items)

    async def _post(
        self, session: aiohttp.ClientSession, url: str, body: Json, headers: dict[str, str]
    ) -> Json | None:
        try:
            async with session.post(url, json=body, headers={**self.headers, **headers}) as answer:
                if answer.status == 200:
                    found: Json = await answer.json()
                    return found
                self.failures.append(f"{url}: {answer.status} {await answer.text()}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failures.append(f"{url}: {type(error).__name__} {error}")
        return None
