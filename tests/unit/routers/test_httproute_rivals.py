"""Who of two HTTPRoutes gets requests that both ask for."""

from __future__ import annotations

from typing import Any

import pytest

from noria_operator.routers.httproute import own_route
from noria_operator.routers.httproute_rivals import claims, taken

Json = dict[str, Any]
PUBLIC = {"name": "public", "namespace": "infra"}
V2, V1 = ("*", "/v2/models/flights"), ("*", "/v1/models/flights")


def route(
    namespace: str,
    at: str,
    *,
    name: str = "flights",
    served: bool = True,
    gateway: Json = PUBLIC,
    **spec: Any,
) -> Json:
    """The route of a deployment, which its gateway takes if `served`."""
    router = {"type": "Gateway", "gateway": gateway}
    asked = {"metadata": {"name": name, "namespace": namespace}, "spec": {"router": router, **spec}}
    made = own_route(asked, [(f"{name}-1", 100)], matched={f"{name}-2": [("x-canary", "yes")]})
    said = [{"type": "Accepted", "status": str(served)}]
    told = [{"parentRef": ref, "conditions": said} for ref in made["spec"]["parentRefs"]]
    meta = {**made["metadata"], "creationTimestamp": f"2026-03-01T12:00:{at}Z"}
    return {**made, "metadata": meta, "status": {"parents": told}}


def test_of_two_of_one_name_in_two_namespaces_the_older_one_has_the_paths() -> None:
    first, second = route("prod", "00"), route("staging", "05")
    assert taken(second, [first, second]) == {V2: "prod/flights", V1: "prod/flights"}
    assert claims(second) == {V2, V1}
    assert taken(first, [first, second]) == {}


def test_of_one_age_the_first_by_namespace_and_name_has_them() -> None:
    first, second = route("prod", "00"), route("staging", "00")
    assert not taken(first, [second])
    assert taken(second, [first])


def test_a_host_that_both_name_is_lost_and_the_others_are_not() -> None:
    first = route("prod", "00", hosts=["A.example", "b.example"])
    second = route("prod", "05", name="other", hosts=["a.example", "c.example"])
    assert taken(second, [first]) == {("a.example", "/"): "prod/flights"}


@pytest.mark.parametrize(
    "older",
    [
        route("prod", "00", name="cargo"),
        route("prod", "00", hosts=["a.example"]),
        route("prod", "00", served=False),
        route("prod", "00", gateway={"name": "private", "namespace": "infra"}),
        route("prod", "00", gateway={**PUBLIC, "sectionName": "internal"}),
    ],
    ids=["other path", "named host", "not accepted", "other gateway", "other listener"],
)
def test_what_does_not_meet_takes_nothing(older: Json) -> None:
    assert not taken(route("staging", "05", gateway={**PUBLIC, "sectionName": "https"}), [older])


def test_a_route_of_others_counts_too() -> None:
    ours = route("prod", "05", hosts=["a.example"])
    theirs = {**route("prod", "00", hosts=["a.example"]), "spec": {**ours["spec"], "rules": [{}]}}
    assert taken(ours, [theirs]) == {("a.example", "/"): "prod/flights"}
    headers = [{"matches": [{"path": {"value": "/"}, "headers": [{"name": "x", "value": "y"}]}]}]
    assert not taken(ours, [{**theirs, "spec": {**ours["spec"], "rules": headers}}])
