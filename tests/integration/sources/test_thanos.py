"""Counts for triggers from a real Thanos: of two replicas the same windows and decisions as from the pods,
and nothing where it does not tell of all pods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.scraping import Prometheus
from tests.integration.sources.counted import (
    DELAY,
    Asking,
    Pod,
    jobs,
    looking,
    now,
    same_window,
    scraped,
    settled,
)
from tests.integration.sources.thanos import SPOILING, querier, sidecar
from tools.ports import free_port

from noria_operator.domain.metric_sources import Source
from noria_operator.evidence.prometheus import QueryReader
from noria_serving.contract import STARTED_METRIC
from noria_serving.model.loaded import Loaded

pytestmark = pytest.mark.extended


@contextmanager
def stores(folder: Path, *scraping: Sequence[Pod]) -> Iterator[list[str]]:
    """A Prometheus for each of these groups of pods, each with its sidecar."""
    with ExitStack() as running:
        found = []
        for number, pods in enumerate(scraping):
            (folder / str(number)).mkdir()
            one = Prometheus(folder / str(number), *jobs(list(pods)), replica=str(number))
            running.enter_context(one.running())
            found.append(running.enter_context(sidecar(one)))
        yield found


def source(name: str, url: str) -> Source:
    return Source(name, url, delay=DELAY, interval=timedelta(0))


async def test_a_window_is_the_same_from_two_replicas_and_from_the_pods(
    loaded: Loaded, tmp_path: Path
) -> None:
    """By both engines of Thanos, and also where it is told to answer with less than it has."""
    port = free_port()
    pods = [Pod(number, loaded, port) for number in (11, 12, 13)]
    with (
        stores(tmp_path, pods, pods) as found,
        querier(found) as plain,
        querier(found, *SPOILING, "--query.promql-engine=thanos", strict=True) as other,
    ):
        await same_window([source("plain", plain), source("other", other)], pods)


async def test_a_pod_that_begins_anew_all_the_time_is_never_counted_twice(
    loaded: Loaded, tmp_path: Path
) -> None:
    """Replicas scrape at different times, and which one's samples are taken depends on the question."""
    port = free_port()
    pods = [Pod(number, loaded, port) for number in (14, 15)]
    async with pods[0].listening(), pods[1].listening():
        with stores(tmp_path, pods, pods) as found, querier(found) as url:
            await scraped(url, 2)
            since, worked = await settled(), 0
            await asyncio.sleep(DELAY.total_seconds())
            async with looking(source("thanos", url), pods) as look:
                for time_ in range(6):
                    for pod in pods:
                        pod.restart()
                        await pod.work(100, time_)
                        worked += 100
                    for _ in range(10):
                        await asyncio.sleep(0.2)
                        found_ = await look(since, pods)
                        assert isinstance(found_, int), found_
                        assert found_ <= worked
                await settled()
                assert await look(since, pods) == worked


async def test_a_store_that_goes_makes_no_smaller_count(loaded: Loaded, tmp_path: Path) -> None:
    """Of two that scrape a pod each, of which one went within the window: no ready pod is missing then."""
    port = free_port()
    stays, goes = pods = [Pod(number, loaded, port) for number in (16, 17)]
    (tmp_path / "rest").mkdir()
    with stores(tmp_path, [stays]) as (one,), ExitStack() as away:
        rest = Prometheus(tmp_path / "rest", *jobs([goes]), replica="rest")
        away.enter_context(rest.running())
        found = [one, away.enter_context(sidecar(rest))]
        with querier(found) as lenient, querier(found, "--query.partial-response", strict=True) as strict:
            asked = [source("lenient", lenient), source("strict", strict)]
            async with stays.listening(), looking(asked[0], pods) as first, looking(asked[1], pods) as second:
                async with goes.listening():
                    await scraped(lenient, 2)
                    await scraped(strict, 2)
                    since = await settled()
                    await asyncio.sleep(DELAY.total_seconds())
                    for pod in pods:
                        await pod.work(100, 1)
                    await settled()
                for look in (first, second):
                    assert await look(since, [stays]) == 200
                assert await answered(strict) == (2.0,)
                away.close()
                assert "no longer tells of late-17" in await left_out(first, since, stays)
                for said in (await second(since, [stays]), await answered(strict)):
                    assert "status 4" in str(said), "it says that it cannot ask all, and answers nothing"


async def left_out(look: Asking, since: datetime, pod: Pod) -> str:
    """What a look says as soon as the querier does not ask the store any more that is away."""
    for _ in range(60):
        said = str(await look(since, [pod]))
        if "receive series" not in said and "fetch series" not in said:
            break
        await asyncio.sleep(1)
    return said


async def answered(url: str) -> object:
    """What a custom query hears: numbers, or an error."""
    reader = QueryReader(now)
    reader.ask("key", Source("", url), f"count(last_over_time({STARTED_METRIC}[5m]))")
    await reader.settled()
    await reader.close()
    answer = reader.answer("key")
    assert answer is not None
    return answer.error or answer.result
