"""One answer to a GET, as its bytes arrive: what llhttp takes for one, and whose end is certain.

Comes in: bytes. Goes out: status and body, when all of it is here. Invariants: an answer whose end is in
doubt is refused, not guessed at; head and body are bounded; what comes after it was not asked for and is
refused with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

HEAD_LIMIT: Final = 16 * 1024
"""Bytes that may come without one of the body: the head, the line before a chunk, trailers."""


class BadAnswer(ValueError):
    """What came is no answer to go by, and its connection is of no further use."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`kept`: whether the connection may be asked again."""

    status: int
    body: bytes
    kept: bool


class Reading:
    """Reads one answer, whose body has `limit` bytes at most."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parser = HttpResponseParser(self)
        self._fields: dict[bytes, bytes] = {}
        self._body = bytearray()
        self._dry = 0
        self._answer: Answer | None = None

    def take(self, data: bytes) -> Answer | None:
        """The answer, once it is whole. Raises BadAnswer."""
        self._dry += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if isinstance(error.__context__, BadAnswer):
                raise error.__context__ from None
            raise BadAnswer(f"it is no answer of HTTP: {error}") from error
        if self._answer is None and self._dry > HEAD_LIMIT:
            raise BadAnswer(f"more than {HEAD_LIMIT} bytes came that are no body")
        return self._answer

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._answer is not None:
            raise BadAnswer("more came than was asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        name, value = name.lower(), value.rstrip().lower()
        self._fields[name] = self._fields[name] + b", " + value if name in self._fields else value

    def on_headers_complete(self) -> None:
        status, fields = self._parser.get_status_code(), self._fields
        if status < 200 or self._parser.get_http_version() not in ("1.0", "1.1"):
            raise BadAnswer(f"it is no whole answer of HTTP/1: status {status}")
        if fields.get(b"content-encoding", b"identity") != b"identity":
            raise BadAnswer("the body is compressed, which was not asked for")
        coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
        if coding not in (None, b"chunked"):
            raise BadAnswer(f"transfer coding {coding!r} is not known")
        if coding is None and length is None:
            raise BadAnswer("it does not say where it ends: Content-Length or chunks are needed")
        self._fits(int(length or 0))

    def on_body(self, data: bytes) -> None:
        self._fits(len(self._body) + len(data))
        self._body += data
        self._dry = 0

    def on_message_complete(self) -> None:
        self._answer = Answer(
            self._parser.get_status_code(), bytes(self._body), self._parser.should_keep_alive()
        )

    def _fits(self, size: int) -> None:
        if size > self._limit:
            raise BadAnswer(f"more than {self._limit} bytes")
