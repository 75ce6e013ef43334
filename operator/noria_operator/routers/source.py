"""From objects of the API server to RoutedDeployments.

Comes in: ModelDeployments (hosts, timeout, and the traffic in their status) and EndpointSlices of the
Services of their revisions. Goes out: RoutedDeployments. Invariants: nothing but specs, status and
EndpointSlices is used, so every replica of the operator comes to the same configuration; a probe that fails
everywhere does not leave a router without endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from noria_operator.api import names
from noria_operator.api.types import parse_duration
from noria_operator.domain.access import enforced
from noria_operator.routers.traffic import Endpoint, RoutedDeployment

Json = dict[str, Any]

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
DEFAULT_TIMEOUT = "30s"


def routed(deployment: Json, slices: Mapping[str, Iterable[Json]]) -> RoutedDeployment:
    """One ModelDeployment; `slices` are the EndpointSlices of its namespace by Service."""
    spec, status = deployment.get("spec", {}), deployment.get("status", {})
    strategy = spec.get("strategy") or {}
    revisions = tuple((share["name"], int(share["weight"])) for share in status.get("traffic") or ())
    challenger = (status.get("candidate") or {}).get("name", "")
    shares: dict[str, Json] = {one["name"]: one for one in status.get("traffic") or ()}
    reach: Json = shares.get(challenger, {})
    timeout = (spec.get("router") or {}).get("timeout", DEFAULT_TIMEOUT)
    return RoutedDeployment(
        name=deployment["metadata"]["name"],
        created=deployment["metadata"].get("creationTimestamp", ""),
        hosts=tuple(spec.get("hosts") or ()),
        revisions=revisions,
        timeout=parse_duration(timeout).total_seconds(),
        endpoints=_taking(revisions, slices),
        version=int(status.get("trafficVersion") or 0),
        grpc=_taking(
            [one for one in revisions if _may_speak_grpc(slices.get(one[0], ()))], slices, grpc=True
        ),
        challenger=challenger if reach else "",
        mirror=int(reach.get("mirror") or 0),
        match=_headers(reach),
        sticky=next(iter((strategy.get("sticky") or {}).items()), None),
        preview=bool(strategy.get("preview")),
        guarded=enforced(deployment),
        arms=tuple(
            (one["name"], _headers(shares.get(one["name"], {}))) for one in status.get("others") or ()
        ),
        champion=(status.get("stable") or {}).get("name", ""),
        ranges=tuple(_ranges(shares.values())),
    )


def _headers(share: Json) -> tuple[tuple[str, str], ...]:
    return tuple((one["name"], one["value"]) for one in share.get("match") or ())


def _ranges(shares: Iterable[Json]) -> Iterator[tuple[str, int, int]]:
    """Cluster, first and last percent of users, as status writes them: `60-79,90-94`."""
    for share in shares:
        for text in filter(None, share.get("ranges", "").split(",")):
            first, _, last = text.partition("-")
            yield share["name"], int(first), int(last)


def by_envoy(deployment: Json) -> bool:
    """Whether the namespace's router is the one that this deployment asks for."""
    return bool((deployment["spec"].get("router") or {}).get("type", "Envoy") == "Envoy")


def by_service(slices: Iterable[Json]) -> dict[str, list[Json]]:
    """EndpointSlices by the name of their Service."""
    found: dict[str, list[Json]] = {}
    for each in slices:
        service = each["metadata"].get("labels", {}).get(SERVICE_NAME_LABEL)
        if service:
            found.setdefault(service, []).append(each)
    return found


def _may_speak_grpc(slices: Iterable[Json]) -> bool:
    """Whether there is a port for gRPC, or no pod yet that shows whether there will be one."""
    shown = {port.get("name") for each in slices for port in each.get("ports") or ()}
    return not shown or names.GRPC_PORT_NAME in shown


def _taking(
    revisions: Iterable[tuple[str, int]], slices: Mapping[str, Iterable[Json]], *, grpc: bool = False
) -> dict[str, tuple[Endpoint, ...]]:
    """Endpoints by revision. While no version with weight has any, those with weight keep their unready pods.

    Nobody else is there to answer, and a pod whose probe fails (it is busy, its node is) often answers still;
    if it does not, the request fails as it would without. A version gets weight only once it was ready, so
    one that never was is given nothing.
    """
    found = {name: endpoints(slices.get(name, ()), grpc=grpc) for name, _ in revisions}
    weighted = [name for name, weight in revisions if weight > 0]
    if any(found[name] for name in weighted):
        return found
    return found | {name: _unready(slices.get(name, ()), grpc=grpc) for name in weighted}


def endpoints(slices: Iterable[Json], *, grpc: bool = False) -> tuple[Endpoint, ...]:
    """The pods that take new requests: the ready ones; if there are none, those that end but still serve.

    The same rule as kube-proxy's (KEP-1669). A pod in its lame duck finishes what it has, and is given new
    requests only when nobody else is there.
    """
    ready: set[Endpoint] = set()
    ending: set[Endpoint] = set()
    for place, conditions in _pods(slices, grpc=grpc):
        if conditions.get("ready", True):
            ready.add(place)
        elif conditions.get("serving") and conditions.get("terminating"):
            ending.add(place)
    return tuple(sorted(ready or ending))


def _unready(slices: Iterable[Json], *, grpc: bool) -> tuple[Endpoint, ...]:
    """The pods that are not ready and are not being deleted either."""
    unready = {
        place
        for place, conditions in _pods(slices, grpc=grpc)
        if not conditions.get("ready", True) and not conditions.get("terminating")
    }
    return tuple(sorted(unready))


def _pods(slices: Iterable[Json], *, grpc: bool) -> Iterator[tuple[Endpoint, Json]]:
    """Address and conditions of every pod that has an address, at its port for gRPC or its other one."""
    for each in slices:
        ports = [
            port["port"]
            for port in each.get("ports") or ()
            if port.get("port") and (port.get("name") == names.GRPC_PORT_NAME) is grpc
        ]
        for endpoint in each.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            yield from (
                ((address, port), conditions)
                for address in endpoint.get("addresses", ())[:1]
                for port in ports[:1]
            )
