"""Changes of weights and endpoints on a real Envoy, under load."""

from __future__ import annotations

import asyncio
import random
import statistics
import time

import pytest
from tests.integration.envoy_router import Cluster, Load, discovery, free_port, router, upstream

from noria_operator.routers import routes


async def test_two_hundred_weight_changes_under_load_lose_no_request() -> None:
    cluster, port, chance = Cluster(), free_port(), random.Random(7)
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port)
        cluster.endpoints("m-2", canary.port)
        cluster.deployment("m", {"m-1": 100, "m-2": 0})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            load, times, weight = Load(envoy, "m.shop"), list[float](), 0
            async with load.running(clients=2):
                for _ in range(200):
                    weight = chance.choice([other for other in range(101) if other != weight])
                    wanted = {"m-1": 100 - weight, "m-2": weight}
                    begin = time.perf_counter()
                    cluster.deployment("m", wanted)
                    await envoy.until_weights("m", wanted)
                    times.append(time.perf_counter() - begin)
            total, middle, worst = sum(load.answers.values()), statistics.median(times), max(times)
            print(
                f"in force after {middle * 1e3:.1f} ms (median), {worst * 1e3:.1f} ms (max); {total} requests"
            )
            assert load.failed == 0, load.answers
            assert load.shares().keys() == {"m-1", "m-2"}


async def test_a_challenger_that_loses_all_its_pods_fails_no_request_and_comes_back() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port)
        cluster.endpoints("m-2", canary.port)
        cluster.deployment("m", {"m-1": 50, "m-2": 50})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            load = Load(envoy, "m")
            async with load.running():
                for _ in range(10):
                    cluster.endpoints("m-2")
                    await asyncio.sleep(0.1)
                    cluster.endpoints("m-2", canary.port)
                    await asyncio.sleep(0.1)
                cluster.endpoints("m-2")
                await asyncio.sleep(0.2)
            await envoy.until_pods("m-2")
            assert load.failed == 0, load.answers
            assert await envoy.weights("m") == {"m-1": 50, "m-2": 50}, "what was asked for still stands"
            alone = Load(envoy, "m")
            await alone.requests(100)
            assert alone.shares() == {"m-1": 100}
            cluster.endpoints("m-2", canary.port)
            async with asyncio.timeout(10):
                while await envoy.get("m") != (200, "m-2"):
                    pass  # every second answer once its routes are there
            back = Load(envoy, "m")
            await back.requests(100)
            assert back.shares().keys() == {"m-1", "m-2"}


async def test_a_first_version_answers_by_its_pods_and_its_status_changes_nothing() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as first:
        cluster.tell("m", {}, replicas=1)
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            assert await envoy.weights("m") == {}
            cluster.endpoints("m-1", first.port)
            await envoy.until_weights("m", {"m-1-m-1": 100})
            load = Load(envoy, "m.shop")
            before = await envoy.get("version.noria.internal", "/m")
            async with load.running():
                share = {"name": "m-1-m-1", "version": "m-1", "revision": "m-1", "weight": 100}
                told = {"stable": share, "traffic": [share], "trafficVersion": 1}
                for _ in range(10):
                    cluster.tell("m", told, replicas=1)
                    await asyncio.sleep(0.05)
            assert load.failed == 0, load.answers
            assert load.shares() == {"m-1": sum(load.answers.values())}
            assert await envoy.get("version.noria.internal", "/m") == before


async def test_a_new_version_gets_traffic_at_once_without_a_gap_while_it_warms() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port)
        cluster.endpoints("m-2", canary.port)
        cluster.deployment("m", {"m-1": 100})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            load = Load(envoy, "m.shop.svc.cluster.local:80")
            async with load.running():
                for _ in range(10):
                    cluster.deployment("m", {"m-1": 50, "m-2": 50})
                    await envoy.until_weights("m", {"m-1": 50, "m-2": 50})
                    cluster.deployment("m", {"m-1": 100, "m-2": 0})
                    await envoy.until_weights("m", {"m-1": 100, "m-2": 0})
                    cluster.deployment("m", {"m-1": 100})
                    await envoy.until_weights("m", {"m-1": 100})
            assert load.failed == 0, load.answers
            assert await envoy.statistic("http.traffic.scoped_rds.noria.update_rejected") == 0


async def test_pods_that_are_replaced_one_by_one_fail_no_request() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as first, upstream("m-1") as second, upstream("m-1") as third:
        pods = [first, second, third]
        cluster.endpoints("m-1", *(pod.port for pod in pods))
        cluster.deployment("m", {"m-1": 100})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            load = Load(envoy, "m")
            async with load.running():
                for step in range(12):
                    left = [pod.port for index, pod in enumerate(pods) if index != step % 3]
                    cluster.endpoints("m-1", *left)
                    await asyncio.sleep(0.05)
            assert load.failed == 0, load.answers
            assert all(pod.served for pod in pods)


async def test_an_answer_may_take_longer_than_a_stream_that_says_nothing_may_be_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routes, "STREAM_IDLE", 0.5)
    monkeypatch.setattr(routes, "ANSWERED_IN_TIME", 2.0)
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as server:
        cluster.endpoints("m-1", server.port)
        cluster.deployment("m", {"m-1": 100}, router={"timeout": "2s"})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            server.delay = 1.2
            assert await envoy.get("m") == (200, "m-1"), "no byte came for 1.2 s"
            server.delay = 5
            begin = time.perf_counter()
            assert (await envoy.get("m"))[0] == 504
            assert 1.5 < time.perf_counter() - begin < 3.5, "the time-out comes before the idle one"
