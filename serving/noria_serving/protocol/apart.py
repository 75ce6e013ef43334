"""Raw tensors of a large gRPC request, taken out of its bytes before protobuf copies them twice.

In: the bytes of a ModelInferRequest. Out: the message without its `raw_input_contents`, and these as views of
the bytes; or None. Invariant: nothing is refused here, and nothing taken apart that protobuf would read as
something else: where there is any doubt the answer is None, and protobuf decides.
"""

from __future__ import annotations

from typing import Final

LARGE: Final = 8 * 1024
"""Bytes. What is smaller protobuf copies as fast as what it takes to look."""
FEW: Final = 16
"""Fields; many small tensors are copied in less time than they are found in."""
_NAME: Final = 1 << 3 | 2
_VERSION: Final = 2 << 3 | 2
_RAW: Final = 7 << 3 | 2
"""Before each tensor: field 7, of so many bytes as follow (protobuf.dev/programming-guides/encoding)."""


def split(data: bytes) -> tuple[bytes, list[memoryview]] | None:
    """(the rest of the message, its raw tensors in order)."""
    if len(data) < LARGE:
        return None
    view, at, end = memoryview(data), 0, len(data)
    rest: list[memoryview] = []
    raw: list[memoryview] = []
    try:
        while at < end:
            tag, begin = data[at], at
            if tag > 0x7F or tag & 7 != 2 or tag < 8 or len(rest) + len(raw) == FEW:
                return None  # a higher field, one without a length, or too many
            length, at = _length(data, at + 1)
            if length > end - at:
                return None
            at += length
            if tag == _RAW:
                raw.append(view[at - length : at])
            else:
                rest.append(view[begin:at])
    except IndexError:  # it ends within a number
        return None
    return b"".join(rest), raw


def addressee(data: bytes) -> tuple[str, str]:
    """(model, version) that the first fields of a message name, however broken the rest of it is; empty where
    they do not. Every library writes fields in the order of their numbers.
    """
    said, at = {_NAME: "", _VERSION: ""}, 0
    try:
        while (tag := data[at]) in said:
            length, begin = _length(data, at + 1)
            at = begin + length
            said[tag] = data[begin:at].decode(errors="replace")
    except IndexError:
        pass  # nothing follows
    return said[_NAME], said[_VERSION]


def _length(data: bytes, at: int) -> tuple[int, int]:
    """(the number, where it ends); seven bits a byte, the lowest first. One of more than five bytes is too
    large for a length, or longer than it needs to be: then more than there are bytes.
    """
    number = 0
    for shift in range(0, 35, 7):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    return len(data), at
