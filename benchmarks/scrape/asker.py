"""One process that reads all pods every fifteen seconds: the operator's own parts, or the bare floor.

Comes in: who, and for how long. Goes out: the port of `/metrics`, or 0; then one line of JSON: CPU seconds a
second, documents a second, writes, the longest time that the event loop stood still. The operator's workers,
queue, cache, controller of ContinuousTrainings, readers and page of metrics are the real ones; the API server
is a dictionary, and what is written is counted.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import aiohttp
from aiohttp import web

from benchmarks.scrape.world import EVERY, NAMESPACE, PODS, address, model, observed
from noria_operator import app, health
from noria_operator.controllers import continuoustraining, worker
from noria_operator.controllers.context import Config
from noria_operator.evidence.fetch import AT_ONCE, Fetcher
from noria_operator.evidence.server import FRESH, CounterReader
from noria_operator.kube.client import Client
from noria_operator.kube.clock import SystemClock
from noria_operator.kube.kinds import CONTINUOUSTRAINING, JOB, OWN_KINDS, POD, Key
from noria_operator.kube.queue import Queue
from noria_operator.kube.store import Store
from noria_operator.process import WORKERS

Json = dict[str, Any]
TICK = 0.05
"""Seconds after which the event loop is to come round when nothing stands in its way: a hundred times a
second would take nearly a hundredth of a core by itself."""


class Dictionary:
    """As much of an API server as a ContinuousTraining that decides nothing needs."""

    def __init__(self, store: Store) -> None:
        self._store, self.writes = store, 0

    async def apply_status(self, kind: Any, namespace: str, name: str, status: Json, **_: Any) -> Json:
        self.writes += 1
        found = self._store.get(Key(kind, namespace, name))
        assert found is not None
        return with_status(found, status)

    async def create(self, *_: Any, **__: Any) -> Json:
        self.writes += 1
        return {}


def with_status(obj: Json, status: Json) -> Json:
    """The next version of an object."""
    meta = obj["metadata"]
    version = str(int(meta["resourceVersion"]) + 1)
    return {**obj, "metadata": {**meta, "resourceVersion": version}, "status": status}


class Counting(Fetcher):
    """The operator's own, which counts what was read."""

    read = 0

    async def json(self, url: str, **how: Any) -> Any | None:
        found = await super().json(url, **how)
        self.read += found is not None
        return found


async def operator(port: int, models: int, seconds: float, settle: float) -> Json:
    """The operator, with a ContinuousTraining for each model."""
    gc.set_threshold(*app.GARBAGE)
    store, clock = Store(), SystemClock()
    for number in range(models):
        for obj in model(number):
            store.observe(None, obj)
    for kind in (*OWN_KINDS, JOB, POD):
        store.mark_synced(kind)
    api = Dictionary(store)
    fetcher = Counting()
    made = app.context(fetcher, fetcher)(cast(Client, api), store, Config(NAMESPACE), clock)
    ctx = replace(made, servers=CounterReader(fetcher, port=port, fresh=FRESH, now=clock.now))
    queue = Queue()
    workers = [asyncio.create_task(worker.work(queue, ctx, [continuoustraining])) for _ in range(WORKERS)]
    await observe(store, queue, models)
    for number in range(models):
        asyncio.get_running_loop().call_later(EVERY * number / models, queue.add, key(number))
    vitals = health.Vitals(
        watch_age=lambda: 0.0,
        queue_stalled=lambda: 0.0,
        leading=lambda: True,
        blind=lambda: False,
        store=store,
        kinds=OWN_KINDS,
        now=clock.now,
    )
    runner = web.AppRunner(health.app(vitals), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    told(runner.addresses[0][1])
    found = await measured(seconds, settle, lambda: fetcher.read, lambda: api.writes)
    await runner.cleanup()
    for task in workers:
        task.cancel()
    await fetcher.close()
    return found


def key(number: int) -> Key:
    return Key(CONTINUOUSTRAINING, NAMESPACE, f"m{number}")


async def observe(store: Store, queue: Queue, models: int) -> None:
    """Give all models the status of one whose windows the operator has opened and, as they had begun long
    ago, closed.
    """
    for said, given in (("windowStartedAt", 1), ("windowEndedAt", models)):
        queue.add(key(0))
        while True:
            await asyncio.sleep(TICK)
            first = store.get(key(0)) or {}
            entries = first.get("status", {}).get("triggers", ())
            if entries and all(said in entry for entry in entries):
                break
        for number in range(given):
            share = 1.0 if given == 1 else number / models
            status = observed(first["status"], number, share, datetime.now(UTC))
            known = store.get(key(number))
            assert known is not None
            store.observe("MODIFIED", with_status(known, status))


async def floor(port: int, models: int, seconds: float, settle: float) -> Json:
    """Every document fetched by the operator's own HTTP library, and thrown away."""
    told(0)
    read, gate = 0, asyncio.Semaphore(AT_ONCE)

    async def one(session: aiohttp.ClientSession, number: int, pod: int) -> None:
        nonlocal read
        await asyncio.sleep(EVERY * number / models)
        while True:
            due = time.monotonic() + EVERY
            async with gate, session.get(f"http://{address(number, pod)}:{port}/counters") as answer:
                await answer.read()
            read += 1
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    ) as session:
        tasks = [
            asyncio.create_task(one(session, number, pod)) for number in range(models) for pod in range(PODS)
        ]
        found = await measured(seconds, settle, lambda: read)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


def told(line: object) -> None:
    """To whoever started this process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def measured(
    seconds: float, settle: float, read: Callable[[], int], wrote: Callable[[], int] = lambda: 0
) -> Json:
    """What the process uses in `seconds`, after `settle`, and how much it reads and writes a second."""
    await asyncio.sleep(settle)
    before, at, longest = os.times(), time.monotonic(), 0.0
    was = read(), wrote()
    while time.monotonic() - at < seconds:
        woken = time.monotonic()
        await asyncio.sleep(TICK)
        longest = max(longest, time.monotonic() - woken - TICK)
    after, took = os.times(), time.monotonic() - at
    used = after.user + after.system - before.user - before.system
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counted = {"read": (read() - was[0]) / took, "wrote": (wrote() - was[1]) / took}
    return {"core": used / took, "still": longest, "memory": memory, **counted}


if __name__ == "__main__":
    who = {"operator": operator, "floor": floor}[sys.argv[1]]
    found = asyncio.run(who(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])))
    told(json.dumps(found))
