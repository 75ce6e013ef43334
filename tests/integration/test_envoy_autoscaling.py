"""What an autoscaler is told of a router, by a real Prometheus that runs the queries of the examples."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
import yaml
from tests.integration.envoy_router import Cluster, discovery, free_port, router, upstream
from tests.integration.scraping import as_job, prometheus

pytestmark = pytest.mark.extended

EXAMPLES = Path(__file__).parents[2] / "examples" / "autoscaling"
REVISION = "flight-delay-3-0a1b2c"


async def test_a_request_that_met_no_pod_wakes_a_deployment_and_those_in_flight_size_it() -> None:
    monitor = yaml.safe_load((EXAMPLES / "podmonitor.yaml").read_text(encoding="utf-8"))
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    scaled = yaml.safe_load((EXAMPLES / "keda.yaml").read_text(encoding="utf-8"))
    queries = {one["name"]: one["metadata"]["query"] for one in scaled["spec"]["triggers"]}
    cluster, port = Cluster(), free_port()
    async with upstream(REVISION) as server:
        cluster.deployment("flight-delay", {REVISION: 100})
        cluster.endpoints(REVISION)
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            job = as_job(endpoint, f"127.0.0.1:{envoy.stats}", namespace="prod")
            with prometheus(job) as url:
                await until(url, "count(envoy_cluster_upstream_cx_none_healthy)", 3)  # HTTP, gRPC, feedback
                assert [await ask(url, query) for query in queries.values()] == [0, 0]
                assert (await envoy.get("flight-delay"))[0] == 503
                await until(url, f"{queries['asked']} > bool 0", 1)
                assert await ask(url, queries["in-flight"]) == 0
                cluster.endpoints(REVISION, server.port)
                async with asyncio.timeout(5):
                    while (await envoy.get("flight-delay"))[0] != 200:  # noqa: ASYNC110 - another process learns it
                        await asyncio.sleep(0.01)
                server.released = asyncio.Event()
                waiting = [asyncio.create_task(envoy.get("flight-delay")) for _ in range(9)]
                await until(url, queries["in-flight"], 9)
                server.released.set()
                assert {status for status, _ in await asyncio.gather(*waiting)} == {200}


async def ask(url: str, query: str) -> float | None:
    """The one number that a query gives; None when it gives nothing."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/api/v1/query", params={"query": query}) as answer,
    ):
        body = await answer.json()
    assert body["status"] == "success", body
    found = body["data"]["result"]
    return float(found[0]["value"][1]) if found else None


async def until(url: str, query: str, wanted: float) -> None:
    async with asyncio.timeout(20):
        while await ask(url, query) != wanted:  # noqa: ASYNC110 - another process scrapes
            await asyncio.sleep(0.2)
