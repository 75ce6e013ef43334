"""Counts for triggers from a real Prometheus: the same windows and decisions as from the pods themselves,
over a restart, pods that come and go, and operators that begin anew; and nothing where it cannot be asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.scraping import prometheus as scraping
from tests.integration.sources.counted import (
    DELAY,
    PLACE,
    Pod,
    asked,
    jobs,
    now,
    same_window,
    scraped,
    settled,
)
from tests.unit.serving.test_monitoring import FIRST
from tools.ports import free_port

from noria_operator.domain.drift import season
from noria_operator.domain.metric_sources import Source
from noria_operator.domain.promql_counts import AT_ONCE
from noria_operator.evidence.background import Look
from noria_operator.evidence.prometheus_counts import PrometheusCounts
from noria_operator.evidence.server import CounterReader
from noria_serving.contract import COUNTS_METRIC, STARTED_METRIC
from noria_serving.model.loaded import Loaded

pytestmark = pytest.mark.extended


async def test_a_window_is_the_same_from_prometheus_and_from_the_pods(loaded: Loaded) -> None:
    port = free_port()
    pods = [Pod(number, loaded, port) for number in (1, 2, 3)]
    with scraping(*jobs(pods)) as url:
        source = Source("prom", url, delay=DELAY, interval=timedelta(seconds=1))
        since = await same_window([source], pods)
        async with pods[0].listening(), pods[1].listening():
            await _nothing_is_told(source, pods, since)


async def test_a_window_in_which_pods_began_anew_many_times_is_counted_whole(loaded: Loaded) -> None:
    """More often than one question holds, so that several moments of a pod are summed by one."""
    port, restarts = free_port(), 14
    assert restarts > AT_ONCE
    pods = [Pod(number, loaded, port) for number in (4, 5, 6)]
    with scraping(*jobs(pods)) as url:
        source = Source("prom", url, delay=DELAY, interval=timedelta(seconds=1))
        async with pods[0].listening(), pods[1].listening(), pods[2].listening():
            await scraped(url, 3)
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


def _remembered(pod: str, started: float, counted: Mapping[float, tuple[int, ...]]) -> list[str]:
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
