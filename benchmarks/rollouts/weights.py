"""A change of weight with many deployments in one namespace: how soon a router acts on it, what is sent,
and what standing still costs.

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
from tests.integration.envoy_router import Cluster, Router, discovery, router
from tools.ports import free_port

from benchmarks.harness import cpu_seconds
from benchmarks.report import high, middle

CHANGES = 300
IDLE_SECONDS = 30.0
SETTLE_SECONDS = 300.0


@dataclass(frozen=True)
class Weights:
    """Times in milliseconds unless said, sizes in bytes, memory in MiB, CPU as percent of a core where it
    stands still. `operator_memory` is what the process grows by from a store with all objects to a router
    that has everything.
    """

    deployments: int
    ready_seconds: float
    p50: float
    p99: float
    slowest: float
    bytes_a_change: int
    bytes_at_start: int
    idle_bytes_a_second: float
    idle_operator_cpu: float
    idle_router_cpu: float
    operator_memory: float
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
    port, own = free_port(), psutil.Process(os.getpid())
    before, began = _memory(own), time.monotonic()
    async with discovery(store, port), router(port) as envoy:
        async with asyncio.timeout(SETTLE_SECONDS):
            while not await _in_force(envoy, deployments - 1):  # noqa: ASYNC110 (another process changes it)
                await asyncio.sleep(0.1)
        ready = time.monotonic() - began
        await asyncio.sleep(5)
        at_start = await _received(envoy)
        proxy = psutil.Process(envoy.process.pid)
        idle = cpu_seconds(own), cpu_seconds(proxy)
        await asyncio.sleep(IDLE_SECONDS)
        still = cpu_seconds(own) - idle[0], cpu_seconds(proxy) - idle[1]
        resting = await _received(envoy)
        memory = _memory(own) - before
        busy = cpu_seconds(own), cpu_seconds(proxy)
        times = await _changes(cluster, envoy, deployments)
        spent = cpu_seconds(own) - busy[0], cpu_seconds(proxy) - busy[1]
        return Weights(
            deployments=deployments,
            ready_seconds=ready,
            p50=middle(times),
            p99=high(times),
            slowest=max(times),
            bytes_a_change=round((await _received(envoy) - resting) / CHANGES),
            bytes_at_start=at_start,
            idle_bytes_a_second=(resting - at_start) / IDLE_SECONDS,
            idle_operator_cpu=still[0] / IDLE_SECONDS * 100,
            idle_router_cpu=still[1] / IDLE_SECONDS * 100,
            operator_memory=memory,
            router_memory=_memory(proxy),
            operator_cpu_ms=spent[0] / CHANGES * 1e3,
            router_cpu_ms=spent[1] / CHANGES * 1e3,
        )


async def _changes(cluster: Cluster, envoy: Router, deployments: int) -> list[float]:
    """From the object's change to the answer that tells it, each."""
    times = []
    for change in range(CHANGES):
        number = change % deployments
        wanted = _weights(number, 20 + change // deployments % 60)
        start = time.monotonic()
        cluster.deployment(f"m{number}", wanted)
        await envoy.until_weights(f"m{number}", wanted)
        times.append((time.monotonic() - start) * 1e3)
        await asyncio.sleep(0.02)
    return times


async def _received(envoy: Router) -> int:
    """Bytes that came from the operator so far."""
    return await envoy.statistic("cluster.operator.upstream_cx_rx_bytes_total")


async def _in_force(envoy: Router, number: int) -> bool:
    return await envoy.ready() and await envoy.weights(f"m{number}") == _weights(number, 10)


def _weights(number: int, challenger: int) -> dict[str, int]:
    return {f"m{number}-1": 100 - challenger, f"m{number}-2": challenger}


def _memory(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


if __name__ == "__main__":
    for count in map(int, sys.argv[1:] or ["10", "100", "1000"]):
        sys.stdout.write(f"{asdict(asyncio.run(measure(count)))}\n")
