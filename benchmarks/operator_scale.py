"""How fast the operator follows, what a thousand objects of each kind cost, and what it asks when idle.

The API server, its store and Kubernetes' own controllers share the machine's cores with the operator, so each
figure stands beside what they do without it in the same run, and the CPU of each is told.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tools.cluster.controlplane import control_plane

from benchmarks.harness import Bench, bench, cluster_cpu, create_namespace, eventually, in_parallel, install
from benchmarks.metrics import Histogram, histogram
from benchmarks.objects import (
    NAMESPACE,
    Json,
    bare_job,
    continuous_training,
    model_deployment,
    model_version,
    training_job,
)
from benchmarks.report import Row, high, middle
from noria_operator.kube import kinds
from noria_operator.kube.client import Client
from noria_operator.kube.kinds import Kind
from noria_operator.kube.login import from_kubeconfig

ROUNDS = 20
EDITS = 100
SETTLE_SECONDS = 240.0
"""Longest that the objects may take; the whole benchmark stays under eight minutes."""
IDLE_SECONDS = 60.0
LEASE_A_MINUTE = 30.0
"""A lease renewed every two seconds: what leader election alone costs, here and in client-go."""
WRITES = "create|patch|update|delete"
MAKERS: Sequence[tuple[Kind, Callable[[str], Json]]] = (
    (kinds.TRAININGJOB, lambda name: training_job(name, suspend=True)),
    (kinds.MODELVERSION, model_version),
    (kinds.MODELDEPLOYMENT, model_deployment),
    (kinds.CONTINUOUSTRAINING, continuous_training),
)


async def measure(objects: int) -> list[Row]:
    """All figures of this benchmark."""
    with tempfile.TemporaryDirectory() as folder, control_plane(Path(folder), kwok=True) as kubeconfig:
        install(kubeconfig)
        async with Client(from_kubeconfig(kubeconfig)) as client:
            alone = await arrival_alone(client, objects)
        async with bench(kubeconfig, Path(folder)) as running:
            rows = await latency(running)
            rows += await scale(running, objects, alone)
            rows += await edits(running, objects)
            return rows + await idle(running)


async def arrival_alone(client: Client, objects: int) -> float:
    """Seconds to create `objects` of each kind and to run as many bare Jobs (which is what their checks are)
    while no operator runs; they are removed again.
    """
    space = "alone"
    await create_namespace(client, space)
    start = time.monotonic()
    for kind, make in MAKERS:
        await _create_all(client, kind, space, [make(f"alone-{number + 1}") for number in range(objects)])
    jobs = [bare_job(f"alone-{number + 1}") for number in range(objects)]
    await _create_all(client, kinds.JOB, space, jobs)
    await eventually(partial(_jobs_ended, client, space), seconds=SETTLE_SECONDS, every=1.0)
    seconds = time.monotonic() - start
    for kind in (*(kind for kind, _ in MAKERS), kinds.JOB):
        names = [found["metadata"]["name"] for found in await client.list(kind, space)]
        await in_parallel([partial(client.delete, kind, space, name) for name in names])
    return seconds


async def latency(running: Bench) -> list[Row]:
    """TrainingJob created to Pod created, beside Job created to Pod created, in turn."""
    ours, floor = [], []
    for number in range(ROUNDS):
        floor.append(await _until_pod(running.client, kinds.JOB, bare_job(f"bare-{number}")))
        run = training_job(f"run-{number}", suspend=False)
        ours.append(await _until_pod(running.client, kinds.TRAININGJOB, run))
    title = "TrainingJob created to Pod created, median"
    return [Row(title, middle(ours) * 1e3, "ms", middle(floor) * 1e3, "bare Job")]


async def scale(running: Bench, objects: int, alone: float) -> list[Row]:
    """Create `objects` of each kind, wait until each one is settled."""
    before, page, asked = running.memory(), await running.scrape(), running.requests()
    cpu, theirs, start = running.cpu(), cluster_cpu(), time.monotonic()
    for kind, make in MAKERS:
        bodies = [make(f"bench-{number + 1}") for number in range(objects)]
        await _create_all(running.client, kind, NAMESPACE, bodies)
    created, total = time.monotonic() - start, len(MAKERS) * objects
    await eventually(partial(_all_settled, running), seconds=SETTLE_SECONDS, every=0.5)
    seconds = time.monotonic() - start
    used, theirs = running.cpu() - cpu, cluster_cpu() - theirs
    return [
        Row(
            f"{total} objects created and settled", seconds, "s", alone, "the same and bare Jobs, no operator"
        ),
        Row("  of it after the last was created", seconds - created, "s"),
        Row("operator CPU an object", used / total * 1e3, "ms", theirs / total * 1e3, "the cluster's CPU"),
        Row("API requests an object", (running.requests() - asked) / total, ""),
        *_passes(page, await running.scrape(), total),
        Row(f"operator memory with {total} objects", running.memory(), "MiB", before, "the empty operator"),
    ]


def _passes(before: str, after: str, objects: int) -> list[Row]:
    """Passes while everything arrives: how long they take, what they wait for, what waits for them."""

    def grown(name: str, **labels: str) -> Histogram:
        return histogram(after, name, **labels).since(histogram(before, name, **labels))

    passed = grown("noria_reconcile_duration_seconds")
    wrote = grown("noria_api_request_duration_seconds", verb=WRITES)
    asked = grown("noria_api_request_duration_seconds")
    queued = grown("noria_workqueue_queue_duration_seconds")
    own = "one of its writes"
    share = asked.total / passed.total * 100
    return [
        Row("reconcile passes an object", passed.count / objects, ""),
        Row("reconcile pass, p50", passed.quantile(0.5) * 1e3, "ms", wrote.quantile(0.5) * 1e3, own),
        Row("reconcile pass, p99", passed.quantile(0.99) * 1e3, "ms", wrote.quantile(0.99) * 1e3, own),
        Row("  share that waits for the API server", share, "%"),
        Row("waiting in the queue, mean", queued.total / queued.count, "s"),
    ]


async def edits(running: Bench, objects: int) -> list[Row]:
    """A spec edited while all objects are there and nothing else happens, until its status says so."""
    page, ours, floor = await running.scrape(), [], []
    for number in range(EDITS):
        name = f"bench-{number % objects + 1}"
        floor.append(await _edit(running.client, name, {"metadata": {"labels": {"edit": str(number)}}}))
        ours.append(await _edit(running.client, name, {"spec": {"replicas": 2 + number // objects}}))
    passed = histogram(await running.scrape(), "noria_reconcile_duration_seconds").since(
        histogram(page, "noria_reconcile_duration_seconds")
    )
    bare = "the edit alone"
    return [
        Row("edit to status, median", middle(ours) * 1e3, "ms", middle(floor) * 1e3, bare),
        Row("edit to status, p99", high(ours) * 1e3, "ms", high(floor) * 1e3, bare),
        Row("reconcile pass meanwhile, p50", passed.quantile(0.5) * 1e3, "ms"),
        Row("reconcile pass meanwhile, p99", passed.quantile(0.99) * 1e3, "ms"),
    ]


async def idle(running: Bench) -> list[Row]:
    """Requests that the API server counts from the operator while nothing happens."""
    await asyncio.sleep(5)
    asked, cpu, page, start = running.requests(), running.cpu(), await running.scrape(), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    seconds, after = time.monotonic() - start, await running.scrape()
    sent, leases = (
        histogram(after, "noria_api_request_duration_seconds", **labels)
        .since(histogram(page, "noria_api_request_duration_seconds", **labels))
        .count
        for labels in ({}, {"kind": "Lease"})
    )
    a_minute = (running.requests() - asked) / seconds * 60
    return [
        Row("API requests when idle", a_minute, "1/min", LEASE_A_MINUTE, "the lease alone"),
        Row("  of them neither lease nor watch", (sent - leases) / seconds * 60, "1/min"),
        Row("CPU when idle, of one core", (running.cpu() - cpu) / seconds * 100, "%"),
    ]


async def _until_pod(client: Client, kind: Kind, body: Json) -> float:
    """Seconds from the create to the first Pod whose name begins with the object's."""
    start, name = time.monotonic(), body["metadata"]["name"]
    await client.create(kind, NAMESPACE, body)

    async def made() -> bool:
        pods = await client.list(kinds.POD, NAMESPACE)
        return any(pod["metadata"]["name"].startswith(f"{name}-") for pod in pods)

    await eventually(made, every=0.01)
    return time.monotonic() - start


