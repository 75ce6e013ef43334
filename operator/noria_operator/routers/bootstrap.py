"""The static part of a router's configuration: what Envoy is started with.

Comes in: the namespace, its token and the operator's address. Goes out: `envoy.json` as plain data.
Invariants: the admin interface listens on a Unix socket only; the port for statistics can read, never
change; a router is ready only when routes, and the clusters and endpoints they need, have arrived; an
operator that is away costs neither configuration nor CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from noria_operator.api import names
from noria_operator.domain.access import Guard
from noria_operator.routers import access, drain, entrance, routes, stats_listener, tls
from noria_operator.routers.http import (
    ads,
    by_dns,
    connection_manager,
    http_filter,
    listener,
    only,
    pipe,
    router_filter,
    socket,
    static_cluster,
)

Json = dict[str, Any]

CONFIG_FILE = "envoy.json"
CONFIG_DIR = "/etc/noria"
TLS_DIR = "/etc/noria-tls"
MILLISECONDS = (
    *(
        0.5,
        1,
        2,
        3,
        4,
        5,
        6,
        8,
        10,
        12,
        15,
        20,
        25,
        30,
        40,
        50,
        60,
        80,
        100,
        120,
        150,
        200,
        250,
        300,
        400,
        500,
    ),
    *(600, 800, 1000, 1500, 2000, 2500, 3000, 5000, 7500, 10_000, 15_000, 30_000, 60_000, 300_000, 3_600_000),
)
"""Bounds of the buckets in which answers are counted by their time: fine enough for a quantile of a fast
model. Envoy's own leap from 1 to 5 and 10 to 25.
"""


UNREAD = tuple(
    f"{suffix}.{kind}"
    for suffix in (names.FEEDBACK_SUFFIX, names.ASIDE_SUFFIX)
    for kind in (
        *(
            "assignment_",
            "bind_",
            "circuit_breakers.",
            "default.",
            "lb_",
            "membership_",
            "outlier_detection.",
        ),
        *("retry_", "update_", "upstream_flow_", "upstream_internal_", "version", "warming_"),
        *(f"upstream_cx_{one}" for one in ("active", "c", "h", "m", "o", "p", "r", "t")),
    )
)
"""Statistics that are not kept of clusters for feedback, and for requests that no weight divides: most of
some two hundred, which nobody reads there, but all statistics are gone through whenever some are read.
"""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What a router's static configuration depends on.

    `token` proves the namespace to the operator; `drain_token` lets the kubelet's preStop hook start the
    lame duck; `tls` are the Secrets with certificates, `guards` say who may call. `run_dir` is a writable
    directory for Unix sockets; ports, `address` and the other directories are changed by tests only.
    """

    namespace: str
    token: str
    drain_token: str
    xds_address: str
    drain_seconds: int = drain.SECONDS
    drain_longest: int = drain.LONGEST
    heap_bytes: int = 800 * 1024 * 1024
    tls: tuple[str, ...] = ()
    guards: tuple[Guard, ...] = ()
    access_dir: str = access.ACCESS_DIR
    sds_dir: str = CONFIG_DIR
    run_dir: str = "/tmp"
    address: str = "0.0.0.0"
    traffic_port: int = names.ROUTER_TRAFFIC_PORT
    tls_port: int = names.ROUTER_TLS_PORT
    stats_port: int = names.ROUTER_STATS_PORT


