"""One answer to a GET, as its bytes arrive: as much of RFC 9112 as pods and routers send, and no more.

Comes in: bytes. Goes out: status and body, when all of it is here. Invariants: an answer whose end is in
doubt is refused, not guessed at; head and body are bounded; what comes after it was not asked for and is
refused with it.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

HEAD_LIMIT: Final = 16 * 1024
"""Bytes of status line and headers, of all trailers, and of the line before a chunk."""

_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([2-5]\d\d)(?: [\t -~\x80-\xff]*)?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_LENGTH: Final = re.compile(rb"\d{1,15}")
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[\t -~\x80-\xff]*)?")


class BadAnswer(ValueError):
    """What came is no answer to go by, and its connection is of no further use."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`kept`: whether the connection may be asked again."""

    status: int
    body: bytes
    kept: bool


Reading = Generator[None, bytes, Answer]


def reading(limit: int) -> Reading:
    """A generator that is sent what arrives, after a first `next`, and returns the answer, whose body has
    `limit` bytes at most. Raises BadAnswer.
    """
    arrived = _Arrived()
    head = yield from arrived.upto(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise BadAnswer(f"{first[:60]!r} is no status line")
    fields = _fields(lines)
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        raise BadAnswer("the body is compressed, which was not asked for")
    chunked, length = _framing(fields)
    body = yield from (_chunks(arrived, limit) if chunked else arrived.exactly(_fits(length, limit)))
    if arrived.buffer:
        raise BadAnswer("more came than was asked for")
    options = {option.strip() for option in fields.get(b"connection", b"").lower().split(b",")}
    return Answer(int(status[2]), body, status[1] == b"1" and b"close" not in options)


class _Arrived:
    """Bytes that are here and not yet read."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def upto(self, end: bytes) -> Generator[None, bytes, bytes]:
        """What stands before `end`, which is taken away with it."""
        while (at := self.buffer.find(end, 0, HEAD_LIMIT)) < 0:
            if len(self.buffer) >= HEAD_LIMIT:
                raise BadAnswer(f"{HEAD_LIMIT} bytes of head have no end")
            self.buffer += yield
        found = bytes(self.buffer[:at])
        del self.buffer[: at + len(end)]
        return found

    def exactly(self, size: int) -> Generator[None, bytes, bytes]:
        """So many bytes."""
        while len(self.buffer) < size:
            self.buffer += yield
        found = bytes(self.buffer[:size])
        del self.buffer[:size]
        return found


def _chunks(arrived: _Arrived, limit: int) -> Generator[None, bytes, bytes]:
    body, trailers = bytearray(), 0
    while True:
        line = yield from arrived.upto(b"\r\n")
        found = _CHUNK.fullmatch(line)
        if found is None:
            raise BadAnswer(f"{line[:60]!r} is no size of a chunk")
        size = int(found[1], 16)
        if not size:
            break
        _fits(len(body) + size, limit)
        body += yield from arrived.exactly(size)
        if (yield from arrived.exactly(2)) != b"\r\n":
            raise BadAnswer("a chunk is longer than it says")
    while trailer := (yield from arrived.upto(b"\r\n")):
        trailers += len(trailer)
        if trailers > HEAD_LIMIT:
            raise BadAnswer(f"more than {HEAD_LIMIT} bytes of trailers")
    return bytes(body)


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    """Headers by name in small letters. Those of one name are joined, so that two lengths are no number."""
    fields: dict[bytes, bytes] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise BadAnswer(f"{line[:60]!r} is no header")
        name, value = found[1].lower(), found[2].rstrip()
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields


def _framing(fields: dict[bytes, bytes]) -> tuple[bool, int]:
    """Whether the body comes in chunks, or else its length."""
    coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
    if coding is not None and length is not None:
        raise BadAnswer("it has a length and chunks, too")
    if coding is not None:
        if coding.lower() != b"chunked":
            raise BadAnswer(f"transfer coding {coding[:60]!r} is not known")
        return True, 0
    if length is None:
        raise BadAnswer("it does not say where it ends: Content-Length or chunks are needed")
    if not _LENGTH.fullmatch(length):
        raise BadAnswer(f"length {length[:60]!r} is no number")
    return False, int(length)


def _fits(size: int, limit: int) -> int:
    if size > limit:
        raise BadAnswer(f"more than {limit} bytes")
    return size
