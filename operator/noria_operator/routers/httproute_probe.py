"""A rule by which the proxies of a gateway tell which state of an HTTPRoute they act on.

Comes in: an HTTPRoute of Noria's. Goes out: the same with one rule more. Invariants: the rule stands in the
same object as the weights, so that a proxy that takes routes as a whole answers for all of them; it leads to
no backend: a proxy answers it alone, also when no model has pods, and nobody counts it as traffic.

A redirect to another host is of the core of the Gateway API, which every implementation has; a header set in
responses is not, and Contour 1.33 leaves it out of redirects.
"""

from __future__ import annotations

from typing import Any

from noria_operator.domain.gateway_probes import host_of, mark_in, mark_of, path_of

Json = dict[str, Any]


def probed(route: Json, *, uid: str, version: int) -> Json:
    """The route of a deployment with this uid, for `version` of its traffic."""
    meta, spec = route["metadata"], route["spec"]
    mark = mark_of(uid, version, spec)
    path = {"type": "Exact", "value": path_of(meta["namespace"], meta["name"])}
    redirect = {"hostname": host_of(mark), "statusCode": 302}
    rule = {
        "matches": [{"path": path}],
        "filters": [{"type": "RequestRedirect", "requestRedirect": redirect}],
    }
    return {**route, "spec": {**spec, "rules": [rule, *spec["rules"]]}}


def mark(route: Json) -> str:
    """What proxies have to answer that act on a route that `probed` made."""
    redirect: Json = route["spec"]["rules"][0]["filters"][0]["requestRedirect"]
    return mark_in(f"http://{redirect['hostname']}/")
