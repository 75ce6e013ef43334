"""The port of a router that tells how it is: readiness for the kubelet, statistics for the operator and
Prometheus.

Invariant: GET of three paths only, passed on to the admin interface; nothing there changes anything, but
for the drain route, which needs its token.
"""

from __future__ import annotations

from typing import Any

from noria_operator.routers import drain
from noria_operator.routers.http import connection_manager, listener, router_filter

Json = dict[str, Any]

ADMIN_CLUSTER = "admin"
READ_ONLY = ("/ready", "/stats", "/stats/prometheus")


def stats_listener(address: Json, *, token: str, seconds: int) -> Json:
    """The listener; `token` and `seconds` are those of the drain."""
    reading = [
        {
            "match": {"path": path, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]},
            "route": {"cluster": ADMIN_CLUSTER, "timeout": "5s"},
        }
        for path in READ_ONLY
    ]
    nothing = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}
    host = {"name": "stats", "domains": ["*"], "routes": [*reading, drain.route(token, seconds), nothing]}
    manager = connection_manager(
        "stats",
        {"route_config": {"name": "stats", "virtual_hosts": [host]}},
        request_headers_timeout="10s",
        http_filters=[*drain.filters(), router_filter()],
    )
    return listener("stats", address, manager)
