"""Kopf as the event source: every change of the kinds that we watch reaches one function, in our event loop.

Kopf logs in, lists, watches, reconnects; none of its handlers but `on.event` is used. It runs in a thread
with an event loop of its own, because at its end it cancels every task of the loop that it runs in. When a
watcher dies (an ERROR other than 410, a proxy's HTML page in the stream), Kopf closes its connections and is
started again after a back-off. It may not end then: its other watchers swallow that they are cancelled, and
wait for a login. So it is waited for no longer than for any stop, and its thread is left behind.

Through the HTTP session that Kopf is given we see what it does not tell (`stream`). What changed is taken
from there too, before Kopf wraps it for handlers of kinds that nobody has here, which costs more than reading
it. Kopf gets the rest: bookmarks, by which it goes on after a cut, and errors; and deletions too, since it
remembers what it listed until it hears of one. So deletions come twice, and changes since the last of these
lines after a cut, which the store knows; and what Kopf listed may come after what happened since.

Where the API server can, a stream begins with all there is, at the start, after a 410, and whenever a watch
ends `period` seconds after it last began so: `told` then has the cache compared with that, which costs no
request. Elsewhere Kopf lists, which may lose deletions until its watch is open: `relisted` has the cache
compared with a list of our own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import aiohttp
import kopf

from noria_operator.kube import metrics
from noria_operator.kube.kinds import Json, Kind
from noria_operator.kube.login import Endpoint
from noria_operator.kube.session import tells_all, watching_session
from noria_operator.kube.store import EventType
from noria_operator.kube.stream import Pulse, State, Stream

log = logging.getLogger(__name__)

PERIOD = 600.0
"""Seconds between two comparisons of the cache with all there is: every second end of a watch."""
WATCH_SECONDS = 300
"""The API server ends a watch after this, whether or not it said anything."""
SILENT_SECONDS = 330.0
"""A watch that lasts longer without a word is dead, though its connection is not."""
STOP_SECONDS = 5.0
FIRST_RESTART = 1.0
LONGEST_RESTART = 60.0
BURST = 500
"""Events handled before the rest of the operator gets its turn."""


class Watcher:
    """Runs Kopf and hands over its events. `run` ends only when cancelled."""

    def __init__(
        self,
        endpoint: Endpoint,
        selectors: Mapping[Kind, str | None],
        *,
        namespaces: Sequence[str] = (),
        seen: Callable[[EventType, Json], object],
        relisted: Callable[[Stream], object],
        told: Callable[[State], object],
        period: float = PERIOD,
    ) -> None:
        self._endpoint = endpoint
        self._selectors = dict(selectors)
        self._namespaces = tuple(namespaces)
        self._seen = seen
        self._relisted = relisted
        self._told = told
        self._period = period
        self._backlog: deque[tuple[EventType, Json, State | None] | State] = deque()
        self._pulse = self._new_pulse()
        self._http: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def streams(self) -> list[Stream]:
        """Every watch that must be alive."""
        return [(kind, namespace) for kind in self._selectors for namespace in self._namespaces or (None,)]

    def age(self) -> float:
        """Seconds since the most silent watch received anything, bookmarks included."""
        return self._pulse.age()

    async def run(self) -> None:
        """Watch until cancelled; start Kopf again, with back-off, whenever it ends by itself."""
        self._loop = asyncio.get_running_loop()
        delay = FIRST_RESTART
        while True:
            started = time.monotonic()
            error = await self._session()
            if time.monotonic() - started > LONGEST_RESTART:
                delay = FIRST_RESTART
            metrics.WATCH_RESTARTS.inc()
            log.warning("The event source ended and is started again", extra={"error": repr(error)})
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))
            delay = min(delay * 2, LONGEST_RESTART)

    async def _session(self) -> BaseException | None:
        """One life of Kopf; returns what ended it. Cancelling ends Kopf first."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[BaseException | None] = loop.create_future()
        stop = threading.Event()
        self._pulse = self._new_pulse()
        self._http = None

        def body() -> None:
            error: BaseException | None = None
            try:
                asyncio.run(self._kopf(stop))
            except BaseException as caught:
                error = caught
            with contextlib.suppress(RuntimeError):  # our loop may be closed already
                loop.call_soon_threadsafe(_settle, ended, error)

        threading.Thread(target=body, name="kopf", daemon=True).start()
        try:
            return await self._over(ended)
        finally:
            stop.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await ended

    async def _over(self, ended: asyncio.Future[BaseException | None]) -> BaseException | None:
        """What ended Kopf, or would have, had it not been closed for longer than its end may take."""
        closed = 0
        while not ended.done():
            await asyncio.wait({ended}, timeout=1.0)
            closed = closed + 1 if self._http is not None and self._http.closed else 0
            if closed > STOP_SECONDS:
                return TimeoutError("Kopf closed its connections and did not end")
        return ended.result()

    async def _kopf(self, stop: threading.Event) -> None:
        try:
            whole = await tells_all(self._endpoint, self.streams)
            await kopf.operator(
                registry=self._registry(),
                settings=self._settings(whole=whole),
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                stop_flag=stop,
                # For peering only, which is off; Kopf would look for a user name, which a container has not.
                identity=cast(Any, "noria"),
            )
        finally:
            # Kopf waits for the flag in a thread, and the end of its loop waits for that thread: without this
            # an operator whose watcher died would stay blind for ever.
            stop.set()

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            self._http = watching_session(self._endpoint, self._pulse, self)
            return kopf.AiohttpSession(
                aiohttp_session=self._http,
                server=self._endpoint.server,
                default_namespace=self._endpoint.namespace,
            )

        async def seen(event: Mapping[str, Any], **_: Any) -> None:
            self.changed(event["type"], event["object"], None)

        for kind in self._selectors:
            kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id="seen")(seen)
        return registry

    def _settings(self, *, whole: bool) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.scanning.disabled = True  # no rights to list CRDs and namespaces are needed
        settings.posting.enabled = False  # our Events are our own
        settings.posting.loggers = False
        settings.watching.server_timeout = WATCH_SECONDS
        settings.watching.connect_timeout = 10
        # Kopf hears nothing of changes, and where there are none it may get no bookmark either.
        settings.watching.inactivity_timeout = SILENT_SECONDS
        settings.watching.chunk_size = 500
        settings.watching.initial_streaming = whole
        settings.networking.request_timeout = 30
        settings.networking.error_backoffs = _Jittered()
        settings.networking.enforce_retry_after = True
        settings.queueing.worker_limit = None  # a limit would collapse throughput
        settings.queueing.idle_timeout = 1
        settings.persistence.finalizer = "noria.dev/finalizer"
        settings.persistence.diffbase_storage = _NoDiffs()
        settings.process.ultimate_exiting_timeout = None  # Kopf is not the process here, it is a part of it
        settings.execution.default_backoff = 5
        for kind, selector in self._selectors.items():
            if selector:
                settings.watching.label_selectors[kind.group, kind.version, kind.plural] = selector
        return settings

    def _new_pulse(self) -> Pulse:
        return Pulse(self.streams, self._on_relisted, period=self._period)

    def _on_relisted(self, stream: Stream) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._relisted, stream)

    def changed(self, type: EventType, obj: Json, state: State | None) -> None:
        """From Kopf's thread into our loop."""
        self._deliver((type, obj, state))

    def told(self, state: State) -> None:
        """From Kopf's thread into our loop, after all that it tells of."""
        self._deliver(state)

    def _deliver(self, item: tuple[EventType, Json, State | None] | State) -> None:
        """One wake-up for a whole burst of events."""
        self._backlog.append(item)
        if len(self._backlog) == 1 and self._loop is not None:
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        # An event leaves the backlog before it is handled: what comes in when it is empty wakes us again.
        for _ in range(BURST):
            if not self._backlog:
                return
            self._handle(self._backlog.popleft())
        asyncio.get_running_loop().call_soon(self._drain)  # others may run in between

    def _handle(self, item: tuple[EventType, Json, State | None] | State) -> None:
        if isinstance(item, State):
            self._told(item)
            return
        type, obj, state = item
        try:
            news = self._seen(type, obj)
        except Exception:
            log.exception(
                "An event was not understood", extra={"object": obj.get("metadata", {}).get("name")}
            )
        else:
            if state is not None and news:
                state.news += 1


class _NoDiffs(kopf.DiffBaseStorage):
    """Nobody here asks Kopf what changed; it would copy each object twice at each event to know."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return cast(kopf.BodyEssence, {})

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class _Jittered:
    """Back-offs for requests of Kopf: seconds, jittered anew for each request."""

    def __iter__(self) -> Iterator[float]:
        return (delay * random.uniform(0.8, 1.2) for delay in (0.5, 1, 2, 5, 10))


def _settle(ended: asyncio.Future[BaseException | None], error: BaseException | None) -> None:
    if not ended.done():
        ended.set_result(error)
