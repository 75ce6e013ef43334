"""What a router may be told now: versions that never go back, and changes in an order that loses no request.

Comes in: the version a router has and the one this replica of the operator holds; what the router has
accepted so far. Goes out: whether to answer or to hold. Invariants: no router is given an older state by a
replica that lags; a route sends requests only to clusters that this router can reach; a cluster loses its
last endpoint only after the routes have left it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from noria_operator.routers.envoy import Snapshot, endpoint_resource

Position = tuple[int, int]
"""How far this replica has followed ModelDeployments and EndpointSlices: the highest resourceVersion of
each."""


class Kind(StrEnum):
    """The three questions that routers ask, by the last part of their path."""

    ROUTES = "routes"
    CLUSTERS = "clusters"
    ENDPOINTS = "endpoints"


class Order(StrEnum):
    """How our version stands to the router's."""

    SAME = "same"
    """Same content."""
    AHEAD = "ahead"
    """We know everything that went into the router's version, and more."""
    LEVEL = "level"
    """Same position, other content: two releases of the operator, or an answer to a write that came first."""
    BEHIND = "behind"
    """The router knows something that we have not seen yet."""


@dataclass(frozen=True, slots=True)
class Version:
    """`version_info` as we write it: the position and the digest of the content."""

    position: Position
    digest: str

    def __str__(self) -> str:
        return f"{self.position[0]}.{self.position[1]}.{self.digest}"

    @staticmethod
    def parse(text: str) -> Version | None:
        """The inverse; None for "nothing yet" and for what we did not write."""
        parts = text.split(".")
        if len(parts) != 3 or not (parts[0].isdecimal() and parts[1].isdecimal()):
            return None
        return Version((int(parts[0]), int(parts[1])), parts[2])


def compare(ours: Version, theirs: Version | None) -> Order:
    """Positions are compared part by part: a replica that is ahead in one kind and behind in the other
    waits."""
    if theirs is None:
        return Order.AHEAD
    if ours.digest == theirs.digest:
        return Order.SAME
    if ours.position == theirs.position:
        return Order.LEVEL
    behind = any(mine < other for mine, other in zip(ours.position, theirs.position, strict=True))
    return Order.BEHIND if behind else Order.AHEAD


@dataclass(slots=True)
class Node:
    """What one router has accepted: digests of its routes and of each cluster's endpoints."""

    routes: str = ""
    endpoints: dict[str, str] = field(default_factory=dict)
    sent: dict[tuple[Kind, str], tuple[str, float]] = field(default_factory=dict)
    waiting: dict[tuple[Kind, str], float] = field(default_factory=dict)
    seen: float = 0.0

    def accept(self, kind: Kind, name: str, version: Version | None) -> None:
        """Take note of the version that a request carries: Envoy sends the one it accepted last."""
        if kind is Kind.ROUTES:
            self.routes = version.digest if version else ""
        elif kind is Kind.ENDPOINTS and version:
            self.endpoints[name] = version.digest
        elif kind is Kind.ENDPOINTS:
            self.endpoints.pop(name, None)


def in_order(snapshot: Snapshot, node: Node, kind: Kind, name: str) -> bool:
    """Whether this answer may go to this router now, or has to wait for another one to be accepted first."""
    if kind is Kind.ROUTES:
        return snapshot.known <= node.endpoints.keys() and not any(
            _empties(node.endpoints[cluster], cluster) for cluster in snapshot.carrying - snapshot.empty
        )
    if kind is Kind.ENDPOINTS and name in snapshot.empty and name in node.endpoints:
        return node.routes in {snapshot.rds.digest, ""}
    return True


def _empties(digest: str, cluster: str) -> bool:
    return digest == endpoint_resource(cluster, ()).digest
