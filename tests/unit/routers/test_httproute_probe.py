"""The rule by which proxies tell which state of a route they act on."""

from __future__ import annotations

from typing import Any

from noria_operator.domain.gateway_probes import mark_in
from noria_operator.routers.httproute import own_route, says
from noria_operator.routers.httproute_probe import mark, probed

Json = dict[str, Any]


def route(version: int = 7, weight: int = 10, uid: str = "u") -> Json:
    router = {"type": "Gateway", "gateway": {"name": "public"}}
    deployment = {"metadata": {"name": "flights", "namespace": "prod"}, "spec": {"router": router}}
    shares = [("flights-1", 100 - weight), ("flights-2", weight)]
    return probed(own_route(deployment, shares), uid=uid, version=version)


def test_one_rule_is_answered_by_the_proxy_itself_with_the_mark_of_the_others() -> None:
    found = route()
    rule, divided = found["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "Exact", "value": "/-/noria/prod/flights"}}]
    assert "backendRefs" not in rule
    (redirect,) = rule["filters"]
    assert redirect["type"] == "RequestRedirect"
    location = f"http://{redirect['requestRedirect']['hostname']}/-/noria/prod/flights"
    assert mark_in(location) == mark(found)
    assert [one["weight"] for one in divided["backendRefs"]] == [90, 10]


def test_a_route_with_another_mark_is_another_route() -> None:
    others = [route(version=8), route(weight=5), route(uid="v")]
    assert len({mark(one) for one in [route(), *others]}) == 4
    assert says(route(), route())
    assert not any(says(one, route()) for one in others)
