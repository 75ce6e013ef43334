"""Envoy's routes of a ModelDeployment, weights to clusters, and which hosts it answers to.

Comes in: RoutedDeployments. Goes out: plain data in the JSON form of Envoy's API. Invariants: a host
belongs to one deployment only (Envoy refuses the table of hosts else), so a host claimed twice stays with the
older one and is reported; the weights in force can be read back from the same resource that applies them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

from noria_operator.api import names
from noria_operator.routers import access_routes
from noria_operator.routers.entrance import SCOPE_HEADER
from noria_operator.routers.http import PREVIOUS_HOSTS, RETRY_AFTER, answer, set_header
from noria_operator.routers.traffic import (
    FULL,
    RETRIES,
    RoutedDeployment,
    aside_cluster,
    configured,
    effective,
    feedback_cluster,
    grpc_cluster,
    in_order,
    numbered,
    taking,
)

Json = dict[str, Any]

FEEDBACK_HEADER = "Noria-Feedback"
REVISION_HEADER = "Noria-Revision"
"""Response header that names the revision (cluster) a request was given to, also when the router answers
for it."""

STREAM_PATH = "/inference.GRPCInferenceService/ModelStreamInfer"

_WATCHED: Json = {
    "match": {"path": "/grpc.health.v1.Health/Watch", "grpc": {}},
    "direct_response": {
        "status": 404,
        "body": {"inline_string": "a router has many pods: call Check, or watch a pod at its own port"},
    },
}
"""Clients call it UNIMPLEMENTED, and take whoever says so for healthy (gRFC A17). Of a pod they would learn
when that one leaves, and ask the router nothing any more; and a call that only its client ends is an error of
the version in what Envoy counts.
"""

_FEEDBACK: Json = {"safe_regex": {"regex": "/.*/feedback"}}

PATIENCE_HEADER = "x-envoy-expected-rq-timeout-ms"
"""Request header that tells a server how long anybody waits for its answer."""

STREAM_IDLE = 300.0
"""Seconds without a byte after which a router gives a stream up where its route says nothing else."""
ANSWERED_IN_TIME = 30.0
"""Seconds beyond `timeout` after which a stream counts as idle: the time-out comes first, with its answer."""

_ANY_LENGTH = 2**63 - 1
"""More bytes than any request has."""

UNREACHED = "connect-failure,refused-stream,reset-before-request"
"""What no pod can have begun to answer."""

RETRY_POLICY: Json = {
    "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    "retry_host_predicate": [PREVIOUS_HOSTS],
    "host_selection_retry_max_attempts": "128",
}
"""Tries go to other pods of the version: one that was tried is drawn again, up to so many times. It is often
drawn: the pod that drops everything has the fewest requests. An answer, also a bad one, is the version's own.
"""


def domains(namespace: str, name: str) -> tuple[str, ...]:
    """The names under which the Service of a ModelDeployment is reached inside the cluster."""
    short = f"{name}.{namespace}"
    return name, short, f"{short}.svc", f"{short}.svc.cluster.local"


def preview_of(name: str) -> str:
    """How `claimed` calls the preview of a deployment; no object has such a name."""
    return f"{name}/preview"


def claimed(
    namespace: str, deployments: Iterable[RoutedDeployment]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Which deployment answers to which hosts, and which hosts each one wanted in vain.

    The in-cluster names come first, whoever else wants them, then those of previews (under `preview_of`); a
    further host stays with the oldest deployment that wants it (of one age: the first by name), so that a
    new one takes no traffic from one that serves.
    """
    ordered = sorted(deployments, key=lambda deployment: (deployment.created, deployment.name))
    granted = {each.name: domains(namespace, each.name) for each in ordered}
    for each in ordered:
        if each.preview and names.preview_name(each.name) not in granted:
            granted[preview_of(each.name)] = domains(namespace, names.preview_name(each.name))
    taken = {host for hosts in granted.values() for host in hosts} | {names.VERSION_HOST, "*"}
    refused: dict[str, tuple[str, ...]] = {}
    for each in ordered:
        wanted = [host.lower() for host in each.hosts]
        fresh = tuple(dict.fromkeys(host for host in wanted if host not in taken))
        lost = tuple(host for host in wanted if host in taken and host not in granted[each.name])
        granted[each.name] += fresh
        taken.update(fresh)
        if lost:
            refused[each.name] = lost
    return granted, refused


