"""The whole Envoy configuration of a namespace, from values alone.

Comes in: the RoutedDeployments of a namespace. Goes out: a Snapshot of clusters, endpoints by cluster and
routes by deployment, each as the bytes to send and a digest of them. Invariants: same input, same bytes;
every cluster that a route names is in the snapshot; a change of one deployment changes no resource of
another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from noria_operator.api import names
from noria_operator.routers import clusters, entrance, messages, routes
from noria_operator.routers.discovery import Kind
from noria_operator.routers.entrance import ENTRY
from noria_operator.routers.traffic import (
    Endpoint,
    RoutedDeployment,
    aside_cluster,
    effective,
    feedback_cluster,
    grpc_cluster,
)

T = TypeVar("T")
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Resource:
    """What is sent as one piece: its name, its bytes and their digest.

    Of routes also the clusters that they name, and those among them that get requests.
    """

    name: str
    data: bytes = field(repr=False)
    digest: str
    named: frozenset[str] = NOTHING
    carrying: frozenset[str] = NOTHING

    @staticmethod
    def of(
        name: str, data: bytes, named: frozenset[str] = NOTHING, carrying: frozenset[str] = NOTHING
    ) -> Resource:
        return Resource(name, data, hashlib.sha256(data).hexdigest()[:16], named, carrying)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What every router of a namespace should have.

    `scopes` are the routes of each deployment, and the table of hosts under ENTRY; `empty` are the clusters
    without endpoints; `refused` the hosts that a deployment wanted but another one has. `routed` and
    `granted` are what it was made of: the deployments, and the hosts of each; `max_body` is the longest body
    that is passed on, in bytes, 0: of any length.
    """

    namespace: str
    clusters: Mapping[str, Resource] = field(default_factory=dict)
    endpoints: Mapping[str, Resource] = field(default_factory=dict)
    scopes: Mapping[str, Resource] = field(default_factory=dict)
    empty: frozenset[str] = NOTHING
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    routed: Mapping[str, RoutedDeployment] = field(default_factory=dict)
    granted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    max_body: int = 0

    def resources(self, kind: Kind) -> Mapping[str, Resource]:
        """What is sent of this kind, by name."""
        if kind is Kind.SCOPES:
            return self.scopes
        return self.clusters if kind is Kind.CLUSTERS else self.endpoints


Touched = Mapping[Kind, AbstractSet[str]]
"""The names of resources that may have come, changed or gone."""


def snapshot(namespace: str, deployments: Iterable[RoutedDeployment], *, max_body: int = 0) -> Snapshot:
    """The configuration for these deployments, whatever their order."""
    return amended(Snapshot(namespace, max_body=max_body), {each.name: each for each in deployments})[0]


def amended(before: Snapshot, changes: Mapping[str, RoutedDeployment | None]) -> tuple[Snapshot, Touched]:
    """The configuration after these deployments came, changed or went (None): nothing of others is made
    again, unless they get or lose a host.
    """
    routed = _with(before.routed, changes, {name: each for name, each in changes.items() if each is not None})
    granted, refused, moved = before.granted, before.refused, set[str]()
    begins = ENTRY not in before.scopes
    if begins or any(_claim(before.routed.get(name)) != _claim(changes[name]) for name in changes):
        granted, refused = routes.claimed(before.namespace, routed.values())
        moved = {name for name in routed if _preview(granted, name) != _preview(before.granted, name)}
    anew = routed.keys() & changes.keys() | moved
    scopes = {
        name: _scope(_Shape.of(routed[name]), _preview(granted, name), before.max_body) for name in anew
    }
    table = begins or granted != before.granted
    if table:
        scopes[ENTRY] = _table({name: granted[name] + _preview(granted, name) for name in sorted(routed)})
    pods = {one: hosts for name in changes for one, hosts in _pods(changes[name]).items()}
    named = {*pods, *(one for name in changes for one in _pods(before.routed.get(name)))}
    found = Snapshot(
        before.namespace,
        clusters=_with(before.clusters, named, {name: _cluster(name) for name in pods}),
        endpoints=_with(
            before.endpoints, named, {name: endpoint_resource(name, hosts) for name, hosts in pods.items()}
        ),
        scopes=_with(before.scopes, changes, scopes),
        empty=(before.empty - named) | {name for name, hosts in pods.items() if not hosts},
        refused=refused,
        routed=routed,
        granted=granted,
        max_body=before.max_body,
    )
    told = {*changes, *anew, *([ENTRY] if table else [])}
    return found, {Kind.CLUSTERS: named, Kind.ENDPOINTS: named, Kind.SCOPES: told}


def _with(before: Mapping[str, T], gone: Iterable[str], new: Mapping[str, T]) -> dict[str, T]:
    found = dict(before)
    for name in gone:
        found.pop(name, None)
    found.update(new)
    return found


def _claim(deployment: RoutedDeployment | None) -> tuple[object, ...]:
    """What decides which hosts are whose."""
    if deployment is None:
        return ()
    return deployment.name, deployment.hosts, deployment.created, deployment.preview


