"""One router's stream: what it says is noted, and what it should have is sent as soon as it may.

Comes in: the router's messages, and a bell that rings when the configuration changes. Goes out: responses
in the order of `ordering`. Invariant: what is said follows from what this router has accepted, and nothing is
said while this replica may know less than the router, which is for longer than its watches may be silent only
where the cluster itself went back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from noria_operator.domain.conditions import clip
from noria_operator.routers import discovery
from noria_operator.routers.catalogue import Bell, Catalogue
from noria_operator.routers.discovery import Kind, Request
from noria_operator.routers.ordering import Change, Position, Router, Version, due, lags, newest

logger = logging.getLogger(__name__)

MESSAGE_LIMIT = 16 * 1024 * 1024
"""Bytes of a request: a router with fifty thousand clusters names them all when it comes back."""
BEGINNING = 128 * 1024
"""Bytes that are read of a router before it has proved who it is. Envoy 1.40 says so in 61,200."""
LARGE = 64 * 1024
"""Bytes of a request that is read in a thread, so that leases and probes do not wait for it."""
LAGGING = 1.0
"""Seconds between looks at a store that knows less than the router."""
LONGEST_LAG = 700.0
"""Seconds after which a replica that still knows less is not the one that lags: with watches as silent as
that it would have been restarted."""
HEARTBEAT = 30.0
"""Seconds after which a router of which nothing was heard is asked whether it is there; then, what it refused
is said once more."""
SILENCE = 90.0
"""Seconds after which a router that does not answer is gone. A new one takes long over thousands of
clusters."""


@dataclass(slots=True)
class _Unanswered:
    nonce: str
    since: float


class Stream:
    """One router's."""

    def __init__(
        self,
        catalogue: Catalogue,
        namespace: str,
        node: str,
        response: web.StreamResponse,
        bell: Bell,
    ) -> None:
        self._catalogue = catalogue
        self._namespace, self._node = namespace, node
        self._response = response
        self._bell = bell
        self._router = Router()
        self._theirs: Position = (0, 0)
        self._unanswered: dict[Kind, _Unanswered] = {}
        self._count = 0
        self._heard = 0.0
        self._behind: float | None = None
        """Since when this replica knows less than the router."""

    async def run(self, request: web.Request, first: Request, over: Callable[[], bool]) -> None:
        """Until either side ends it, `over` being asked at least once a HEARTBEAT."""
        reading, now = asyncio.create_task(self._read(request, first)), asyncio.get_running_loop().time
        beat = now() + _between()
        try:
            while not over() and not reading.done() and not self._silent():
                self._router.touched(self._bell.taken())
                await self._say()
                until = min(beat, now() + LAGGING) if self._lags() else beat
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(until):
                        await self._bell.wait()
                if now() >= beat:  # however often the bell rings
                    await self._ask_whether_there()
                    beat = now() + _between()
            if reading.done():
                reading.result()
        except (ConnectionError, TimeoutError):
            pass  # the router is gone, and comes again
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, request: web.Request, first: Request) -> None:
        try:
            self._hear(first)
            while (message := await heard(request)) is not None:
                self._hear(message)
        except ValueError as error:
            logger.warning("router makes no sense", extra={**self._who(), "error": clip(str(error))})
        except ConnectionError:
            pass
        finally:
            self._bell.ring()

    def _hear(self, message: Request) -> None:
        """Raises ValueError for a type that nobody was told of, and for more names than a router has."""
        self._heard = asyncio.get_running_loop().time()
        kind, router = Kind(message.type_url), self._router
        begins = kind not in router.has
        if begins:
            versions = {name: Version.parse(text) for name, text in message.versions.items()}
            digests = {name: version.digest for name, version in versions.items()}
            self._theirs = newest([self._theirs, *(one.position for one in versions.values())])
            router.asks(kind, digests, self._catalogue.snapshot(self._namespace))
        if kind is Kind.ENDPOINTS:
            router.wants(message.subscribe, message.unsubscribe, first=begins)
            if len(router.wanted) > discovery.MAX_NAMES:
                raise ValueError("too many names")
        waiting = self._unanswered.get(kind)
        if waiting is not None and waiting.nonce == message.nonce:
            del self._unanswered[kind]
            if kind in router.flying:
                self._took(kind, message.error)
        self._bell.ring()

    def _took(self, kind: Kind, error: str) -> None:
        if error:
            what = ", ".join(list(self._router.flying[kind].changed)[:5])
            told = {**self._who(), "what": f"{kind.name.lower()} {what}", "error": clip(error)}
            logger.warning("router did not take what it was sent", extra=told)
            self._router.rejected(kind)
        else:
            self._router.accepted(kind)

    async def _say(self) -> None:
        """Everything that may be said now."""
        if self._lags():
            now = asyncio.get_running_loop().time()
            self._behind = now if self._behind is None else self._behind
            if now - self._behind < LONGEST_LAG:
                return
            logger.warning(
                "router has what no operator knows, as if resourceVersions went back; it is told now",
                extra={**self._who(), "theirs": self._theirs},
            )
            self._theirs = (0, 0)
        self._behind = None
        for change in due(self._catalogue.snapshot(self._namespace), self._router):
            self._router.sent(change)
            await self._send(change)

    async def _send(self, change: Change) -> None:
        self._count += 1
        nonce = str(self._count)
        self._unanswered[change.kind] = _Unanswered(nonce, asyncio.get_running_loop().time())
        position = newest([self._catalogue.position, self._theirs])
        resources = b"".join(
            discovery.resource(one.name, str(Version(position, one.digest)), change.kind, one.data)
            for one in change.changed.values()
        )
        data = discovery.response(change.kind, nonce, resources, sorted(change.removed))
        async with asyncio.timeout(SILENCE):  # one that reads no more fills its connection
            await self._response.write(discovery.PREFIX.pack(0, len(data)) + data)

    def _lags(self) -> bool:
        """Whether this replica may know less than the router."""
        return lags(newest([self._catalogue.position, self._catalogue.known]), self._theirs)

    async def _ask_whether_there(self) -> None:
        now = asyncio.get_running_loop().time()
        self._router.forgive()
        if Kind.CLUSTERS in self._router.has and not self._unanswered and now - self._heard > HEARTBEAT / 2:
            await self._send(Change(Kind.CLUSTERS))

    def _silent(self) -> bool:
        now = asyncio.get_running_loop().time()
        return any(now - one.since > SILENCE for one in self._unanswered.values())

    def _who(self) -> dict[str, str]:
        return {"namespace": self._namespace, "node": self._node}


