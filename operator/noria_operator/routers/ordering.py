"""What a router may be told now: versions that never go back, and changes in an order that loses no request.

Comes in: the version a router has and the one this replica of the operator holds; what the router has
accepted so far. Goes out: whether to answer or to hold. Invariants: no router is given an older state by a
replica that lags; a route sends requests only to clusters that this router can reach; a cluster loses its
last endpoint only after the routes have left it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from noria_operator.routers.envoy import Snapshot, endpoint_resource

Position = tuple[int, int]
"""The highest resourceVersion seen of a ModelDeployment and of an EndpointSlice."""

HISTORY = 2048
"""Answers of each kind that are remembered, over all namespaces."""
NAMES = 200_000
"""Names of clusters in all of them: 10 MB or so. A namespace of a thousand deployments has four thousand."""


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
    """No object is newer, yet the content differs: a deletion that only a list told of, two releases of the
    operator, or an answer to a write that came first."""
    BEHIND = "behind"
    """The router knows something that we have not seen yet."""


@dataclass(frozen=True, slots=True)
class Version:
    """`version_info` as we write it: the position and the digest of the content."""

    position: Position
    digest: str

    def __str__(self) -> str:
        return f"{self.position[0]}.{self.position[1]}.{self.digest}"

    def after(self, other: Version | None) -> Version:
        """This content, never with a lower position than the one it takes the place of."""
        if other is None:
            return self
        first, second = map(max, self.position, other.position)
        return Version((first, second), self.digest)

    @staticmethod
    def parse(text: str) -> Version | None:
        """The inverse; None for "nothing yet" and for what we did not write."""
        parts = text.split(".")
        if len(parts) != 3 or not (parts[0].isdecimal() and parts[1].isdecimal()):
            return None
        return Version((int(parts[0]), int(parts[1])), parts[2])


def compare(ours: Version, theirs: Version | None, known: Position = (0, 0)) -> Order:
    """Positions are compared part by part: a replica that is ahead in one kind and behind in the other
    waits.

    `known` is how far this replica's lists reach, which says more than its newest objects: one that was
    deleted while no operator ran left nothing that is newer.
    """
    if theirs is None:
        return Order.AHEAD
    if ours.digest == theirs.digest:
        return Order.SAME
    reach = map(max, ours.position, known)
    if any(mine < other for mine, other in zip(reach, theirs.position, strict=True)):
        return Order.BEHIND
    return Order.LEVEL if ours.after(theirs).position == theirs.position else Order.AHEAD


Place = tuple[Kind, str]
"""One subscription of a router: the kind of question, and the cluster for endpoints."""


@dataclass(slots=True)
class Node:
    """What one router has: the digest it accepted last in each place, and the one that is on its way to it.

    Both count until the router asks again, because what was sent may be in force before the router says so.
    """

    accepted: dict[Place, str] = field(default_factory=dict)
    flying: dict[Place, str] = field(default_factory=dict)
    sent: dict[Place, tuple[str, float]] = field(default_factory=dict)
    waiting: dict[Place, float] = field(default_factory=dict)
    seen: float = 0.0

    def asks(self, place: Place, version: Version | None) -> None:
        """Take note of the version that a request carries: Envoy sends the one it accepted last."""
        self.flying.pop(place, None)
        if version is not None:
            self.accepted[place] = version.digest
        else:
            self.accepted.pop(place, None)

    def keep(self, clusters: frozenset[str] | None) -> None:
        """The router has these clusters and no others (None: not known which): the others are forgotten."""
        if clusters is None:
            return
        places: tuple[dict[Place, Any], ...] = (self.accepted, self.flying, self.sent, self.waiting)
        for held in places:
            for place in [place for place in held if place[1] and place[1] not in clusters]:
                del held[place]

    def answered(self, place: Place, digest: str, now: float) -> None:
        """An answer is on its way."""
        self.flying[place] = digest
        self.sent[place] = (digest, now)

    def may_have(self, place: Place) -> set[str]:
        """Every digest that may be in force there."""
        return {held[place] for held in (self.accepted, self.flying) if place in held}


@dataclass(slots=True)
class History:
    """What the latest answers named, by their digest: clusters, and for routes also which of them got
    requests."""

    clusters: dict[str, frozenset[str]] = field(default_factory=dict)
    routes: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    latest: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    """By namespace, so that equal sets (a weight changed) are held once."""

    def remember(self, snapshot: Snapshot) -> None:
        """A snapshot that routers may be given."""
        known, carrying = snapshot.known, snapshot.carrying
        before = self.latest.get(snapshot.namespace, (known, carrying))
        known = before[0] if before[0] == known else known
        carrying = before[1] if before[1] == carrying else carrying
        self.latest[snapshot.namespace] = known, carrying
        _put(self.clusters, snapshot.cds.digest, known)
        _put(self.routes, snapshot.rds.digest, (known, carrying))


def in_order(snapshot: Snapshot, node: Node, place: Place, history: History) -> bool:
    """Whether this answer may go to this router now, or has to wait for another one to be accepted first."""
    kind, name = place
    if kind is Kind.ROUTES:
        return _reachable(snapshot, node, history)
    if kind is Kind.ENDPOINTS and name in snapshot.empty and place in node.accepted:
        return node.may_have((Kind.ROUTES, "")) == {snapshot.rds.digest}
    return True


def _reachable(snapshot: Snapshot, node: Node, history: History) -> bool:
    """Whether the router has every cluster that the routes name, and endpoints where requests go.

    What its routes in force name is there already: taking weight away never waits, whoever answers.
    """
    for digest in node.may_have((Kind.CLUSTERS, "")):
        if not snapshot.known <= history.clusters.get(digest, snapshot.known):
            return False
    named, used = _in_force(node, history)
    if any((Kind.ENDPOINTS, name) not in node.accepted for name in snapshot.known - named):
        return False
    serving = snapshot.carrying - snapshot.empty
    if any((Kind.ENDPOINTS, name) not in node.accepted for name in serving - used):
        return False
    return not any(
        endpoint_resource(name, ()).digest in node.may_have((Kind.ENDPOINTS, name)) for name in serving
    )


def _in_force(node: Node, history: History) -> tuple[frozenset[str], frozenset[str]]:
    """The clusters that this router's routes certainly name, and those that certainly get requests."""
    nothing = frozenset[str](), frozenset[str]()
    found = [history.routes.get(digest, nothing) for digest in node.may_have((Kind.ROUTES, ""))]
    if not found:
        return nothing
    return frozenset.intersection(*(each[0] for each in found)), frozenset.intersection(
        *(each[1] for each in found)
    )


def _put(memory: dict[str, Any], digest: str, value: Any) -> None:
    memory.pop(digest, None)
    memory[digest] = value
    while len(memory) > 1 and (len(memory) > HISTORY or _names(memory) > NAMES):
        del memory[next(iter(memory))]


def _names(memory: dict[str, Any]) -> int:
    """How many names are held, those of a set that several answers share once."""
    held = {
        id(one): len(one) for each in memory.values() for one in (each if type(each) is tuple else (each,))
    }
    return sum(held.values())
