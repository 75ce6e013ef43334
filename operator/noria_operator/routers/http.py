"""The few shapes of Envoy's API that every listener and static cluster is made of."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

PREVIOUS_HOSTS: Json = {
    "name": "envoy.retry_host_predicates.previous_hosts",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    },
}
"""A retry goes to a host that was not tried yet."""


EVERYWHERE = "::"
"""Every address of IPv6 and of IPv4, to listen on."""


def socket(address: str, port: int) -> Json:
    """A TCP address."""
    both = {"ipv4_compat": True} if address == EVERYWHERE else {}
    return {"socket_address": {"address": address, "port_value": port, **both}}


def pipe(path: str) -> Json:
    """A Unix socket, for this user only."""
    return {"pipe": {"path": path, "mode": 0o600}}


def listener(name: str, address: Json, manager: Json) -> Json:
    """A listener with one HTTP connection manager."""
    return {"name": name, "address": address, "filter_chains": [{"filters": [manager]}]}


def connection_manager(stat_prefix: str, routes: Json, **options: Any) -> Json:
    """The network filter that speaks HTTP; `options` are fields of HttpConnectionManager."""
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {"@type": _HCM, "stat_prefix": stat_prefix, **routes, **options},
    }


def http_filter(name: str, type_: str, **options: Any) -> Json:
    """An HTTP filter; `type_` is its message below `envoy.extensions.filters.http`."""
    return {"name": f"envoy.filters.http.{name}", "typed_config": filter_config(type_, **options)}


def filter_config(type_: str, **options: Any) -> Json:
    """The configuration of an HTTP filter, for the listener or for one route."""
    return {"@type": f"type.googleapis.com/envoy.extensions.filters.http.{type_}", **options}


def router_filter(**options: Any) -> Json:
    """The last HTTP filter of every connection manager."""
    return http_filter("router", "router.v3.Router", **options)


def only(name: str, address: Json) -> Json:
    """The part of a cluster that says its one address."""
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {"load_assignment": {"cluster_name": name, "endpoints": endpoints}}


def by_dns(**options: Any) -> Json:
    """The part of a cluster that has its address looked up again and again; `options` are fields of
    DnsCluster."""
    type_ = "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster"
    config = {"@type": type_, "dns_lookup_family": "V4_PREFERRED", **options}
    return {"cluster_type": {"name": "envoy.clusters.dns", "typed_config": config}}


def static_cluster(name: str, address: Json, *, limit: int = 1024) -> Json:
    """A cluster with one address, for `limit` requests at once."""
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        **only(name, address),
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": limit,
                    "max_pending_requests": limit,
                    "max_requests": limit,
                    "max_retries": limit,
                }
            ]
        },
    }


RETRY_AFTER = "5"
"""Seconds after which a client may ask again a deployment that has no pod to answer."""


def answer(status: int, body: Json) -> Json:
    """The part of a route that answers by itself, in JSON."""
    text = json.dumps(body, separators=(",", ":"))
    headers = [set_header("content-type", "application/json")]
    if status == 503:
        headers.append(set_header("retry-after", RETRY_AFTER))
    return {
        "direct_response": {"status": status, "body": {"inline_string": text}},
        "response_headers_to_add": headers,
    }


def set_header(name: str, value: str) -> Json:
    """A header of this value, whatever was there."""
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def ads(fetch_timeout: str = "0s") -> Json:
    """The operator's stream as the source of something; `fetch_timeout` is how long it is waited for, 0 says:
    until it comes."""
    return {"ads": {}, "initial_fetch_timeout": fetch_timeout, "resource_api_version": "V3"}
