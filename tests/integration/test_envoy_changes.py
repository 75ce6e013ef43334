"""Changes of weights and endpoints on a real Envoy, under load."""

from __future__ import annotations

import random
import statistics
import time

from tests.integration.envoy_router import Cluster, Load, discovery, free_port, router, upstream


async def test_two_hundred_weight_changes_under_load_lose_no_request() -> None:
    cluster, port = Cluster(), free_port()
    chance = random.Random(7)
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port)
        cluster.endpoints("m-2", canary.port)
        cluster.deployment("m", {"m-1": 100, "m-2": 0})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            load, times = Load(envoy, "m.shop"), []
            async with load.running():
                for _ in range(200):
                    weight = chance.choice([w for w in range(101) if w != chance])
                    wanted = {"m-1": 100 - weight, "m-2": weight}
                    begin = time.perf_counter()
                    cluster.deployment("m", wanted)
                    await envoy.until_weights("m", wanted)
                    times.append(time.perf_counter() - begin)
            print(
                f"change to in force: p50 {statistics.median(times) * 1e3:.1f} ms, max {max(times) * 1e3:.1f} ms,"
                f" {sum(load.answers.values())} requests"
            )
            assert load.failed == 0, load.answers
            assert len(load.shares()) == 2
