"""How fast a bad challenger is stopped: real routers and pods, requests that fail, and the judge's abort.

In each of several ModelDeployments a challenger that answers every request with 500 gets half of a steady
traffic, is aborted by the judge, and is tried again. The operator runs in this process, so that it can be
seen when it had read the counts that prove the harm, and when it had read back from every router that the
challenger has weight 0. Beside it stands what a client sees: the time from its first failed request of an
attempt to its last one. The cluster is one of the benchmark's own.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from tests.e2e.conftest import answer
from tests.integration.running import NAMESPACE as NAMESPACES
from tests.integration.running import Cluster, eventually, operator
from tools.cluster import slots
from tools.cluster.layout import CHECKOUT
from tools.ports import free_port

from benchmarks.report import Row, high, middle
from noria_operator import app
from noria_operator.controllers import modeldeployment, router
from noria_operator.domain.rollout_observed import InForce
from noria_operator.domain.verdict import Counts
from noria_operator.evidence.router import FRESH, RouterReader
from noria_operator.kube.client import Client
from noria_operator.kube.kinds import MODELDEPLOYMENT, MODELVERSION, SERVICE, Kind
from noria_operator.kube.lease import Timing
from noria_operator.kube.login import from_kubeconfig

Json = dict[str, Any]

CLUSTER = "bench-aborts"
DEPLOYMENTS = 2
ATTEMPTS = 26
RATE = 80.0
"""Requests a second to each deployment."""
CRD = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)
SERVER = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 500 if os.environ["NORIA_VERSION"].endswith("-2") else 200

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200 if self.path == "/" else self.status)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("", 8080), Server).serve_forever()
"""


@dataclass
class Watched(RouterReader):
    """The operator's reader of routers, with a clock beside it.

    `read` and `used` say when the latest counts of a version had been read, and those that a pass saw last;
    `proven` is when those of the pass that aborted had been read, `seconds` from then to the read-back.
    """

    read: dict[str, float] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    proven: dict[str, float] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(fresh=FRESH)

    async def _counted(
        self, pods: Sequence[Json], clusters: Collection[str] | None
    ) -> dict[str, dict[str, Counts]]:
        """What the routers were really asked; the rest is answered from memory."""
        found = await super()._counted(pods, clusters)
        for cluster in clusters or ():
            self.read[cluster] = time.monotonic()
        return found

    async def counts(
        self, namespace: str, pods: Iterable[Json], clusters: Collection[str] | None = None
    ) -> dict[str, dict[str, Counts]]:
        """A pass asks for the versions of one deployment, the pulse for those of all."""
        found = await super().counts(namespace, pods, clusters)
        if len({cluster.rsplit("-", 2)[0] for cluster in clusters or ()}) == 1:
            self.used |= {cluster: self.read[cluster] for cluster in clusters or ()}
        return found

    async def in_force(self, namespace: str, deployment: str, pods: Iterable[Json]) -> list[InForce] | None:
        found = await super().in_force(namespace, deployment, pods)
        if found and deployment in self.proven:
            loser = self.rejected[deployment]
            if not any(one.weights.get(loser, 0) for one in found):
                self.seconds.append(time.monotonic() - self.proven.pop(deployment))
        return found

    def observe(self, _: Any, obj: Json) -> None:
        """The status says that a challenger was aborted: the counts that its pass saw proved it."""
        if obj.get("kind") != "ModelDeployment":
            return
        name, found = obj["metadata"]["name"], obj.get("status", {})
        before, now = self.rejected.get(name), found.get("rejected")
        if now and before is None:
            loser = next(one["name"] for one in found["traffic"] if one["version"] == now[0]["version"])
            self.rejected[name] = loser
            self.proven[name] = self.used[loser]
        elif not now:
            self.rejected.pop(name, None)


async def measure(_: int) -> list[Row]:
    """All figures of this benchmark; starts a cluster of its own and removes it."""
    os.environ["NORIA_CLUSTER"] = CLUSTER
    kubeconfig = Path(answer("up"))
    try:
        images = json.loads(answer("images"))
        async with Client(from_kubeconfig(kubeconfig)) as client:
            return await _measure(Cluster(from_kubeconfig(kubeconfig), client, "bench-aborts"), images)
    finally:
        answer("down")


async def _measure(cluster: Cluster, images: dict[str, str]) -> list[Row]:
    await _prepare(cluster, images["example-flights"])
    watched = Watched()
    async with _operator(cluster, images, watched):
        found = await asyncio.gather(*(_attempts(cluster, f"m{index}") for index in range(DEPLOYMENTS)))
    failures = [one for each in found for one in each]
    ours, clients = watched.seconds, [last - first for _, first, last in failures]
    counts = [float(count) for count, _, _ in failures]
    return [
        Row("aborts by the judge", len(ours), ""),
        Row("counts read to weight 0 read back, median", middle(ours) * 1e3, "ms"),
        Row("counts read to weight 0 read back, slowest", high(ours) * 1e3, "ms"),
        Row("first failed request to the last one, median", middle(clients), "s"),
        Row("first failed request to the last one, slowest", max(clients), "s"),
        Row("failed requests of an attempt, median", middle(counts), ""),
    ]


