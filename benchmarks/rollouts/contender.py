"""What is asked of each controller, in the same order and words.

Comes in: a running contender. Goes out: `Figures`. Invariant: contenders differ only in how their objects are
written, not in what is measured.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import aiohttp
import psutil

from benchmarks.harness import cluster_cpu, eventually, in_parallel, writes_total
from benchmarks.metrics import histogram
from benchmarks.report import high, middle
from benchmarks.rollouts.ground import Ground
from benchmarks.rollouts.watching import Watched
from noria_operator.kube.kinds import Kind

Json = dict[str, Any]
Key = tuple[str, str]

IDLE_SECONDS = 30.0
REST_SECONDS = 10.0
"""After the last rollout got there, until requests and CPU are counted: some work may have been put off."""
QUIET_SECONDS = 3.0
QUIET_WRITES = 15
"""Leases of the cluster's parts are some two a second."""
LONGEST = 5400.0
"""A step of ten thousand rollouts takes half of it."""
ABORTS = 20
PER_NAMESPACE = 100
ANALYSIS = "errors"
ERRORS = 'errors{{rollout="{}"}}'
"""What is asked of a Prometheus, where one judges, of a rollout as namespace/name."""
GOOD = "result[0] < 0.05"
INTERVAL = "5s"


class Contender(Protocol):
    """One controller as it runs."""

    name: str
    account: str
    kind: Kind
    metrics_url: str
    reconcile_metric: str
    ground: Ground

    @property
    def process(self) -> psutil.Process:
        """The one that runs now."""
        ...

    def cpu(self) -> float:
        """Seconds of it, and of those that it took the place of."""
        ...

    async def prepare(self, keys: Sequence[Key]) -> None: ...
    async def create(self, key: Key) -> None: ...
    def healthy(self, obj: Json) -> bool: ...
    async def change(self, key: Key) -> None: ...
    def at_first_step(self, obj: Json) -> bool: ...
    async def abort(self, key: Key) -> None: ...
    def weightless(self, key: Key, watched: Watched) -> AbstractAsyncContextManager[Awaitable[float]]: ...


@dataclass(frozen=True)
class Figures:
    """What one controller took for one number of rollouts; times in seconds, memory in MiB."""

    contender: str
    rollouts: int
    healthy: float
    healthy_requests: float
    healthy_cpu: float
    healthy_cluster: float
    healthy_writes: float
    first_step: float
    first_step_requests: float
    first_step_cpu: float
    first_step_cluster: float
    first_step_writes: float
    memory: float
    idle_requests: float
    idle_cpu: float
    reconcile_p50: float
    reconcile_p99: float
    abort_p50: float
    abort_max: float


def keys_of(count: int) -> list[Key]:
    """Names of rollouts, a hundred to a namespace."""
    return [(f"team-{number // PER_NAMESPACE}", f"model-{number}") for number in range(count)]


async def measure(contender: Contender, watched: Watched, count: int) -> Figures:
    """Everything, one after another."""
    keys = keys_of(count)
    await contender.prepare(keys)
    await eventually(partial(_is_quiet, contender), seconds=LONGEST)
    before = Meter.of(contender)
    creates = [partial(contender.create, key) for key in keys]
    healthy = await until_all(watched, creates, contender.healthy)
    created = await _at_rest(contender)
    tell(f"{contender.name}: {count} healthy", healthy, created.since(before))
    say(f"  {_memory(contender):.0f} MiB")
    changes = [partial(contender.change, key) for key in keys]
    first = await until_all(watched, changes, contender.at_first_step)
    changed = await _at_rest(contender)
    tell("  at the first step", first, changed.since(created))
    idle_requests, idle_cpu, memory = await _idle(contender)
    say(f"  idle: {idle_requests:.0f} requests a minute, {idle_cpu:.1f} % of a core, {memory:.0f} MiB")
    aborts = [await _abort(contender, key, watched) for key in keys[:ABORTS]]
    p50, p99 = await _reconciles(contender)
    return Figures(
        contender=contender.name,
        rollouts=count,
        healthy=healthy,
        healthy_requests=created.since(before).requests / count,
        healthy_cpu=created.since(before).cpu,
        healthy_cluster=created.since(before).cluster,
        healthy_writes=created.since(before).writes / count,
        first_step=first,
        first_step_requests=changed.since(created).requests / count,
        first_step_cpu=changed.since(created).cpu,
        first_step_cluster=changed.since(created).cluster,
        first_step_writes=changed.since(created).writes / count,
        memory=memory,
        idle_requests=idle_requests,
        idle_cpu=idle_cpu,
        reconcile_p50=p50,
        reconcile_p99=p99,
        abort_p50=middle(aborts),
        abort_max=high(aborts),
    )


