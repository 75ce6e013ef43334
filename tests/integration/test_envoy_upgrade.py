"""A router that was made for discovery by REST, while an operator that no longer speaks it replaces it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from tests.integration.envoy_router import (
    MASTER,
    NAMESPACE,
    Cluster,
    Load,
    Router,
    discovery,
    listening,
    router,
    running,
    upstream,
)
from tools.ports import free_port

from noria_operator.domain.keys import router_token

OLD = Path(__file__).parent / "router_of_rest.json"
"""Its bootstrap, without what has to do with other ports."""


async def test_a_router_of_before_loses_no_request_until_its_successor_is_ready_and_costs_little() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable:
        cluster.endpoints("m-1", stable.port)
        cluster.deployment("m", {"m-1": 100})
        async with router_of_before(port) as before:
            async with operator_of_before(port, stable.port):
                await before.until_answer("m", 200)
            load = Load(before, "m")
            async with load.running(clients=1), discovery(cluster.store(), port):
                async with router(port) as after:
                    await after.until_ready()
                    successor = Load(after, "m")
                    await successor.requests(20)
                    assert successor.failed == 0
                await asyncio.sleep(2)
            assert load.failed == 0, load.answers
            assert sum(load.answers.values()) > 100
            asked = await before.statistic("cluster.operator.upstream_rq_total")
            assert asked < 40, f"{asked} requests: three subscriptions are held, not asked in a loop"


@asynccontextmanager
async def router_of_before(port: int) -> AsyncIterator[Router]:
    """Envoy with a bootstrap that an earlier Noria wrote; its statistics are on its socket alone."""
    traffic = free_port()
    with tempfile.TemporaryDirectory(prefix="noria-envoy-") as directory:
        text = OLD.read_text().replace("RUN_DIR", directory).replace("TOKEN", router_token(MASTER, NAMESPACE))
        config = text.replace("11111", str(traffic)).replace("33333", str(port))
        async with running(Path(directory), config, "old") as started:
            yield Old(traffic, 0, *started)


class Old(Router):
    async def statistic(self, name: str) -> int:
        found = await self.admin(f"/stats?format=json&filter=^{name}$")
        return int(found["stats"][0]["value"])


@asynccontextmanager
async def operator_of_before(port: int, pod: int) -> AsyncIterator[None]:
    """Answers as it did, with one deployment."""
    socket = {"socket_address": {"address": "127.0.0.1", "port_value": pod}}
    rest = {
        "api_type": "REST",
        "transport_api_version": "V3",
        "cluster_names": ["noria-xds-shop"],
        "refresh_delay": "0.01s",
        "request_timeout": "35s",
    }
    source = {"resource_api_version": "V3", "api_config_source": rest}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "m-1"}}
    resources: dict[str, Any] = {
        "clusters": {"name": "m-1", "type": "EDS", "eds_cluster_config": {"eds_config": source}},
        "endpoints": {
            "cluster_name": "m-1",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket}}]}],
        },
        "routes": {"name": "noria", "virtual_hosts": [{"name": "m", "domains": ["m"], "routes": [route]}]},
    }
    types = {
        "clusters": "cluster.v3.Cluster",
        "endpoints": "endpoint.v3.ClusterLoadAssignment",
        "routes": "route.v3.RouteConfiguration",
    }

    async def answer(request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        if (await request.json()).get("version_info"):
            await asyncio.sleep(20)
            return web.Response(status=304)
        url = f"type.googleapis.com/envoy.config.{types[kind]}"
        found = [{"@type": url, **resources[kind]}]
        return web.json_response({"version_info": "1", "type_url": url, "resources": found})

    application = web.Application()
    application.router.add_post("/v3/discovery:{kind}", answer)
    async with listening(application, port):
        yield
