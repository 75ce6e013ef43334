"""A ModelDeployment on a real API server: made and read by a test, which plays the kubelet and the routers.

Routers act at once on what status says, or on a first version's pods before it says anything, and count what
the test lets them count.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.backends import by_arm
from tests.integration.kubelet import add_node, make_ready
from tests.integration.running import Cluster, alongside, eventually

from noria_operator.domain.rollout_observed import InForce
from noria_operator.domain.verdict import Counts
from noria_operator.kube.errors import ApiError
from noria_operator.kube.kinds import MODELDEPLOYMENT, MODELVERSION, NODE, POD, Json
from noria_operator.routers.first import first_share

NAME = "flights"
DIGEST = "sha256:" + "a" * 64
_IPS = itertools.count(1)


@dataclass
class Routers:
    """Routers that act at once on what status says, or on pods before it says anything."""

    cluster: Cluster
    counted: dict[str, Counts] = field(default_factory=dict)

    async def active(self, namespace: str, pods: Iterable[Json], clusters: Collection[str]) -> dict[str, int]:
        return dict.fromkeys(clusters, 0)

    under_way = active

    async def in_force(self, namespace: str, deployment: str, pods: Iterable[Json]) -> list[InForce]:
        found = await self.cluster.client.get(MODELDEPLOYMENT, namespace, deployment)
        first = first_share(found, by_arm(await self.cluster.client.list(POD, namespace)))
        if first:
            return [InForce(1, {first["name"]: 100}) for _ in pods]
        weights = {one["name"]: one["weight"] for one in found["status"].get("traffic", [])}
        return [InForce(found["status"].get("trafficVersion", 0), weights) for _ in pods]

    async def counts(
        self, namespace: str, pods: Iterable[Json], clusters: Collection[str]
    ) -> dict[str, dict[str, Counts]]:
        return {
            pod["metadata"]["uid"]: {name: self.counted.get(name, Counts()) for name in clusters}
            for pod in pods
        }


@asynccontextmanager
async def kubelet(cluster: Cluster) -> AsyncIterator[None]:
    """Every pod becomes ready as soon as it exists."""
    node = f"node-{next(_IPS)}"
    await add_node(cluster.client, node)

    async def work() -> None:
        while True:
            for pod in await cluster.client.list(POD, cluster.namespace):
                if pod["status"].get("phase") == "Pending" and not pod["metadata"].get("deletionTimestamp"):
                    number = next(_IPS)
                    with contextlib.suppress(ApiError):
                        ip = f"10.9.{number // 250}.{number % 250 + 1}"
                        await make_ready(cluster.client, pod, node=node, ip=ip)
            await asyncio.sleep(0.05)

    try:
        async with alongside(work()):
            yield
    finally:
        await cluster.client.delete(NODE, "", node)


async def approve(cluster: Cluster, number: int, uri: str = "s3://models/flights") -> None:
    name = f"{NAME}-{number}"
    artifact = {"uri": uri, "digest": DIGEST, "format": "onnx"}
    spec = {"model": NAME, "version": number, "artifact": artifact}
    await cluster.client.create(MODELVERSION, cluster.namespace, {"metadata": {"name": name}, "spec": spec})
    await cluster.client.apply_status(MODELVERSION, cluster.namespace, name, {"phase": "Approved"})


async def deploy(cluster: Cluster, **spec: Any) -> None:
    body = {"metadata": {"name": NAME}, "spec": {"model": NAME, "router": {"replicas": 1}, **spec}}
    await cluster.client.create(MODELDEPLOYMENT, cluster.namespace, body)


async def say(cluster: Cluster, command: str, id_: str) -> None:
    body = {"metadata": {"name": NAME, "annotations": {f"noria.dev/{command}": id_}}}
    await cluster.client.apply(MODELDEPLOYMENT, cluster.namespace, body, manager="test", force=True)


async def status(cluster: Cluster) -> Json:
    found = await cluster.client.get(MODELDEPLOYMENT, cluster.namespace, NAME)
    result: Json = found.get("status", {})
    return result


async def until(cluster: Cluster, holds: Callable[[Json], bool]) -> Json:
    async def probe() -> Json | None:
        found = await status(cluster)
        return found if holds(found) else None

    try:
        return await eventually(probe)
    except TimeoutError as error:
        raise AssertionError(f"it never came so far: {await status(cluster)}") from error


def serves(number: int) -> Callable[[Json], bool]:
    def holds(found: Json) -> bool:
        settled = all(one["verified"] for one in found.get("traffic", ()))
        return found.get("stable", {}).get("version") == f"{NAME}-{number}" and settled

    return holds
