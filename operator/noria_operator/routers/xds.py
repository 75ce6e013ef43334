"""The server that hands routers their configuration: Envoy's incremental discovery, one stream a router.

Comes in: `POST .../DeltaAggregatedResources` from routers, and the store. Goes out: what changed, as soon
as it may be said. Invariants: nothing is said before every watch has synced, by a replica that hears nothing
of the API server, nor of a namespace that is not watched (503); a router gets the namespace that its token
proves and no other (403); the order of `ordering` holds for each router. Any other replica of the operator
answers, leader or not; what is known of a router goes with its stream, and the next one tells it again.

The port is open to whoever can be reached by it, so nobody costs more than a first few bytes before the token
is proved: `stream.BEGINNING` of them are read, on `UNPROVED` streams at a time.

Envoy speaks gRPC over HTTP/1.1 here: both sides send messages with a length in front for as long as the
connection stands.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager

from aiohttp import web

from noria_operator.domain.conditions import clip
from noria_operator.domain.keys import router_tokens, same_token
from noria_operator.routers import discovery
from noria_operator.routers.catalogue import Catalogue, ObjectStore
from noria_operator.routers.discovery import Asker, Request
from noria_operator.routers.stream import Opening, Stream, heard, opened

logger = logging.getLogger(__name__)

FIRST_TIMEOUT = 10.0
"""Seconds within which a stream begins with a request."""
UNPROVED = 256
"""Streams at a time whose router has not proved who it is."""
UNPROVED_EACH = 8
"""Of these, of one address: a router has one, which is proved as soon as it says who it is."""
SHOWN = 253
"""Characters of what somebody says to be that are logged."""
REFUSED = 1.0
"""Seconds before a bad token hears so."""
OLD_HOLD = 20.0
"""Seconds that a router of an earlier Noria is held."""


def app(
    store: ObjectStore,
    *,
    master_key: Callable[[], bytes],
    deployments: Hashable,
    pods: Hashable,
    blind: Callable[[], bool],
    namespaces: Collection[str] = (),
    max_body: int = 0,
) -> web.Application:
    """The application; `deployments` and `pods` are the store's kinds of ModelDeployment and Pod,
    `master_key` gives the key that is in force now, `blind` whether the store may be old, `namespaces` are
    those that it knows of (none: it knows of all), `max_body` is the longest body in bytes that routers pass
    on, 0: of any length.

    To be run with `access_log=None`.
    """
    application = web.Application()
    catalogue = Catalogue(store, deployments=deployments, pods=pods, max_body=max_body)
    server = Server(catalogue, master_key=master_key, blind=blind, namespaces=namespaces)
    application.router.add_post(discovery.PATH, server.answer)
    application.router.add_post("/v3/discovery:{kind}", _replaced)
    application.on_shutdown.append(server.close)
    return application


async def _replaced(_: web.Request) -> web.Response:
    """A router that was made by an earlier Noria asks otherwise. It keeps what it has until its successor is
    ready, and is held, because it would ask again at once."""
    await asyncio.sleep(OLD_HOLD * random.uniform(0.75, 1.0))
    return web.Response(status=304)


class Server:
    """Accepts streams."""

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        master_key: Callable[[], bytes],
        blind: Callable[[], bool],
        namespaces: Collection[str],
    ) -> None:
        self._catalogue = catalogue
        self._master_key = master_key
        self._blind = blind
        self._namespaces = namespaces
        self._closing = False
        self._unproved = _Unproved()

    async def close(self, _: web.Application) -> None:
        """End every stream: another replica takes them."""
        self._closing = True
        self._catalogue.close()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One stream, for as long as it stands."""
        until = asyncio.get_running_loop().time() + FIRST_TIMEOUT
        with self._unproved.place(request.remote or "") as free:
            if not free:
                return _refusal(503, "too many who have not said who they are")
            begun = await self._begun(request, until)
            if begun is None:
                return _refusal(400, "not a discovery request")
            opening, asker = begun
            if not self._proves(asker):
                told = {"namespace": clip(asker.namespace, SHOWN), "node": clip(asker.node, SHOWN)}
                logger.warning("router refused", extra=told)
                await asyncio.sleep(REFUSED)
                return _refusal(403, "the token is not this namespace's")
        unwatched = bool(self._namespaces) and asker.namespace not in self._namespaces
        if not self._catalogue.synced or self._leaves() or unwatched:
            return _refusal(503, "not ready yet")
        first = await self._first(request, opening, until)
        return (
            _refusal(400, "not a discovery request")
            if first is None
            else await self._run(request, asker, first)
        )

    async def _begun(self, request: web.Request, until: float) -> tuple[Opening, Asker] | None:
        try:
            async with asyncio.timeout_at(until):
                opening = await opened(request)
            return None if opening is None else (opening, discovery.asker(opening.beginning))
        except (ValueError, TimeoutError):
            return None

    async def _first(self, request: web.Request, opening: Opening, until: float) -> Request | None:
        try:
            async with asyncio.timeout_at(until):
                return await heard(request, opening)
        except (ValueError, TimeoutError):
            return None

    async def _run(self, request: web.Request, asker: Asker, first: Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/grpc"})
        await response.prepare(request)
        with self._catalogue.bell(asker.namespace) as bell:
            stream = Stream(self._catalogue, asker.namespace, clip(asker.node, SHOWN), response, bell)
            await stream.run(request, first, lambda: self._leaves() or not self._proves(asker))
        return response

    def _proves(self, asker: Asker) -> bool:
        tokens = router_tokens(self._master_key(), asker.namespace)
        return any(same_token(asker.token, one) for one in tokens)

    def _leaves(self) -> bool:
        """Whether routers are left to another replica."""
        return self._closing or self._blind()


class _Unproved:
    """Counts streams by address."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextmanager
    def place(self, address: str) -> Iterator[bool]:
        """A place while it lasts; False where there is none."""
        if self._open[address] >= UNPROVED_EACH or self._open.total() >= UNPROVED:
            yield False
            return
        self._open[address] += 1
        try:
            yield True
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]


def _refusal(status: int, why: str) -> web.Response:
    return web.json_response({"error": why}, status=status)