class Kind(Enum):
    """What requests are for."""

    HTTP = "predictions, and all that is nothing else"
    FEEDBACK = "labels, which the same pod should see when they come again"
    NAMED = "predictions of the version that the path names"
    GRPC = "calls with one answer"
    STREAM = "calls that may take any time"

    @property
    def grpc(self) -> bool:
        return self in {Kind.GRPC, Kind.STREAM}


def choices(deployment: RoutedDeployment, match: Json, kind: Kind = Kind.HTTP) -> list[Json]:
    """The routes of one kind of requests to a deployment, of which the first that matches counts.

    Those with a challenger's headers go to it while it has pods, all others by weight, and copies of some
    to the challenger as well; not of feedback, which would be counted twice, nor of streams. Feedback goes to
    those alone that take it.
    """
    if not deployment.revisions:
        return [{"match": match, **answer(503, {"error": f"no version of {deployment.name} serves yet"})}]
    found = []
    copied = kind in {Kind.HTTP, Kind.GRPC} and deployment.ready_challenger
    weights: Sequence[tuple[str, int]] = in_order(deployment)
    if kind is Kind.FEEDBACK:
        weights = taking(deployment, weights)
    for challenger, wanted in deployment.matched:
        if kind is Kind.FEEDBACK and deployment.feedback and challenger not in deployment.feedback:
            continue
        mine = {**match, "headers": [_has(name, value) for name, value in wanted]}
        only = [(challenger, FULL)]
        found.append({"match": mine, **_action(deployment, only, kind)})
    action = _action(deployment, weights, kind)
    if copied and deployment.mirror:
        copies = _copies(_cluster(deployment, deployment.challenger, kind), deployment.mirror)
        action = {**action, "route": {**action["route"], "request_mirror_policies": copies}}
    return [*found, {"match": match, **action}]


def _naming(deployment: RoutedDeployment) -> list[Json]:
    """The routes of requests whose path names one of the versions that share the traffic: they go to it,
    since another would call it unknown. Nobody copies them.
    """
    paths = {Kind.FEEDBACK: "/feedback"} if deployment.feedback else {}
    return [
        {
            "match": {"safe_regex": {"regex": f"/v2/models/[^/]+/versions/{number}{path}"}},
            **_action(deployment, weights, kind),
        }
        for number, weights in numbered(deployment).items()
        for kind, path in {**paths, Kind.NAMED: "(/.*)?"}.items()
    ]


def _has(name: str, value: str) -> Json:
    return {"name": name, "string_match": {"exact": value}}


def _copies(cluster: str, percent: int) -> list[Json]:
    share = {"default_value": {"numerator": percent, "denominator": "HUNDRED"}}
    return [{"cluster": cluster, "runtime_fraction": share, "disable_shadow_host_suffix_append": True}]


def _cluster(deployment: RoutedDeployment, revision: str, kind: Kind) -> str:
    """A gRPC call to a revision whose pods show no port for it goes to their other one, where it is told so
    (404, which clients call UNIMPLEMENTED): the weights hold for every protocol.
    """
    if kind is Kind.FEEDBACK and revision in deployment.feedback:
        return feedback_cluster(revision)
    found = grpc_cluster(revision) if kind.grpc and revision in deployment.grpc else revision
    return aside_cluster(found) if kind is Kind.NAMED or deployment.aside else found


def _action(deployment: RoutedDeployment, weights: Sequence[tuple[str, int]], kind: Kind) -> Json:
    """The part of a route that says where requests go."""
    clusters = [
        {
            "name": _cluster(deployment, revision, kind),
            "weight": weight,
            "response_headers_to_add": [set_header(REVISION_HEADER, revision)],
        }
        for revision, weight in weights
    ]
    route: Json = {
        "route": {
            "weighted_clusters": {"clusters": clusters, "use_hash_policy": True},
            "hash_policy": _hashed(deployment),
            "timeout": "0s" if kind is Kind.STREAM else f"{deployment.timeout:g}s",
        }
    }
    if kind is not Kind.STREAM and deployment.timeout + ANSWERED_IN_TIME > STREAM_IDLE:
        route["route"]["idle_timeout"] = f"{deployment.timeout + ANSWERED_IN_TIME:g}s"
    if not any(deployment.endpoints.get(revision) for revision, _ in weights):
        route["response_headers_to_add"] = [set_header("retry-after", RETRY_AFTER)]
    if kind is not Kind.STREAM:
        patience = {"key": PATIENCE_HEADER, "value": f"{deployment.timeout * 1000:.0f}"}
        route["request_headers_to_add"] = [{"header": patience, "append_action": "ADD_IF_ABSENT"}]
    return route


