"""One call as our handlers see it: a message in, a message or a RequestError out; and its status.

In: the bytes of a call. Out: the bytes of its answer, or a status with the sentence of the error. Invariants:
messages are parsed here and not by grpcio, which calls bytes that are none an INTERNAL or UNKNOWN fault;
INTERNAL is said of a model or a server that failed, and of nothing that a client sends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from noria_serving import contract
from noria_serving.protocol.errors import FAULT, RequestError
from noria_serving.protocol.packed import GZIP, unpack
from noria_serving.server.grpc.entrance import Entrance
from noria_serving.server.http import DEADLINE_HEADER, seconds_left
from noria_serving.server.models import Models
from noria_serving.server.patience import SLOW_REQUEST

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[bytes, bytes]
Headers = Sequence[tuple[bytes, bytes]]
Handler = Callable[[Any, Context], Awaitable[Message]]
"""From a parsed message to its answer."""
Reader = Callable[[bytes], Any]
"""From bytes as they came to a parsed message, or a RequestError."""

_STATUSES: Final = {
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    408: grpc.StatusCode.ABORTED,  # its client's doing: the other counts as a fault of the version
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
QUIET_SECONDS: Final = 0.1
DETAILS: Final = 4000
"""Bytes of an error as they are sent; a client refuses an answer whose headers have more than 8 KiB."""


class Gate:
    """Every call comes through here, until the server leaves.

    grpcio, told to stop, cancels what has arrived and was not begun: a client cannot tell whether it may ask
    again. So calls are refused first, in a way that tells it, and grpcio is stopped once none comes any more.
    """

    def __init__(self, models: Models) -> None:
        settings = models.settings
        self._limit, self._patience = settings.max_body, models.patience
        self.entrance = Entrance(settings.limits.max_queue)
        self._most, self._lasting = settings.limits.max_streams, 0
        self._leaving = False
        self._last = 0.0

    def enter(self) -> None:
        """RequestError 503 when the server takes no more calls."""
        self.entrance.begin()
        if self._leaving:
            self._last = time.monotonic()
            raise RequestError("this server leaves: ask another one", status=503)

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """Around a call that lasts as long as its client wants; RequestError 429 where too many do."""
        if self._lasting >= self._most:
            raise RequestError(f"{self._lasting} streams are open here already: close some", status=429)
        self._lasting += 1
        try:
            yield
        finally:
            self._lasting -= 1

    async def read(self, context: Context) -> bytes:
        """The message of a call, which has to be here in time."""
        try:
            async with asyncio.timeout(self._patience.seconds or None):
                data = await context.read()
        except TimeoutError:
            self._patience.lost[SLOW_REQUEST] += 1
            raise RequestError(
                f"the message was not here within {self._patience.seconds:g} s", status=408
            ) from None
        if not isinstance(data, bytes):
            raise RequestError("the call ended without a message")
        return data

    def unpacked(self, data: bytes) -> bytes:
        """A message as it was before its client packed it, which its first bytes tell. grpcio would unpack a
        small one to any size, so it leaves that to us.
        """
        return unpack(data, self._limit, what="message", kind="gzip") if data.startswith(GZIP) else data

    async def close(self, seconds: float) -> None:
        """Refuse all further calls; returns once it is quiet, after so many seconds in any case."""
        self._leaving, self._last = True, time.monotonic()
        until = self._last + seconds
        while time.monotonic() < min(until, self._last + QUIET_SECONDS):  # noqa: ASYNC110  calls move it
            await asyncio.sleep(QUIET_SECONDS / 5)


def unary(gate: Gate, read: Reader, handler: Handler) -> grpc.RpcMethodHandler[bytes, bytes]:
    """The method of one request and one answer. To grpcio it is a stream, whose one message we wait for."""

    async def answer(_: object, context: Context) -> bytes:
        try:
            gate.enter()
            data = await gate.read(context)
            return (await handler(read(data), context)).SerializeToString()
        except RequestError as refused:
            code, said, headers = status(refused), str(refused), refused.headers
        except Exception:
            log.exception("request failed")
            code, said, headers = grpc.StatusCode.INTERNAL, FAULT, ()
        return await context.abort(code, details(said), metadata(headers))

    return grpc.stream_unary_rpc_method_handler(answer)


def status(refused: RequestError) -> grpc.StatusCode:
    """What gRPC calls it."""
    return _STATUSES.get(refused.status, grpc.StatusCode.INVALID_ARGUMENT)


def details(said: str) -> str:
    """As much of a sentence as fits. gRPC writes a byte that is not printable ASCII as three: %C3."""
    sizes = accumulate(1 if " " <= one <= "~" and one != "%" else 3 * len(one.encode()) for one in said)
    return said[: sum(size <= DETAILS for size in sizes)]


def metadata(headers: Headers) -> tuple[tuple[str, str], ...]:
    """What HTTP says in headers, as metadata behind the answer, where it costs no message of its own."""
    return tuple((name.decode(), value.decode()) for name, value in headers)


def request_id(context: Context) -> bytes | None:
    """What the router calls this request."""
    return _told(context, contract.REQUEST_ID_HEADER)


def deadline(context: Context) -> float | None:
    """The time.monotonic() after which the client, or the router, does not wait any more."""
    waits = (context.time_remaining(), seconds_left(_told(context, DEADLINE_HEADER.decode())))
    left = [each for each in waits if each is not None]
    return time.monotonic() + min(left) if left else None


def _told(context: Context, name: str) -> bytes | None:
    """Of the metadata of a call."""
    told: Any = dict(context.invocation_metadata() or ()).get(name)
    return told.encode() if isinstance(told, str) else told
