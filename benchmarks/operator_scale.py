"""How fast the operator follows, what a thousand objects of each kind cost, and what it asks when idle."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.cluster.controlplane import control_plane

from benchmarks.harness import Bench, bench, eventually
from benchmarks.objects import (
    NAMESPACE,
    Json,
    bare_job,
    continuous_training,
    model_deployment,
    model_version,
    training_job,
)
from benchmarks.report import Row, middle
from noria_operator.kube import kinds
from noria_operator.kube.client import Client
from noria_operator.kube.kinds import Kind

ROUNDS = 20
IDLE_SECONDS = 60.0
LEASE_A_MINUTE = 30.0
"""A lease renewed every two seconds: what leader election alone costs, here and in client-go."""
MAKERS: Sequence[tuple[Kind, Callable[[str], Json]]] = (
    (kinds.TRAININGJOB, lambda name: training_job(name, suspend=True)),
    (kinds.MODELVERSION, model_version),
    (kinds.MODELDEPLOYMENT, model_deployment),
    (kinds.CONTINUOUSTRAINING, continuous_training),
)


async def measure(objects: int) -> list[Row]:
    """All figures of this benchmark."""
    with tempfile.TemporaryDirectory() as folder, control_plane(Path(folder), kwok=True) as kubeconfig:
        async with bench(kubeconfig, Path(folder)) as running:
            rows = await latency(running)
            rows += await scale(running, objects)
            return rows + await idle(running)


async def latency(running: Bench) -> list[Row]:
    """TrainingJob created to Pod created, beside Job created to Pod created, in turn."""
    ours, floor = [], []
    for number in range(ROUNDS):
        floor.append(await _until_pod(running.client, kinds.JOB, bare_job(f"bare-{number}")))
        run = training_job(f"run-{number}", suspend=False)
        ours.append(await _until_pod(running.client, kinds.TRAININGJOB, run))
    title = "TrainingJob created to Pod created, median"
    return [Row(title, middle(ours) * 1e3, "ms", middle(floor) * 1e3, "bare Job")]


async def scale(running: Bench, objects: int) -> list[Row]:
    """Create `objects` of each kind, wait until each one is settled."""
    before, start, cpu = running.memory(), time.monotonic(), running.cpu()
    for kind, make in MAKERS:
        await _create_all(running.client, kind, [make(f"bench-{number + 1}") for number in range(objects)])
    for kind, _ in MAKERS:
        await eventually(lambda kind=kind: _settled(running.client, kind), seconds=600, every=1.0)  # type: ignore[misc]
    seconds, total = time.monotonic() - start, len(MAKERS) * objects
    page = await running.scrape()
    return [
        Row(f"{total} objects created and settled", seconds, "s"),
        Row("operator CPU per object", (running.cpu() - cpu) / total * 1e3, "ms"),
        Row("reconcile pass, p50", quantile(page, 0.5) * 1e3, "ms"),
        Row("reconcile pass, p99", quantile(page, 0.99) * 1e3, "ms"),
        Row(f"operator memory with {total} objects", running.memory(), "MiB", before, "the empty operator"),
    ]


async def idle(running: Bench) -> list[Row]:
    """Requests that the API server counts from the operator while nothing happens."""
    await asyncio.sleep(5)
    asked, cpu, start = running.requests(), running.cpu(), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    seconds = time.monotonic() - start
    a_minute = (running.requests() - asked) / seconds * 60
    return [
        Row("API requests when idle", a_minute, "1/min", LEASE_A_MINUTE, "the lease alone"),
        Row("CPU when idle, of one core", (running.cpu() - cpu) / seconds * 100, "%"),
    ]


def quantile(page: str, share: float) -> float:
    """A quantile of the reconcile passes of all kinds in seconds, interpolated within its bucket."""
    buckets: dict[float, float] = {}
    pattern = r'noria_reconcile_duration_seconds_bucket\{[^}]*le="([^"]+)"[^}]*\} (\S+)'
    for bound, count in re.findall(pattern, page):
        buckets[float(bound)] = buckets.get(float(bound), 0.0) + float(count)
    wanted, low, below = share * max(buckets.values()), 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= wanted:
            upper = low if bound == float("inf") else bound
            return low + (upper - low) * (wanted - below) / (count - below or 1)
        low, below = bound, count
    raise AssertionError("a histogram ends with +Inf")


async def _until_pod(client: Client, kind: Kind, body: Json) -> float:
    """Seconds from the create to the first Pod whose name begins with the object's."""
    start, name = time.monotonic(), body["metadata"]["name"]
    await client.create(kind, NAMESPACE, body)

    async def made() -> bool:
        pods = await client.list(kinds.POD, NAMESPACE)
        return any(pod["metadata"]["name"].startswith(f"{name}-") for pod in pods)

    await eventually(made, every=0.01)
    return time.monotonic() - start


async def _create_all(client: Client, kind: Kind, bodies: Sequence[Json]) -> None:
    slots = asyncio.Semaphore(16)

    async def one(body: Json) -> None:
        async with slots:
            await client.create(kind, NAMESPACE, body)

    await asyncio.gather(*(one(body) for body in bodies))


async def _settled(client: Client, kind: Kind) -> bool:
    """Whether every object was looked at, and no check is still running."""
    return all(
        found.get("status", {}).get("observedGeneration", 0) >= found["metadata"]["generation"]
        and found["status"].get("phase") not in ("Validating", "Running")
        for found in await client.list(kind, NAMESPACE)
    )
