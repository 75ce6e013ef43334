"""How long a change of version takes to be in force at every router, on the local cluster.

Two approved versions are kept warm, and the deployment is pinned to one and the other in turn. What is
measured is the whole way from the write of the spec, over the operator's decision and the routers'
configuration, to the read-back; beside it stands what the API server alone needs to tell a watcher.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import aiohttp
from tests.e2e.conftest import Program, answer, install
from tests.e2e.kube import Json, Kube, namespace, phase
from tests.e2e.load import REQUEST
from tests.e2e.manifests import claim, model_deployment, training_job
from tools.cluster.layout import binary

from benchmarks.report import Row, high, middle

ROUNDS = 20
COLD_ROUNDS = 5


async def measure(_: int) -> list[Row]:
    """All figures of this benchmark; starts the cluster if it does not run."""
    return await asyncio.to_thread(_measure)


def _measure() -> list[Row]:
    kubeconfig = Path(answer("up"))
    images = json.loads(answer("images"))
    install(Program(str(binary("helm")), kubeconfig), images)
    with namespace(kubeconfig, "bench-rollout") as kube:
        _two_versions(kube, images["example-flights"])
        ours = [_switch(kube, f"tiny-{1 + number % 2}") for number in range(ROUNDS)]
        floor = [_watch_delay(kube, number) for number in range(ROUNDS)]
        cold = [_cold_start(kube) for _ in range(COLD_ROUNDS)]
    name = "the API server's own watch delay"
    return [
        Row("spec change to weight in force, median", middle(ours) * 1e3, "ms", middle(floor) * 1e3, name),
        Row("spec change to weight in force, slowest", high(ours) * 1e3, "ms"),
        Row("replicas from 0 to 1 to the first answer, median", middle(cold), "s"),
        Row("replicas from 0 to 1 to the first answer, slowest", high(cold), "s"),
    ]


def _two_versions(kube: Kube, image: str) -> None:
    kube.apply(claim())
    kube.apply(model_deployment(strategy={"keepPrevious": "1h"}, replicas=1))
    for number in (1, 2):
        kube.apply(training_job(f"tiny-run-{number}", image, seed=number))
        kube.until(
            "ModelDeployment", "tiny", lambda md, number=number: _serves(md, f"tiny-{number}"), timeout=240
        )
    kube.until("ModelDeployment", "tiny", phase("Healthy"))


def _serves(md: Json, version: str) -> bool:
    traffic = md["status"].get("traffic", [])
    return any(each["version"] == version and each["weight"] == 100 and each["verified"] for each in traffic)


def _switch(kube: Kube, version: str) -> float:
    """Seconds from pinning `version` until each router says that it gets everything."""
    md = kube.get("ModelDeployment", "tiny")
    assert md is not None
    pods = kube.list("Pod", "noria.dev/router=true")
    addresses = [pod["status"]["podIP"] for pod in pods]
    body = model_deployment(strategy={"keepPrevious": "1h"}, replicas=1, version=version)
    start = time.monotonic()
    kube.apply(body)
    asyncio.run(_in_force(addresses, version))
    seconds = time.monotonic() - start
    kube.until("ModelDeployment", "tiny", lambda it: _serves(it, version))
    return seconds


async def _in_force(addresses: list[str], version: str) -> None:
    async with aiohttp.ClientSession(headers={"Host": "version.noria.internal"}) as session:
        for address in addresses:
            while True:
                async with session.get(f"http://{address}:8080/tiny") as reply:
                    weights = (await reply.json(content_type=None)).get("weights", {})
                if any(name.startswith(f"{version}-") and weight == 100 for name, weight in weights.items()):
                    break
                await asyncio.sleep(0.002)


def _cold_start(kube: Kube) -> float:
    """Seconds from asking for the first pod until a request is answered; image and model are on the node."""
    service = kube.get("Service", "tiny")
    assert service is not None
    url = f"http://{service['spec']['clusterIP']}/v2/models/tiny/infer"
    kube.scale("ModelDeployment", "tiny", 0)
    asyncio.run(_answered(url, 503))  # pods that end go on answering for some seconds
    start = time.monotonic()
    kube.scale("ModelDeployment", "tiny", 1)
    asyncio.run(_answered(url, 200))
    return time.monotonic() - start


async def _answered(url: str, status: int) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.post(url, json=REQUEST) as reply:
                if reply.status == status:
                    return
            await asyncio.sleep(0.02)


def _watch_delay(kube: Kube, number: int) -> float:
    """Seconds from a write to its event at a watcher."""
    name = f"tick-{number}"
    start = time.monotonic()
    kube.apply({"kind": "ConfigMap", "metadata": {"name": name}})
    kube.until("ConfigMap", name, lambda _: True)
    return time.monotonic() - start
