"""uvicorn's HTTP connection, with the protocol's error also for what is no HTTP at all, and an end to waiting
for clients.

Invariants: a connection that never finishes its headers holds a bounded number of bytes; a request must have
arrived within a stated time, and an answer that does not fit into the socket's buffers must have been taken
within the same; when a client goes away, work that nobody else needs is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from noria_serving.server.http import ABANDON, ANSWER, ARRIVED, CLOSE, error_body
from noria_serving.server.patience import SLOW_ANSWER, SLOW_REQUEST, Patience

MAX_HEADERS: Final = 64 * 1024
"""Bytes of the request line and headers together."""
ON_ITS_WAY: Final = 0.5
"""Seconds that a request may be under way on a connection when the port closes."""


class Connection(HttpToolsProtocol):
    """Times and counts what arrives before a request is whole."""

    _head = 0
    _in_head = False
    _arriving = False
    _receiving: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None
    _task: asyncio.Task[None] | None = None

    def __init__(self, *args: Any, patience: Patience, **more: Any) -> None:
        super().__init__(*args, **more)
        self._patience = patience

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
        super().data_received(data)
        if not self._arriving:
            return
        if self._receiving is None:
            self._receiving = self._later(self._not_received)
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEADERS:
                self._refuse(431, f"the request line and headers are over the limit of {MAX_HEADERS} bytes")

    def on_message_begin(self) -> None:
        self._head, self._in_head, self._arriving = 0, True, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._arriving = False
        if self._receiving is not None:
            self._heard()
        self.cycle.scope[ARRIVED] = time.monotonic()  # type: ignore[typeddict-unknown-key]
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

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is not a valid HTTP/1.1 request")

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
        if self._unanswered():
            self._refuse(408, f"the request was not here within {self._patience.seconds:g} s")
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
