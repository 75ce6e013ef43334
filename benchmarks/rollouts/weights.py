"""A change of weight with many deployments in one namespace: how soon a router acts on it, what is sent.

Comes in: the number of deployments. Goes out: `Weights`. The store is filled by hand, so that nothing but the
operator's discovery server and Envoy is on the way.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import asdict, dataclass

import psutil
from tests.integration.envoy_router import NAMESPACE, Cluster, Router, discovery, router
from tests.sockets import free_port

from benchmarks.harness import cpu_seconds
from benchmarks.report import high, middle
from noria_operator.kube.kinds import ENDPOINTSLICE, MODELDEPLOYMENT
from noria_operator.routers.catalogue import Catalogue

CHANGES = 200
SETTLE_SECONDS = 60.0


@dataclass(frozen=True)
class Weights:
    """Times in milliseconds, sizes in bytes, memory in MiB."""

    deployments: int
    p50: float
    p99: float
    slowest: float
    bytes_a_change: int
    router_memory: float
    operator_cpu_ms: float
    router_cpu_ms: float


async def measure(deployments: int) -> Weights:
    """Two revisions each, behind one router; weights of one deployment after another change."""
    cluster = Cluster()
    store = cluster.store()
    for number in range(deployments):
        for revision in (1, 2):
            cluster.endpoints(f"m{number}-{revision}", 9, grpc=(10,))
        cluster.deployment(f"m{number}", _weights(number, 10))
    port = free_port()
    sizes = Catalogue(store, deployments=MODELDEPLOYMENT, slices=ENDPOINTSLICE)
    async with discovery(store, port), router(port) as envoy:
        async with asyncio.timeout(SETTLE_SECONDS):
            while not await _in_force(envoy, deployments - 1):  # noqa: ASYNC110 (another process changes it)
                await asyncio.sleep(0.1)
        await asyncio.sleep(5)
        proxy, own = psutil.Process(envoy.process.pid), psutil.Process(os.getpid())
        began = (cpu_seconds(own), cpu_seconds(proxy))
        times = []
        for change in range(CHANGES):
            number = change % deployments
            wanted = _weights(number, 20 + change // deployments)
            start = time.monotonic()
            cluster.deployment(f"m{number}", wanted)
            await envoy.until_weights(f"m{number}", wanted)
            times.append((time.monotonic() - start) * 1e3)
            await asyncio.sleep(0.02)
        return Weights(
            deployments=deployments,
            p50=middle(times),
            p99=high(times),
            slowest=max(times),
            bytes_a_change=len(sizes.snapshot(NAMESPACE).rds.text),
            router_memory=proxy.memory_info().rss / 2**20,
            operator_cpu_ms=(cpu_seconds(own) - began[0]) / CHANGES * 1e3,
            router_cpu_ms=(cpu_seconds(proxy) - began[1]) / CHANGES * 1e3,
        )


async def _in_force(envoy: Router, number: int) -> bool:
    return await envoy.ready() and await envoy.weights(f"m{number}") == _weights(number, 10)


def _weights(number: int, challenger: int) -> dict[str, int]:
    return {f"m{number}-1": 100 - challenger, f"m{number}-2": challenger}


if __name__ == "__main__":
    for count in map(int, sys.argv[1:] or ["10", "100", "1000"]):
        sys.stdout.write(f"{asdict(asyncio.run(measure(count)))}\n")
