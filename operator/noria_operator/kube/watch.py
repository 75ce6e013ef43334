"""Kopf as the event source: every change of the kinds that we watch reaches one function, in our event loop.

Kopf logs in, lists, watches, reconnects; none of its handlers but `on.event` is used. It runs in a thread
with an event loop of its own, because at its end it cancels every task of the loop that it runs in. When a
watcher dies (an ERROR other than 410, a proxy's HTML page in the stream), Kopf ends and is started again
after a back-off.

Through the HTTP session that Kopf is given we see what it does not tell: when a watch last received anything,
and when a stream was listed anew, which may have lost deletions: `relisted` then has the cache compared with
a complete list. Where nothing happens a watch is silent until the API server ends it: bookmarks, which come
every minute else, repeat no resourceVersion that the watch began with (KEP-956, `cacheWatcher.process`). So
silence means a dead watch only after that, or once a bookmark came: from then on they come every minute, also
where nothing happens. (etcd that tells how far it is, as kubeadm's does, makes them come for every kind.) A
peer that is gone is noticed within a minute by TCP's own probes, which ask the API server nothing. What
changed is taken from there too, before Kopf wraps it for handlers of kinds that nobody has here, which costs
more than reading it. Kopf gets the rest: bookmarks, by which it goes on after a cut, and errors; and
deletions too, since it remembers what it listed until it hears of one. So deletions come twice, and changes
since the last of these lines after a cut, which the store knows; and what Kopf listed may come after what
happened since.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import aiohttp
import kopf

from noria_operator.kube import metrics
from noria_operator.kube.kinds import Json, Kind, kind_at
from noria_operator.kube.login import Endpoint
from noria_operator.kube.store import EventType

log = logging.getLogger(__name__)

Stream = tuple[Kind, str | None]
"""One watch: a kind, in one namespace or (None) in all."""

WATCH_SECONDS = 300
"""The API server ends a watch after this, whether or not it said anything."""
SILENT_SECONDS = 330.0
"""A watch that lasts longer without a word is dead, though its connection is not."""
MARKED_SECONDS = 150.0
"""One that had a bookmark gets them every minute until it ends: two that did not come mean that the API
server hangs."""
PROBES = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds of silence before the first probe and between probes, and how many may stay without an answer."""
STOP_SECONDS = 5.0
FIRST_RESTART = 1.0
LONGEST_RESTART = 60.0
CHANGES = frozenset({"ADDED", "MODIFIED"})
DELETED = "DELETED"
BOOKMARK = b'"BOOKMARK"'
BURST = 500
"""Events handled before the rest of the operator gets its turn."""


