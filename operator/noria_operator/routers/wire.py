"""Protobuf on the wire: from the JSON form of a message to bytes, and the fields of bytes that arrive.

Comes in: plain data and a `Message` that says which number and form each field has. Goes out: bytes.
Invariant: a field that a `Message` does not name is an error, never left out.

Source of the encoding: https://protobuf.dev/programming-guides/encoding/. The library that does the same for
every message of Envoy needs 7 MB of memory in each operator; a router is sent thirty messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Field = Callable[[Any], bytes]
"""From a value in JSON form to the field, with its number."""

VARINT, I64, LENGTH, I32 = 0, 1, 2, 5
"""Wire types."""
_BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Message:
    """A kind of message: its name, and its fields by their name in JSON."""

    name: str
    fields: Mapping[str, Field]

    def encode(self, value: Mapping[str, Any]) -> bytes:
        """Raises ValueError for a field that is not known here."""
        try:
            return b"".join([self.fields[key](item) for key, item in value.items()])
        except KeyError as error:
            raise ValueError(f"{self.name} has no field {error} in messages.py: add it there") from error


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; `value` is not negative."""
    if value < 0x80:
        return bytes((value,))
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def delimited(number: int, data: bytes) -> bytes:
    """A field whose length is told: text, bytes or a message."""
    return varint(number << 3 | LENGTH) + varint(len(data)) + data


def text(number: int) -> Field:
    """A string."""
    return lambda value: delimited(number, value.encode())


def texts(number: int) -> Field:
    """Any number of strings."""
    return lambda values: b"".join(delimited(number, value.encode()) for value in values)


def whole(number: int) -> Field:
    """A flag or an integer that is not negative; JSON writes those of 64 bits as text."""
    tag = varint(number << 3 | VARINT)
    return lambda value: tag + varint(int(value))


def choice(number: int, values: Mapping[str, int]) -> Field:
    """One of an enum."""
    tag = varint(number << 3 | VARINT)
    return lambda value: tag + varint(values[value])


def wrapped(number: int) -> Field:
    """The same as `whole` where "not given" and 0 differ (UInt32Value, BoolValue)."""
    inner = whole(1)
    return lambda value: delimited(number, inner(value))


def duration(number: int) -> Field:
    """Seconds as `0.25s`."""

    def encode(value: str) -> bytes:
        seconds, nanos = divmod(int(Decimal(value.removesuffix("s")) * _BILLION), _BILLION)
        return delimited(number, whole(1)(seconds) + whole(2)(nanos))

    return encode


def one(number: int, message: Message) -> Field:
    """A message."""
    return lambda value: delimited(number, message.encode(value))


def many(number: int, message: Message) -> Field:
    """Any number of messages."""
    return lambda values: b"".join(delimited(number, message.encode(value)) for value in values)


def mapping(number: int, value: Field) -> Field:
    """A map from strings; `value` is the field 2 of an entry."""
    key = text(1)
    return lambda items: b"".join(delimited(number, key(name) + value(item)) for name, item in items.items())


def packed(number: int, types: Mapping[str, Message]) -> Field:
    """A message of any of `types`, which it names by its `@type` (google.protobuf.Any)."""

    def encode(value: Mapping[str, Any]) -> bytes:
        kind = value["@type"]
        message = types.get(kind.rpartition("/")[2])
        if message is None:
            raise ValueError(f"{kind} is not in messages.py: add it there")
        rest = {key: item for key, item in value.items() if key != "@type"}
        return delimited(number, delimited(1, kind.encode()) + delimited(2, message.encode(rest)))

    return encode


def struct(number: int) -> Field:
    """Text by name, as google.protobuf.Struct, of whatever depth."""
    entries = mapping(1, _value)
    return lambda value: delimited(number, entries(value))


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a message, in the order of the wire. Raises ValueError for what is no
    message."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == LENGTH:
            size, at = _varint(data, at)
        elif kind in {I64, I32}:
            size = 8 if kind == I64 else 4
        else:
            raise ValueError(f"no wire type: {kind}")
        if at + size > end:
            raise ValueError("the message ends within a field")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise ValueError("the message ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number is longer than 64 bits")


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return delimited(2, delimited(3, value.encode()))
    if isinstance(value, Mapping):
        return delimited(2, struct(5)(value))
    raise ValueError(f"a Struct of text has no place for {value!r}")
