"""Operators that go, lag and come back, and routers that are not who they say, on a real Envoy."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.backends import by_arm
from tests.integration.envoy_router import (
    MASTER,
    NAMESPACE,
    Cluster,
    Load,
    discovery,
    free_port,
    listening,
    router,
    upstream,
)

from noria_operator.app import xds_app
from noria_operator.controllers.context import Config
from noria_operator.domain.keys import router_token, router_tokens
from noria_operator.kube.kinds import MODELDEPLOYMENT, POD
from noria_operator.kube.store import Store
from noria_operator.routers import clusters, entrance, routes, stream, xds
from noria_operator.routers.discovery import PATH, PREFIX, Kind
from noria_operator.routers.envoy import snapshot
from noria_operator.routers.source import routed
from noria_operator.routers.wire import delimited, struct, text


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


async def test_an_operator_that_hears_nothing_of_the_api_server_lets_its_routers_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another one may know more. If none does, they keep their configuration, and ask gently."""
    monkeypatch.setattr(stream, "HEARTBEAT", 0.2)
    cluster, port, blind = Cluster(), free_port(), [False]
    async with upstream("m-1") as stable:
        cluster.endpoints("m-1", stable.port)
        cluster.deployment("m", {"m-1": 100})
        store = cluster.store()
        async with discovery(store, port, blind=lambda: blind[-1]), router(port) as envoy:
            await envoy.until_ready()
            load, before = Load(envoy, "m"), await envoy.statistic("cluster.operator.upstream_cx_total")
            async with load.running(clients=1):
                blind.append(True)
                await asyncio.sleep(2)
                tries = await envoy.statistic("cluster.operator.upstream_cx_total") - before
                assert 1 <= tries < 40, f"{tries} connections in 2 s"
                assert (await ask(port))[0] == 503
                cluster.deployment("m", {"m-1": 100, "m-2": 0})
                assert await envoy.ready()
                assert await envoy.weights("m") == {"m-1": 100}
                blind.append(False)
                await envoy.until_weights("m", {"m-1": 100, "m-2": 0})
            assert load.failed == 0, load.answers


async def test_an_operator_with_an_older_cache_does_not_roll_a_router_back() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port)
        cluster.endpoints("m-2", canary.port)
        cluster.deployment("m", {"m-1": 90, "m-2": 10})
        lagging, current = cluster.store(lag=True), cluster.store()
        async with router(port) as envoy:
            async with discovery(current, port):
                await envoy.until_ready()
                cluster.deployment("m", {"m-1": 100, "m-2": 0})
                await envoy.until_weights("m", {"m-1": 100, "m-2": 0})
            async with discovery(lagging, port):
                await asyncio.sleep(2.5)
                assert await envoy.weights("m") == {"m-1": 100, "m-2": 0}
                cluster.deployment("m", {"m-1": 70, "m-2": 30})
                lagging.observe("MODIFIED", cluster.objects["ModelDeployment-m"])
                await envoy.until_weights("m", {"m-1": 70, "m-2": 30})


async def test_another_operator_goes_on_from_what_a_router_has_and_sends_only_what_differs() -> None:
    """Deployments that went, came and changed meanwhile, under load."""
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        for number in range(20):
            cluster.endpoints(f"x{number}-1", stable.port)
            cluster.deployment(f"x{number}", {f"x{number}-1": 100})
        cluster.endpoints("m-1", stable.port)
        cluster.deployment("m", {"m-1": 100})
        async with router(port) as envoy:
            async with discovery(cluster.store(), port):
                await envoy.until_ready()
            load, statistic = Load(envoy, "m"), "cluster.operator.upstream_cx_rx_bytes_total"
            async with load.running(clients=1):
                cluster.endpoints("m-2", canary.port)
                cluster.deployment("m", {"m-1": 50, "m-2": 50})
                cluster.endpoints("new-1", canary.port)
                cluster.deployment("new", {"new-1": 100})
                del cluster.objects["ModelDeployment-x7"]
                before = await envoy.statistic(statistic)
                async with discovery(cluster.store(), port):
                    await envoy.until_weights("m", {"m-1": 50, "m-2": 50})
                    await envoy.until_weights("new", {"new-1": 100})
                    await envoy.until_answer("x7", 404, "/")
                    assert await envoy.answer("x8") == 200
                    received = await envoy.statistic(statistic) - before
            assert load.failed == 0, load.answers
            assert received < 12_000, "the table of hosts, two deployments and six clusters"


