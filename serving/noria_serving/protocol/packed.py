"""What comes packed by gzip (or by deflate, with zlib's header), unpacked within a limit. Pure.

In: bytes, and how many they may become. Out: these, or a RequestError. Invariant: never more than one byte
over the limit is unpacked.
"""

from __future__ import annotations

import zlib
from typing import Final

from noria_serving.protocol.errors import RequestError

GZIP: Final = b"\x1f\x8b"
"""How every gzip begins (RFC 1952), and no message of protobuf's: 0x1f has the wire type 7, which is none."""
_GZIP_OR_ZLIB: Final = 47
"""zlib's window bits for "whatever its header says"."""


def beginning(data: bytes, count: int) -> bytes:
    """So many bytes of `data`, of what it unpacks to where it is gzip, or as many as can be had."""
    if not data.startswith(GZIP):
        return data[:count]
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(data, count)
    except zlib.error:
        return b""


def unpack(data: bytes, limit: int, *, what: str, kind: str) -> bytes:
    """All of `data`, unpacked. `what` it is (body, message) and the `kind` of packing are for the error."""
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        plain = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise RequestError(f"the {what} is not {kind}: {error}") from error
    if len(plain) > limit:
        raise RequestError(f"the {what} unpacks to more than the limit of {limit} bytes", status=413)
    if not unpacker.eof or unpacker.unused_data:
        raise RequestError(f"the {kind} {what} is cut off, or more follows it")
    return plain
