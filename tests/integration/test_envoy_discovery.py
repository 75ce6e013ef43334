"""Operators that go, lag and come back, and routers that are not who they say, on a real Envoy."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
from tests.integration.envoy_router import (
    MASTER,
    NAMESPACE,
    Cluster,
    Load,
    discovery,
    free_port,
    router,
    upstream,
)

from noria_operator.domain.keys import router_token
from noria_operator.kube.store import Store


async def test_a_router_keeps_its_last_configuration_while_no_operator_answers() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable:
        cluster.endpoints("m-1", stable.port)
        cluster.deployment("m", {"m-1": 100})
        store = cluster.store()
        async with router(port) as envoy:
            async with discovery(store, port):
                await envoy.until_ready()
            load, before = Load(envoy, "m"), await envoy.statistic("cluster.operator.upstream_cx_total")
            async with load.running(clients=1):
                await asyncio.sleep(2)
            assert load.failed == 0
            tries = await envoy.statistic("cluster.operator.upstream_cx_total") - before
            assert tries < 40, f"{tries} connections in 2 s: an absent operator must not cost CPU"
            assert await envoy.ready()
            cluster.deployment("m", {"m-1": 100, "m-2": 0})
            async with discovery(store, port):
                await envoy.until_weights("m", {"m-1": 100, "m-2": 0})


async def test_an_operator_with_an_older_cache_does_not_roll_a_router_back() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port)
        cluster.endpoints("m-2", canary.port)
        cluster.deployment("m", {"m-1": 90, "m-2": 10})
        lagging, current = cluster.store(lag=True), cluster.store()
        async with router(port) as envoy:
            async with discovery(current, port, hold=1.0):
                await envoy.until_ready()
                cluster.deployment("m", {"m-1": 100, "m-2": 0})
                await envoy.until_weights("m", {"m-1": 100, "m-2": 0})
            async with discovery(lagging, port, hold=1.0):
                await asyncio.sleep(2.5)
                assert await envoy.weights("m") == {"m-1": 100, "m-2": 0}
                cluster.deployment("m", {"m-1": 70, "m-2": 30})
                lagging.observe("MODIFIED", cluster.objects["ModelDeployment-m"])
                await envoy.until_weights("m", {"m-1": 70, "m-2": 30})


async def test_a_router_without_a_token_of_its_namespace_gets_nothing() -> None:
    cluster, port = Cluster(), free_port()
    cluster.deployment("m", {"m-1": 100})
    async with discovery(cluster.store(), port), router(port, token=router_token(MASTER, "other")) as envoy:
        async with asyncio.timeout(10):
            while await envoy.answer("m") != 404:  # noqa: ASYNC110 - another process opens the port
                await asyncio.sleep(0.01)
        assert not await envoy.ready()
        assert (await ask(port, token=router_token(MASTER, "other")))[0] == 403
        assert (await ask(port, token=""))[0] == 403
        assert (await ask(port, token=router_token(MASTER, NAMESPACE)))[0] == 200


async def test_a_new_master_key_is_in_force_without_a_restart() -> None:
    cluster, port, keys = Cluster(), free_port(), [MASTER]
    async with discovery(cluster.store(), port, master_key=lambda: keys[-1]):
        assert (await ask(port))[0] == 200
        keys.append(b"another master key, as long as one must be")
        assert (await ask(port))[0] == 403
        assert (await ask(port, token=router_token(keys[-1], NAMESPACE)))[0] == 200


async def test_nothing_is_answered_before_every_watch_has_synced() -> None:
    port = free_port()
    async with discovery(Store(), port):
        assert (await ask(port))[0] == 503


async def test_what_is_no_discovery_request_is_refused() -> None:
    cluster, port = Cluster(), free_port()
    async with discovery(cluster.store(), port), aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/v3/discovery:routes"
        half = b'{"node": {"id": "\\ud800", "metadata": {"namespace": "\\ud800", "token": ""}}}'
        for body in (half, b"", b"{", b"[]", b"{}", b'{"node": 3}', b'{"node": {"metadata": null}}', b"\xff"):
            async with session.post(url, data=body) as response:
                assert response.status == 400, body
        async with session.post(url, data=b" " * 600_000) as response:
            assert response.status == 413


async def test_a_held_request_is_answered_when_something_changes_and_304_when_not() -> None:
    cluster, port = Cluster(), free_port()
    cluster.deployment("m", {"m-1": 100})
    async with discovery(cluster.store(), port, hold=0.4):
        status, answer = await ask(port, kind="clusters")
        assert [each["name"] for each in answer["resources"]] == ["m-1", "m-1_grpc"]
        assert (await ask(port, kind="clusters", version=answer["version_info"]))[0] == 304
        held = asyncio.create_task(ask(port, kind="clusters", version=answer["version_info"]))
        await asyncio.sleep(0.1)
        cluster.deployment("m", {"m-1": 100, "m-2": 0})
        status, newer = await held
        assert (status, len(newer["resources"])) == (200, 4)


async def ask(port: int, *, kind: str = "clusters", version: str = "", token: str | None = None) -> Any:
    """What a router would ask."""
    metadata = {"namespace": NAMESPACE, "token": router_token(MASTER, NAMESPACE) if token is None else token}
    body = {"node": {"id": "router-9", "metadata": metadata}, "version_info": version}
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/v3/discovery:{kind}"
        async with session.post(url, data=json.dumps(body)) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None