@pytest.mark.parametrize("listed", [False, True])
async def test_an_operator_that_has_not_heard_of_all_pods_takes_none_away(*, listed: bool) -> None:
    """While its list of pods is not there yet it answers nobody; if that is an old one, it says nothing."""
    cluster, port, store = Cluster(), free_port(), Store()
    async with upstream("m-1") as stable, router(port) as envoy:
        cluster.deployment("m", {"m-1": 100})
        cluster.endpoints("m-1", stable.port)
        async with discovery(cluster.store(), port):
            await envoy.until_answer("m", 200)
        cluster.deployment("m", {"m-1": 100, "m-2": 0})
        store.observe(None, cluster.objects["ModelDeployment-m"])
        store.mark_synced(MODELDEPLOYMENT)
        if listed:
            store.mark_synced(POD)
        load = Load(envoy, "m")
        async with load.running(clients=1), discovery(store, port):
            await asyncio.sleep(2)
            assert await envoy.weights("m") == {"m-1": 100}
            store.observe(None, cluster.objects["Pod-m.m-1-0"])
            store.mark_synced(POD)
            await envoy.until_weights("m", {"m-1": 100, "m-2": 0})
        assert load.failed == 0, load.answers


async def test_an_operator_that_does_not_watch_a_namespace_takes_nothing_from_its_router(
    tmp_path: Path,
) -> None:
    """It has nothing of it in its cache, and answers for those that it watches alone."""
    key = tmp_path / "master-key"
    key.write_bytes(MASTER)
    cluster, port = Cluster(), free_port()

    def serving(store: Store, *watched: str) -> AbstractAsyncContextManager[None]:
        config = Config("noria-system", watch_namespaces=watched, master_key_file=key)
        return listening(xds_app(store, config, lambda: False), port, shutdown_timeout=1)

    async with upstream("m-1") as stable, router(port) as envoy:
        cluster.deployment("m", {"m-1": 100})
        cluster.endpoints("m-1", stable.port)
        async with serving(cluster.store()):
            await envoy.until_answer("m", 200)
        load, elsewhere = Load(envoy, "m"), Cluster(version=9000)
        for api, kind in (("noria.dev/v1alpha1", "ModelDeployment"), ("v1", "Pod")):
            meta = {"name": "n", "namespace": "a"}
            elsewhere.put({"apiVersion": api, "kind": kind, "metadata": meta, "spec": {}, "status": {}})
        async with load.running(clients=1), serving(elsewhere.store(), "a"):
            await asyncio.sleep(2)
            assert (await ask(port))[0] == 503
        assert load.failed == 0, load.answers
        cluster.deployment("m", {"m-1": 100, "m-2": 0})
        async with serving(cluster.store(), "a", NAMESPACE):
            await envoy.until_weights("m", {"m-1": 100, "m-2": 0})


async def test_a_router_of_before_is_answered_too() -> None:
    """It shows the token that operators take which read EndpointSlices, and has versions that they wrote."""
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable:
        cluster.endpoints("m-1", stable.port)
        cluster.deployment("m", {"m-1": 100})
        token = router_tokens(MASTER, NAMESPACE)[1]
        assert token != router_token(MASTER, NAMESPACE)
        async with discovery(cluster.store(), port), router(port, token=token) as envoy:
            await envoy.until_answer("m", 200)


async def test_what_a_router_does_not_take_holds_up_nothing_else() -> None:
    """Envoy refuses an address that is none; a deployment that came later is in force nevertheless."""
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable:
        cluster.endpoints("m-1", stable.port)
        cluster.deployment("m", {"m-1": 100})
        cluster.endpoints("bad-1", stable.port)
        cluster.objects["Pod-bad.bad-1-0"]["status"]["podIP"] = "no.address"
        cluster.deployment("bad", {"bad-1": 100})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            assert await envoy.answer("m") == 200
            cluster.endpoints("new-1", stable.port)
            cluster.deployment("new", {"new-1": 100})
            await envoy.until_weights("new", {"new-1": 100})
            await envoy.until_answer("new", 200)
            assert await envoy.weights("bad") is None