def say(text: str) -> None:
    """A run takes minutes: tell how far it is."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def tell(what: str, seconds: float, used: Meter) -> None:
    cost = f"{used.requests:.0f} requests, {used.cpu:.1f} s CPU, {used.cluster:.0f} s of the cluster"
    say(f"{what} after {seconds:.1f} s, {cost}")


@dataclass(frozen=True)
class Meter:
    """Requests and CPU seconds of a contender up to now, or since an earlier look; and the CPU that etcd, the
    API server, Kubernetes' controllers and the simulated node used meanwhile, and the writes of everybody.
    """

    requests: float
    cpu: float
    cluster: float
    writes: float

    @staticmethod
    def of(contender: Contender) -> Meter:
        requests = contender.ground.requests(contender.account)
        writes = writes_total(contender.ground.kubeconfig)
        return Meter(requests, contender.cpu(), cluster_cpu(), writes)

    def since(self, before: Meter) -> Meter:
        return Meter(
            self.requests - before.requests,
            self.cpu - before.cpu,
            self.cluster - before.cluster,
            self.writes - before.writes,
        )


async def _is_quiet(contender: Contender) -> bool:
    """Whether nobody is busy with what was prepared: what a check of a version left behind, above all."""
    before = Meter.of(contender)
    await asyncio.sleep(QUIET_SECONDS)
    return Meter.of(contender).since(before).writes < QUIET_WRITES


async def _at_rest(contender: Contender) -> Meter:
    """What was used, once what need not be done at once is done too."""
    await asyncio.sleep(REST_SECONDS)
    return Meter.of(contender)


async def until_all(
    watched: Watched,
    requests: Sequence[Callable[[], Awaitable[object]]],
    condition: Callable[[Json], bool],
) -> float:
    """Seconds until as many objects met the condition as requests were sent; one that fails ends it."""
    start = time.monotonic()
    async with asyncio.TaskGroup() as group:
        group.create_task(in_parallel(requests))
        met = await watched.until(condition, len(requests), seconds=LONGEST)
    return met[-1] - start


async def _idle(contender: Contender) -> tuple[float, float, float]:
    """Requests a minute, share of a core in percent, and memory, once everything is at rest."""
    await asyncio.sleep(15)
    before, start = Meter.of(contender), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    seconds, used = time.monotonic() - start, Meter.of(contender).since(before)
    return (used.requests / seconds * 60, used.cpu / seconds * 100, _memory(contender))


async def _abort(contender: Contender, key: Key, watched: Watched) -> float:
    """Seconds from the request to weight 0. One client aborts all: a kubectl takes as long to start as the
    rest takes.
    """
    async with contender.weightless(key, watched) as seen, asyncio.TaskGroup() as group:
        start = time.monotonic()
        group.create_task(contender.abort(key))
        return await seen - start


def _memory(contender: Contender) -> float:
    """Resident now, in MiB."""
    return float(contender.process.memory_info().rss / 2**20)


async def _reconciles(contender: Contender) -> tuple[float, float]:
    """Reconcile passes of the whole run, in seconds, interpolated within the controller's own buckets."""
    async with aiohttp.ClientSession() as session, session.get(contender.metrics_url) as answer:
        page = await answer.text()
    labels = {"kind": "ModelDeployment"} if contender.reconcile_metric.startswith("noria") else {}
    passes = histogram(page, contender.reconcile_metric, **labels)
    return passes.quantile(0.5), passes.quantile(0.99)
