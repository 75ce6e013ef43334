"""`python -m benchmarks.rollouts.writes`: CPU of the cluster for each kind of write that a rollout takes.

Comes in: nothing. Goes out: a line for each kind of write. It explains why rollouts take the time that they
take; no operator runs.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from tools.cluster.controlplane import control_plane

from benchmarks.harness import cluster_cpu, in_parallel, install
from benchmarks.objects import IMAGE, Json, model_deployment
from noria_operator.kube import kinds
from noria_operator.kube.client import Client
from noria_operator.kube.login import from_kubeconfig

SPACE = "bench"
EACH = 200
REST_SECONDS = 6.0
CONDITIONS = ("Ready", "Reconciling", "Stalled", "Servable", "UpToDate")
NOW = "2026-01-01T00:00:00Z"

Write = Callable[[int], Awaitable[object]]


def service(number: int, address: str | None = None) -> Json:
    given = {} if address is None else {"clusterIP": address}
    port = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}
    spec = {"type": "ClusterIP", **given, "selector": {"app": "none"}, "ports": [port]}
    return {"metadata": {"name": f"s-{number}", "namespace": SPACE}, "spec": spec}


def workload(number: int) -> Json:
    labels = {"app": f"d-{number}"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": IMAGE}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod}
    return {"metadata": {"name": f"d-{number}", "namespace": SPACE}, "spec": spec}


def status(text: str) -> Json:
    """As large as that of a canary."""
    served = [{"version": f"m-{n}", "revision": f"{n}" * 10, "name": f"m-{n}-{n}"} for n in (1, 2)]
    said = {"lastTransitionTime": NOW, "status": "True", "reason": "Serving", "message": text}
    history = {"at": NOW, "event": "Step", "version": "m-2", "message": text}
    return {
        "phase": "Progressing",
        "message": text,
        "stable": served[0],
        "traffic": [{**one, "weight": 50, "verified": True} for one in served],
        "conditions": [{"type": name, **said} for name in CONDITIONS],
        "history": [history] * 4,
    }


def writes(client: Client) -> Mapping[str, Write]:
    """What is measured, in this order."""

    def say(text: str) -> Write:
        return lambda number: client.apply_status(
            kinds.MODELDEPLOYMENT, SPACE, f"m-{number}", status(f"{text} {number}")
        )

    return {
        "Service with an address, applied": lambda n: client.apply(kinds.SERVICE, SPACE, service(n)),
        "Service without one, applied": lambda n: client.apply(
            kinds.SERVICE, SPACE, service(EACH + n, "None")
        ),
        "Deployment, applied": lambda n: client.apply(kinds.DEPLOYMENT, SPACE, workload(n)),
        "Secret, created": lambda n: client.create(kinds.SECRET, SPACE, {"metadata": {"name": f"x-{n}"}}),
        "ModelDeployment, created": lambda n: client.create(
            kinds.MODELDEPLOYMENT, SPACE, model_deployment(f"m-{n}")
        ),
        "its first status, applied": say("first"),
        "its next status, applied": say("next"),
    }


async def measure(kubeconfig: Path) -> dict[str, float]:
    """Milliseconds of CPU for each write; what Kubernetes' controllers do about it counts too."""
    found = {}
    async with Client(from_kubeconfig(kubeconfig)) as client:
        await client.create(kinds.NAMESPACE, "", {"metadata": {"name": SPACE}})
        for title, write in writes(client).items():
            before, start = cluster_cpu(), time.monotonic()
            await in_parallel([partial(write, number) for number in range(EACH)])
            seconds = time.monotonic() - start
            await asyncio.sleep(REST_SECONDS)
            found[title] = (cluster_cpu() - before) / EACH * 1e3
            took = f"{seconds / EACH * 1e3:.1f} ms of time"
            sys.stdout.write(f"{title}: {found[title]:.1f} ms of CPU, {took}\n")
            sys.stdout.flush()
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, control_plane(Path(folder)) as path:
        install(path)
        asyncio.run(measure(path))