async def test_everything_that_is_sent_arrives_as_it_was_meant() -> None:
    """What Envoy shows of its configuration is what was written in JSON before it became bytes."""
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port, grpc=[stable.port])
        cluster.endpoints("m-2", canary.port)
        sticky = {"sticky": {"cookie": "who"}, "preview": True}
        reach = {"mirror": 30, "match": [{"name": "x-canary", "value": "always"}]}
        cluster.deployment(
            "m",
            {"m-1": 99, "m-2": 1},
            challenger="m-2",
            reach=reach,
            strategy=sticky,
            hosts=["m.example.com"],
        )
        store = cluster.store()
        async with discovery(store, port), router(port) as envoy:
            await envoy.until_ready()
            made = routed(store.list(MODELDEPLOYMENT)[0], by_arm(store.list(POD)))
            shown = await envoy.dump()
    found = snapshot(NAMESPACE, [made])
    scopes = {one["name"]: one["route_configuration"] for one in shown["scoped_route_configs"]}
    preview = found.granted[routes.preview_of("m")]
    assert lost(routes.configuration(made, preview), scopes["m"]) == []
    assert lost(entrance.table({"m": found.granted["m"] + preview}), scopes["*"]) == []
    assert shown["clusters"].keys() == found.clusters.keys()
    for name, one in shown["clusters"].items():
        assert lost(clusters.settings(name.removeprefix("m-1").removeprefix("m-2")), one) == []
    for name, hosts in (("m-1", made.endpoints["m-1"]), ("m-1_grpc", made.grpc["m-1"])):
        wanted = clusters.assignment(name, hosts)["endpoints"][0]["lb_endpoints"][0]
        assert lost(wanted, shown["endpoints"][name]["endpoints"][0]["lb_endpoints"][0]) == []


DEFAULTS: list[Any] = [0, False, "", "0s", "HUNDRED", "DEFAULT", "APPEND_IF_EXISTS_OR_ADD", {}]


def lost(sent: Any, shown: Any, where: str = "") -> list[str]:
    """What is not shown as it was sent; Envoy leaves out what is as it would be anyway."""
    if isinstance(sent, dict) and isinstance(shown, dict):
        found = []
        for key, value in sent.items():
            if key in shown:
                found += lost(value, shown[key], f"{where}.{key}")
            elif value not in DEFAULTS:
                found.append(f"{where}.{key}")
        return found
    if isinstance(sent, list) and isinstance(shown, list) and len(sent) == len(shown):
        pairs = enumerate(zip(sent, shown, strict=True))
        return [one for index, (mine, theirs) in pairs for one in lost(mine, theirs, f"{where}[{index}]")]
    seconds = [one for one in (sent, shown) if re.fullmatch(r"[0-9.]+s", str(one))]
    same = sent == shown or (len(seconds) == 2 and float(sent[:-1]) == float(shown[:-1]))
    return [] if same else [f"{where}: {sent} != {shown}"]


async def test_a_router_without_a_token_of_its_namespace_gets_nothing() -> None:
    cluster, port = Cluster(), free_port()
    cluster.deployment("m", {"m-1": 100})
    async with discovery(cluster.store(), port), router(port, token=router_token(MASTER, "other")) as envoy:
        await envoy.until_answer("m", 404)
        assert not await envoy.ready()
        assert (await ask(port, token=router_token(MASTER, "other")))[0] == 403
        assert (await ask(port, token=""))[0] == 403
        assert (await ask(port))[0] == 200


async def test_a_new_master_key_is_in_force_without_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.2)
    cluster, port, keys = Cluster(), free_port(), [MASTER]
    async with discovery(cluster.store(), port, master_key=lambda: keys[-1]):
        assert (await ask(port))[0] == 200
        before = asyncio.create_task(ask(port, until_end=True))
        await asyncio.sleep(0.5)
        assert not before.done()
        keys.append(b"another master key, as long as one must be")
        async with asyncio.timeout(5):
            assert (await before)[0] == 200, "its stream ends"
        assert (await ask(port))[0] == 403
        assert (await ask(port, token=router_token(keys[-1], NAMESPACE)))[0] == 200


async def test_nothing_is_answered_before_every_watch_has_synced() -> None:
    port = free_port()
    async with discovery(Store(), port):
        assert (await ask(port))[0] == 503


@pytest.mark.parametrize(
    "body",
    [b"", b"\x00", b"\x00\x00\x00\x00\x02\xff\xff", b"\x01\x00\x00\x00\x00", b"\x00\xff\xff\xff\xff"],
)
async def test_what_is_no_discovery_request_is_refused(body: bytes) -> None:
    cluster, port = Cluster(), free_port()
    url = f"http://127.0.0.1:{port}{PATH}"
    async with (
        discovery(cluster.store(), port),
        aiohttp.ClientSession() as session,
        session.post(url, data=body) as response,
    ):
        assert response.status == 400


