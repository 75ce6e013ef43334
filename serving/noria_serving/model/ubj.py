"""Universal Binary JSON as XGBoost writes it, read with limits before its own parser sees a byte.

In: bytes. Out: dicts, lists, strings, numbers and, for typed arrays, numpy arrays. Invariant: what is
allocated is bounded by the length of the input, whatever its counts claim.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np

MAX_DEPTH: Final = 64
_NUMBERS: Final = {"i": "b", "U": "B", "I": "h", "l": "i", "L": "q", "d": "f", "D": "d"}
"""UBJSON's type letter → struct's."""


class UbjError(ValueError):
    """The bytes are not UBJSON, or are cut off."""


def parse(data: bytes) -> Any:
    """The whole document."""
    reader = _Reader(data)
    value = reader.value(reader.take(1), 0)
    if reader.position != len(data):
        raise UbjError("bytes are left over after the document")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self._data):
            raise UbjError("the document is cut off")
        piece = self._data[self.position : end]
        self.position = end
        return piece

    def value(self, marker: bytes, depth: int) -> Any:
        kind = marker.decode("latin-1")
        if depth > MAX_DEPTH:
            raise UbjError("the document is nested too deeply")
        if kind in _NUMBERS:
            return self._number(kind)
        if kind == "S":
            return self._text()
        if kind == "{":
            return self._object(depth)
        if kind == "[":
            return self._array(depth)
        if kind in "TF":
            return kind == "T"
        raise UbjError(f"unknown type {kind!r}")

    def _number(self, kind: str) -> Any:
        form = ">" + _NUMBERS[kind]
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def _length(self) -> int:
        kind = self.take(1).decode("latin-1")
        if kind not in "iUIlL":
            raise UbjError("a length is no whole number")
        return int(self._number(kind))

    def _text(self) -> str:
        return self.take(self._length()).decode()

    def _object(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while self._peek() != b"}":
            name = self._text()
            if name in result:
                raise UbjError(f"the key {name!r:.60} stands twice")
            result[name] = self.value(self.take(1), depth + 1)
        self.take(1)
        return result

    def _array(self, depth: int) -> Any:
        if self._peek() == b"$":
            self.take(1)
            kind = self.take(1).decode("latin-1")
            if self.take(1) != b"#" or kind not in _NUMBERS:
                raise UbjError("a typed array of something else than numbers")
            dtype = np.dtype(">" + _NUMBERS[kind])
            return np.frombuffer(self.take(self._length() * dtype.itemsize), dtype)
        if self._peek() == b"#":
            self.take(1)
            count = self._length()
            if not 0 <= count <= len(self._data):  # an element takes a byte at least
                raise UbjError("the document is cut off")
            return [self.value(self.take(1), depth + 1) for _ in range(count)]
        items = []
        while self._peek() != b"]":
            items.append(self.value(self.take(1), depth + 1))
        self.take(1)
        return items

    def _peek(self) -> bytes:
        return self._data[self.position : self.position + 1] or self.take(1)
