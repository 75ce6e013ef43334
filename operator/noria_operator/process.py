"""One running operator: watches into the store, the store's news into the queue, the queue to the workers.

    watches ──▶ store ──▶ wake-ups ──▶ queue ──▶ workers ──▶ controllers ──▶ writer ──▶ API server
                  ├──────▶ router configuration (xDS), on followers too
                  └──────▶ notifications

Caches, health, metrics and router configuration run on every replica, workers and notifications only where
the lease is held. When it is told to stop, the workers finish what they hold, the lease is released, then the
rest ends. A lost lease ends everything at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from aiohttp import web

from noria_operator import health
from noria_operator.api import names
from noria_operator.controllers import wakeup, worker
from noria_operator.controllers.context import Config, Context, Controller
from noria_operator.controllers.pulse import Pulse
from noria_operator.domain.triggers_gap import SPREAD
from noria_operator.kube import kinds, namespaces
from noria_operator.kube.client import Client
from noria_operator.kube.clock import Attention, CheckedClock, Clock
from noria_operator.kube.errors import ApiError
from noria_operator.kube.kinds import Json, Kind
from noria_operator.kube.lease import Lease, Timing
from noria_operator.kube.login import Endpoint
from noria_operator.kube.queue import Queue
from noria_operator.kube.resync import Resync
from noria_operator.kube.store import EventType, Store
from noria_operator.kube.stream import State, Stream
from noria_operator.kube.watch import PERIOD, Watcher
from noria_operator.notifications.feed import Feed
from noria_operator.notifications.sender import Sender
from noria_operator.tasks import before, cancelled, every, first

log = logging.getLogger(__name__)

_OURS = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"

SELECTORS: dict[Kind, str | None] = {
    **dict.fromkeys(kinds.OWN_KINDS),
    kinds.JOB: _OURS,
    kinds.POD: _OURS,
    kinds.DEPLOYMENT: _OURS,
    kinds.SERVICE: _OURS,
    # They carry the labels of their Service. Only those of versions: a router's pods stand in one of each
    # deployment, and all of these change with one of its pods.
    kinds.ENDPOINTSLICE: f"{_OURS},{names.REVISION_LABEL}",
    kinds.CONTROLLERREVISION: _OURS,
    kinds.PDB: _OURS,
    kinds.PVC: None,
}
"""What is watched, and which of it: children carry our label, claims belong to users."""


def selectors(config: Config) -> dict[Kind, str | None]:
    """What an installation watches: HTTPRoutes only where it is told that the cluster has them, and then all
    of them, since users name routes of their own.
    """
    return {**SELECTORS, kinds.HTTPROUTE: None} if config.gateway else SELECTORS


WORKERS = 16
"""Passes at a time. Most of a pass waits for the API server; beyond what keeps that busy, more of them make
each other, the lease and the next abort wait longer.
"""
TOGETHER = 0.02
"""Seconds until what was woken by an answer is looked at: answers to what one pass asked come together."""
LOOK_AGAIN = 60.0
"""Seconds between looks at which namespaces may be read."""
DRAIN_SECONDS = 20.0
"""How long workers may finish after SIGTERM; stays below the pod's terminationGracePeriodSeconds."""

MakeContext = Callable[[Client, Store, Config, Clock], Context]


@dataclass(frozen=True, slots=True)
class Parts:
    """What an operator is put together from; tests put in their own."""

    config: Config
    endpoint: Endpoint
    client: Client
    controllers: Sequence[Controller]
    context: MakeContext
    xds: Callable[[Store, Config, Callable[[], bool]], web.Application] | None = None
    """Router configuration, from a store that may be old where the last of these is true."""
    clock: Clock | None = None
    """None: this machine's, checked against the API server's."""
    identity: str = field(default_factory=lambda: f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}")
    timing: Timing = field(default_factory=Timing)
    resync_period: float = PERIOD
    drain_seconds: float = DRAIN_SECONDS
    spread: timedelta = SPREAD
    left_out: frozenset[str] = frozenset()
    """Namespaces that the installation was given, and that could not be read when it began."""


