"""The few lines of HTTP that a bare ASGI application needs: bodies within a limit, JSON answers, one shape of
error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import orjson

from noria_serving.protocol.errors import RequestError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON: Final = (b"content-type", b"application/json")


class Disconnected(Exception):
    """The client went away before its request was whole."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that (lower-case) name."""
    return next((value for key, value in scope["headers"] if key == name), None)


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body; more than `limit` bytes is 413, announced or not."""
    announced = header(scope, b"content-length")
    if announced is not None and int(announced) > limit:
        raise RequestError(f"the body has {int(announced)} bytes, the limit is {limit}", status=413)
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False) or message["type"] == "http.disconnect":
        if message["type"] == "http.disconnect":
            raise Disconnected
        if len(body) > limit:
            break
        message = await receive()
        body += message.get("body", b"")
    if len(body) > limit:
        raise RequestError(f"the body is larger than the limit of {limit} bytes", status=413)
    return body


async def respond(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """One complete answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})


def error_body(message: str) -> bytes:
    """The protocol's only error shape."""
    return orjson.dumps({"error": message.encode(errors="replace").decode()})
