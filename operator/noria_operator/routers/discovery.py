"""What a router and the operator say to each other on a stream: Envoy's incremental discovery (delta xDS).

Comes in: bytes of a DeltaDiscoveryRequest. Goes out: a `Request`, and bytes of a DeltaDiscoveryResponse.
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


@dataclass(frozen=True, slots=True)
class Request:
    """DeltaDiscoveryRequest. `node` and `metadata` come with the first of a stream; `error` says why the
    response with `nonce` was refused, `versions` what is there already."""

    type_url: str
    nonce: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    node: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def request(data: bytes) -> Request:
    """What a router sent. Raises ValueError for what is no DeltaDiscoveryRequest."""
    found = _grouped(data)
    if sum(map(len, found.values())) > MAX_NAMES:
        raise ValueError("too many names")
    node = _grouped(_last(found, 1))
    return Request(
        type_url=_last(found, 2).decode(),
        nonce=_last(found, 6).decode(),
        subscribe=tuple(name.decode() for name in found.get(3, ())),
        unsubscribe=tuple(name.decode() for name in found.get(4, ())),
        versions=dict(_entry(each) for each in found.get(5, ())),
        error=(_last(_grouped(_last(found, 7)), 2).decode() or "refused") if 7 in found else "",
        node=_last(node, 1).decode(),
        metadata=dict(_named(each) for each in _grouped(_last(node, 3)).get(1, ())),
    )


def resource(name: str, version: str, type_url: str, value: bytes) -> bytes:
    """One resource of a response; `value` is the encoded message."""
    inner = delimited(1, type_url.encode()) + delimited(2, value)
    return delimited(2, delimited(3, name.encode()) + delimited(1, version.encode()) + delimited(2, inner))


def response(type_url: str, nonce: str, resources: bytes, removed: Iterable[str] = ()) -> bytes:
    """DeltaDiscoveryResponse; `resources` are several `resource`, one after another."""
    gone = b"".join(delimited(6, name.encode()) for name in removed)
    return resources + delimited(4, type_url.encode()) + delimited(5, nonce.encode()) + gone


def _grouped(data: bytes) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    for number, value in fields(data):
        if isinstance(value, bytes):
            found.setdefault(number, []).append(value)
    return found


def _last(found: Mapping[int, list[bytes]], number: int) -> bytes:
    return found[number][-1] if number in found else b""


def _entry(data: bytes) -> tuple[str, str]:
    entry = _grouped(data)
    return _last(entry, 1).decode(), _last(entry, 2).decode()


def _named(data: bytes) -> tuple[str, str]:
    """Name and text of a field of a Struct; another value than text counts as none."""
    entry = _grouped(data)
    return _last(entry, 1).decode(), _last(_grouped(_last(entry, 2)), 3).decode()
