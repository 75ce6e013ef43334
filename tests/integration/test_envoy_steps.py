"""How requests reach a challenger beside its weight, on a real Envoy: copies, headers, users, the preview."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

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
from tests.integration.test_envoy_shares import CHI2_1

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
            assert load.shares() == {"m-1": 1000}
            await asyncio.sleep(0.2)
            async with asyncio.timeout(5):
                while (await counted(envoy))["m-2"].requests < canary.served:  # noqa: ASYNC110  soon
                    await asyncio.sleep(0.02)
            chi2 = (canary.served - 300) ** 2 / 300 + (canary.served - 300) ** 2 / 700
            assert chi2 < CHI2_1, canary.served
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


@pytest.mark.parametrize("percent", [100, 30])
async def test_a_request_and_its_copy_are_known_by_the_same_key_and_different_ones_are_not(
    percent: int,
) -> None:
    """Also where clients send an id, the same one with all requests: the router gives each one of its own."""
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port)
        cluster.endpoints("m-2", canary.port)
        cluster.deployment("m", {"m-1": 100, "m-2": 0}, challenger="m-2", reach={"mirror": percent})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            url = f"http://127.0.0.1:{envoy.traffic}/v2/models/m/infer"
            for number in range(120):
                mine = {"x-request-id": "always-the-same"} if number % 2 else {}
                body = json.dumps({"row": number // 4}).encode()
                async with envoy.session.post(url, data=body, headers={"Host": "m", **mine}) as response:
                    assert response.status == 200
            await until_served(canary, 120 if percent == 100 else 10)
            await asyncio.sleep(0.2)
            first, second = Counter(stable.keys), Counter(canary.keys)
            assert second <= first, "each copy has its request"
            assert (second == first) == (percent == 100)
            assert len(first) == 120


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
            async with asyncio.timeout(5):
                while (found := await envoy.get("m", headers={"X-Canary": "always"})) == (200, "m-2"):
                    pass  # until it knows; nobody is refused meanwhile
            assert found == (200, "m-1")


@pytest.mark.parametrize("key", ["header", "cookie"])
async def test_users_stay_with_their_version_and_none_leaves_the_challenger_while_its_weight_grows(
    key: str,
) -> None:
    cluster, port, users = Cluster(), free_port(), range(400)
    strategy = {"sticky": {key: "x-user" if key == "header" else "uid"}}

    async def asked(envoy: Router) -> dict[int, str]:
        cookies = key == "cookie"
        name = "Cookie" if cookies else "x-user"
        found = {}
        for user in users:
            value = f"uid=user-{user}; a=b" if cookies else f"user-{user}"
            found[user] = (await envoy.get("m", headers={name: value}))[1]
        return found

    async with upstream("m-1") as stable, upstream("m-2") as canary, upstream("m-0") as leaving:
        for server in (stable, canary, leaving):
            cluster.endpoints(server.name, server.port)
        before: dict[int, str] = {}
        async with discovery(cluster.store(), port), router(port) as envoy:
            for weights in (
                {"m-1": 80, "m-2": 20},
                {"m-1": 50, "m-2": 40, "m-0": 10},
                {"m-1": 40, "m-2": 60},
            ):
                cluster.deployment("m", weights, challenger="m-2", strategy=strategy)
                await envoy.until_ready()
                await envoy.until_weights("m", weights)
                now = await asked(envoy)
                assert now == await asked(envoy), "a user flips between versions"
                share, expected = sum(one == "m-2" for one in now.values()), 4 * weights["m-2"]
                chi2 = (share - expected) ** 2 * (1 / expected + 1 / (400 - expected))
                assert chi2 < CHI2_1, share
                assert all(now[user] == "m-2" for user, one in before.items() if one == "m-2")
                before = now
            others = Load(envoy, "m")
            await others.requests(500)
            chi2 = (others.shares()["m-2"] - 300) ** 2 * (1 / 300 + 1 / 200)
            assert chi2 < CHI2_1, "requests without a key go by weight"


async def test_a_preview_leads_to_the_challenger_while_there_is_one_and_else_to_the_champion() -> None:
    cluster, port, preview = Cluster(), free_port(), {"preview": True}
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port)
        cluster.deployment("m", {"m-1": 100}, strategy=preview)
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            for host in ("m-preview", "m-preview.shop.svc", "m-preview.shop.svc.cluster.local"):
                assert await envoy.get(host) == (200, "m-1")
            cluster.deployment("m", {"m-1": 100, "m-2": 0}, challenger="m-2", strategy=preview)
            await envoy.until_weights("m", {"m-1": 100, "m-2": 0})
            assert (await envoy.get("m-preview"))[0] == 503, "tests of the new version must not meet the old"
            cluster.endpoints("m-2", canary.port)
            await envoy.until_answer("m-preview", 200)
            assert await envoy.get("m-preview") == (200, "m-2")
            assert await envoy.get("m") == (200, "m-1")
            cluster.deployment("m", {"m-2": 100}, strategy=preview)
            await envoy.until_weights("m", {"m-2": 100})
            assert await envoy.get("m-preview") == (200, "m-2")
            cluster.deployment("m-preview", {"m-1": 100})
            cluster.endpoints("m-1", stable.port, of="m-preview")
            await envoy.until_weights("m-preview", {"m-1": 100})
            assert await envoy.get("m-preview") == (200, "m-1"), "a deployment's own name is its own"
            assert await envoy.get("m") == (200, "m-2")


async def test_while_one_version_takes_the_place_of_another_clients_are_told_to_come_again() -> None:
    cluster, port, recreate = Cluster(), free_port(), {"type": "Recreate"}
    async with upstream("m-1") as stable, upstream("m-2") as challenger:
        cluster.endpoints("m-1", stable.port)
        cluster.deployment("m", {"m-1": 100, "m-2": 0}, challenger="m-2", strategy=recreate)
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            assert await envoy.get("m") == (200, "m-1")
            cluster.endpoints("m-1")
            await envoy.until_answer("m", 503)
            url = f"http://127.0.0.1:{envoy.traffic}/v2/models/m/infer"
            async with envoy.session.get(url, headers={"Host": "m"}) as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "5")
            cluster.endpoints("m-2", challenger.port)
            cluster.deployment("m", {"m-1": 0, "m-2": 100}, challenger="m-2", strategy=recreate)
            await envoy.until_weights("m", {"m-1": 0, "m-2": 100})
            assert await envoy.get("m") == (200, "m-2")
