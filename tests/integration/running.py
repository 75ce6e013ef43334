"""An operator that runs in the test's own process, against the real API server."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from tests.integration.faults import Crash, Faults, FaultyClient

from noria_operator.controllers.context import Config, Context, Controller
from noria_operator.evidence.pairs import PairReader
from noria_operator.evidence.prometheus import QueryReader
from noria_operator.evidence.server import CounterReader
from noria_operator.kube.apply import Writer
from noria_operator.kube.client import Client
from noria_operator.kube.clock import Clock
from noria_operator.kube.events import Events
from noria_operator.kube.kinds import Kind
from noria_operator.kube.lease import Timing
from noria_operator.kube.login import Endpoint
from noria_operator.kube.store import Store
from noria_operator.process import Operator, Parts

T = TypeVar("T")
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
WAIT_SECONDS = 20.0
QUICK = Timing(duration=6.0, renew_deadline=4.5, retry=0.2)
"""A lease that is given up and taken over within a few seconds."""
SURE = Timing(retry=0.2)
"""One that is not lost where the machine stands still for some seconds."""


@dataclass(frozen=True)
class Cluster:
    """Where a test works: the API server, a client with all rights, a namespace of its own."""

    endpoint: Endpoint
    client: Client
    namespace: str

    async def another(self) -> Cluster:
        """The same with a new namespace."""
        name = f"t-{uuid.uuid4().hex[:8]}"
        await self.client.create(NAMESPACE, "", {"metadata": {"name": name}})
        return replace(self, namespace=name)

    def config(self, **changes: Any) -> Config:
        """The configuration of an operator that serves this namespace alone, on any free ports."""
        mine = Config(
            namespace=self.namespace,
            watch_namespaces=(self.namespace,),
            server_image="noria/server@sha256:" + "0" * 64,
            router_image="noria/router@sha256:" + "0" * 64,
            http_port=0,
            xds_port=0,
        )
        return replace(mine, **changes)


@asynccontextmanager
async def operator(
    cluster: Cluster,
    controllers: Sequence[Controller],
    *,
    faults: Faults | None = None,
    router: Any = None,
    **parts: Any,
) -> AsyncIterator[Operator]:
    """Run an operator for the length of the block; it drains and releases its lease at the end.

    Whatever ended it before (a `Crash`, say) is raised at the end of the block.
    """
    stop = asyncio.Event()
    async with FaultyClient(cluster.endpoint, faults or Faults()) as client:
        made = Operator(_parts(cluster, client, controllers, router, parts))
        running = asyncio.create_task(made.run(stop))
        try:
            while not made.ports and not running.done():  # noqa: ASYNC110 (nothing tells when it listens)
                await asyncio.sleep(0.01)
            yield made
        finally:
            stop.set()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def run_to_end(
    cluster: Cluster,
    controllers: Sequence[Controller],
    *,
    faults: Faults,
    until: Callable[[], Awaitable[bool]],
    router: Any = None,
    seconds: float = WAIT_SECONDS,
    poll: float = 0.02,
    **parts: Any,
) -> None:
    """Run an operator until the world is as `until` wants it, or until a fault ended the operator."""
    stop = asyncio.Event()
    async with FaultyClient(cluster.endpoint, faults) as client:
        made = Operator(_parts(cluster, client, controllers, router, parts))
        running = asyncio.create_task(made.run(stop))
        deadline = time.monotonic() + seconds
        try:
            while not running.done() and not await until():
                if time.monotonic() > deadline:
                    raise TimeoutError("the operator did not bring the world to where it should be")
                await asyncio.sleep(poll)
        finally:
            stop.set()
            await asyncio.wait({running})
        with contextlib.suppress(Crash):  # which is what some callers came for
            await running


@asynccontextmanager
async def alongside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Work that goes on for the length of the block; what ended it before is raised at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def eventually(probe: Callable[[], Awaitable[T | None]], *, seconds: float = WAIT_SECONDS) -> T:
    """The first true result of `probe`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = await probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {probe.__qualname__}")
        await asyncio.sleep(0.02)


def _parts(
    cluster: Cluster,
    client: Client,
    controllers: Sequence[Controller],
    router: Any,
    parts: dict[str, Any],
) -> Parts:
    def context(client: Client, store: Store, config: Config, clock: Clock) -> Context:
        return Context(
            client=client,
            store=store,
            writer=Writer(client, store, clock),
            events=Events(client, clock),
            clock=clock,
            config=config,
            router=router,
            servers=CounterReader(),
            pairs=PairReader(),
            queries=QueryReader(clock.now),
        )

    defaults: dict[str, Any] = {
        "config": cluster.config(),
        "endpoint": cluster.endpoint,
        "identity": "operator",
        "timing": SURE,
        "drain_seconds": 5.0,
        "spread": timedelta(),
    }
    return Parts(client=client, controllers=controllers, context=context, **{**defaults, **parts})
