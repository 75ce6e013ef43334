"""The port of a router that tells how it is: readiness for the kubelet, statistics for the operator and
Prometheus.

Invariant: GET of three paths only, passed on to the admin interface or, for readiness, to the port for
traffic; nothing there changes anything, but for the drain route, which needs its token.
"""

from __future__ import annotations

from typing import Any

from noria_operator.api import names
from noria_operator.routers import drain, entrance
from noria_operator.routers.http import connection_manager, http_filter, listener, router_filter

Json = dict[str, Any]

ADMIN_CLUSTER = "admin"
TRAFFIC_CLUSTER = "traffic"
STATS_CLUSTER = "stats"
READY_PATH = "/ready"
READ_ONLY = ("/stats", "/stats/prometheus")


def stats_listener(address: Json, drains: list[Json], *, longest: int) -> Json:
    """The listener; `drains` are the routes of the lame duck, which takes `longest` seconds at most."""
    reading = [
        {"match": _get(path), "route": {"cluster": ADMIN_CLUSTER, "timeout": "5s"}} for path in READ_ONLY
    ]
    # Asked through the traffic port itself: only routes that have arrived can answer.
    through = {"cluster": TRAFFIC_CLUSTER, "timeout": "1s", "host_rewrite_literal": names.VERSION_HOST}
    ready = {"match": _get(READY_PATH), "route": {**through, "prefix_rewrite": entrance.READY_PATH}}
    nothing = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}
    host = {
        "name": "stats",
        "domains": ["*"],
        "routes": [ready, *reading, *drains, nothing],
    }
    manager = connection_manager(
        "stats",
        {"route_config": {"name": "stats", "virtual_hosts": [host]}},
        request_headers_timeout="10s",
        stream_idle_timeout=f"{2 * longest}s",
        http_filters=[_unready_while_draining(), *drain.filters(), router_filter()],
    )
    return listener("stats", address, manager)


def _get(path: str) -> Json:
    return {"path": path, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]}


def _unready_while_draining() -> Json:
    path = {"name": ":path", "string_match": {"exact": READY_PATH}}
    return http_filter("health_check", "health_check.v3.HealthCheck", pass_through_mode=True, headers=[path])
