"""Counts for triggers from a real Prometheus: the same windows and decisions as from the pods themselves,
over a restart, pods that come and go, and operators that begin anew; and nothing where it cannot be asked.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from tests.integration.scraping import prometheus as scraping
from tests.sockets import free_port
from tests.unit.serving.test_monitoring import FIRST, LATE, Server

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.drift import season
from noria_operator.domain.metric_sources import Source
from noria_operator.domain.promql_counts import AT_ONCE
from noria_operator.domain.triggers_findings import Traffic
from noria_operator.domain.triggers_monitoring import watch
from noria_operator.domain.triggers_performance import performance
from noria_operator.evidence.background import Look
from noria_operator.evidence.prometheus_counts import PrometheusCounts
from noria_operator.evidence.server import CounterReader, Totals
from noria_serving.contract import COUNTS_METRIC, STARTED_METRIC
from noria_serving.model.loaded import Loaded
from noria_serving.server.counters_app import CountersApp
from noria_serving.server.service import Service

pytestmark = pytest.mark.extended

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


def rows(totals: Totals) -> dict[str, tuple[int, ...]]:
    """What was counted; what was not is told or left out."""
    return {place: row for place, row in totals.counts.items() if any(row) or not row}


async def _scraped(url: str, pods: int) -> None:
    query = {"query": f"count({STARTED_METRIC})"}
    async with httpx.AsyncClient(timeout=5) as client:
        for _ in range(150):
            found = (await client.get(f"{url}/api/v1/query", params=query)).json()["data"]["result"]
            if found and int(found[0]["value"][1]) >= pods:
                return
            await asyncio.sleep(0.2)
    raise AssertionError("nothing was scraped")


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


async def test_a_window_is_the_same_from_prometheus_and_from_the_pods(loaded: Loaded) -> None:
    port = free_port()
    pods = [Pod(number, loaded, port) for number in (1, 2, 3)]
    first, second, third = pods
    with scraping(*jobs(pods)) as url:
        source, direct = (
            Source("prom", url, delay=DELAY, interval=timedelta(seconds=1)),
            CounterReader(port=port),
        )
        async with first.listening(), second.listening():
            stay = [first, second]
            read = [pod.as_json() for pod in stay]
            await _scraped(url, 2)
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
                await asyncio.sleep(2)
                await direct.window(*PLACE, [*read, third.as_json()], since=since)
            second.restart()
            await second.work(80, 6, shift=2.0)
            middle = await settled()
            theirs = await direct.complete(*PLACE, read, since=since)
            ours = await asked(source, stay, since)
            assert theirs is not None
            assert theirs.number("predictions") == 300 + 200 + 120 + 80
            assert rows(ours) == rows(theirs)
            assert await decisions(ours, direct, stay, since) == await decisions(theirs, direct, stay, since)
            assert (await decisions(ours, direct, stay, since))[0]["decision"] == "Fire"

            assert ours.until is not None
            assert middle <= ours.until
            await asyncio.sleep(DELAY.total_seconds())
            await first.work(70, 7)
            await settled()
            after, whole = await asked(source, stay, ours.until), await asked(source, stay, since)
            assert after.number("predictions") == 70
            sums = {place: sum(row) for place, row in rows(whole).items()}
            parts = {
                place: sum(ours.counts.get(place, ())) + sum(after.counts.get(place, ())) for place in sums
            }
            assert parts == sums, "windows that follow each other are one long window"
            await _nothing_is_told(source, [*stay, third], since)
        await direct.close()


async def test_a_window_in_which_pods_began_anew_many_times_is_counted_whole(loaded: Loaded) -> None:
    """More often than one question holds, so that several moments of a pod are summed by one."""
    port, restarts = free_port(), 14
    assert restarts > AT_ONCE
    pods = [Pod(number, loaded, port) for number in (4, 5, 6)]
    with scraping(*jobs(pods)) as url:
        source = Source("prom", url, delay=DELAY, interval=timedelta(seconds=1))
        async with pods[0].listening(), pods[1].listening(), pods[2].listening():
            await _scraped(url, 3)
            await pods[0].work(33, 0)
            since, rows_ = await settled(), 0
            for time_ in range(restarts):
                for number, pod in enumerate(pods):
                    pod.restart()
                    await pod.work(10 + number, time_)
                    rows_ += 10 + number
                await asyncio.sleep(2.2)
            await settled()
            assert rows_ == restarts * 33
            found = await asked(source, pods, since)
            assert found.number("predictions") == rows_
            assert found.labels(FIRST.name).samples == rows_


async def _nothing_is_told(source: Source, pods: list[Pod], since: datetime) -> None:
    """A ready pod that is not scraped, a tenant's data that is not there, a source that is away."""
    servers = CounterReader(port=pods[0].port)
    away = Source("away", "http://127.0.0.1:1", delay=DELAY)
    for asked_, read, why in (
        (source, pods, "no samples of late-3"),
        (away, pods[:2], "ClientConnectorError"),
    ):
        counts = PrometheusCounts(asked_, servers, now)
        await counts.complete(*PLACE, [pod.as_json() for pod in read], since=since)
        await counts.settled()
        assert await counts.complete(*PLACE, [pod.as_json() for pod in read], since=since) is None
        assert why in counts.problem(*PLACE, since)
        await counts.close()
    await servers.close()


def _remembered(pod: str, started: float, counted: dict[float, tuple[int, ...]]) -> list[str]:
    """Samples of a process and of the bins that it had counted at each time."""
    of, lines = f'namespace="{PLACE[0]}",deployment="{PLACE[1]}",pod="{pod}"', []
    for at, row in counted.items():
        lines.append(f"{STARTED_METRIC}{{{of}}} {started} {at}")
        for index, count in enumerate(row):
            place = f'place="prediction/{FIRST.name}/bins",index="{index}",of="{len(row)}"'
            lines.append(f"{COUNTS_METRIC}{{{of},{place}}} {count} {at}")
    return lines


async def test_the_same_time_of_earlier_weeks_is_what_was_counted_then() -> None:
    """Over a restart in each of three weeks, and of a week that nobody remembers."""
    end = now().replace(microsecond=0) - timedelta(hours=1)
    spans, lines = season.earlier(end - timedelta(hours=1), end, UTC), []
    for number, (begin, _) in enumerate(spans[:3], 1):
        first = begin.timestamp() - 600
        times = [first + 60 * minute for minute in range(80)]
        stays = {at: (10 * round((at - first) / 60), number) for at in times}
        lines += _remembered("late-1", first - 9000, stays)
        before, after = [at for at in times if at < begin.timestamp() + 1200], times[40:]
        lines += _remembered("late-2", first - 9000, {at: (7000, round((at - first) / 60)) for at in before})
        lines += _remembered("late-2", after[0] - 30, {at: (0, round((at - after[0]) / 60)) for at in after})
    lines.sort(key=lambda line: line.split("{")[0])
    with scraping(history="\n".join(lines) + "\n") as url:
        source = Source("prom", url, delay=timedelta(), interval=timedelta())
        servers = CounterReader()
        counts = PrometheusCounts(source, servers, now)
        try:
            assert await counts.earlier(*PLACE, windows=spans, asker="season") == Look()
            await counts.settled()
            told = await counts.earlier(*PLACE, windows=spans, asker="season")
        finally:
            await counts.close()
            await servers.close()
    assert told.found is not None and not told.problem
    seen = [one.predicted(FIRST.name) for one in told.found]
    # An hour of one pod that stays; of the other 19 minutes, and 30 of the process that took its place.
    assert [one.bins if one else None for one in seen] == [*[(600, 19 + 30)] * 3, None]
