"""The example's ScaledObject under a real KEDA: by the routers' figures it puts a deployment to sleep, wakes
it for the first request, and makes it as large as requests in flight ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from tests.integration import envoy_router
from tests.integration.deployments import NAME, Routers, approve, deploy, kubelet, serves, until
from tests.integration.envoy_router import Router, discovery, router, upstream
from tests.integration.keda import SCALED, keda
from tests.integration.running import Cluster, eventually, operator
from tests.integration.scraping import as_job, prometheus
from tools.ports import free_port

from noria_operator.controllers import modeldeployment
from noria_operator.controllers.context import Config
from noria_operator.kube.kinds import MODELDEPLOYMENT, Json

pytestmark = pytest.mark.extended

EXAMPLES = Path(__file__).parents[2] / "examples" / "autoscaling"
CLIENTS = 9
"""Four requests in flight are one pod's."""
SOON = 120.0


def scaled_object(namespace: str, url: str) -> Json:
    """The example's, with names and times of a test."""
    text = (EXAMPLES / "keda.yaml").read_text(encoding="utf-8")
    body: Json = yaml.safe_load(text.replace("flight-delay", NAME).replace("[10m]", "[20s]"))
    body["metadata"]["namespace"] = namespace
    body["spec"]["cooldownPeriod"] = 5
    for trigger in body["spec"]["triggers"]:
        trigger["metadata"]["serverAddress"] = url
        trigger["metadata"]["query"] = trigger["metadata"]["query"].replace('"prod"', f'"{namespace}"')
    return body


async def test_a_deployment_sleeps_wakes_for_a_request_and_grows_with_those_in_flight(
    cluster: Cluster, config: Config, kubeconfig: Path, tmp_path: Path
) -> None:
    monitor = yaml.safe_load((EXAMPLES / "podmonitor.yaml").read_text(encoding="utf-8"))
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    traffic, port = envoy_router.Cluster(), free_port()
    await approve(cluster, 1)
    await deploy(cluster)
    async with discovery(traffic.store(), port), router(port) as envoy:
        await envoy.until_ready()
        job = as_job(endpoint, f"127.0.0.1:{envoy.stats}", namespace=cluster.namespace)
        with prometheus(job) as url:
            async with (
                keda(cluster.client, kubeconfig, tmp_path),
                kubelet(cluster),
                operator(cluster, [modeldeployment], router=Routers(cluster), config=config),
                upstream(NAME) as server,
            ):
                revision = (await until(cluster, serves(1)))["stable"]["name"]
                traffic.deployment(NAME, {revision: 100})
                traffic.endpoints(revision)
                await cluster.client.create(SCALED, cluster.namespace, scaled_object(cluster.namespace, url))
                await has(cluster, 0)
                await until(cluster, because("ScaledToZero"))

                await envoy.until_answer(NAME, 503)
                await has(cluster, 1)
                await until(cluster, because("Serving"))
                traffic.endpoints(revision, server.port)

                server.released = asyncio.Event()
                async with asking(envoy, CLIENTS):
                    await has(cluster, 3)
                    server.released.set()
                await has(cluster, 0)


async def has(cluster: Cluster, replicas: int) -> None:
    """Wait until the deployment is asked to have so many pods."""

    async def asked() -> bool:
        found = await cluster.client.get(MODELDEPLOYMENT, cluster.namespace, NAME)
        return bool(found["spec"]["replicas"] == replicas)

    await eventually(asked, seconds=SOON)


def because(reason: str) -> Callable[[Json], bool]:
    """Whether Ready has this reason."""
    return lambda status: any(
        (one["type"], one["reason"]) == ("Ready", reason) for one in status["conditions"]
    )


@asynccontextmanager
async def asking(envoy: Router, clients: int) -> AsyncIterator[None]:
    """So many requests at a time while the block lasts, one after the other."""
    done = False

    async def ask() -> None:
        while not done:
            await envoy.get(NAME)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(ask())
        try:
            yield
        finally:
            done = True
