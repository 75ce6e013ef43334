"""How requests find their deployment, on a real Envoy."""

from __future__ import annotations

import asyncio
import json

from tests.integration.envoy_router import Cluster, discovery, router, upstream
from tests.sockets import need_ipv6
from tools.ports import free_port

from noria_operator.routers.http import EVERYWHERE

HEADER = "x-noria-scope"


async def test_hosts_come_first_then_paths_and_nobody_chooses_otherwise() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as first, upstream("n-1") as second:
        cluster.endpoints("m-1", first.port)
        cluster.endpoints("n-1", second.port)
        cluster.deployment("m", {"m-1": 100}, hosts=["m.example.com"])
        cluster.deployment("n", {"n-1": 100})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            for host, path, expected in [
                ("m", "/anything", "m-1"),
                ("m.shop.svc.cluster.local:8080", "/", "m-1"),
                ("M.Example.COM", "/", "m-1"),
                ("m", "/v2/models/n/infer", "m-1"),
                ("10.0.0.1:80", "/v2/models/m", "m-1"),
                ("elsewhere", "/v2/models/n/infer", "n-1"),
                ("elsewhere", "/v1/models/n:predict", "n-1"),
                ("elsewhere", "/v2/models/n?x=1", "n-1"),
            ]:
                assert await envoy.get(host, path) == (200, expected), (host, path)
            for host, path in [
                ("elsewhere", "/"),
                ("elsewhere", "/v2/models/nn/infer"),
                ("elsewhere", "/v2/models/n.x"),
                ("elsewhere", "/v2/models/"),
                ("elsewhere", "/v3/models/n"),
            ]:
                status, text = await envoy.get(host, path)
                assert (status, "no ModelDeployment answers" in json.loads(text)["error"]) == (404, True), (
                    path
                )
            assert await envoy.get("m", "/", {HEADER: "n"}) == (200, "m-1")
            assert await envoy.get("elsewhere", "/v2/models/n/infer", {HEADER: "m"}) == (200, "n-1")
            assert HEADER not in {name.lower() for name in (*first.headers, *second.headers)}
            assert second.host == "elsewhere", "a server is told the host that was asked"
            assert (await envoy.get("version.noria.internal", "/unknown"))[0] == 404
            assert await envoy.weights("n") == {"n-1": 100}


async def test_clients_and_probes_of_either_family_are_answered_where_the_cluster_has_ipv6() -> None:
    need_ipv6()
    cluster, port = Cluster(), free_port()
    cluster.deployment("m", {"m-1": 100})
    async with upstream("m-1") as server:
        cluster.endpoints("m-1", server.port)
        async with discovery(cluster.store(), port), router(port, address=EVERYWHERE) as envoy:
            await envoy.until_ready()
            assert await envoy.get("m") == (200, "m-1")
            for url in (f"http://[::1]:{envoy.traffic}/v2/models/m", f"http://[::1]:{envoy.stats}/ready"):
                async with envoy.session.get(url) as answer:
                    assert answer.status == 200


async def test_a_body_that_says_it_is_too_long_reaches_no_server_and_one_in_chunks_does() -> None:
    cluster, port = Cluster(), free_port()
    cluster.deployment("m", {"m-1": 100})
    async with upstream("m-1") as server:
        cluster.endpoints("m-1", server.port)
        async with discovery(cluster.store(), port, max_body=1000), router(port) as envoy:
            await envoy.until_ready()

            async def post(body: bytes, *, chunked: bool = False) -> tuple[int, str]:
                url, headers = f"http://127.0.0.1:{envoy.traffic}/v2/models/m/infer", {"Host": "m"}
                async with envoy.session.post(
                    url, data=body, headers=headers, chunked=chunked or None
                ) as got:
                    return got.status, await got.text()

            assert await post(b"x" * 1000) == (200, "m-1")
            assert await post(b"x" * 5000, chunked=True) == (200, "m-1"), "its length is not known before"
            for size in (1001, 8_000_000):
                status, text = await post(b"x" * size)
                assert (status, json.loads(text)["error"][:34]) == (413, "the body is longer than 1000 bytes")
            reader, writer = await asyncio.open_connection("127.0.0.1", envoy.traffic)
            writer.write(b"POST / HTTP/1.1\r\nHost: m\r\nContent-Length: 100000000000\r\n\r\n")
            assert b" 413 " in await asyncio.wait_for(reader.readline(), 5), "nothing of it is waited for"
            writer.close()
            assert server.served == 2
