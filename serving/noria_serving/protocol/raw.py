"""Tensors as raw bytes: little-endian, row-major, no padding (the binary extension, and gRPC).

In: bytes that a client sent, or an array. Out: an array, or bytes. Invariant: an array is made only from
exactly as many bytes as its shape needs, and never keeps the request's buffer alive.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import Array
from noria_serving.signature import DATATYPES

DTYPES: Final = {name: np.dtype(dtype).newbyteorder("<") for name, dtype in DATATYPES.items()}
RAW_ONLY: Final = frozenset({"FP16", "BF16"})
"""Datatypes that are sent as raw bytes and in no other way."""
_BFLOAT: Final = np.dtype("<u2")
"""BF16, which numpy has not: the upper half of an FP32."""
_LENGTH: Final = 4
"""Bytes before each element of BYTES that say how long it is."""


class Tail:
    """The tensors behind the JSON part of a request, taken in order."""

    def __init__(self, data: memoryview) -> None:
        self.left = data
        """What was not taken yet."""

    def take(self, size: int, name: str) -> memoryview:
        """The next `size` bytes, which are the input `name`."""
        left = len(self.left)
        if size > left:
            raise RequestError(
                f"input {name!r}: `binary_data_size` is {size}, but only {left} bytes are left in the body"
            )
        taken = self.left[:size]
        self.skip(size)
        return taken

    def skip(self, size: int) -> None:
        """Count the next `size` bytes as taken."""
        self.left = self.left[size:]

    def end(self) -> None:
        """All bytes must belong to an input."""
        if self.left:
            raise RequestError(f"{len(self.left)} bytes are left over behind the last binary tensor")


def from_raw(data: memoryview | bytes, datatype: str, count: int, name: str) -> Array:
    """Bytes → a flat array of `count` elements; its memory may be the request's (copy it to keep it)."""
    if datatype == "BYTES":
        return _strings(bytes(data), count, name)
    dtype = _BFLOAT if datatype == "BF16" else DTYPES[datatype]
    if len(data) != count * dtype.itemsize:
        raise RequestError(
            f"input {name!r}: {count} elements of {datatype} are {count * dtype.itemsize} bytes, "
            f"not {len(data)}"
        )
    array: Array = np.frombuffer(data, dtype)
    if datatype == "BF16":
        return (array.astype("<u4") << 16).view("<f4")
    if datatype == "BOOL" and (array.view(np.uint8) > 1).any():
        raise RequestError(f"input {name!r}: an element of BOOL is the byte 0 or 1")
    return array


def _strings(data: bytes, count: int, name: str) -> Array:
    values: list[str] = []
    position, end = 0, len(data)
    while position < end and len(values) < count:
        length = int.from_bytes(data[position : position + _LENGTH], "little")
        start, position = position + _LENGTH, position + _LENGTH + length
        if position > end:
            break
        values.append(text(data[start:position], name))
    if position != end or len(values) != count:
        raise RequestError(
            f"input {name!r}: its {end} bytes are not {count} elements of BYTES, "
            "each a length of 4 bytes and then so many bytes"
        )
    return strings(values)


def text(data: bytes, name: str) -> str:
    """One element of BYTES."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"input {name!r}: an element of BYTES is not UTF-8: {error}") from error


def single_text(data: bytes, name: str) -> Array:
    """A body that is the one element of BYTES, without its length."""
    return strings([text(data, name)])


def strings(values: list[str]) -> Array:
    """A flat array of texts."""
    array: Array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def to_raw(array: Array, datatype: str) -> bytes:
    """An array as the bytes that the protocol sends."""
    if datatype != "BYTES":
        return np.ascontiguousarray(array, DTYPES[datatype]).tobytes()
    pieces: list[bytes] = []
    for value in array.reshape(-1).tolist():
        data = _bytes(value)
        pieces += (len(data).to_bytes(_LENGTH, "little"), data)
    return b"".join(pieces)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")
