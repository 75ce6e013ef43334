"""uvicorn's HTTP connection, with the protocol's error also for what is no HTTP at all.

Invariant: a connection that never finishes its headers holds a bounded number of bytes.
"""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from noria_serving.server.http import error_body

MAX_HEADERS: Final = 64 * 1024
"""Bytes of the request line and headers together."""


class Connection(HttpToolsProtocol):
    """Counts what arrives before a request's headers are whole."""

    _head = 0
    _in_head = False

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEADERS:
                self._refuse(431, f"the request line and headers are over the limit of {MAX_HEADERS} bytes")

    def on_message_begin(self) -> None:
        self._head, self._in_head = 0, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is not a valid HTTP/1.1 request")

    def _refuse(self, status: int, message: str) -> None:
        if self.transport.is_closing():
            return
        body = error_body(message)
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(
            body
        )
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
