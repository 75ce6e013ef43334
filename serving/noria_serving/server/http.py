"""The few lines of HTTP that a bare ASGI application needs: one request as a Call, bodies within a limit,
answers, one shape of error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, Final

import orjson

from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.packed import unpack
from noria_serving.protocol.v2 import JSON, Headers

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answer = tuple[int, bytes, Headers]
"""Status, body, headers with the content type."""

_PLAUSIBLE: Final = frozenset(
    (
        b"",
        b"application/json",
        b"application/octet-stream",
        b"application/x-www-form-urlencoded",
        b"text/plain",
    )
)
"""What clients say of JSON and of binary tensors; curl calls everything a form, tritonclient says nothing."""
SMALL: Final = 64 * 1024
"""Bytes that a request may have without being counted; HTTP bodies up to this come in one piece, and some of
up to four times as many.
"""
DEADLINE_HEADER: Final = b"x-envoy-expected-rq-timeout-ms"
"""How many milliseconds the router still waits for this request; Envoy sets it, and clients may."""
ARRIVED: Final = "noria.arrived"
"""In the scope, when the whole request is here: since when (time.monotonic())."""
AHEAD: Final = "noria.ahead"
"""In the scope, when the whole request is here: how many came to the event loop before it, and wait."""
ANSWER: Final = "noria.answer"
"""In the scope: a function that writes a whole answer (status, headers, body) at once, for less CPU than
ASGI's two messages; it returns False when it cannot.
"""
CLOSE: Final = (b"connection", b"close")
DISCARDED: Final = 64 * 2**20
"""Bytes of a body that are waited for when its answer is known before: the most that a router passes on."""
ABANDON: Final = "noria.abandon"
"""In the scope, true: when the client goes away, the task that answers it is to be cancelled."""


class Disconnected(Exception):
    """The client went away before its request was whole."""


class Inbox:
    """How many bytes of large requests this process holds, until they are answered."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, count: int) -> None:
        """RequestError 429 when it would be too many."""
        if self.held + count > self.limit:
            raise RequestError(
                f"the server holds {self.held} bytes of large requests already; try again in 1 s",
                status=429,
                headers=[(b"retry-after", b"1")],
            )
        self.held += count

    def take_large(self, count: int) -> int:
        """Of a request that came in one piece: what it takes, nothing if it is small."""
        if count <= SMALL:
            return 0
        self.take(count)
        return count