@asynccontextmanager
async def _operator(cluster: Cluster, images: dict[str, str], watched: Watched) -> AsyncIterator[None]:
    slot = slots.mine()
    assert slot is not None, "the operator of this benchmark runs beside the local cluster"
    port = free_port("0.0.0.0")
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / "master-key"
        key.write_text(secrets.token_hex(16))
        config = cluster.config(
            server_image=images["server"],
            router_image=images["router"],
            master_key_file=key,
            xds_port=port,
            xds_address=f"{slot.host_address}:{port}",
        )
        parts = {"config": config, "xds": app.xds_app, "timing": Timing()}
        async with operator(cluster, [modeldeployment, router], router=watched, **parts) as made:
            made.store.subscribe(watched.observe)
            yield
        await watched.close()


async def _prepare(cluster: Cluster, image: str) -> None:
    client, namespace = cluster.client, cluster.namespace
    for file in sorted((CHECKOUT / "crds").glob("*.yaml")):
        await client.create(CRD, "", yaml.safe_load(file.read_text(encoding="utf-8")))
    await client.create(NAMESPACES, "", {"metadata": {"name": namespace}})
    for index in range(DEPLOYMENTS):
        server = {
            "runtime": "custom",
            "image": image,
            "command": ["python3", "-c", SERVER],
            "healthPath": "/",
        }
        strategy = {"steps": [{"weight": 50, "duration": "1h"}], "keepPrevious": "0s"}
        spec = {"model": f"m{index}", "server": server, "strategy": strategy}
        body = {"metadata": {"name": f"m{index}"}, "spec": spec}
        await eventually(lambda body=body: _created(client, namespace, body))
        await _approve(cluster, f"m{index}", 1)


async def _created(client: Client, namespace: str, body: Json) -> bool:
    """False while the kind is not served yet."""
    try:
        await client.create(MODELDEPLOYMENT, namespace, body)
    except Exception:
        return False
    return True


async def _approve(cluster: Cluster, model: str, number: int) -> None:
    name = f"{model}-{number}"
    artifact = {"uri": f"s3://models/{model}", "digest": "sha256:" + "a" * 64, "format": "onnx"}
    spec = {"model": model, "version": number, "artifact": artifact}
    await cluster.client.create(MODELVERSION, cluster.namespace, {"metadata": {"name": name}, "spec": spec})
    await cluster.client.apply_status(MODELVERSION, cluster.namespace, name, {"phase": "Approved"})


async def _attempts(cluster: Cluster, name: str) -> list[tuple[int, float, float]]:
    """Failed requests, the first one and the last one, of each attempt."""
    await _until(cluster, name, "Healthy")
    await _approve(cluster, name, 2)
    found = []
    async with _traffic(cluster, name) as failed:
        for number in range(ATTEMPTS):
            failed.clear()
            if number:
                notes = {"metadata": {"name": name, "annotations": {"noria.dev/retry": str(number)}}}
                await cluster.client.apply(
                    MODELDEPLOYMENT, cluster.namespace, notes, manager="bench", force=True
                )
                await _until(cluster, name, "Progressing")
            await _until(cluster, name, "RolledBack")
            await asyncio.sleep(0.2)
            found.append((len(failed), failed[0], failed[-1]))
    return found


async def _until(cluster: Cluster, name: str, phase: str) -> None:
    async def there() -> bool:
        found = await cluster.client.get(MODELDEPLOYMENT, cluster.namespace, name)
        settled = all(one["verified"] for one in found["status"].get("traffic", ()))
        return settled and found["status"]["phase"] == phase

    await eventually(there, seconds=120)


@asynccontextmanager
async def _traffic(cluster: Cluster, name: str) -> AsyncIterator[list[float]]:
    """Steady requests to one deployment; gives the times of failed ones."""
    service = await cluster.client.get(SERVICE, cluster.namespace, name)
    url, failed = f"http://{service['spec']['clusterIP']}/v2/models/{name}/infer", []

    async def one(session: aiohttp.ClientSession) -> None:
        async with session.post(url, data=b"{}") as reply:
            if reply.status != 200:
                failed.append(time.monotonic())

    async def send() -> None:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            while True:
                group.create_task(one(session))
                await asyncio.sleep(1 / RATE)

    task = asyncio.create_task(send())
    try:
        yield failed
    finally:
        task.cancel()
        await asyncio.wait({task})
