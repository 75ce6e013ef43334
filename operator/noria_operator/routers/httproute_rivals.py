"""Which HTTPRoutes take requests that another one asks for, by the precedence of the Gateway API.

Comes in: the HTTPRoute of a ModelDeployment and all others. Goes out: what of its hosts and paths older ones
have. Invariant: only the same host and path are meant, which both match alone: a longer path or a named host
goes before a shorter one or any host, as whoever wrote it wanted.

Source: `HTTPRouteRule.matches` of gateway.networking.k8s.io/v1: of equal matches the route that was created
first counts, then the first by `namespace/name`. No status tells of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from noria_operator.routers.httproute import GROUP, standing

Json = dict[str, Any]
Claim = tuple[str, str]
"""Host (`*`: any) and the beginning of paths."""
Parent = tuple[str, str, str | None]
"""Namespace and name of a Gateway, and its listener, if one is named."""


def claims(route: Json) -> frozenset[Claim]:
    """What a route asks for, whatever else a request says."""
    hosts = [host.lower() for host in route["spec"].get("hostnames") or ["*"]]
    rules = route["spec"].get("rules") or ()
    matches: list[Json] = [match for rule in rules for match in rule.get("matches") or [{}]]
    paths = [one.get("path") or {} for one in matches if one.keys() <= {"path"}]
    prefixes = {one.get("value", "/") for one in paths if one.get("type", "PathPrefix") == "PathPrefix"}
    return frozenset((host, path) for host in hosts for path in prefixes)


def taken(route: Json, others: Iterable[Json]) -> Mapping[Claim, str]:
    """What of the claims of `route` an older one of its gateway has: `namespace/name` of each."""
    mine, parents, found = claims(route), _parents(route), dict[Claim, str]()
    for other in others:
        if _age(other) < _age(route) and _meet(parents, _parents(other)) and standing(other).served:
            found |= {claim: _name(other) for claim in claims(other) & mine if claim not in found}
    return found


def _age(route: Json) -> tuple[str, str]:
    return route["metadata"].get("creationTimestamp", ""), _name(route)


def _name(route: Json) -> str:
    return f"{route['metadata']['namespace']}/{route['metadata']['name']}"


def _parents(route: Json) -> list[Parent]:
    return [
        (ref.get("namespace", route["metadata"]["namespace"]), ref["name"], ref.get("sectionName"))
        for ref in route["spec"].get("parentRefs") or ()
        if (ref.get("group", GROUP), ref.get("kind", "Gateway")) == (GROUP, "Gateway")
    ]


def _meet(some: Iterable[Parent], others: list[Parent]) -> bool:
    """Whether both are attached to one listener."""
    return any(
        one[:2] == other[:2] and (None in (one[2], other[2]) or one[2] == other[2])
        for one in some
        for other in others
    )
