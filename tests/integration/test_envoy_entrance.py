"""How requests find their deployment, on a real Envoy."""

from __future__ import annotations

import json

from tests.integration.envoy_router import Cluster, discovery, router, upstream
from tools.ports import free_port

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
