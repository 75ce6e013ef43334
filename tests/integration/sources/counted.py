"""Model servers that count, and what an operator makes of their counts from wherever they are taken.

Comes in: pods on loopback, traffic, sources. Goes out: totals of a window and what triggers decide on them.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import uvicorn
from tests.unit.serving.test_monitoring import FIRST, LATE, Server

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.metric_sources import Source
from noria_operator.domain.triggers_findings import Traffic
from noria_operator.domain.triggers_monitoring import watch
from noria_operator.domain.triggers_performance import performance
from noria_operator.evidence.prometheus_counts import PrometheusCounts
from noria_operator.evidence.server import CounterReader
from noria_operator.evidence.totals import Totals
from noria_serving.contract import STARTED_METRIC
from noria_serving.model.loaded import Loaded
from noria_serving.server.counters_app import CountersApp
from noria_serving.server.service import Service

Json = dict[str, Any]
DELAY = timedelta(seconds=2)
PLACE = ("shop", "late")


class Pod:
    """A model server's counters on an address of loopback, scraped by its name."""

    def __init__(self, number: int, loaded: Loaded, port: int) -> None:
        self.name, self.address, self.port = f"late-{number}", f"127.0.0.{number}", port
        self.loaded, self.server = loaded, Server(loaded)

    def as_json(self) -> Json:
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        return {
            "metadata": {"uid": self.name, "name": self.name, "namespace": PLACE[0]},
            "spec": {"containers": [{"ports": [{"name": "counters"}]}]},
            "status": {"podIP": self.address, "conditions": [ready]},
        }

    def restart(self) -> None:
        """Another process in the same pod, which counts from zero."""
        self.server.service = Service(LATE, self.loaded)
        self.server.models.serve(self.server.service)

    async def work(self, rows: int, seed: int, *, shift: float = 0.0, bad: float = 0.1) -> None:
        """Predict, and hear that a share of the predictions was bad."""
        random = np.random.default_rng(seed)
        await self.server.predict(random.normal(size=(rows, 3)) + shift)
        recorder = self.server.service.recorder
        for score in random.uniform(size=rows):
            positive = (score > 0.5) != (random.uniform() < bad)
            recorder.state.add_score(FIRST.name, int(score * 200), positive=positive)
            recorder.state.vector[recorder.state.feedback] += 1
            recorder.state.add_delay(float(random.integers(1, 1000)))

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        bound = socket.create_server((self.address, self.port))
        app = CountersApp(self.server.models)
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
        running = asyncio.create_task(server.serve(sockets=[bound]))
        try:
            yield
        finally:
            server.should_exit = True
            await running
            bound.close()


def jobs(pods: list[Pod]) -> list[Json]:
    targets = [
        {
            "targets": [f"{pod.address}:{pod.port}"],
            "labels": {"namespace": PLACE[0], "deployment": PLACE[1], "pod": pod.name},
        }
        for pod in pods
    ]
    return [{"job_name": "counts", "metrics_path": "/metrics/counts", "static_configs": targets}]


def now() -> datetime:
    return datetime.now(UTC)


async def settled() -> datetime:
    """When everything up to now was scraped, and is older than the delay: a moment to begin a window."""
    await asyncio.sleep(2 * DELAY.total_seconds())
    return now().replace(microsecond=0)


async def asked(source: Source, pods: list[Pod], since: datetime) -> Totals:
    """What an operator hears that has just begun."""
    servers = CounterReader(port=pods[0].port)
    counts = PrometheusCounts(source, servers, now)
    read = [pod.as_json() for pod in pods]
    try:
        assert await counts.complete(*PLACE, read, since=since) is None, "nobody waits for the source"
        await counts.settled()
        assert counts.problem(*PLACE, since) == ""
        found = await counts.complete(*PLACE, read, since=since)
        assert found is not None
        return found
    finally:
        await counts.close()
        await servers.close()


Asking = Callable[[datetime, Sequence[Pod]], Awaitable[int | str]]


@asynccontextmanager
async def looking(source: Source, pods: Sequence[Pod]) -> AsyncIterator[Asking]:
    """Asking into windows again and again, as one operator does: rows, or why nobody knows."""
    servers = CounterReader(port=pods[0].port)
    counts = PrometheusCounts(source, servers, now)

    async def look(since: datetime, pods: Sequence[Pod]) -> int | str:
        read = [pod.as_json() for pod in pods]
        await counts.complete(*PLACE, read, since=since)
        await counts.settled()
        found = await counts.complete(*PLACE, read, since=since)
        await counts.settled()
        return found.number("predictions") if found else counts.problem(*PLACE, since)

    try:
        yield look
    finally:
        await counts.close()
        await servers.close()


def rows(totals: Totals) -> dict[str, tuple[int, ...]]:
    """What was counted; what was not is told or left out."""
    return {place: row for place, row in totals.counts.items() if any(row) or not row}


def differences(ours: Totals, theirs: Totals) -> dict[str, tuple[int, int]]:
    """Places at which counts differ, with their sums."""
    one, other = rows(ours), rows(theirs)
    return {
        place: (sum(one.get(place, ())), sum(other.get(place, ())))
        for place in one.keys() | other.keys()
        if one.get(place) != other.get(place)
    }


