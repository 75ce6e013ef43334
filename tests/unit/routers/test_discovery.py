"""What routers ask and are told on a stream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.routers import discovery
from noria_operator.routers.discovery import Asker, Kind, Request
from noria_operator.routers.wire import delimited, fields, struct, text, varint

URL = Kind.CLUSTERS.value


def asked(node: bytes = b"", *more: bytes) -> bytes:
    return (delimited(1, node) if node else b"") + text(2)(URL) + b"".join(more)


def test_a_first_request_says_who_asks_and_what_is_there() -> None:
    node = text(1)("router-7") + struct(3)({"namespace": "shop", "token": "t"})
    extension = delimited(9, text(1)("envoy.something"))
    there = delimited(5, text(1)("m-1") + text(2)("1.2.ab"))
    data = asked(node + extension, text(3)("m-1"), text(3)("m-2"), text(4)("m-0"), there)
    assert discovery.asker(data) == Asker("router-7", "shop", "t")
    assert discovery.request(data) == Request(
        URL, subscribe=("m-1", "m-2"), unsubscribe=("m-0",), versions={"m-1": "1.2.ab"}
    )


def test_who_asks_is_known_by_the_beginning_of_a_request_alone() -> None:
    node = text(1)("router-7") + struct(3)({"namespace": "shop", "token": "t"})
    begins = len(delimited(1, node))
    assert discovery.asker(asked(node, text(3)("m-1"))[:begins]) == Asker("router-7", "shop", "t")
    for other in (b"", asked(), asked() + delimited(1, node), asked(node)[: begins - 1], b"\x08\x00"):
        with pytest.raises(ValueError, match=r"begin|ends within"):
            discovery.asker(other)


def test_a_refusal_has_the_nonce_and_the_reason_also_an_empty_one() -> None:
    status = varint(1 << 3) + varint(13) + text(2)("no such cluster")
    found = discovery.request(asked(b"", text(6)("4"), delimited(7, status)))
    assert (found.nonce, found.error) == ("4", "no such cluster")
    assert discovery.request(asked(b"", text(6)("5"), delimited(7, b""))).error == "refused"
    assert discovery.request(asked(b"", text(6)("6"))).error == ""


def test_a_response_has_resources_with_names_and_versions_and_the_names_of_those_that_go() -> None:
    resources = discovery.resource("m-1", "1.2.ab", URL, b"cluster")
    found = list(fields(discovery.response(URL, "9", resources, ("m-0",))))
    assert found[1:] == [(4, URL.encode()), (5, b"9"), (6, b"m-0")]
    number, data = found[0]
    assert (number, isinstance(data, bytes)) == (2, True)
    inner = dict(fields(bytes(data)))
    assert (inner[3], inner[1]) == (b"m-1", b"1.2.ab")
    assert dict(fields(bytes(inner[2]))) == {1: URL.encode(), 2: b"cluster"}


def test_a_request_with_more_names_than_any_router_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "MAX_NAMES", 3)
    with pytest.raises(ValueError, match="too many names"):
        discovery.request(asked(b"", *(text(3)(f"m-{number}") for number in range(4))))


FLAGS = b"\x08\x00" * 2**20
"""A million fields of two bytes."""


@pytest.mark.parametrize(
    "data",
    [
        FLAGS,
        delimited(5, FLAGS),
        delimited(7, FLAGS),
        delimited(5, b"\x08\x00" * 100) * 10_000,
        b"\x0d\x00\x00\x00\x00" * 2**20,
    ],
)
def test_a_request_of_more_fields_than_any_router_sends_is_refused_before_it_was_read(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = counted(monkeypatch)
    with pytest.raises(ValueError, match="too many fields"):
        discovery.request(data)
    assert len(read) <= 3 * discovery.MAX_NAMES + 1


@pytest.mark.parametrize(
    "node", [FLAGS, delimited(3, FLAGS), delimited(3, delimited(1, FLAGS)), delimited(9, b"") * 2**20]
)
def test_whoever_asks_says_little_of_itself(node: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    read = counted(monkeypatch)
    with pytest.raises(ValueError, match="too many fields"):
        discovery.asker(delimited(1, node))
    assert len(read) <= discovery.MAX_TOLD + 2


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of fields as they are read."""
    read: list[int] = []

    def reading(data: bytes) -> Iterator[tuple[int, int | bytes]]:
        for number, value in fields(data):
            read.append(number)
            yield number, value

    monkeypatch.setattr(discovery, "fields", reading)
    return read


@given(st.binary())
def test_bytes_of_anybody_are_a_request_or_an_error(data: bytes) -> None:
    for read in (discovery.request, discovery.asker):
        with contextlib.suppress(ValueError):
            read(data)