def _between() -> float:
    """Seconds between two beats: routers are not to be asked all at once."""
    return HEARTBEAT * random.uniform(0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Opening:
    """The beginning of the first message of a stream."""

    beginning: bytes
    size: int
    """Bytes of the whole message."""


async def opened(request: web.Request) -> Opening | None:
    """How a stream begins; None where it ends before. Raises ValueError and ConnectionError."""
    try:
        size = await _size(request)
        return Opening(await request.content.readexactly(min(size, BEGINNING)), size)
    except asyncio.IncompleteReadError:
        return None


async def heard(request: web.Request, opening: Opening | None = None) -> Request | None:
    """The next message of a stream, or the one that begins so; None at its end. Raises ValueError and
    ConnectionError.
    """
    try:
        there, size = (opening.beginning, opening.size) if opening else (b"", await _size(request))
        data = there + await request.content.readexactly(size - len(there))
    except asyncio.IncompleteReadError:
        return None
    return await asyncio.to_thread(discovery.request, data) if size > LARGE else discovery.request(data)


async def _size(request: web.Request) -> int:
    prefix = await request.content.readexactly(discovery.PREFIX.size)
    compressed, size = discovery.PREFIX.unpack(prefix)
    if compressed or size > MESSAGE_LIMIT:
        raise ValueError("a message that is compressed or too large")
    return int(size)
