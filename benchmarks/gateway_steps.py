"""How long a step of a rollout takes to be in force behind a gateway, with its proxies asked and without.

Contour and two of its Envoys stand on a real API server; pods are played, and send nothing. A step begins
with the annotation that leads on to it and ends when status says that its weights are in force. Beside it
stands what the gateway alone needs: from the write of a route to the answer of both Envoys that act on it.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from tests.integration.conftest import prepare
from tests.integration.deployments import approve, deploy, say, until
from tests.integration.edge import HOST, Edge, ask, standing
from tests.integration.running import Cluster, operator
from tools.cluster.controlplane import control_plane

from benchmarks.report import Row, high, middle
from noria_operator.controllers import modeldeployment
from noria_operator.controllers.context import Config
from noria_operator.kube.client import Client
from noria_operator.kube.kinds import HTTPROUTE, MODELDEPLOYMENT, Json
from noria_operator.kube.login import from_kubeconfig

STEPS = 10
ROUNDS = 2
FLOOR = 20
NAME = "the gateway alone"


async def measure(_: int) -> list[Row]:
    """All figures of this benchmark."""
    with tempfile.TemporaryDirectory() as name, control_plane(Path(name) / "control-plane") as kubeconfig:
        await prepare(kubeconfig)
        endpoint = from_kubeconfig(kubeconfig)
        async with Client(endpoint) as client:
            cluster = await Cluster(endpoint, client, "").another()
            key = Path(name) / "master-key"
            key.write_bytes(b"k" * 32)
            config = cluster.config(master_key_file=key)
            async with standing(cluster, config, kubeconfig, Path(name)) as edge:
                return await _measure(edge)


async def _measure(edge: Edge) -> list[Row]:
    await approve(edge.cluster, 1)
    await approve(edge.cluster, 2)
    assumed: list[float] = []
    read: list[float] = []
    for _ in range(ROUNDS):
        assumed += await _rollout(edge, edge.config)
        read += await _rollout(edge, edge.naming(*edge.gateway.own_urls))
    floor = middle([await _alone(edge, number) for number in range(FLOOR)])
    return [
        Row("step to weights in force, proxies asked, median", middle(read), "s", floor, NAME),
        Row("step to weights in force, proxies asked, slowest", high(read), "s", floor, NAME),
        Row("step to weights in force, assumed after 5 s, median", middle(assumed), "s", floor, NAME),
        Row("step to weights in force, assumed after 5 s, slowest", high(assumed), "s", floor, NAME),
    ]


async def _rollout(edge: Edge, config: Config) -> list[float]:
    """Seconds of each step of one."""
    router = {"type": "Gateway", "gateway": {"name": edge.cluster.namespace}}
    steps = [{"weight": weight, "pause": True} for weight in range(1, STEPS + 2)]
    spec = {"router": router, "hosts": [HOST], "strategy": {"steps": steps}}
    await deploy(edge.cluster, version="flights-1", **spec)
    found = []
    async with operator(edge.cluster, [modeldeployment], config=config):
        await until(edge.cluster, lambda it: it.get("phase") == "Healthy")
        patch = {"spec": {"version": "flights-2"}}
        await edge.cluster.client.merge(MODELDEPLOYMENT, edge.cluster.namespace, "flights", patch)
        await until(edge.cluster, lambda it: _in_force(it, 1))
        for weight in range(2, STEPS + 2):
            begun = time.monotonic()
            await say(edge.cluster, "promote", str(weight))
            await until(edge.cluster, lambda it, weight=weight: _in_force(it, weight))  # type: ignore[misc]
            found.append(time.monotonic() - begun)
        await edge.cluster.client.delete(MODELDEPLOYMENT, edge.cluster.namespace, "flights")
    return found


def _in_force(status: Json, weight: int) -> bool:
    shares = status.get("traffic", ())
    told = all(one["verified"] or one.get("assumed") for one in shares)
    return told and [one["weight"] for one in shares][1:] == [weight]


async def _alone(edge: Edge, number: int) -> float:
    """Seconds from a write of a route to both Envoys' answers by it."""
    host = f"v{number}.invalid"
    redirect = {"type": "RequestRedirect", "requestRedirect": {"hostname": host}}
    patch = {"spec": {"rules": [{"filters": [redirect]}]}}
    begun = time.monotonic()
    await edge.cluster.client.merge(HTTPROUTE, edge.cluster.namespace, "first", patch)
    await asyncio.gather(*(asyncio.to_thread(_until_it_leads, url, host) for url in edge.gateway.own_urls))
    return time.monotonic() - begun


def _until_it_leads(url: str, host: str) -> None:
    while host not in ask(url, "first.invalid").headers.get("Location", ""):
        time.sleep(0.002)