class Operator:
    """One operator process: put together in `__init__`, runs in `run`, leaves nothing behind."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        config, clock = parts.config, parts.clock or CheckedClock(parts.client.time)
        self.store = Store()
        self.queue = Queue()
        made = parts.context(parts.client, self.store, config, clock)
        self._attention = Attention(clock, spread=parts.spread)
        self.context = replace(
            made,
            wake=lambda key: self.queue.add_after(key, TOGETHER),
            rush=lambda: len(self.queue) > 0,
            gap=self._attention.gap,
        )
        self._sender = Sender(clock)
        self._feed = Feed(config.notifications, self.store, self._sender, clock)
        self.lease = Lease(
            parts.client,
            clock,
            namespace=config.namespace,
            identity=parts.identity,
            name=config.lease,
            timing=parts.timing,
            notes=self._feed.annotations,
        )
        self._watcher = Watcher(
            parts.endpoint,
            selectors(config),
            namespaces=config.watch_namespaces,
            seen=self.store.observe,
            relisted=self._relisted,
            told=self._told,
            period=parts.resync_period,
        )
        self._restored = asyncio.Event()
        self._resync = Resync(
            parts.client,
            self.store,
            selectors(config),
            self._watcher.streams,
            done=self._wake_all,
            restored=self._restored.set,
            period=parts.resync_period,
        )
        self._leading_since: float | None = None
        parts.client.fence(self.lease.check)
        self.store.subscribe(self._wake)
        self.ports: dict[str, int] = {}
        """The ports in use, by `http` and `xds`."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Raises `LeaseLost`, after which the process must end."""
        async with self._served():
            background = asyncio.create_task(self._watch(stop), name="watch")
            try:
                await first(self._lead(stop), background)
            finally:
                await cancelled(background)
                await self._sender.close()
                await self.context.close()

    async def _watch(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_again(stop), name="namespaces")
            tasks.create_task(self._begin_anew(stop), name="restored")
            await _kinds_exist(self._parts.client, self._parts.config)
            tasks.create_task(self._watcher.run(), name="events")
            tasks.create_task(self._resync.run(), name="resync")

    async def _begin_anew(self, stop: asyncio.Event) -> None:
        """Stop once the cluster went back: what is known here is newer than all that comes."""
        await self._restored.wait()
        log.warning(
            "The process ends, to begin anew: resourceVersions went back, as etcd that was restored has"
        )
        stop.set()

    async def _look_again(self, stop: asyncio.Event) -> None:
        """Stop once a namespace that was left out may be read, or one that is waited for may not: the next
        process begins with others. What was listed once is kept: a refusal says nothing of what is there.
        """
        watched, left_out = frozenset(self._parts.config.watch_namespaces), self._parts.left_out
        while watched and not stop.is_set():
            await asyncio.sleep(LOOK_AGAIN * random.uniform(0.8, 1.2))
            try:
                refused = await namespaces.forbidden(self._parts.client, watched | left_out)
            except ApiError:
                continue
            lost = frozenset() if self._resync.complete.is_set() else watched & refused
            if changed := lost | (left_out - refused):
                log.warning(
                    "The process ends, to begin anew: namespaces may be read now, or no longer",
                    extra={"namespaces": sorted(changed)},
                )
                stop.set()

    async def _lead(self, stop: asyncio.Event) -> None:
        """Wait for the lease, work while it is held, drain when told to stop."""
        if not await before(stop, self.lease.acquire()):
            return
        holding = asyncio.create_task(self.lease.hold(), name="lease")
        try:
            # The first pass of a leader sees everything: a half-filled cache would look like deletions.
            if await before(stop, first(self._resync.complete.wait(), holding)):
                await self._work(stop, holding)
        finally:
            await cancelled(holding)
        await self.lease.release()

    async def _work(self, stop: asyncio.Event, holding: asyncio.Task[None]) -> None:
        self._leading_since = asyncio.get_running_loop().time()
        self._attention.begin()
        log.info("The workers start", extra={"workers": WORKERS})
        self._feed.begin(self.lease.annotations)
        beside = [
            asyncio.create_task(self._feed.run(), name="notifications"),
            asyncio.create_task(Pulse(self.context, self.queue).run(), name="pulse"),
        ]
        workers = [
            asyncio.create_task(worker.work(self.queue, self.context, self._parts.controllers))
            for _ in range(WORKERS)
        ]
        try:
            await before(stop, first(every(workers), holding))
            log.info("The workers finish what they hold")
            self.queue.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._parts.drain_seconds):
                    await first(every(workers), holding)
            await first(self._feed.farewell(), holding)
        finally:
            await cancelled(*beside, *workers)

    def _relisted(self, stream: Stream) -> None:
        self._resync.request(stream)

    def _told(self, state: State) -> None:
        self._resync.told(state)

    def _wake(self, type: EventType, obj: Json) -> None:
        if type == "DELETED":
            self.context.writer.forget(kinds.key_of(obj))
        urgent = wakeup.edited(type, obj)
        writer = worker.PASSING.get()
        for key in wakeup.keys(self.store, obj, self._parts.controllers):
            if key == writer and wakeup.foreseen(type, obj):
                continue
            waits = wakeup.delay(key, obj)
            if waits:
                self.queue.add_after(key, waits, late=True)
            else:
                self.queue.add(key, urgent=urgent)

    def _wake_all(self) -> None:
        for key in wakeup.everything(self.store, self._parts.controllers):
            self.queue.add(key)

    def _stalled(self) -> float:
        if self._leading_since is None:
            return 0.0
        led = asyncio.get_running_loop().time() - self._leading_since
        return min(self.queue.stalled_for(), led)

    @asynccontextmanager
    async def _served(self) -> AsyncIterator[None]:
        """Health, metrics and router configuration, for as long as the block lasts."""
        config = self._parts.config
        vitals = health.Vitals(
            watch_age=self._watcher.age,
            queue_stalled=self._stalled,
            leading=lambda: self.lease.held,
            blind=self.lease.blind,
            store=self.store,
            kinds=tuple(selectors(config)),
            now=self.context.clock.now,
        )
        async with contextlib.AsyncExitStack() as stack:
            http = _listening(health.app(vitals), config.http_port)
            self.ports["http"] = await stack.enter_async_context(http)
            if self._parts.xds is not None:
                xds = _listening(self._parts.xds(self.store, config, self.lease.blind), config.xds_port)
                self.ports["xds"] = await stack.enter_async_context(xds)
            yield