def bootstrap(want: Bootstrap) -> Json:
    """The content of `envoy.json`."""
    admin = pipe(f"{want.run_dir}/envoy-admin.sock")
    # Envoy starts no listener before clusters and routes are there or their first fetch has run out of time:
    # so that runs out at once, for the probes to be answered, and readiness waits for the routes instead.
    source = ads("0.05s")
    return {
        "node": {
            "cluster": names.ROUTER_NAME,
            "metadata": {"namespace": want.namespace, "token": want.token},
        },
        "admin": {"address": admin},
        "dynamic_resources": {"cds_config": source, "ads_config": _stream()},
        "static_resources": {
            "listeners": [
                _traffic(want, source),
                *_over_tls(want, source),
                _stats(want),
                *access.listeners(want),
            ],
            "clusters": [
                static_cluster(stats_listener.ADMIN_CLUSTER, admin),
                static_cluster(stats_listener.TRAFFIC_CLUSTER, socket("127.0.0.1", want.traffic_port)),
                static_cluster(stats_listener.STATS_CLUSTER, socket("127.0.0.1", want.stats_port)),
                _operator(want.xds_address),
                *access.clusters(want),
            ],
        },
        "stats_config": {
            "stats_matcher": {"exclusion_list": {"patterns": [{"contains": one} for one in UNREAD]}},
            "histogram_bucket_settings": [
                {
                    "match": {"safe_regex": {"regex": r"cluster\.[^.]+\.upstream_rq_time"}},
                    "buckets": list(MILLISECONDS),
                }
            ],
        },
        "overload_manager": _overload(want.heap_bytes),
    }


def _traffic(want: Bootstrap, source: Json) -> Json:
    manager = connection_manager(
        "traffic",
        entrance.options(source),
        # Clients' own x-envoy-* headers (timeouts, retries) are dropped, whatever address they come from.
        use_remote_address=True,
        internal_address_config={"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        server_header_transformation="PASS_THROUGH",
        normalize_path=True,
        merge_slashes=True,
        request_headers_timeout="10s",
        common_http_protocol_options={"idle_timeout": "300s"},
        stream_idle_timeout=f"{routes.STREAM_IDLE:g}s",
        # HTTP/1.1 and HTTP/2 without TLS are told apart by their first bytes.
        http2_protocol_options={"max_concurrent_streams": 1024},
        http_filters=[
            entrance.script(),  # before what asks for the route: it is another one afterwards
            http_filter("grpc_stats", "grpc_stats.v3.FilterConfig"),
            *access.filters(want.guards, want.access_dir),
            router_filter(suppress_envoy_headers=True),
        ],
    )
    return listener("traffic", socket(want.address, want.traffic_port), manager)


def _stats(want: Bootstrap) -> Json:
    drains = drain.routes(
        want.drain_token,
        seconds=want.drain_seconds,
        longest=want.drain_longest,
        admin=stats_listener.ADMIN_CLUSTER,
        itself=stats_listener.STATS_CLUSTER,
    )
    address = socket(want.address, want.stats_port)
    return stats_listener.stats_listener(address, drains, longest=want.drain_longest)


def _over_tls(want: Bootstrap, source: Json) -> list[Json]:
    """The same at another port, where there are certificates: that one is shown whose names fit what the
    client asks for."""
    return [tls.listener(_traffic(want, source), want)] if want.tls else []


def _stream() -> Json:
    """One stream for everything, of which only changes are sent.

    gRPC is spoken over HTTP/1.1, which Envoy takes as it is: no cut into frames is needed for one stream on a
    connection of its own, and the operator answers with the HTTP server that it has.
    """
    again = {"retry_back_off": {"base_interval": "0.25s", "max_interval": "5s"}}
    return {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": "operator", "retry_policy": again}}],
    }


def _operator(address: str) -> Json:
    """Every replica of the operator, by the name that finds them all."""
    host, _, port = address.rpartition(":")
    return {
        "name": "operator",
        "connect_timeout": "1s",
        **by_dns(
            dns_refresh_rate="5s", dns_failure_refresh_rate={"base_interval": "0.5s", "max_interval": "5s"}
        ),
        **only("operator", socket(host, int(port))),
        # An operator that is gone without a word is found out.
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_time": 10, "keepalive_interval": 5, "keepalive_probes": 3}
        },
    }


def _overload(heap_bytes: int) -> Json:
    monitor = "type.googleapis.com/envoy.extensions.resource_monitors"
    heap = "envoy.resource_monitors.fixed_heap"
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": heap,
                "typed_config": {
                    "@type": f"{monitor}.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": heap_bytes,
                },
            },
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": f"{monitor}.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": 20_000,
                },
            },
        ],
        "actions": [
            {
                "name": f"envoy.overload_actions.{name}",
                "triggers": [{"name": heap, "threshold": {"value": share}}],
            }
            for name, share in (("shrink_heap", 0.9), ("stop_accepting_requests", 0.97))
        ],
    }
