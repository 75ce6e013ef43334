"""Steady traffic from outside the cluster's pods, with every answer accounted for.

Requests go to the ClusterIP of a ModelDeployment's Service, over keep-alive connections and without retries:
a failure that a client would see is a failure that is counted.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType

import httpx

REQUEST = {"inputs": [{"name": "input-0", "shape": [1, 3], "datatype": "FP32", "data": [0.1, 0.2, 0.3]}]}


@dataclass
class Load:
    """A context manager: sends `rate` requests a second until it ends, at most for `seconds`."""

    url: str
    rate: float = 40.0
    seconds: float = 240.0
    body: dict[str, object] = field(default_factory=lambda: REQUEST)
    sent: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=60)

    def until_sent(self, more: int, *, timeout: float = 60) -> None:
        """Return once this many more requests were answered."""
        wanted = self.sent + more
        with self._changed:
            assert self._changed.wait_for(lambda: self.sent >= wanted, timeout), (
                f"{self.sent} of {wanted} sent"
            )

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=16)
        async with httpx.AsyncClient(timeout=15, limits=limits) as client:
            pending: set[asyncio.Task[None]] = set()
            start, due = monotonic(), 0
            while not self._stop.is_set() and monotonic() - start < self.seconds:
                task = asyncio.create_task(self._one(client))
                pending.add(task)
                task.add_done_callback(pending.discard)
                due += 1
                await asyncio.sleep(max(0.0, start + due / self.rate - monotonic()))
            await asyncio.gather(*pending)

    async def _one(self, client: httpx.AsyncClient) -> None:
        try:
            answer = await client.post(self.url, json=self.body)
            if answer.status_code == 200:
                self.versions[answer.json()["model_version"]] += 1
            else:
                self.failures.append(f"{answer.status_code} {answer.text[:200]} {dict(answer.headers)}")
        except httpx.HTTPError as error:
            self.failures.append(f"{type(error).__name__} {error}")
        with self._changed:
            self.sent += 1
            self._changed.notify_all()