class Pulse:
    """When each watch last received anything. Written from Kopf's thread, read from ours."""

    def __init__(self, streams: Sequence[Stream], relisted: Callable[[Stream], None]) -> None:
        now = time.monotonic()
        self._heard = dict.fromkeys(streams, now)
        self._listing: set[Stream] = set()
        self._relisted = relisted

    def age(self) -> float:
        """Seconds since the watch that is silent for longest received anything."""
        return time.monotonic() - min(self._heard.values(), default=time.monotonic())

    def opened(self, stream: Stream, *, watch: bool) -> None:
        """A response began: a page of a list, or a watch."""
        if not watch:
            self._listing.add(stream)
            return
        self.beat(stream)
        if stream in self._listing:
            self._listing.discard(stream)
            self._relisted(stream)

    def beat(self, stream: Stream) -> None:
        """Bytes arrived on a watch."""
        if stream in self._heard:
            self._heard[stream] = time.monotonic()


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
    ) -> None:
        self._endpoint = endpoint
        self._selectors = dict(selectors)
        self._namespaces = tuple(namespaces)
        self._seen = seen
        self._relisted = relisted
        self._backlog: deque[tuple[EventType, Json]] = deque()
        self._pulse = self._new_pulse()
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
            return await asyncio.shield(ended)
        finally:
            stop.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await ended

    async def _kopf(self, stop: threading.Event) -> None:
        try:
            await kopf.operator(
                registry=self._registry(),
                settings=self._settings(),
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
            return kopf.AiohttpSession(
                aiohttp_session=watching_session(self._endpoint, self._pulse, self._changed),
                server=self._endpoint.server,
                default_namespace=self._endpoint.namespace,
            )

        async def seen(event: Mapping[str, Any], **_: Any) -> None:
            self._deliver(event["type"], event["object"])

        for kind in self._selectors:
            kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id="seen")(seen)
        return registry

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.scanning.disabled = True  # no rights to list CRDs and namespaces are needed
        settings.posting.enabled = False  # our Events are our own
        settings.posting.loggers = False
        settings.watching.server_timeout = WATCH_SECONDS
        settings.watching.connect_timeout = 10
        # Kopf hears nothing of changes, and where there are none it may get no bookmark either.
        settings.watching.inactivity_timeout = SILENT_SECONDS
        settings.watching.chunk_size = 500
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
        return Pulse(self.streams, self._on_relisted)

    def _on_relisted(self, stream: Stream) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._relisted, stream)

    def _changed(self, line: bytes) -> bool:
        """Hand over what a line of a watch tells of an object; False when Kopf has to know it."""
        try:
            event = json.loads(line)
        except ValueError:
            return False
        type = event.get("type") if isinstance(event, dict) else None
        if type in CHANGES or type == DELETED:
            self._deliver(type, event["object"])
        return type in CHANGES

    def _deliver(self, type: EventType, obj: Json) -> None:
        """From Kopf's thread into our loop; one wake-up for a whole burst of events."""
        self._backlog.append((type, obj))
        if len(self._backlog) == 1 and self._loop is not None:
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        # An event leaves the backlog before it is handled: what comes in when it is empty wakes us again.
        for _ in range(BURST):
            if not self._backlog:
                return
            type, obj = self._backlog.popleft()
            try:
                self._seen(type, obj)
            except Exception:
                log.exception(
                    "An event was not understood", extra={"object": obj.get("metadata", {}).get("name")}
                )
        asyncio.get_running_loop().call_soon(self._drain)  # others may run in between


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


def probed(address: tuple[Any, ...]) -> socket.socket:
    """A socket whose connection ends by itself when the other side is gone without a word (a node that lost
    power, a load balancer that forgot it), as client-go's do by pings of HTTP/2.
    """
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in PROBES.items():
        made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made


def watching_session(
    endpoint: Endpoint, pulse: Pulse, changed: Callable[[bytes], bool]
) -> aiohttp.ClientSession:
    """An HTTP session that signs each request anew and reports on lists and watches; lines of a watch that
    `changed` takes reach nobody else.
    """

    async def authenticate(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers.update(endpoint.headers())
        response = await handler(request)
        if response.status == 401:
            endpoint.token.expire()
        return response

    class Response(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            response = await super().start(connection)
            kind = kind_at(self.url.path)
            if kind is not None and self.status == 200:
                stream = (kind, _namespace(self.url.path))
                watch = self.url.query.get("watch") == "true"
                pulse.opened(stream, watch=watch)
                if watch:
                    heard: Any = _Heard(self.content, lambda: pulse.beat(stream), changed)
                    self.content = heard
            return response

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=endpoint.tls, socket_factory=probed),
        response_class=Response,
        middlewares=(authenticate,),
        headers={"User-Agent": "noria-operator"},
    )


class _Heard:
    """The content of a watch that tells when bytes arrive, and keeps the lines that `taken` takes to itself.
    Only what reads in chunks is listened to; each chunk that it gives holds whole lines. Raises TimeoutError
    where bookmarks stay away.
    """

    def __init__(
        self, content: aiohttp.StreamReader, beat: Callable[[], None], taken: Callable[[bytes], bool]
    ) -> None:
        self._content = content
        self._beat = beat
        self._taken = taken

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        begun, marked, chunks = b"", False, aiter(self._content.iter_chunked(size))
        while True:
            try:
                async with asyncio.timeout(MARKED_SECONDS if marked else None):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                break
            self._beat()
            *lines, begun = (begun + chunk).split(b"\n")
            for line in lines:
                if not self._taken(line):
                    marked = marked or BOOKMARK in line[: len(BOOKMARK) * 3]
                    yield line + b"\n"
        if begun:
            yield begun

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)


def _settle(ended: asyncio.Future[BaseException | None], error: BaseException | None) -> None:
    if not ended.done():
        ended.set_result(error)


def _namespace(path: str) -> str | None:
    parts = path.strip("/").split("/")
    return parts[parts.index("namespaces") + 1] if "namespaces" in parts[:-1] else None