async def test_a_stranger_is_refused_before_the_rest_of_a_large_message_came() -> None:
    cluster, port = Cluster(), free_port()
    async with discovery(cluster.store(), port):
        message = first_message("a guess")
        large = PREFIX.pack(0, stream.MESSAGE_LIMIT) + message
        reader, writer = await begun(port, large + b"\0" * (stream.BEGINNING - len(message)))
        async with asyncio.timeout(5):
            assert b" 403 " in await reader.readline()
        writer.close()


async def test_a_router_that_names_thousands_of_clusters_is_taken_although_they_come_late() -> None:
    cluster, port = Cluster(), free_port()
    there = b"".join(
        delimited(5, text(1)(f"m-{number}") + text(2)("1.0.1-digest")) for number in range(6_000)
    )
    message = first_message(router_token(MASTER, NAMESPACE)) + there
    assert len(message) > stream.BEGINNING
    async with discovery(cluster.store(), port):
        reader, writer = await begun(port, PREFIX.pack(0, len(message)) + message[: stream.BEGINNING])
        await asyncio.sleep(0.2)
        assert writer.transport.get_write_buffer_size() == 0
        writer.write(b"%x\r\n" % len(message[stream.BEGINNING :]) + message[stream.BEGINNING :] + b"\r\n")
        async with asyncio.timeout(5):
            assert b" 200 " in await reader.readline()
        writer.close()


async def test_those_who_do_not_say_who_they_are_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xds, "UNPROVED_EACH", 2)
    cluster, port = Cluster(), free_port()
    async with discovery(cluster.store(), port):
        silent = [await begun(port, b"") for _ in range(2)]
        await asyncio.sleep(0.2)
        assert (await ask(port))[0] == 503
        for reader, writer in silent:
            writer.write(b"1\r\n\x01\r\n0\r\n\r\n")
            assert b" 400 " in await reader.readline()
            writer.close()
        for _ in range(4):
            assert (await ask(port))[0] == 200, "a router that was proved takes no place"


async def begun(port: int, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream of which these bytes have come, so far."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: operator\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    writer.write(b"%x\r\n" % len(data) + data + b"\r\n" if data else b"")
    return reader, writer


async def test_a_router_that_does_not_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.2)
    monkeypatch.setattr(stream, "SILENCE", 2.0)
    cluster, port = Cluster(), free_port()
    async with discovery(cluster.store(), port), router(port) as envoy:
        await envoy.until_ready()
        async with asyncio.timeout(10):
            status, received = await ask(port, until_end=True)
        assert status == 200
        assert received == 1, "it is asked whether it is there"
        assert await envoy.ready()
        assert await envoy.statistic("cluster.operator.upstream_cx_total") == 1, "one that answers stays"


async def test_a_router_of_an_earlier_noria_keeps_what_it_has_and_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(xds, "OLD_HOLD", 0.3)
    cluster, port = Cluster(), free_port()
    async with discovery(cluster.store(), port), aiohttp.ClientSession() as session:
        begin = time.monotonic()
        async with session.post(f"http://127.0.0.1:{port}/v3/discovery:routes", data=b"{}") as response:
            assert response.status == 304, "the relay in its bootstrap tries 5xx again without an end"
        assert time.monotonic() - begin > 0.2


async def ask(port: int, *, token: str | None = None, until_end: bool = False) -> tuple[int, int]:
    """What a router would ask first; the status, and the number of messages until one came, or until the end
    of the stream. None of them is acknowledged."""
    message = first_message(router_token(MASTER, NAMESPACE) if token is None else token)

    async def asking() -> AsyncIterator[bytes]:
        yield PREFIX.pack(0, len(message)) + message
        await asyncio.sleep(30)

    async with aiohttp.ClientSession() as session:
        url, received = f"http://127.0.0.1:{port}{PATH}", 0
        async with session.post(url, data=asking()) as response:
            while response.status == 200 and (until_end or not received):
                try:
                    _, size = PREFIX.unpack(await response.content.readexactly(PREFIX.size))
                    await response.content.readexactly(size)
                except (asyncio.IncompleteReadError, aiohttp.ClientError):
                    break
                received += 1
            return response.status, received


def first_message(token: str) -> bytes:
    """Of a router."""
    node = text(1)("router-9") + struct(3)({"namespace": NAMESPACE, "token": token})
    return delimited(1, node) + text(2)(Kind.CLUSTERS.value)
