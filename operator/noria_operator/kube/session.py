"""The HTTP session that Kopf watches through, and what it asks for.

Comes in: an endpoint. Goes out: a session whose requests are signed anew, and which tells of lists and
watches (`stream`). A peer that is gone is noticed within a minute by TCP's own probes, which ask the API
server nothing. One stream that is refused ends no other, as it would in Kopf: it is asked for again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import aiohttp

from noria_operator.kube.kinds import kind_at
from noria_operator.kube.login import Endpoint
from noria_operator.kube.stream import COMPLETE, Heard, Lines, Pulse, Sink, Stream

log = logging.getLogger(__name__)

LONGEST_PAUSE = 20.0
"""Seconds, give or take a fifth, until a stream that is refused again and again is asked for once more. Less
than Kopf waits for an answer."""
MANY = 10
"""Refusals of a stream, beyond which they are not counted."""
PROBES = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds of silence before the first probe and between probes, and how many may stay without an answer."""
ASKING_SECONDS: Final = 5
"""How long an API server may take to say that nothing is there, which it does within milliseconds."""
WHOLE: Final = {
    "watch": "true",
    "allowWatchBookmarks": "true",
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
}
"""Parameters of a watch that begins with all there is: now, since they name no resourceVersion."""


async def tells_all(endpoint: Endpoint, streams: Sequence[Stream]) -> bool:
    """Whether this API server begins a watch with all there is when asked to, as Kubernetes does by default
    in 1.32 and from 1.34 on. Asked of the first of these streams that may be read. Raises what aiohttp raises
    where there is no answer.
    """
    for stream in streams[:-1]:
        try:
            return await _tells_all(endpoint, stream)
        except aiohttp.ClientResponseError as error:
            if error.status != 403:
                raise
    return await _tells_all(endpoint, streams[-1])


async def _tells_all(endpoint: Endpoint, stream: Stream) -> bool:
    """Asked for objects of a name that none can have."""
    kind, namespace = stream
    params = WHOLE | {"fieldSelector": "metadata.name=_", "timeoutSeconds": str(ASKING_SECONDS)}
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=endpoint.tls),
            middlewares=(_signing(endpoint),),
            headers={"User-Agent": "noria-operator"},
        ) as session,
        session.get(
            endpoint.server + kind.path(namespace),
            params=params,
            timeout=aiohttp.ClientTimeout(total=ASKING_SECONDS * 2),
        ) as answer,
    ):
        if answer.status in {400, 422}:
            log.info("The API server has streams begin with lists", extra={"answer": await answer.text()})
            return False
        answer.raise_for_status()
        async for line in answer.content:
            if COMPLETE.encode() in line:
                return True
    log.info("The API server does not say when a stream has told all there is; it is asked for lists")
    return False


def watching_session(endpoint: Endpoint, pulse: Pulse, sink: Sink) -> aiohttp.ClientSession:
    """An HTTP session that signs each request anew and reports on lists and watches; changes go to `sink` and
    to nobody else.
    """

    class Response(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            response = await super().start(connection)
            kind = kind_at(self.url.path)
            if kind is not None and self.status == 200:
                stream, asked = (kind, _namespace(self.url.path)), self.url.query
                watch, whole = (asked.get(name) == "true" for name in ("watch", "sendInitialEvents"))
                pulse.opened(stream, watch=watch, whole=whole)
                if watch:
                    lines = Lines(stream, pulse, sink, whole=whole)
                    heard: Any = Heard(self.content, lines)
                    self.content = heard
            return response

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=endpoint.tls, socket_factory=probed),
        response_class=Response,
        middlewares=(_patient(pulse), _signing(endpoint)),
        headers={"User-Agent": "noria-operator"},
    )


def probed(address: tuple[Any, ...]) -> socket.socket:
    """A socket whose connection ends by itself when the other side is gone without a word (a node that lost
    power, a load balancer that forgot it), as client-go's do by pings of HTTP/2.
    """
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in PROBES.items():
        made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made


def _signing(endpoint: Endpoint) -> aiohttp.ClientMiddlewareType:
    async def sign(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers.update(endpoint.headers())
        response = await handler(request)
        if response.status == 401:
            endpoint.token.expire()
        return response

    return sign


def _patient(pulse: Pulse) -> aiohttp.ClientMiddlewareType:
    """Where a list or watch is forbidden, or the API server fails, Kopf hears after a pause that there was no
    answer: by that it asks again, and goes on where it was. What else is answered may mean that streams have
    to begin otherwise, and goes to Kopf.
    """
    refused = Counter[Stream]()

    async def ask(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await handler(request)
        kind = kind_at(request.url.path)
        if kind is None:
            return response
        stream = (kind, _namespace(request.url.path))
        if response.status != 403 and response.status < 500:
            refused.pop(stream, None)
            return response
        response.close()
        if response.status == 403:
            pulse.forbidden(stream)
        if not refused[stream]:
            about = {"kind": kind.kind, "namespace": stream[1] or "", "status": response.status}
            log.warning("The API server refuses a watch; it is asked again until it does not", extra=about)
        refused[stream] = min(refused[stream] + 1, MANY)
        pause = min(2.0 ** (refused[stream] - 1), LONGEST_PAUSE)
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))
        raise aiohttp.ClientPayloadError(f"refused with {response.status}")

    return ask


def _namespace(path: str) -> str | None:
    parts = path.strip("/").split("/")
    return parts[parts.index("namespaces") + 1] if "namespaces" in parts[:-1] else None
