"""A real gateway on a real API server: Contour and two Envoys on loopback, and pods that are played.

Comes in: the API server and a namespace. Goes out: a Gateway there, and what each Envoy answers. It is called
as the namespace is: Contour takes a route that names no namespace for one of any Gateway of that name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from tests.contour import ContourGateway, contour, listener_port, objects
from tests.integration.deployments import NAME, kubelet
from tests.integration.running import Cluster
from tests.integration.test_gateway import install_gateways

from noria_operator.controllers.context import Config
from noria_operator.domain.gateway_probes import Probe, mark_in, path_of
from noria_operator.kube.kinds import GATEWAY, GATEWAYCLASS, HTTPROUTE

HOST = "flights.example"
KINDS = (GATEWAYCLASS, GATEWAY, HTTPROUTE)


@dataclass(frozen=True)
class Edge:
    """The gateway, and the configuration of an operator that was not told of its Envoys."""

    cluster: Cluster
    gateway: ContourGateway
    config: Config

    def naming(self, *urls: str) -> Config:
        """The same with these addresses."""
        gateway = (self.cluster.namespace, self.cluster.namespace)
        return replace(self.config, gateway_probes={gateway: Probe("edge", gateway, urls)})


@asynccontextmanager
async def standing(
    cluster: Cluster, config: Config, kubeconfig: Path, directory: Path
) -> AsyncIterator[Edge]:
    """The gateway, and a kubelet for everything in the namespace."""
    await install_gateways(cluster.client)
    port = listener_port("127.0.0.1")
    made = contour(kubeconfig, directory, "127.0.0.1", port, (cluster.namespace, cluster.namespace))
    try:
        for kind, body in zip(KINDS, objects(cluster.namespace, cluster.namespace, port), strict=True):
            await cluster.client.create(kind, cluster.namespace if kind.namespaced else "", body)
        gateway = await asyncio.to_thread(made.__enter__)
        try:
            async with kubelet(cluster):
                yield Edge(cluster, gateway, replace(config, gateway=True))
        finally:
            await asyncio.to_thread(made.__exit__, None, None, None)
    finally:
        await cluster.client.delete(GATEWAYCLASS, "", "contour")


def ask(url: str, host: str = HOST) -> httpx.Response:
    """What an Envoy answers to somebody."""
    return httpx.get(url, headers={"Host": host}, timeout=10)


def marks(edge: Edge) -> list[str]:
    """What each Envoy acts on."""
    path = path_of(edge.cluster.namespace, NAME)
    answers = [ask(f"{url}{path}") for url in edge.gateway.own_urls]
    assert {answer.status_code for answer in answers} == {302}
    return [mark_in(answer.headers["Location"]) for answer in answers]
