"""How requests reach a challenger beside its weight, on a real Envoy: copies, headers, users, the preview."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.envoy_router import (
    NAMESPACE,
    Cluster,
    Load,
    Router,
    Upstream,
    discovery,
    free_port,
    router,
    upstream,
)
from tests.integration.test_envoy_shares import CHI2_1_999_PER_MILLE

from noria_operator.domain.verdict import Counts
from noria_operator.evidence.router import RouterReader

CANARY = {"name": "x-canary", "value": "always"}


async def counted(envoy: Router) -> dict[str, Counts]:
    reader = RouterReader(stats_port=envoy.stats, traffic_port=envoy.traffic)
    return (await reader.counts(NAMESPACE, [envoy.pod()], ["m-1", "m-2"]))["router-0"]


async def until_served(server: Upstream, count: int) -> None:
    async with asyncio.timeout(5):
        while server.served < count:  # noqa: ASYNC110 - Envoy sends copies after it has answered
            await asyncio.sleep(0.01)


async def test_copies_follow_their_share_are_counted_and_never_disturb_a_client() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port)
        cluster.endpoints("m-2", canary.port)
        cluster.deployment("m", {"m-1": 100, "m-2": 0}, challenger="m-2", reach={"mirror": 30})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            load = Load(envoy, "m.shop.svc")
            await load.requests(1000)
            await asyncio.sleep(0.2)
            assert load.shares() == {"m-1": 1000}
            chi2 = (canary.served - 300) ** 2 / 300 + (canary.served - 300) ** 2 / 700
            assert chi2 < CHI2_1_999_PER_MILLE, canary.served
            found = await counted(envoy)
            assert found == {"m-1": Counts(1000, 0), "m-2": Counts(canary.served, 0)}
            assert canary.host == "m.shop.svc"

            cluster.deployment("m", {"m-1": 100, "m-2": 0}, challenger="m-2", reach={"mirror": 100})
            for behaviour in ("error", "reset", "hang"):
                before = canary.served
                canary.behaviour = behaviour
                async with asyncio.timeout(8):
                    while canary.served - before < 20:
                        assert await envoy.get("m.shop.svc") == (200, "m-1")
            canary.behaviour = "ok"
            assert (await counted(envoy))["m-2"].errors >= 20

            cluster.endpoints("m-2")
            await asyncio.sleep(0.3)
            alone = Load(envoy, "m.shop.svc")
            await alone.requests(50)
            assert alone.shares() == {"m-1": 50}


async def test_feedback_is_not_copied() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port)
        cluster.endpoints("m-2", canary.port)
        cluster.deployment("m", {"m-1": 100, "m-2": 0}, challenger="m-2", reach={"mirror": 100})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            for host in ("m", "10.0.0.1"):
                assert await envoy.get(host, "/v2/models/m/feedback") == (200, "m-1")
            await envoy.get("m", "/v2/models/m/infer")
            await until_served(canary, 1)
            await asyncio.sleep(0.1)
            assert (stable.served, canary.served) == (3, 1)


@pytest.mark.parametrize("weight", [0, 50])
async def test_requests_with_the_header_go_to_the_challenger_whatever_its_weight(weight: int) -> None:
    cluster, port = Cluster(), free_port()
    weights = {"m-1": 100 - weight, "m-2": weight}
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port)
        cluster.endpoints("m-2", canary.port)
        cluster.deployment("m", weights, challenger="m-2", reach={"match": [CANARY]})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            for host in ("m", "10.0.0.1"):
                for _ in range(10):
                    assert await envoy.get(host, headers={"X-Canary": "always"}) == (200, "m-2")
            others = [await envoy.get("m", headers={"X-Canary": "never"}) for _ in range(40)]
            assert ((200, "m-1") in others, (200, "m-2") in others) == (True, weight > 0)

            cluster.endpoints("m-2")
            await asyncio.sleep(0.3)
            assert await envoy.get("m", headers={"X-Canary": "always"}) == (200, "m-1")
