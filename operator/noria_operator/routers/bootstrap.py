"""The static part of a router's configuration: what Envoy is started with.

Comes in: the namespace, its token and the operator's address. Goes out: `envoy.json` as plain data.
Invariants: the admin interface listens on a Unix socket only; the port for statistics can read, never
change; a router is ready only when routes, and the clusters and endpoints they need, have arrived; an
operator that is away costs neither configuration nor CPU (the relay tries again with growing pauses, where
Envoy's own REST client would ask 60 times a second for each subscription).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from noria_operator.api import names
from noria_operator.domain.access import Guard
from noria_operator.routers import access, drain, stats_listener, tls
from noria_operator.routers.http import (
    PREVIOUS_HOSTS,
    connection_manager,
    http_filter,
    listener,
    pipe,
    router_filter,
    socket,
    static_cluster,
)

Json = dict[str, Any]

CONFIG_FILE = "envoy.json"
CONFIG_DIR = "/etc/noria"
TLS_DIR = "/etc/noria-tls"
REFRESH_DELAY = "0.01s"
"""From an answer to the next request, which the operator holds until something changes."""
REQUEST_TIMEOUT = "35s"
RELAY_TIMEOUT = "30s"
"""Shorter than REQUEST_TIMEOUT, longer than the operator holds a request (20 s)."""
PLENTY = 100_000
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

_CUT_EXTENSIONS = """
function envoy_on_request(handle)
  local body = handle:body()
  if body == nil then return end
  local short, cuts = string.gsub(body:getBytes(0, body:length()), '"extensions":%b[]', '"extensions":[]', 1)
  if cuts == 1 then
    handle:headers():replace("content-length", body:setBytes(short))
  end
end
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
    relay = pipe(f"{want.run_dir}/envoy-xds.sock")
    # The relay is a listener, and Envoy starts none before clusters and routes are there or their first fetch
    # has run out of time: so that runs out at once, and readiness waits for the routes instead.
    source = config_source(want.namespace) | {"initial_fetch_timeout": "0.05s"}
    return {
        "node": {
            "cluster": names.ROUTER_NAME,
            "metadata": {"namespace": want.namespace, "token": want.token},
        },
        "admin": {"address": admin},
        "dynamic_resources": {"cds_config": source},
        "static_resources": {
            "listeners": [
                _traffic(want, source),
                *_over_tls(want, source),
                stats_listener.stats_listener(
                    socket(want.address, want.stats_port), token=want.drain_token, seconds=want.drain_seconds
                ),
                _relay(relay),
                *access.listeners(want),
            ],
            "clusters": [
                static_cluster(xds_cluster(want.namespace), relay, limit=PLENTY),
                static_cluster(stats_listener.ADMIN_CLUSTER, admin),
                static_cluster(stats_listener.TRAFFIC_CLUSTER, socket("127.0.0.1", want.traffic_port)),
                _operator(want.xds_address),
                *access.clusters(want),
            ],
        },
        "stats_config": {
            "histogram_bucket_settings": [
                {
                    "match": {"safe_regex": {"regex": r"cluster\.[^.]+\.upstream_rq_time"}},
                    "buckets": list(MILLISECONDS),
                }
            ]
        },
        "overload_manager": _overload(want.heap_bytes),
    }


def xds_cluster(namespace: str) -> str:
    """The cluster that discovery requests go to. Its name is their Host header, by which the relay hashes
    over the operator's addresses, where its name has several."""
    return f"noria-xds-{namespace}"


def config_source(namespace: str) -> Json:
    """Where clusters, routes and endpoints come from."""
    return {
        "resource_api_version": "V3",
        "initial_fetch_timeout": "0s",
        "api_config_source": {
            "api_type": "REST",
            "transport_api_version": "V3",
            "cluster_names": [xds_cluster(namespace)],
            "refresh_delay": REFRESH_DELAY,
            "request_timeout": REQUEST_TIMEOUT,
        },
    }


def _traffic(want: Bootstrap, source: Json) -> Json:
    manager = connection_manager(
        "traffic",
        {"rds": {"route_config_name": "noria", "config_source": source}},
        # Clients' own x-envoy-* headers (timeouts, retries) are dropped, whatever address they come from.
        use_remote_address=True,
        internal_address_config={"cidr_ranges": [{"address_prefix": "127.0.0.1", "prefix_len": 32}]},
        server_header_transformation="PASS_THROUGH",
        normalize_path=True,
        merge_slashes=True,
        request_headers_timeout="10s",
        common_http_protocol_options={"idle_timeout": "300s"},
        # HTTP/1.1 and HTTP/2 without TLS are told apart by their first bytes.
        http2_protocol_options={"max_concurrent_streams": 1024},
        http_filters=[
            http_filter("grpc_stats", "grpc_stats.v3.FilterConfig"),
            *access.filters(want.guards, want.access_dir),
            router_filter(suppress_envoy_headers=True),
        ],
    )
    return listener("traffic", socket(want.address, want.traffic_port), manager)


def _over_tls(want: Bootstrap, source: Json) -> list[Json]:
    """The same at another port, where there are certificates: that one is shown whose names fit what the
    client asks for."""
    return [tls.listener(_traffic(want, source), want)] if want.tls else []


def _relay(address: Json) -> Json:
    """Discovery requests on their way to the operator: one replica, tried again with growing pauses."""
    route = {
        "match": {"prefix": "/"},
        "route": {
            "cluster": "operator",
            "timeout": RELAY_TIMEOUT,
            "hash_policy": [{"header": {"header_name": ":authority"}}],
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,reset,5xx",
                "num_retries": 1000,
                "retry_back_off": {"base_interval": "0.25s", "max_interval": "5s"},
                "retry_host_predicate": [PREVIOUS_HOSTS],
                "host_selection_retry_max_attempts": "3",
            },
        },
    }
    routes = {"name": "relay", "virtual_hosts": [{"name": "relay", "domains": ["*"], "routes": [route]}]}
    manager = connection_manager(
        "relay", {"route_config": routes}, http_filters=[_without_extensions(), router_filter()]
    )
    return listener("relay", address, manager)


def _without_extensions() -> Json:
    """Envoy lists its 500 extensions in every request: 77 KB, which the relay would keep for each held one
    and the operator would have to parse. Cut here, 300 bytes are left."""
    return http_filter("lua", "lua.v3.Lua", default_source_code={"inline_string": _CUT_EXTENSIONS})


def _operator(address: str) -> Json:
    """Every replica of the operator, by the name that finds them all."""
    host, _, port = address.rpartition(":")
    endpoint = {"endpoint": {"address": socket(host, int(port))}}
    return {
        "name": "operator",
        "connect_timeout": "1s",
        "lb_policy": "MAGLEV",
        "cluster_type": {
            "name": "envoy.clusters.dns",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster",
                "dns_lookup_family": "V4_PREFERRED",
                "dns_refresh_rate": "5s",
                "dns_failure_refresh_rate": {"base_interval": "0.5s", "max_interval": "5s"},
            },
        },
        "load_assignment": {"cluster_name": "operator", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": PLENTY,
                    "max_pending_requests": PLENTY,
                    "max_requests": PLENTY,
                    "max_retries": PLENTY,
                }
            ]
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
