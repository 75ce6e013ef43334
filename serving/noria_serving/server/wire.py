"""uvicorn's HTTP connection, with the protocol's error also for what is no HTTP at all, and an end to waiting
for clients.

Invariants: a connection that never finishes its headers, or the trailers behind a body in chunks, holds a
bounded number of bytes; trailers are no headers; a wish for another protocol is ignored (RFC 9110, 7.8:
Java's client has one in its first request); a request must have arrived within a stated time, and an answer
that does not fit into the socket's buffers must have been taken within the same; when a client goes away,
work that nobody else needs is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from noria_serving.server.arrivals import Arrivals
from noria_serving.server.http import ABANDON, AHEAD, ANSWER, ARRIVED, CLOSE, error_body
from noria_serving.server.patience import SLOW_ANSWER, SLOW_REQUEST, Patience

MAX_HEADERS: Final = 64 * 1024
"""Bytes of the request line and headers together."""
ON_ITS_WAY: Final = 0.5
"""Seconds that a request may be under way on a connection when the port closes."""


class Connection(HttpToolsProtocol):
    """Times and counts what arrives before a request is whole."""

    _idle = 0
    """Bytes since the latest of a body, or since a request was whole: of headers, of trailers."""
    _in_head = False
    _wished = False
    """Whether what was read is the head of a request that wishes for another protocol."""
    _arriving = False
    _receiving: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None
    _task: asyncio.Task[None] | None = None

    def __init__(self, *args: Any, patience: Patience, arrivals: Arrivals, **more: Any) -> None:
        super().__init__(*args, **more)
        self._patience, self._arrivals = patience, arrivals

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._receiving = self._later(self._not_received)

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard()
        self._taken()
        cycle, task = self.cycle, self._task
        super().connection_lost(exc)
        if task is not None and not cycle.response_started and cycle.scope.get(ABANDON):
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._idle += len(data)
        pieces: list[bytes | memoryview] = [data]
        while pieces:
            piece = pieces.pop()
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as wish:
                pieces += memoryview(piece)[wish.args[0] :], self._plain_head()
            except httptools.HttpParserError:
                self._refuse(400, "this is not a valid HTTP/1.1 request")
                return
        if not self._arriving:
            return
        if self._receiving is None:
            self._receiving = self._later(self._not_received)
        if self._idle > MAX_HEADERS:
            self._end(431, f"the request line and headers are over the limit of {MAX_HEADERS} bytes")

    def on_message_begin(self) -> None:
        self._in_head, self._arriving, self._wished = True, True, False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._wished = True  # the parser takes no body then: it is to read this again, without the wish
            return
        super().on_headers_complete()
        self.headers = []  # for trailers, of which nobody hears

    def on_body(self, body: bytes) -> None:
        self._idle = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._wished:
            return
        self._idle, self._arriving = 0, False
        if self._receiving is not None:
            self._heard()
        scope: Any = self.cycle.scope
        scope[ARRIVED], scope[AHEAD] = time.monotonic(), self._arrivals.ahead(self.loop)
        super().on_message_complete()

    def shutdown(self) -> None:
        """The port is closed. What is in flight is finished; a connection without a request is closed a
        little later, because one may be on its way.
        """
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(ON_ITS_WAY, self._leave)
        else:
            super().shutdown()

    def _leave(self) -> None:
        if self._in_head and not self.transport.is_closing():
            self.loop.call_later(ON_ITS_WAY, self._leave)
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._sending = self._later(self._not_taken)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taken()

    def _plain_head(self) -> bytes:
        """The head that was read, as a new parser is to read it; of CONNECT, which is refused, nothing."""
        if not self._wished:
            return b""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return b"\r\n".join([*lines, b"\r\n"])

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.scope[ANSWER] = partial(self._answer, cycle)  # type: ignore[typeddict-unknown-key]
        self._task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _answer(
        self, cycle: RequestResponseCycle, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> bool:
        """Write a whole answer at once, if the socket has room and somebody reads it."""
        if cycle.disconnected or self.flow.write_paused:
            return False
        if cycle.waiting_for_100_continue and cycle.more_body:
            cycle.keep_alive = False  # whether the body comes after all is its client's to decide
        if CLOSE in headers:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            headers = [*headers, CLOSE]
        pieces = [STATUS_LINE[status]]
        for name, value in headers:
            pieces += (name, b": ", value, b"\r\n")
        pieces += (b"\r\n", body)
        self.transport.write(b"".join(pieces))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def _later(self, act: Callable[[], None]) -> asyncio.TimerHandle | None:
        return self.loop.call_later(self._patience.seconds, act) if self._patience.seconds else None

    def _heard(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def _taken(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def _not_received(self) -> None:
        self._patience.lost[SLOW_REQUEST] += 1
        self._end(408, f"the request was not here within {self._patience.seconds:g} s")

    def _end(self, status: int, message: str) -> None:
        """End the connection on a request that is arriving, and say why where an answer would be its own."""
        if self._unanswered():
            self._refuse(status, message)
        else:
            self.transport.abort()

    def _unanswered(self) -> bool:
        """Whether the request that is arriving is the one to be answered next, and has no answer yet."""
        if not self._arriving or self.pipeline:
            return False
        if self._in_head:
            return self.cycle is None or self.cycle.response_complete
        return not self.cycle.response_started

    def _not_taken(self) -> None:
        self._patience.lost[SLOW_ANSWER] += 1
        self.transport.abort()

    def _refuse(self, status: int, message: str) -> None:
        if self.transport.is_closing():
            return
        body = error_body(message)
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(
            body
        )
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
