"""The messages of Envoy's API that routers are sent, with the numbers of their fields.

Source: the `.proto` files of Envoy 1.40 (https://github.com/envoyproxy/envoy/tree/v1.40.0/api). Only what is
used stands here; what is missing is an error of `wire`, not silence.
"""

from __future__ import annotations

from noria_operator.routers.wire import (
    Message,
    choice,
    duration,
    many,
    mapping,
    one,
    packed,
    struct,
    text,
    texts,
    whole,
    wrapped,
)

# -- shared ----------------------------------------------------------------------------------------

EMPTY = Message("google.protobuf.Empty", {})
HEADER = Message("core.v3.HeaderValue", {"key": text(1), "value": text(2)})
_APPEND = {"APPEND_IF_EXISTS_OR_ADD": 0, "ADD_IF_ABSENT": 1, "OVERWRITE_IF_EXISTS_OR_ADD": 2}
HEADER_OPTION = Message(
    "core.v3.HeaderValueOption", {"header": one(1, HEADER), "append_action": choice(3, _APPEND)}
)
REGEX = Message("matcher.v3.RegexMatcher", {"regex": text(2)})
STRING = Message("matcher.v3.StringMatcher", {"exact": text(1)})
_DENOMINATOR = {"HUNDRED": 0, "TEN_THOUSAND": 1, "MILLION": 2}
PERCENT = Message(
    "type.v3.FractionalPercent", {"numerator": whole(1), "denominator": choice(2, _DENOMINATOR)}
)
FRACTION = Message("core.v3.RuntimeFractionalPercent", {"default_value": one(1, PERCENT)})
METADATA = Message("core.v3.Metadata", {"filter_metadata": mapping(1, struct(2))})
METADATA_MATCH = Message(
    "matcher.v3.MetadataMatcher",
    {
        "filter": text(1),
        "path": many(2, Message("matcher.v3.MetadataMatcher.PathSegment", {"key": text(1)})),
        "value": one(3, Message("matcher.v3.ValueMatcher", {"string_match": one(3, STRING)})),
    },
)
ADS = Message(
    "core.v3.ConfigSource",
    {
        "ads": one(3, EMPTY),
        "initial_fetch_timeout": duration(4),
        "resource_api_version": choice(6, {"V3": 2}),
    },
)

# -- routes ----------------------------------------------------------------------------------------

RETRY_PREDICATE = Message(
    "route.v3.RetryPolicy.RetryHostPredicate",
    {
        "name": text(1),
        "typed_config": packed(
            3, {"envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate": EMPTY}
        ),
    },
)
BACK_OFF = Message(
    "route.v3.RetryPolicy.RetryBackOff", {"base_interval": duration(1), "max_interval": duration(2)}
)
RETRY_POLICY = Message(
    "route.v3.RetryPolicy",
    {
        "retry_on": text(1),
        "num_retries": wrapped(2),
        "retry_host_predicate": many(5, RETRY_PREDICATE),
        "host_selection_retry_max_attempts": whole(6),
        "retry_back_off": one(8, BACK_OFF),
    },
)
RANGE = Message("type.v3.Int64Range", {"start": whole(1), "end": whole(2)})
HEADER_MATCH = Message(
    "route.v3.HeaderMatcher", {"name": text(1), "range_match": one(6, RANGE), "string_match": one(13, STRING)}
)
ROUTE_MATCH = Message(
    "route.v3.RouteMatch",
    {
        "prefix": text(1),
        "path": text(2),
        "headers": many(6, HEADER_MATCH),
        "grpc": one(8, EMPTY),
        "safe_regex": one(10, REGEX),
        "dynamic_metadata": many(13, METADATA_MATCH),
    },
)
CLUSTER_WEIGHT = Message(
    "route.v3.WeightedCluster.ClusterWeight",
    {"name": text(1), "weight": wrapped(2), "response_headers_to_add": many(5, HEADER_OPTION)},
)
WEIGHTED_CLUSTERS = Message(
    "route.v3.WeightedCluster", {"clusters": many(1, CLUSTER_WEIGHT), "use_hash_policy": wrapped(5)}
)
HASH_POLICY = Message(
    "route.v3.RouteAction.HashPolicy",
    {
        "header": one(1, Message("HashPolicy.Header", {"header_name": text(1)})),
        "cookie": one(2, Message("HashPolicy.Cookie", {"name": text(1)})),
        "terminal": whole(4),
    },
)
MIRROR = Message(
    "route.v3.RouteAction.RequestMirrorPolicy",
    {
        "cluster": text(1),
        "runtime_fraction": one(3, FRACTION),
        "disable_shadow_host_suffix_append": whole(6),
    },
)
ROUTE_ACTION = Message(
    "route.v3.RouteAction",
    {
        "weighted_clusters": one(3, WEIGHTED_CLUSTERS),
        "timeout": duration(8),
        "hash_policy": many(15, HASH_POLICY),
        "idle_timeout": duration(24),
        "request_mirror_policies": many(30, MIRROR),
    },
)
DIRECT_RESPONSE = Message(
    "route.v3.DirectResponseAction",
    {
        "status": whole(1),
        "body": one(2, Message("core.v3.DataSource", {"inline_string": text(3)})),
        "body_format": one(3, Message("core.v3.SubstitutionFormatString", {"json_format": struct(2)})),
    },
)
FILTERS = {
    "envoy.extensions.filters.http.lua.v3.LuaPerRoute": Message(
        "lua.v3.LuaPerRoute", {"name": text(2), "filter_context": struct(4)}
    ),
    "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig": Message(
        "jwt_authn.v3.PerRouteConfig", {"requirement_name": text(2)}
    ),
}
ROUTE = Message(
    "route.v3.Route",
    {
        "match": one(1, ROUTE_MATCH),
        "route": one(2, ROUTE_ACTION),
        "metadata": one(4, METADATA),
        "direct_response": one(7, DIRECT_RESPONSE),
        "request_headers_to_add": many(9, HEADER_OPTION),
        "response_headers_to_add": many(10, HEADER_OPTION),
        "typed_per_filter_config": mapping(13, packed(2, FILTERS)),
    },
)
VIRTUAL_HOST = Message(
    "route.v3.VirtualHost",
    {"name": text(1), "domains": texts(2), "routes": many(3, ROUTE), "retry_policy": one(16, RETRY_POLICY)},
)
ROUTE_CONFIGURATION = Message(
    "route.v3.RouteConfiguration",
    {
        "name": text(1),
        "virtual_hosts": many(2, VIRTUAL_HOST),
        "validate_clusters": wrapped(7),
        "request_headers_to_remove": texts(8),
        "ignore_port_in_host_matching": whole(14),
    },
)
FRAGMENT = Message("route.v3.ScopedRouteConfiguration.Key.Fragment", {"string_key": text(1)})
SCOPE = Message(
    "route.v3.ScopedRouteConfiguration",
    {
        "name": text(1),
        "key": one(3, Message("route.v3.ScopedRouteConfiguration.Key", {"fragments": many(1, FRAGMENT)})),
        "route_configuration": one(5, ROUTE_CONFIGURATION),
    },
)