@asynccontextmanager
async def _listening(application: web.Application, port: int) -> AsyncIterator[int]:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0, handle_signals=False)
    await runner.setup()
    try:
        opened = _socket(port)
        await web.SockSite(runner, opened).start()
        yield int(opened.getsockname()[1])
    finally:
        await runner.cleanup()


def _socket(port: int) -> socket.socket:
    """One socket for IPv4 and IPv6, or for IPv4 where there is nothing else."""
    try:
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):
        return socket.create_server(("0.0.0.0", port))


async def _kinds_exist(client: Client, config: Config) -> None:
    """Wait until the API server knows our kinds, and HTTPRoutes where they were said to be there: Kopf looks
    for them once, at its start.
    """
    waited, named = False, config.watch_namespaces
    wanted = (*kinds.OWN_KINDS, *((kinds.HTTPROUTE,) if config.gateway else ()))
    while True:
        try:
            for kind in wanted:
                await client.served(kind, named[0] if named else None)
        except ApiError as error:
            if not waited:
                log.warning(
                    "Noria's kinds (or HTTPRoutes, with routers.gateway.enabled) cannot be listed; are "
                    "the chart and the Gateway API installed?",
                    extra={"error": str(error)},
                )
            waited = True
            await asyncio.sleep(1)
        else:
            return
