"""What a router and the operator say to each other on a stream: Envoy's incremental discovery (delta xDS).

Comes in: bytes of a DeltaDiscoveryRequest. Goes out: an `Asker` and a `Request`, and bytes of a
DeltaDiscoveryResponse. Invariant: what bytes of anybody cost is bounded by how many fields a router sends.

Source: https://github.com/envoyproxy/envoy/blob/v1.40.0/api/envoy/service/discovery/v3/discovery.proto; each
message is preceded by a byte that says "not compressed" and its length, as gRPC has it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from noria_operator.routers.wire import delimited, fields

PATH: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
PREFIX: Final = struct.Struct(">BI")
"""Before every message: whether it is compressed, and its length."""


class Kind(StrEnum):
    """What routers ask for, by the type that they call it."""

    CLUSTERS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    SCOPES = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"


MAX_NAMES: Final = 200_000
"""Names in one request: fifty thousand deployments."""
MAX_TOLD: Final = 10_000
"""Fields in which a router says who it is; Envoy 1.40 names its extensions in some 520."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who says to ask: the node, and what proves its namespace."""

    node: str
    namespace: str
    token: str


@dataclass(frozen=True, slots=True)
class Request:
    """DeltaDiscoveryRequest without its node; `error` says why the response with `nonce` was refused,
    `versions` what is there already."""

    type_url: str
    nonce: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


def asker(beginning: bytes) -> Asker:
    """Who sends the first request of a stream, by its first bytes: Envoy writes fields in the order of their
    numbers, and this is number 1. Raises ValueError for what begins otherwise.
    """
    number, told = next(fields(beginning), (0, b""))
    if number != 1 or not isinstance(told, bytes):
        raise ValueError("it does not begin with who asks")
    parts = _Parts(MAX_TOLD)
    node = parts.of(told)
    metadata = dict(_named(parts, each) for each in parts.of(_last(node, 3)).get(1, ()))
    return Asker(_last(node, 1).decode(), metadata.get("namespace", ""), metadata.get("token", ""))


def request(data: bytes) -> Request:
    """What a router sent. Raises ValueError for what is no DeltaDiscoveryRequest."""
    parts = _Parts(3 * MAX_NAMES)  # with a name and a version in each entry
    found = parts.of(data)
    if sum(map(len, found.values())) > MAX_NAMES:
        raise ValueError("too many names")
    return Request(
        type_url=_last(found, 2).decode(),
        nonce=_last(found, 6).decode(),
        subscribe=tuple(name.decode() for name in found.get(3, ())),
        unsubscribe=tuple(name.decode() for name in found.get(4, ())),
        versions=dict(_entry(parts, each) for each in found.get(5, ())),
        error=(_last(parts.of(_last(found, 7)), 2).decode() or "refused") if 7 in found else "",
    )


def resource(name: str, version: str, type_url: str, value: bytes) -> bytes:
    """One resource of a response; `value` is the encoded message."""
    inner = delimited(1, type_url.encode()) + delimited(2, value)
    return delimited(2, delimited(3, name.encode()) + delimited(1, version.encode()) + delimited(2, inner))


def response(type_url: str, nonce: str, resources: bytes, removed: Iterable[str] = ()) -> bytes:
    """DeltaDiscoveryResponse; `resources` are several `resource`, one after another."""
    gone = b"".join(delimited(6, name.encode()) for name in removed)
    return resources + delimited(4, type_url.encode()) + delimited(5, nonce.encode()) + gone


class _Parts:
    """Takes messages apart, `most` fields in all."""

    def __init__(self, most: int) -> None:
        self._left = most

    def of(self, data: bytes) -> dict[int, list[bytes]]:
        """The fields of a message whose length is told, by number."""
        found: dict[int, list[bytes]] = {}
        for number, value in fields(data):
            self._left -= 1
            if self._left < 0:
                raise ValueError("too many fields")
            if isinstance(value, bytes):
                found.setdefault(number, []).append(value)
        return found


def _last(found: Mapping[int, list[bytes]], number: int) -> bytes:
    return found[number][-1] if number in found else b""


def _entry(parts: _Parts, data: bytes) -> tuple[str, str]:
    entry = parts.of(data)
    return _last(entry, 1).decode(), _last(entry, 2).decode()


def _named(parts: _Parts, data: bytes) -> tuple[str, str]:
    """Name and text of a field of a Struct; another value than text counts as none."""
    entry = parts.of(data)
    return _last(entry, 1).decode(), _last(parts.of(_last(entry, 2)), 3).decode()
