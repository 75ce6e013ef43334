"""A server process from start to exit: listen, load, become ready, drain, leave.

In: Settings. Out: an exit code. Invariants: the port answers (live, not ready) while the model loads; SIGTERM
turns ready to 503 at once, goes on serving for `drain_seconds`, then stops accepting and finishes what is in
flight, for `finish_seconds` at most; a second SIGTERM changes nothing; a model that cannot be loaded ends the
process with its reason; a process whose event loop stands still ends itself, and so does one with a model
that is stuck for good, where there is a supervisor to replace it; a successor takes connections once it can
answer them.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import uvicorn

from noria_serving import allocator, result, scratch
from noria_serving.contract import VERIFICATION_SCHEMA
from noria_serving.errors import NoriaError, Reason
from noria_serving.payload.log import FLUSH_SECONDS
from noria_serving.server.app import App
from noria_serving.server.arrivals import Arrivals
from noria_serving.server.counters_app import CountersApp
from noria_serving.server.models import Models
from noria_serving.server.sockets import bound
from noria_serving.server.soundness import STUCK
from noria_serving.server.wire import Connection
from noria_serving.settings import Settings
from noria_serving.supervisor import Parent

if TYPE_CHECKING:
    from noria_serving.server.grpc.listener import Listener

log = logging.getLogger(__name__)
REPLACED_SECONDS: Final = 10
"""What is in flight may take so long in a process that is to be replaced, before the kubelet ends it all
(after 20 to 30 s).
"""
COUNTED_SECONDS: Final = 1
"""What reads the counters may take so long once nothing else is in flight."""
PATIENCE: Final = 10.0
"""Seconds that clients of a successor wait for its models at most; then it says that they are loading, as the
first one does at once, because the kubelet wants to hear that it lives.
"""
STUCK_CODE: Final = 1
"""As faulthandler ends a process that stands still."""
STANDSTILL: Final = 30.0
"""Seconds; a loop that stands still for less may only lack CPU."""
TERMINATION_LOG: Final = Path("/dev/termination-log")
KEEP_ALIVE: Final = 3700
"""Seconds; longer than a router keeps idle connections, so that it is never us who closes one in use."""


class _Server(uvicorn.Server):
    """uvicorn, with signals left to the lifecycle."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Lifecycle:
    """One run of the server."""

    def __init__(self, settings: Settings, parent: Parent | None = None) -> None:
        self._settings = settings
        self._parent = parent or Parent()
        self.models = Models(settings, restarts=self._parent.restarts)
        self._loaded = False
        self._finish_seconds = settings.finish_seconds
        self._stopping = asyncio.Event()
        self._grpc: Listener | None = None

    async def run(self) -> int:
        """Until a signal, a model that cannot be loaded, or one that is stuck for good."""
        settings = self._settings
        self._catch_signals()
        self._succeed()
        traffic = self._server(App(self.models), settings.finish_seconds)
        counters = self._server(CountersApp(self.models), COUNTED_SECONDS)
        try:
            listening = [self._port("http", settings.port), self._port("counters", settings.counters_port)]
        except OSError as error:
            return _failed(NoriaError(Reason.CONFIGURATION, f"cannot listen on {settings.host}: {error}"))
        stopped = asyncio.create_task(self._stopping.wait())
        loading = asyncio.create_task(self._load())
        if self._parent.restarts:
            await asyncio.wait({stopped, loading}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        serving = [
            asyncio.create_task(server.serve(sockets=[port]))
            for server, port in zip((traffic, counters), listening, strict=True)
        ]
        port, counters_port = (one.getsockname()[1] for one in listening)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        told = {"url": f"http://{host}:{port}/", "port": port, "counters": counters_port}
        log.info("listening", extra=told)
        await asyncio.wait({stopped, loading}, return_when=asyncio.FIRST_COMPLETED)
        code = loading.result() if loading.done() else 0
        if code == 0:
            code = await self._serve(stopped)
        traffic.config.timeout_graceful_shutdown = self._finish_seconds
        traffic.should_exit = True
        await asyncio.gather(serving[0], self._stop_grpc())
        counters.should_exit = True
        await serving[1]
        self._finish(loading)
        await asyncio.to_thread(self._flush)
        log.info("stopped")
        return code

    def _succeed(self) -> None:
        """Say who died, and remove what those left that did, in this container or in the one before."""
        if self._parent.restarts:
            said = {"ended": self._parent.ended, "restarts": self._parent.restarts}
            log.warning("the server died and is replaced", extra=said)
        scratch.sweep()

    def _port(self, name: str, port: int) -> socket.socket:
        """A predecessor's, or one for this process and its successors."""
        kept = self._parent.kept(name)
        if kept:
            return kept[0]
        sock = _listen(self._settings.host, port)
        self._parent.keep(name, sock)
        return sock

    async def _serve(self, stopped: asyncio.Task[Literal[True]]) -> int:
        """Until this process is told to end, and the drain is over; or until it is better replaced."""
        hopeless = asyncio.create_task(self._hopeless())
        await asyncio.wait({stopped, hopeless}, return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            log.error("a model is stuck for good: this process ends, to be replaced")
            self.models.draining = True  # who is answered now connects again, and meets the successor
            self._finish_seconds = REPLACED_SECONDS
            return STUCK_CODE
        hopeless.cancel()
        await asyncio.sleep(self._settings.drain_seconds if self._loaded else 0)
        return 0

    async def _hopeless(self) -> None:
        """Returns when only another process will help, and there will be one."""
        while self.models.live or not self._parent.present:  # noqa: ASYNC110  it depends on the time
            await asyncio.sleep(1)

    async def _load(self) -> int:
        """0 when ready, else the exit code."""
        first = not self._parent.restarts
        try:
            if first:
                await self._start_grpc()  # so that ready means all ports
            await self.models.load_all()
            if not first:
                await self._start_grpc()  # who connects is held until then
        except NoriaError as error:
            return _failed(error)
        gc.freeze()  # else a collection of libraries and models, 50 to 200 ms, meets some request
        allocator.keep()  # now, so that what loading freed is given back
        self._loaded = True
        self._ticking = asyncio.create_task(self.models.keep_ticking())
        self._watching = asyncio.create_task(_watch(self._settings.limits.deadline))
        for service in self.models.services():
            version, digest = service.settings.version, service.loaded.manifest.digest
            log.info("ready", extra={"version": version, "digest": digest})
        self._parent.ready()
        return 0

    async def _start_grpc(self) -> None:
        if self._settings.grpc_port is None:
            return
        listen = await asyncio.to_thread(_grpc_side)
        self._grpc, port = await listen(self.models, self._parent)
        log.info("listening", extra={"grpc": port})

    async def _stop_grpc(self) -> None:
        if self._grpc is not None:
            await self._grpc.stop(self._finish_seconds)

    def _finish(self, loading: asyncio.Task[int]) -> None:
        loading.cancel()
        if self._loaded:
            self._ticking.cancel()
            self._watching.cancel()
        self.models.close()

    def _flush(self) -> None:
        """Wait for the last files of the payload logs, so long at most as a grace period allows."""
        until = time.monotonic() + FLUSH_SECONDS
        for service in self.models.held():
            if service.payload is not None and not service.payload.join(max(0.0, until - time.monotonic())):
                log.warning("payload log: its last file could not be written in time")

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.drain)

    def drain(self) -> None:
        """Not ready from now on; calling it again changes nothing."""
        if not self.models.draining:
            self.models.draining = True
            log.info("draining", extra={"seconds": self._settings.drain_seconds})
            self._parent.leaving()
            self._stopping.set()

    def _server(self, app: App | CountersApp, finish_seconds: int) -> _Server:
        connection: Any = partial(Connection, patience=self.models.patience, arrivals=Arrivals())
        config = uvicorn.Config(
            app,
            http=connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=finish_seconds,
            backlog=2048,
        )
        return _Server(config)


async def _watch(deadline: float) -> None:
    """End the process, with the stack of every thread on stderr, when the event loop stands still for longer
    than anybody waits: a prediction on it that never returns. From C, so that a thread that holds Python's
    lock cannot prevent it.
    """
    seconds = max(STUCK * deadline, STANDSTILL) if deadline else 0.0
    try:
        while seconds:
            faulthandler.dump_traceback_later(seconds, exit=True)
            await asyncio.sleep(seconds / 4)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _grpc_side() -> Callable[[Models, Parent], Awaitable[tuple[Listener, int]]]:
    from noria_serving.server.grpc.port import listen  # noqa: PLC0415  slow, and not everybody wants it

    return listen


def _failed(error: NoriaError) -> int:
    log.error("model cannot be served: %s", error.message, extra={"reason": str(error.reason)})
    with contextlib.suppress(OSError):
        path = str(TERMINATION_LOG) if TERMINATION_LOG.exists() else None
        result.write_error(VERIFICATION_SCHEMA, error, path)
    return result.exit_code(error.reason)


def _listen(host: str, port: int) -> socket.socket:
    """`0.0.0.0` stands for every address, as gRPC's library takes it: IPv6's, too, where there are any."""
    if host == "0.0.0.0":
        with contextlib.suppress(OSError):
            return bound(socket.AF_INET6, ("::", port))
    return bound(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port))