async def scraped(url: str, pods: int, *, tenant: str = "") -> None:
    """Wait until a source has samples of so many pods."""
    for _ in range(150):
        found = await _result(url, f"count({STARTED_METRIC})", tenant=tenant)
        if found and int(found[0]["value"][1]) >= pods:
            return
        await asyncio.sleep(0.2)
    raise AssertionError("nothing was scraped")


async def scraped_often(source: Source, pod: Pod) -> None:
    """Wait until each replica of a source has scraped a pod three times from now on: a process that replicas
    tell differently of, as of one that was scraped just once, is left out.
    """
    begun = asyncio.get_running_loop().time()
    replicas = f"count(count by (replica) ({STARTED_METRIC}))"
    while (waited := int(asyncio.get_running_loop().time() - begun)) < 30:
        times = f'count_over_time({STARTED_METRIC}{{pod="{pod.name}"}}[{max(1, waited)}s])'
        query = f"count(min by (replica) ({times}) >= 3) == {replicas}"
        if await _result(source.address, query, tenant=source.tenant, dedup="false"):
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"{source.name} has no three samples of {pod.name}")


async def _result(url: str, query: str, *, tenant: str, **more: str) -> list[Json]:
    headers = {"X-Scope-OrgID": tenant} if tenant else {}
    async with httpx.AsyncClient(timeout=5, headers=headers) as client:
        answer = await client.get(f"{url}/api/v1/query", params={"query": query, **more})
    return list(answer.json()["data"]["result"])


QUALITY = {"name": "quality", "performance": {"metric": "logloss", "max": "0.5", "minLabels": 100, "for": 1}}
WATCHED = (
    {"name": "drift", "drift": {"window": "1m", "for": 1, "of": 1}},
    {"name": "dirty", "dataQuality": {"window": "1m"}},
)


async def decisions(totals: Totals, servers: CounterReader, pods: list[Pod], since: datetime) -> list[Json]:
    """What the triggers say of a window, but for its times."""
    reference = await servers.reference(*PLACE, [pod.as_json() for pod in pods], version=FIRST.name)
    end, said = since + timedelta(minutes=5), []
    for spec in WATCHED:
        trigger = TriggerSpec.model_validate(spec)
        opened = watch(trigger, {}, champion=FIRST, traffic=None, now=since)
        traffic = Traffic(totals.seen(FIRST.name), reference)
        said.append(watch(trigger, opened.entry, champion=FIRST, traffic=traffic, now=end).entry)
    trigger = TriggerSpec.model_validate(QUALITY)
    assert trigger.performance is not None
    opened = performance(trigger, trigger.performance, {}, champion=FIRST, labels=None, now=since)
    labels = totals.labels(FIRST.name)
    judged = performance(trigger, trigger.performance, opened.entry, champion=FIRST, labels=labels, now=end)
    return [*said, judged.entry]


async def same_window(sources: Sequence[Source], pods: Sequence[Pod]) -> datetime:
    """Two pods of three stay, one of them begins anew: each source tells of the window what the pods tell
    themselves, triggers decide the same, and the next window begins where this one ends. When it began.
    """
    first, second, third = pods
    stay, direct = [first, second], CounterReader(port=first.port)
    read = [pod.as_json() for pod in stay]
    async with first.listening(), second.listening():
        for source in sources:
            await scraped(source.address, 2, tenant=source.tenant)
        await first.work(500, 1)  # before the window
        await second.work(50, 2)
        since = await settled()
        for pod in stay:
            pod.server.service.recorder.fold()
            pod.server.service.ring.take(pod.server.service.recorder.state.vector, time.time() - 3)
        await direct.window(*PLACE, read, since=since)
        await asyncio.sleep(DELAY.total_seconds())
        await first.work(300, 3, shift=2.0)
        await second.work(200, 4, bad=0.5)
        async with third.listening():
            await third.work(120, 5)
            for source in sources:
                await scraped_often(source, third)
            await direct.window(*PLACE, [*read, third.as_json()], since=since)
        second.restart()
        await second.work(80, 6, shift=2.0)
        for source in sources:
            await scraped_often(source, second)
        middle = await settled()
        theirs = await direct.complete(*PLACE, read, since=since)
        assert theirs is not None
        assert theirs.number("predictions") == 300 + 200 + 120 + 80
        decided, ends = await decisions(theirs, direct, stay, since), []
        assert decided[0]["decision"] == "Fire"
        for source in sources:
            ours = await asked(source, stay, since)
            assert differences(ours, theirs) == {}, (source.name, differences(ours, theirs))
            assert await decisions(ours, direct, stay, since) == decided, (
                source.name,
                differences(ours, theirs),
            )
            ends.append(ours)
        await asyncio.sleep(DELAY.total_seconds())
        await first.work(70, 7)
        await settled()
        for source, ours in zip(sources, ends, strict=True):
            assert ours.until is not None
            assert middle <= ours.until
            await _next_window(source, stay, since, ours)
    await direct.close()
    return since


async def _next_window(source: Source, pods: list[Pod], since: datetime, ours: Totals) -> None:
    assert ours.until is not None
    after, whole = await asked(source, pods, ours.until), await asked(source, pods, since)
    assert after.number("predictions") == 70
    sums = {place: sum(row) for place, row in rows(whole).items()}
    parts = {place: sum(ours.counts.get(place, ())) + sum(after.counts.get(place, ())) for place in sums}
    assert parts == sums, "windows that follow each other are one long window"