# -- clusters and endpoints ------------------------------------------------------------------------

KEEPALIVE = Message("core.v3.KeepaliveSettings", {"interval": duration(1), "timeout": duration(2)})
HTTP2 = Message("core.v3.Http2ProtocolOptions", {"connection_keepalive": one(15, KEEPALIVE)})
PROTOCOL = Message(
    "HttpProtocolOptions.ExplicitHttpConfig",
    {"http_protocol_options": one(1, EMPTY), "http2_protocol_options": one(2, HTTP2)},
)
HTTP_OPTIONS = Message(
    "upstreams.http.v3.HttpProtocolOptions",
    {
        "common_http_protocol_options": one(
            1, Message("core.v3.HttpProtocolOptions", {"idle_timeout": duration(1)})
        ),
        "explicit_http_config": one(3, PROTOCOL),
    },
)
THRESHOLDS = Message(
    "cluster.v3.CircuitBreakers.Thresholds",
    {
        "priority": choice(1, {"DEFAULT": 0, "HIGH": 1}),
        "max_connections": wrapped(2),
        "max_pending_requests": wrapped(3),
        "max_requests": wrapped(4),
        "max_retries": wrapped(5),
        "track_remaining": whole(6),
    },
)
OUTLIERS = Message(
    "cluster.v3.OutlierDetection",
    {
        "consecutive_5xx": wrapped(1),
        "interval": duration(2),
        "base_ejection_time": duration(3),
        "max_ejection_percent": wrapped(4),
        "enforcing_consecutive_5xx": wrapped(5),
        "enforcing_success_rate": wrapped(6),
        "consecutive_gateway_failure": wrapped(10),
        "enforcing_consecutive_gateway_failure": wrapped(11),
        "enforcing_failure_percentage": wrapped(17),
        "max_ejection_time": duration(21),
    },
)
CLUSTER = Message(
    "cluster.v3.Cluster",
    {
        "name": text(1),
        "type": choice(2, {"STATIC": 0, "EDS": 3}),
        "eds_cluster_config": one(3, Message("cluster.v3.EdsClusterConfig", {"eds_config": one(1, ADS)})),
        "connect_timeout": duration(4),
        "lb_policy": choice(6, {"ROUND_ROBIN": 0, "LEAST_REQUEST": 1, "RING_HASH": 2}),
        "circuit_breakers": one(
            10, Message("cluster.v3.CircuitBreakers", {"thresholds": many(1, THRESHOLDS)})
        ),
        "outlier_detection": one(19, OUTLIERS),
        "ring_hash_lb_config": one(
            23, Message("cluster.v3.Cluster.RingHashLbConfig", {"minimum_ring_size": wrapped(1)})
        ),
        "typed_extension_protocol_options": mapping(
            36, packed(2, {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": HTTP_OPTIONS})
        ),
    },
)
SOCKET = Message("core.v3.SocketAddress", {"address": text(2), "port_value": whole(3)})
ADDRESS = Message("core.v3.Address", {"socket_address": one(1, SOCKET)})
LB_ENDPOINT = Message(
    "endpoint.v3.LbEndpoint",
    {"endpoint": one(1, Message("endpoint.v3.Endpoint", {"address": one(1, ADDRESS)}))},
)
ASSIGNMENT = Message(
    "endpoint.v3.ClusterLoadAssignment",
    {
        "cluster_name": text(1),
        "endpoints": many(
            2, Message("endpoint.v3.LocalityLbEndpoints", {"lb_endpoints": many(2, LB_ENDPOINT)})
        ),
    },
)
