"""Envoy's clusters and their endpoints: one cluster a revision, so that Envoy counts every version by itself.

Comes in: what a cluster is for, and its endpoints. Goes out: plain data in the JSON form of Envoy's API.
Invariant: what a cluster looks like depends on nothing else, so that no change of weights or pods ever
rebuilds it. A revision that takes gRPC has a second cluster for it: another port, another protocol; one that
takes feedback has one where a hash of the request says which pod it goes to; and there are some for requests
that no weight divides, which are no part of what versions are compared by.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from noria_operator.api import names
from noria_operator.routers.http import ads, socket
from noria_operator.routers.traffic import Endpoint

Json = dict[str, Any]

IDLE_TIMEOUT = "1.5s"
"""How long an unused connection to a pod is kept. Shorter than the keep-alive of the usual servers
(gunicorn 2 s, Node and uvicorn 5 s): whoever closes first must be the router, or a request meets a
connection that is just being closed."""

CONNECT_SECONDS = 1.0
"""How long a connection to a pod may take before another pod is tried."""
GRPC_CONNECT_SECONDS = 2.5
"""The same for gRPC: while a server is being replaced, the first packets of a connection are dropped (ADR
45); they are sent again after one second and after two."""

_HTTP_OPTIONS: Json = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": IDLE_TIMEOUT},
        "explicit_http_config": {"http_protocol_options": {}},
    }
}

_GRPC_OPTIONS: Json = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": "300s"},
        "explicit_http_config": {
            # Many calls share a connection: one to a pod that is gone without a word is found out.
            "http2_protocol_options": {"connection_keepalive": {"interval": "10s", "timeout": "3s"}}
        },
    }
}

_OUTLIERS: Json = {
    "interval": "1s",
    "base_ejection_time": "3s",
    "max_ejection_time": "30s",
    "max_ejection_percent": 50,
    "consecutive_gateway_failure": 5,
    "enforcing_consecutive_gateway_failure": 100,
    "consecutive_5xx": 20,
    "enforcing_consecutive_5xx": 100,
    "enforcing_success_rate": 0,
    "enforcing_failure_percentage": 0,
}
"""A pod that is gone or wedged is set aside after five requests without an answer. Failures to connect and
to answer count together: counted apart, a connection that opens would forgive the answer that it drops. A
version that is bad as a whole still gets its requests, and its errors are counted: at most half of its pods
are set aside, and below half Envoy's panic mode uses them all."""

_LIMITS: Json = {
    "thresholds": [
        {
            "priority": "DEFAULT",
            "max_connections": 4096,
            "max_pending_requests": 4096,
            "max_requests": 4096,
            "max_retries": 4096,
            "track_remaining": False,
        }
    ]
}
"""A second try has its place until it is answered: a busy pod that dies leaves as many as it held."""


_BY_HASH: Json = {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "64"}}
"""Equal hashes go to the same pod; one that comes or goes moves its share of them, and no more. A ring as
small as that is no even one, which answers that take microseconds need not be."""


def settings(kind: str) -> Json:
    """One revision's cluster, all but its name; its endpoints come by the same stream. `kind` is the suffix
    of the name: what it is for.
    """
    grpc = kind == names.GRPC_SUFFIX
    return {
        "type": "EDS",
        "connect_timeout": f"{GRPC_CONNECT_SECONDS if grpc else CONNECT_SECONDS:g}s",
        **(_BY_HASH if kind == names.FEEDBACK_SUFFIX else {"lb_policy": "LEAST_REQUEST"}),
        "eds_cluster_config": {"eds_config": ads()},
        "circuit_breakers": _LIMITS,
        "outlier_detection": _OUTLIERS,
        "typed_extension_protocol_options": _GRPC_OPTIONS if grpc else _HTTP_OPTIONS,
    }


def assignment(name: str, endpoints: Iterable[Endpoint]) -> Json:
    """The endpoints of one cluster; none at all is an answer too."""
    hosts = [{"endpoint": {"address": socket(address, port)}} for address, port in sorted(endpoints)]
    return {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": hosts}] if hosts else [],
    }