async def _edit(client: Client, name: str, body: Json) -> float:
    """Seconds from the edit of a ModelDeployment until its status is that of its spec, as one can read it."""
    start = time.monotonic()
    await client.merge(kinds.MODELDEPLOYMENT, NAMESPACE, name, body)

    async def told() -> bool:
        found = await client.get(kinds.MODELDEPLOYMENT, NAMESPACE, name)
        return bool(found["status"]["observedGeneration"] == found["metadata"]["generation"])

    await eventually(told, every=0.002)
    return time.monotonic() - start


async def _create_all(client: Client, kind: Kind, space: str, bodies: Sequence[Json]) -> None:
    await in_parallel([partial(client.create, kind, space, body) for body in bodies])


async def _jobs_ended(client: Client, space: str) -> bool:
    return all(job["status"].get("succeeded") for job in await client.list(kinds.JOB, space))


async def _all_settled(running: Bench) -> bool:
    """Asks the operator first: reading four thousand objects costs the API server more than it does."""
    if re.search(r"^noria_workqueue_(depth|busy) [1-9]", await running.scrape(), re.MULTILINE):
        return False
    return all([await _settled(running.client, kind) for kind, _ in MAKERS])


async def _settled(client: Client, kind: Kind) -> bool:
    """Whether every object was looked at, and no check is still running."""
    return all(
        found.get("status", {}).get("observedGeneration", 0) >= found["metadata"]["generation"]
        and found["status"].get("phase") not in ("Validating", "Running")
        for found in await client.list(kind, NAMESPACE)
    )
