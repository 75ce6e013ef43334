"""From objects of the API server to RoutedDeployments.

Comes in: ModelDeployments (hosts, timeout, and the traffic in their status, or that of `first` before there
is one) and the pods of their revisions.
Goes out: RoutedDeployments. Invariants: nothing but specs, status and pods is used, so every replica of the
operator comes to the same configuration; a probe that fails everywhere does not leave a router without
endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from noria_operator.api.types import parse_duration
from noria_operator.domain.access import enforced
from noria_operator.routers.backends import Arm, Backend, arm_of_share
from noria_operator.routers.first import first_share
from noria_operator.routers.traffic import RETRIES, Endpoint, RoutedDeployment

Json = dict[str, Any]

DEFAULT_TIMEOUT = "30s"


def routed(deployment: Json, pods: Mapping[Arm, Sequence[Backend]]) -> RoutedDeployment:
    """One ModelDeployment; `pods` are those of its namespace, or of its revisions alone."""
    spec, status = deployment.get("spec", {}), deployment.get("status", {})
    strategy = spec.get("strategy") or {}
    first = first_share(deployment, pods)
    traffic = [first] if first else status.get("traffic") or ()
    revisions = tuple((share["name"], int(share["weight"])) for share in traffic)
    challenger = (status.get("candidate") or {}).get("name", "")
    shares: dict[str, Json] = {one["name"]: one for one in traffic}
    mine = {name: pods.get(arm_of_share(deployment, one), ()) for name, one in shares.items()}
    reach: Json = shares.get(challenger, {})
    router, custom = spec.get("router") or {}, (spec.get("server") or {}).get("runtime") == "custom"
    ours = {name: one for name, one in shares.items() if _is_ours(mine[name], custom=custom)}
    return RoutedDeployment(
        name=deployment["metadata"]["name"],
        created=deployment["metadata"].get("creationTimestamp", ""),
        hosts=tuple(spec.get("hosts") or ()),
        revisions=revisions,
        timeout=parse_duration(router.get("timeout", DEFAULT_TIMEOUT)).total_seconds(),
        retries=router.get("retries", RETRIES),
        endpoints=_taking(revisions, mine),
        version=1 if first else int(status.get("trafficVersion") or 0),
        grpc=_taking([one for one in revisions if _may_speak_grpc(mine[one[0]])], mine, grpc=True),
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
        numbers=_numbers(ours.values()),
        feedback=frozenset(ours),
    )


def _is_ours(pods: Sequence[Backend], *, custom: bool) -> bool:
    """Whether Noria's model server serves the revision; while no pod shows it, as the spec says."""
    return any(pod.ours for pod in pods) if pods else not custom


def _numbers(shares: Iterable[Json]) -> dict[str, str]:
    """What Noria's model server calls the versions; a container of the user's own may call its models' so."""
    named = {share["name"]: share["version"].rpartition("-")[2] for share in shares}
    return {name: number for name, number in named.items() if number.isdecimal()}


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


def _may_speak_grpc(pods: Sequence[Backend]) -> bool:
    """Whether there is a port for gRPC, or no pod yet that shows whether there will be one."""
    return not pods or any(pod.grpc is not None for pod in pods)


def _taking(
    revisions: Iterable[tuple[str, int]], pods: Mapping[str, Sequence[Backend]], *, grpc: bool = False
) -> dict[str, tuple[Endpoint, ...]]:
    """Endpoints by revision. While no version with weight has any, those with weight keep their unready pods.

    Nobody else is there to answer, and a pod whose probe fails (it is busy, its node is) often answers still;
    if it does not, the request fails as it would without. A version gets weight only once it was ready, so
    one that never was is given nothing.
    """
    found = {name: endpoints(pods[name], grpc=grpc) for name, _ in revisions}
    weighted = [name for name, weight in revisions if weight > 0]
    if any(found[name] for name in weighted):
        return found
    return found | {name: _unready(pods[name], grpc=grpc) for name in weighted}


def endpoints(pods: Iterable[Backend], *, grpc: bool = False) -> tuple[Endpoint, ...]:
    """The pods that take new requests: the ready ones; if there are none, those that end but still serve.

    The same rule as kube-proxy's (KEP-1669). A pod in its lame duck finishes what it has, and is given new
    requests only when nobody else is there.
    """
    serving = [pod for pod in pods if pod.serving]
    ready = _places((pod for pod in serving if not pod.ending), grpc=grpc)
    return ready or _places(serving, grpc=grpc)


def _unready(pods: Iterable[Backend], *, grpc: bool) -> tuple[Endpoint, ...]:
    """The pods that are not ready and are not being deleted either."""
    return _places((pod for pod in pods if not pod.serving and not pod.ending), grpc=grpc)


def _places(pods: Iterable[Backend], *, grpc: bool) -> tuple[Endpoint, ...]:
    """Address of each pod that has one, at its port for gRPC or its other one."""
    found = ((pod.address, pod.grpc if grpc else pod.http) for pod in pods)
    return tuple(sorted({(address, port) for address, port in found if port is not None}))