class Call:
    """One request."""

    __slots__ = ("_receive", "_scope", "coming", "headers", "held", "inbox", "method", "path", "query")

    def __init__(self, scope: Scope, receive: Receive, inbox: Inbox | None = None) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._scope, self._receive = scope, receive
        self.inbox = inbox
        self.held = 0
        """Bytes taken from the inbox."""
        self.coming = True
        """Whether more of the body may come."""

    def until(self, arrived: float) -> float | None:
        """When the client stops waiting (time.monotonic()), if its headers say so."""
        left = seconds_left(self.headers.get(DEADLINE_HEADER))
        return None if left is None else arrived + left

    def arrived(self) -> float:
        """Since when the whole request has been here."""
        told: float | None = self._scope.get(ARRIVED)
        return time.monotonic() if told is None else told

    def ahead(self) -> int:
        """How many requests wait for the event loop that became whole before this one."""
        told: int = self._scope.get(AHEAD, 0)
        return told

    def abandonable(self) -> None:
        """From now on nothing is lost when this request is dropped because its client went away."""
        self._scope[ABANDON] = True

    def release(self) -> None:
        """Give back what the body took."""
        if self.held and self.inbox is not None:
            self.inbox.held -= self.held
            self.held = 0

    def allow(self, *methods: str) -> None:
        """405 for every other method; HEAD is allowed where GET is."""
        if self.method in methods or (self.method == "HEAD" and "GET" in methods):
            return
        every = [*methods, "HEAD"] if "GET" in methods else methods
        raise RequestError(
            f"{self.method} is not allowed here; use {' or '.join(methods)}",
            status=405,
            headers=[(b"allow", ", ".join(every).encode())],
        )

    async def body(self, limit: int) -> bytes:
        """The whole body; more than `limit` bytes is 413, announced or not, packed or not."""
        headers = self.headers
        self._check_type(headers.get(b"content-type", b""))
        announced = headers.get(b"content-length")
        if announced is not None and int(announced) > limit:
            raise RequestError(f"the body has {int(announced)} bytes, the limit is {limit}", status=413)
        message = await self._receive()
        body: bytes = message.get("body", b"")
        self.coming = message.get("more_body", False)
        if self.coming or message["type"] == "http.disconnect":
            body = await self._rest(message, limit)
        elif len(body) > SMALL:
            self._hold(len(body))
        if len(body) > limit:
            raise RequestError(f"the body is larger than the limit of {limit} bytes", status=413)
        encoding = headers.get(b"content-encoding")
        return body if encoding is None else self._unpacked(body, encoding, limit)

    def _unpacked(self, body: bytes, encoding: bytes, limit: int) -> bytes:
        kind = _kind_of_packing(encoding)
        if not kind:
            return body
        plain = unpack(body, limit, what="body", kind=kind)
        if len(plain) > SMALL:
            self._hold(len(plain))
        return plain

    def _hold(self, count: int) -> None:
        """Take so many bytes from the inbox; RequestError 429 when there is no room."""
        if self.inbox is not None:
            self.inbox.take(count)
            self.held += count

    async def _rest(self, message: MutableMapping[str, Any], limit: int) -> bytes:
        pieces, size = [], 0
        while True:
            if message["type"] == "http.disconnect":
                raise Disconnected
            piece = message.get("body", b"")
            size += len(piece)
            self._hold(len(piece))
            pieces.append(piece)
            if size > limit or not self.coming:
                return b"".join(pieces)
            message = await self._receive()
            self.coming = message.get("more_body", False)

    async def discard(self) -> None:
        """Receive what is still to come of the body, and keep none of it: an answer that is there before the
        request is whole makes clients see a reset connection, and Envoy ends the request itself, which looks
        as if its client had given up. Not where nobody waits for that: the body is longer than DISCARDED, its
        client may send none (Expect), or it takes as long as a connection may (wire.py).
        """
        headers, size = self.headers, 0
        if b"expect" in headers or int(headers.get(b"content-length", 0)) > DISCARDED:
            return
        with suppress(asyncio.CancelledError):  # time is over, but there is an answer
            while self.coming and size <= DISCARDED:
                message = await self._receive()
                size += len(message.get("body", b""))
                self.coming = message.get("more_body", False)

    def _check_type(self, content_type: bytes) -> None:
        """415 for what cannot be JSON or binary tensors."""
        if content_type in _PLAUSIBLE:
            return
        kind = content_type.partition(b";")[0].strip().lower()
        if kind not in _PLAUSIBLE and not kind.endswith(b"+json"):
            raise RequestError(
                f"Content-Type {content_type.decode('latin-1')!r:.100} is not taken here: send "
                "application/json, or application/octet-stream with Inference-Header-Content-Length",
                status=415,
                headers=[(b"accept", b"application/json, application/octet-stream")],
            )


def seconds_left(told: bytes | None) -> float | None:
    """How many seconds a client or router waits, as DEADLINE_HEADER tells; None where it tells nothing."""
    return int(told) / 1000 if told is not None and told.isdigit() and len(told) <= 12 else None


def _kind_of_packing(encoding: bytes) -> str:
    """gzip, deflate, or nothing; else 415."""
    kind = encoding.strip().lower()
    if kind == b"identity":
        return ""
    if kind not in (b"gzip", b"x-gzip", b"deflate"):
        raise RequestError(
            f"Content-Encoding {encoding.decode('latin-1')!r:.100} is not taken here: use gzip or deflate",
            status=415,
            headers=[(b"accept-encoding", b"gzip, deflate, identity")],
        )
    return kind.decode()


async def respond(
    scope: Scope, send: Send, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> None:
    """One complete answer; to HEAD, all of it but its body."""
    headers = [(b"content-length", b"%d" % len(body)), *headers]
    if scope["method"] == "HEAD":
        body = b""
    write = scope.pop(ANSWER, None)
    if write is None or not write(status, headers, body):
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def error(message: str, status: int, headers: Sequence[tuple[bytes, bytes]] = ()) -> Answer:
    """The protocol's only shape of error."""
    return status, error_body(message), [JSON, *headers]


def error_body(message: str) -> bytes:
    return orjson.dumps({"error": message})
