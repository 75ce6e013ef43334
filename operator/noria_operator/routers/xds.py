"""The server that hands routers their configuration: Envoy's incremental discovery, one stream a router.

Comes in: `POST .../DeltaAggregatedResources` from routers, and the store. Goes out: what changed, as soon
as it may be said. Invariants: nothing is said before every watch has synced, by a replica that hears nothing
of the API server, nor of a namespace that is not watched (503); a router gets the namespace that its token
proves and no other (403); the order of `ordering` holds for each router. Any other replica of the operator
answers, leader or not; what is known of a router goes with its stream, and the next one tells it again.

Envoy speaks gRPC over HTTP/1.1 here: both sides send messages with a length in front for as long as the
connection stands.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Hashable

from aiohttp import web

from noria_operator.domain.keys import router_tokens, same_token
from noria_operator.routers import discovery
from noria_operator.routers.catalogue import Catalogue, ObjectStore
from noria_operator.routers.stream import Stream, heard

logger = logging.getLogger(__name__)

FIRST_TIMEOUT = 10.0
"""Seconds within which a stream begins with a request."""
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

    async def close(self, _: web.Application) -> None:
        """End every stream: another replica takes them."""
        self._closing = True
        self._catalogue.close()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One stream, for as long as it stands."""
        try:
            async with asyncio.timeout(FIRST_TIMEOUT):
                first = await heard(request)
        except (ValueError, TimeoutError):
            return web.json_response({"error": "not a discovery request"}, status=400)
        if first is None:
            return web.json_response({"error": "nothing was asked"}, status=400)
        namespace = first.metadata.get("namespace", "")
        token = first.metadata.get("token", "")

        def proved() -> bool:
            return any(same_token(token, one) for one in router_tokens(self._master_key(), namespace))

        if not proved():
            logger.warning("router refused", extra={"namespace": namespace, "node": first.node})
            await asyncio.sleep(REFUSED)
            return web.json_response({"error": "the token is not this namespace's"}, status=403)
        unwatched = bool(self._namespaces) and namespace not in self._namespaces
        if not self._catalogue.synced or self._leaves() or unwatched:
            return web.json_response({"error": "not ready yet"}, status=503)
        response = web.StreamResponse(headers={"content-type": "application/grpc"})
        await response.prepare(request)
        with self._catalogue.bell(namespace) as bell:
            stream = Stream(self._catalogue, namespace, first.node, response, bell)
            await stream.run(request, first, lambda: self._leaves() or not proved())
        return response

    def _leaves(self) -> bool:
        """Whether routers are left to another replica."""
        return self._closing or self._blind()
