"""Protobuf on the wire, against the examples of its documentation and the library."""

from __future__ import annotations

import contextlib

import pytest
from google.protobuf import any_pb2, duration_pb2, json_format, struct_pb2, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.routers import messages, wire
from noria_operator.routers.wire import Message


def test_the_examples_of_the_documentation() -> None:
    """https://protobuf.dev/programming-guides/encoding/"""
    assert wire.varint(150) == bytes.fromhex("9601")
    assert wire.whole(1)(150) == bytes.fromhex("089601")
    assert wire.text(2)("testing") == bytes.fromhex("120774657374696e67")
    inner = Message("Test1", {"a": wire.whole(1)})
    assert wire.one(3, inner)({"a": 150}) == bytes.fromhex("1a03089601")
    assert list(wire.fields(bytes.fromhex("089601120774657374696e67"))) == [(1, 150), (2, b"testing")]


@given(st.integers(0, 2**32 - 1))
def test_numbers_that_may_be_missing_are_written_also_where_they_are_0(number: int) -> None:
    (found,) = wire.fields(wire.wrapped(7)(number))
    assert found[0] == 7
    assert isinstance(found[1], bytes)
    assert wrappers_pb2.UInt32Value.FromString(found[1]).value == number


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [("0s", 0, 0), ("30s", 30, 0), ("0.025s", 0, 25_000_000), ("1.5s", 1, 500_000_000), ("3600s", 3600, 0)],
)
def test_a_time_is_seconds_and_billionths(text: str, seconds: int, nanos: int) -> None:
    ((_, data),) = wire.fields(wire.duration(1)(text))
    assert duration_pb2.Duration.FromString(data) == duration_pb2.Duration(seconds=seconds, nanos=nanos)


def test_text_by_name_and_messages_that_name_their_type_are_what_the_library_reads() -> None:
    ((_, data),) = wire.fields(wire.struct(1)({"to": "m", "by": "ü", "in": {"a": "b"}}))
    found = json_format.MessageToDict(struct_pb2.Struct.FromString(data))
    assert found == {"to": "m", "by": "ü", "in": {"a": "b"}}
    url = "type.googleapis.com/google.protobuf.Duration"
    types = {"google.protobuf.Duration": Message("Duration", {"seconds": wire.whole(1)})}
    ((_, data),) = wire.fields(wire.packed(1, types)({"@type": url, "seconds": 7}))
    inner = duration_pb2.Duration()
    assert any_pb2.Any.FromString(data).Unpack(inner)
    assert inner.seconds == 7


def test_what_is_not_known_is_an_error_that_says_where_to_add_it() -> None:
    with pytest.raises(ValueError, match=r"route.v3.Route has no field 'decorator' in messages.py"):
        messages.VIRTUAL_HOST.encode({"routes": [{"decorator": {}}]})
    with pytest.raises(ValueError, match=r"unheard.Of is not in messages.py"):
        messages.RETRY_PREDICATE.encode({"typed_config": {"@type": "x/unheard.Of"}})


@given(st.binary())
def test_bytes_of_anybody_are_fields_or_an_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        list(wire.fields(data))


@given(st.lists(st.tuples(st.integers(1, 2**20), st.binary())))
def test_fields_are_read_as_they_were_written(written: list[tuple[int, bytes]]) -> None:
    assert list(wire.fields(b"".join(wire.delimited(*each) for each in written))) == written