def _hashed(deployment: RoutedDeployment) -> list[Json]:
    """What decides the version, and for feedback the pod: the prediction that feedback is about, else the
    user; chance without both.
    """
    feedback = {"header": {"header_name": FEEDBACK_HEADER}}
    if deployment.sticky is None:
        return [feedback]
    kind, name = deployment.sticky
    user = {"header": {"header_name": name}} if kind == "header" else {"cookie": {"name": name}}
    return [{**feedback, "terminal": True}, user]


def preview_host(deployment: RoutedDeployment, hosts: tuple[str, ...]) -> Json:
    """Everything to the challenger while there is one, also before it has pods (503); else as ever."""
    challenger = deployment.challenger
    only = replace(deployment, revisions=((challenger, FULL),)) if challenger else deployment
    alone = replace(only, mirror=0, match=(), arms=(), ranges=(), aside=bool(challenger))
    return {**virtual_host(alone, hosts), "name": names.preview_name(deployment.name)}


def virtual_host(deployment: RoutedDeployment, hosts: tuple[str, ...]) -> Json:
    """What answers to the hosts of a deployment: everything there is its own."""
    copied = deployment.mirror and deployment.ready_challenger
    apart = deployment.revisions and (deployment.feedback or copied)
    found = [
        _WATCHED,
        *choices(deployment, {"path": STREAM_PATH, "grpc": {}}, Kind.STREAM),
        *choices(deployment, {"prefix": "/", "grpc": {}}, Kind.GRPC),
        *_naming(deployment),
        *(choices(deployment, _FEEDBACK, Kind.FEEDBACK) if apart else ()),
        *choices(deployment, {"prefix": "/"}),
    ]
    return {
        "name": deployment.name,
        "domains": list(hosts),
        "retry_policy": _tries(deployment.retries),
        "routes": access_routes.guarded(deployment.name, found) if deployment.guarded else found,
    }


def _tries(retries: int) -> Json:
    """What got no answer is tried again: whoever was to answer is gone. Who answers some of it twice may ask
    for none; what reached nobody is tried again all the same.
    """
    on, times = (f"{UNREACHED},reset", retries) if retries else (UNREACHED, RETRIES)
    return {"retry_on": on, "num_retries": times, **RETRY_POLICY}


def version_route(deployment: RoutedDeployment) -> Json:
    """Tells what is in force: `version` of the traffic, `weights` as configured, `effective` as sent while
    some pods are missing."""
    told: Json = {
        "version": deployment.version,
        "weights": configured(deployment),
        "effective": effective(deployment),
    }
    return {"match": {"path": f"/{deployment.name}"}, **answer(200, told)}


def _too_long(limit: int) -> Json:
    """What a request is told whose body says that it has more than `limit` bytes. One that does not say how
    long it is (in chunks) would have to be held to be measured, and goes on to the server.
    """
    more = {"name": "content-length", "range_match": {"start": limit + 1, "end": _ANY_LENGTH}}
    told = {"error": f"the body is longer than {limit} bytes, the most that this router passes on"}
    return {"match": {"prefix": "/", "headers": [more]}, **answer(413, told)}


def _limited(host: Json, limit: int) -> Json:
    return {**host, "routes": [_too_long(limit), *host["routes"]]} if limit else host


def configuration(deployment: RoutedDeployment, preview: tuple[str, ...] = (), *, max_body: int = 0) -> Json:
    """All routes of one deployment; `preview` are the hosts of its challenger. Whatever host led here is its
    own, but for these and the one that tells what is in force. `max_body` is in bytes, 0: any length."""
    version = {
        "name": names.VERSION_HOST,
        "domains": [names.VERSION_HOST],
        "routes": [version_route(deployment)],
    }
    hosts = [_limited(virtual_host(deployment, ("*",)), max_body), version]
    hosts += [_limited(preview_host(deployment, preview), max_body)] if preview else []
    return {
        "name": deployment.name,
        "validate_clusters": True,
        "ignore_port_in_host_matching": True,
        "request_headers_to_remove": [SCOPE_HEADER],
        "virtual_hosts": hosts,
    }
