"""The whole Envoy configuration of a namespace, from values alone.

Comes in: the RoutedDeployments of a namespace. Goes out: a Snapshot of routes (RDS), clusters (CDS) and
endpoints by cluster (EDS), each as the text to send and a digest of its content. Invariants: same input,
same bytes; every cluster that a route names is in the snapshot.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from noria_operator.routers import clusters, routes
from noria_operator.routers.bootstrap import config_source
from noria_operator.routers.traffic import Endpoint, RoutedDeployment, effective, grpc_cluster

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """The answer to one kind of question: a JSON array of Envoy resources, and the digest of that text."""

    text: str
    digest: str

    @staticmethod
    def of(items: Iterable[str]) -> Resource:
        text = f"[{','.join(items)}]"
        return Resource(text, hashlib.sha256(text.encode()).hexdigest()[:16])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What every router of a namespace should have.

    `carrying` are the clusters that get requests, `known` all that a route names; `refused` the hosts that
    a deployment wanted but another one has.
    """

    namespace: str
    rds: Resource
    cds: Resource
    eds: Mapping[str, Resource]
    carrying: frozenset[str]
    known: frozenset[str]
    empty: frozenset[str]
    refused: Mapping[str, tuple[str, ...]]

    @property
    def version(self) -> str:
        """Digest of everything in the snapshot."""
        parts = [self.rds.digest, self.cds.digest, *(self.eds[name].digest for name in sorted(self.eds))]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def snapshot(
    namespace: str, deployments: Iterable[RoutedDeployment], *, cluster_domain: str = "cluster.local"
) -> Snapshot:
    """The configuration for these deployments, in an order that depends on their names only."""
    ordered = sorted(deployments, key=lambda deployment: deployment.name)
    granted, refused = routes.claimed(namespace, ordered, cluster_domain)
    pieces = [
        _pieces(_Shape.of(each), granted[each.name], granted.get(routes.preview_of(each.name), ()))
        for each in ordered
    ]
    endpoints = {name: each.endpoints.get(name, ()) for each in ordered for name, _ in each.revisions}
    endpoints |= {grpc_cluster(name): hosts for each in ordered for name, hosts in each.grpc.items()}
    return Snapshot(
        namespace=namespace,
        rds=_route_configuration(pieces),
        cds=Resource.of(_cluster(name, namespace) for name in sorted(endpoints)),
        eds={name: endpoint_resource(name, hosts) for name, hosts in endpoints.items()},
        carrying=frozenset(name for each in ordered for name in _carrying(each)),
        known=frozenset(endpoints),
        empty=frozenset(name for name, hosts in endpoints.items() if not hosts),
        refused=refused,
    )


def _carrying(deployment: RoutedDeployment) -> list[str]:
    """The clusters that get requests."""
    names = [name for name, weight in effective(deployment).items() if weight > 0]
    copied = [deployment.ready_challenger] if deployment.mirror and deployment.ready_challenger else []
    names += dict.fromkeys(one for one in (*copied, *dict(deployment.matched)) if one not in names)
    return names + [grpc_cluster(name) for name in names if name in deployment.grpc]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What of a deployment the routes depend on; hashable, so that unchanged ones are not written out
    again."""

    name: str
    revisions: tuple[tuple[str, int], ...]
    timeout: float
    alive: tuple[str, ...]
    version: int
    grpc: tuple[str, ...]
    challenger: str
    mirror: int
    match: tuple[tuple[str, str], ...]
    sticky: tuple[str, str] | None
    guarded: bool
    arms: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    champion: str
    ranges: tuple[tuple[str, int, int], ...]

    @staticmethod
    def of(deployment: RoutedDeployment) -> _Shape:
        alive = tuple(name for name, _ in deployment.revisions if deployment.endpoints.get(name))
        return _Shape(
            deployment.name, deployment.revisions, deployment.timeout, alive, deployment.version,
            tuple(deployment.grpc), deployment.challenger, deployment.mirror, deployment.match,
            deployment.sticky, deployment.guarded, deployment.arms, deployment.champion, deployment.ranges,
        )  # fmt: skip

    def deployment(self) -> RoutedDeployment:
        somewhere: tuple[Endpoint, ...] = (("", 0),)
        endpoints = dict.fromkeys(self.alive, somewhere)
        return RoutedDeployment(
            self.name,
            revisions=self.revisions,
            timeout=self.timeout,
            endpoints=endpoints,
            version=self.version,
            grpc=dict.fromkeys(self.grpc, ()),
            challenger=self.challenger,
            mirror=self.mirror,
            match=self.match,
            sticky=self.sticky,
            guarded=self.guarded,
            arms=self.arms,
            champion=self.champion,
            ranges=self.ranges,
        )


@lru_cache(maxsize=8192)
def _pieces(shape: _Shape, hosts: tuple[str, ...], preview: tuple[str, ...]) -> tuple[str, str, str]:
    """Virtual hosts, routes of other hosts and version route of one deployment, as text."""
    deployment = shape.deployment()
    own = [routes.virtual_host(deployment, hosts)]
    own += [routes.preview_host(deployment, preview)] if preview else []
    made = (
        [*routes.path_routes(deployment), *routes.model_routes(deployment)],
        routes.version_route(deployment),
    )
    return ",".join(map(_text, own)), ",".join(map(_text, made[0])), _text(made[1])


def _route_configuration(pieces: list[tuple[str, str, str]]) -> Resource:
    hosts = [own for own, _, _ in pieces]
    hosts.append(_filled(routes.fallback_host, [path for _, path, _ in pieces]))
    hosts.append(_filled(routes.version_host, [version for _, _, version in pieces]))
    head = {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": routes.ROUTE_CONFIGURATION,
        "ignore_port_in_host_matching": True,
        "validate_clusters": True,
    }
    return Resource.of([f'{_text(head)[:-1]},"virtual_hosts":[{",".join(hosts)}]}}'])


def _filled(host: Any, route_texts: list[str]) -> str:
    """A virtual host around routes that are text already."""
    empty = host([])
    rest = [_text(route) for route in empty.pop("routes")]
    return f'{_text(empty)[:-1]},"routes":[{",".join([*route_texts, *rest])}]}}'


@lru_cache(maxsize=16384)
def _cluster(name: str, namespace: str) -> str:
    return _text(clusters.cluster(name, config_source(namespace)))


@lru_cache(maxsize=16384)
def endpoint_resource(name: str, endpoints: tuple[Endpoint, ...]) -> Resource:
    """The EDS answer for one cluster."""
    return Resource.of([_text(clusters.assignment(name, endpoints))])


def _text(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))