def _preview(granted: Mapping[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
    return granted.get(routes.preview_of(name), ())


def _pods(deployment: RoutedDeployment | None) -> dict[str, tuple[Endpoint, ...]]:
    """Endpoints by cluster."""
    if deployment is None:
        return {}
    found = {name: deployment.endpoints.get(name, ()) for name, _ in deployment.revisions}
    hashed = {feedback_cluster(name): hosts for name, hosts in found.items() if name in deployment.feedback}
    whole = found | {grpc_cluster(name): hosts for name, hosts in deployment.grpc.items()}
    shown = [deployment.challenger] if deployment.preview else []
    asked = {*deployment.nameable, *shown, *map(grpc_cluster, shown)}
    return whole | hashed | {aside_cluster(name): hosts for name, hosts in whole.items() if name in asked}


def _carrying(deployment: RoutedDeployment) -> list[str]:
    """The clusters that get requests."""
    names = [name for name, weight in effective(deployment).items() if weight > 0]
    copied = [deployment.ready_challenger] if deployment.mirror and deployment.ready_challenger else []
    names += dict.fromkeys(one for one in (*copied, *dict(deployment.matched)) if one not in names)
    hashed = [feedback_cluster(name) for name in names if name in deployment.feedback]
    named = [aside_cluster(name) for name in deployment.nameable if name in names]
    return names + hashed + named + [grpc_cluster(name) for name in names if name in deployment.grpc]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What of a deployment the routes depend on; hashable, so that unchanged ones are not written out
    again."""

    name: str
    revisions: tuple[tuple[str, int], ...]
    timeout: float
    retries: int
    alive: tuple[str, ...]
    version: int
    grpc: tuple[str, ...]
    challenger: str
    mirror: int
    match: tuple[tuple[str, str], ...]
    sticky: tuple[str, str] | None
    preview: bool
    guarded: bool
    arms: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    champion: str
    ranges: tuple[tuple[str, int, int], ...]
    numbers: tuple[tuple[str, str], ...]
    feedback: frozenset[str]

    @staticmethod
    def of(deployment: RoutedDeployment) -> _Shape:
        alive = tuple(name for name, _ in deployment.revisions if deployment.endpoints.get(name))
        return _Shape(
            deployment.name, deployment.revisions, deployment.timeout, deployment.retries, alive,
            deployment.version, tuple(deployment.grpc), deployment.challenger, deployment.mirror,
            deployment.match, deployment.sticky, deployment.preview, deployment.guarded, deployment.arms,
            deployment.champion, deployment.ranges, tuple(deployment.numbers.items()), deployment.feedback,
        )  # fmt: skip

    def deployment(self) -> RoutedDeployment:
        somewhere: tuple[Endpoint, ...] = (("", 0),)
        endpoints = dict.fromkeys(self.alive, somewhere)
        return RoutedDeployment(
            self.name,
            revisions=self.revisions,
            timeout=self.timeout,
            retries=self.retries,
            endpoints=endpoints,
            version=self.version,
            grpc=dict.fromkeys(self.grpc, ()),
            challenger=self.challenger,
            mirror=self.mirror,
            match=self.match,
            sticky=self.sticky,
            preview=self.preview,
            guarded=self.guarded,
            arms=self.arms,
            champion=self.champion,
            ranges=self.ranges,
            numbers=dict(self.numbers),
            feedback=self.feedback,
        )


@lru_cache(maxsize=8192)
def _scope(shape: _Shape, preview: tuple[str, ...], max_body: int) -> Resource:
    """All routes of one deployment."""
    deployment = shape.deployment()
    found = routes.configuration(deployment, preview, max_body=max_body)
    data = messages.SCOPE.encode(entrance.scope(shape.name, found))
    named = frozenset(_pods(deployment))
    return Resource.of(shape.name, data, named, frozenset(_carrying(deployment)))


def _table(hosts: Mapping[str, tuple[str, ...]]) -> Resource:
    """Which host is whose."""
    return Resource.of(ENTRY, messages.SCOPE.encode(entrance.scope(ENTRY, entrance.table(hosts))))


@lru_cache(maxsize=16384)
def _cluster(name: str) -> Resource:
    alike = name.removesuffix(names.ASIDE_SUFFIX)
    kind = next(filter(alike.endswith, (names.GRPC_SUFFIX, names.FEEDBACK_SUFFIX)), "")
    return Resource.of(name, messages.CLUSTER.encode({"name": name}) + _kind_of_cluster(kind))


@lru_cache
def _kind_of_cluster(kind: str) -> bytes:
    """All but the name: fields of a message may come in pieces."""
    return messages.CLUSTER.encode(clusters.settings(kind))


@lru_cache(maxsize=16384)
def endpoint_resource(name: str, endpoints: tuple[Endpoint, ...]) -> Resource:
    """The endpoints of one cluster."""
    return Resource.of(name, messages.ASSIGNMENT.encode(clusters.assignment(name, endpoints)))
