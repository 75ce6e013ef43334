"""HTTPRoutes: what ours says, what is written into others', what their status tells."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from noria_operator.domain.gateway_class import Abilities
from noria_operator.routers.httproute import (
    Standing,
    Unusable,
    own_route,
    reported,
    rewritten,
    says,
    standing,
    written_at,
)

Json = dict[str, Any]
MINE = {"flights", "flights-1", "flights-2"}
NOW = [("flights-1", 90), ("flights-2", 10)]


def deployment(**spec: Any) -> Json:
    gateway = {"name": "public", "namespace": "infra", "sectionName": "https"}
    router = {"type": "Gateway", "gateway": gateway}
    meta = {"name": "flights", "namespace": "prod"}
    return {"metadata": meta, "spec": {"model": "delay", "router": router, **spec}}


def route(*rules: Json, **more: Any) -> Json:
    meta = {"name": "mine", "namespace": "prod", "generation": 4}
    return {"metadata": meta, "spec": {"parentRefs": [{"name": "public"}], "rules": list(rules)}, **more}


def ref(name: str, weight: int, **more: Any) -> Json:
    return {"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight, **more}


def backends(rules: list[Json]) -> list[list[tuple[str, int]]]:
    return [[(one["name"], one["weight"]) for one in rule["backendRefs"]] for rule in rules]


def test_with_hosts_everything_there_is_the_deployments_own() -> None:
    spec = own_route(deployment(hosts=["flights.example"]), NOW)["spec"]
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public"}
    assert spec["parentRefs"] == [{**parent, "namespace": "infra", "sectionName": "https"}]
    assert spec["hostnames"] == ["flights.example"]
    (rule,) = spec["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert rule["timeouts"] == {"request": "30s"}
    assert backends([rule]) == [NOW]


def test_a_gateway_without_a_namespace_is_the_one_beside_the_deployment() -> None:
    beside = deployment()
    del beside["spec"]["router"]["gateway"]["namespace"]
    (parent,) = own_route(beside, NOW)["spec"]["parentRefs"]
    assert parent["namespace"] == beside["metadata"]["namespace"], "and none of the same name elsewhere"


def test_without_hosts_it_is_found_by_its_name_in_the_path() -> None:
    spec = own_route(deployment(), [("flights-1", 100), ("flights-2", 0)])["spec"]
    assert "hostnames" not in spec
    paths = [match["path"]["value"] for match in spec["rules"][0]["matches"]]
    assert paths == ["/v2/models/flights", "/v1/models/flights"]
    assert backends(spec["rules"]) == [[("flights-1", 100), ("flights-2", 0)]]


def test_requests_with_headers_come_first_and_copies_are_made_of_the_others() -> None:
    matched = {"flights-2": (("x-canary", "always"), ("x-team", "a"))}
    spec = own_route(deployment(), NOW, copied=[("flights-2", 100)], matched=matched)["spec"]
    first, labels, last = spec["rules"]
    assert backends([first]) == [[("flights-2", 100)]]
    asked = [(one["path"]["value"], [each["name"] for each in one["headers"]]) for one in first["matches"]]
    paths = ["/v2/models/flights", "/v1/models/flights", "/v2/models/flights/feedback"]
    assert asked == [(path, ["x-canary", "x-team"]) for path in paths]
    assert all("filters" not in rule for rule in (first, labels))
    assert backends([last]) == [NOW]
    (copy_,) = last["filters"]
    assert copy_["requestMirror"]["backendRef"]["name"] == "flights-2"
    assert "percent" not in copy_["requestMirror"], "older versions of the Gateway API do not know it"


@pytest.mark.parametrize(
    ("spec", "number", "paths"),
    [
        ({}, 0, ["flights/feedback"]),
        ({}, 3, ["flights/feedback", "flights/versions/3/feedback"]),
        ({"hosts": ["a.example"]}, 0, ["flights/feedback", "delay/feedback"]),
        ({"hosts": ["a.example"], "model": "flights"}, 0, ["flights/feedback"]),
    ],
)
def test_feedback_is_not_copied_by_any_of_its_paths(spec: Json, number: int, paths: list[str]) -> None:
    """Every pod has the keys, so that a label that meets two of them would count twice."""
    asked = deployment(**spec)
    labels, divided = own_route(asked, NOW, copied=[("flights-2", 100)], number=number)["spec"]["rules"]
    assert [one["path"] for one in labels["matches"]] == [
        {"type": "Exact", "value": f"/v2/models/{path}"} for path in paths
    ]
    assert {**divided, "matches": labels["matches"]} == {**labels, "filters": divided["filters"]}
    assert len(own_route(asked, NOW, number=number)["spec"]["rules"]) == 1, "where nothing is copied"


@pytest.mark.parametrize(
    ("had", "wanted", "same"),
    [(30, 30, True), (100, 100, True), (30, 100, False), (100, 30, False), (30, 0, False), (100, 0, False)],
)
def test_a_route_that_copies_more_or_less_does_not_say_what_is_wanted(
    had: int, wanted: int, same: bool
) -> None:
    routes = [
        own_route(deployment(), NOW, copied=[("flights-2", percent)] if percent else [])
        for percent in (had, wanted)
    ]
    assert says(*routes) is same


def test_a_route_says_what_is_wanted_whatever_the_api_server_filled_in() -> None:
    wanted = own_route(deployment(hosts=["a.example"]), NOW)
    live = copy.deepcopy(wanted)
    live["spec"]["rules"][0]["sessionPersistence"] = None
    assert says(live, wanted)
    live["spec"]["rules"][0]["backendRefs"][1]["weight"] = 11
    assert not says(live, wanted)
    more = copy.deepcopy(wanted)
    more["spec"]["rules"].append({})
    assert not says(more, wanted)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([ref("flights", 1)], NOW),
        ([ref("flights-1", 100), ref("flights-2", 0)], NOW),
        ([ref("flights-1", 90), ref("flights-2", 10)], NOW),
        ([ref("flights", 1), ref("flights-1", 50), ref("flights", 1)], NOW),
        ([ref("legacy", 0), ref("flights", 1)], [("legacy", 0), *NOW]),
        ([ref("legacy", 300), ref("flights", 100)], [("legacy", 300), *NOW]),
        ([ref("flights", 200), ref("a", 7)], [("flights-1", 180), ("flights-2", 20), ("a", 7)]),
        ([ref("a", 7), ref("flights-1", 0)], [("a", 7), ("flights-1", 0), ("flights-2", 0)]),
    ],
)
def test_weights_take_the_place_of_our_backends_and_others_keep_their_part(
    before: list[Json], after: list[tuple[str, int]]
) -> None:
    """Cases 47 and 50: no duplicates, nobody else's weight changed, a weight of 0 is written."""
    once = rewritten(route({"backendRefs": before}), MINE, NOW)
    assert backends(once) == [after]
    assert rewritten(route(*once), MINE, NOW) == once


def test_everything_else_in_a_route_stays_byte_for_byte() -> None:
    """Case 50: rules, filters, matches and backends of others."""
    foreign = {
        "name": "other",
        "matches": [{"headers": [{"name": "x-team", "value": "b"}]}],
        "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": ref("flights", 1)}}],
        "backendRefs": [
            ref("legacy", 5),
            ref("flights", 1, namespace="elsewhere"),
            ref("flights", 1, kind="X"),
        ],
        "timeouts": {"request": "3s"},
    }
    headers = [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x"]}}]
    ours = {"matches": [{"path": {"value": "/"}}], "filters": headers, "timeouts": {"request": "9s"}}
    given = route(
        {"redirect": "only"}, foreign, {**ours, "backendRefs": [ref("flights", 1, filters=headers)]}
    )
    kept = copy.deepcopy(given)
    rules = rewritten(given, MINE, NOW)
    assert given == kept
    assert rules[:2] == kept["spec"]["rules"][:2]
    wanted = [ref(name, weight, filters=headers) for name, weight in NOW]
    assert rules[2] == {**ours, "backendRefs": wanted}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([], "no rule of HTTPRoute mine sends anything to this deployment"),
        ([{"backendRefs": [ref("legacy", 1)]}, {}], "no rule of HTTPRoute mine"),
        (
            [{"backendRefs": [ref("legacy", 1), ref("flights", 1)]}],
            "rule 0 .* weight 1 beside backends of",
        ),
    ],
)
def test_a_route_without_a_place_for_weights_says_what_to_do(rules: list[Json], message: str) -> None:
    with pytest.raises(Unusable, match=message):
        rewritten(route(*rules), MINE, NOW)


def told(accepted: str, resolved: str, generation: int = 4, **parent: Any) -> Json:
    said = {"observedGeneration": generation, "reason": "Because", "message": "so"}
    return {
        "parentRef": {"name": "public", **parent},
        "conditions": [
            {"type": "Accepted", "status": accepted, **said},
            {"type": "ResolvedRefs", "status": resolved, **said},
        ],
    }


@pytest.mark.parametrize(
    ("parents", "wanted"),
    [
        ([], Standing(served=False, current=False)),
        ([told("True", "True")], Standing(served=True, current=True)),
        ([told("True", "True", namespace="prod")], Standing(served=True, current=True)),
        ([told("True", "True", 3)], Standing(served=True, current=False)),
        ([told("True", "False", 3)], Standing(served=True, current=False)),
        ([told("True", "False")], Standing(True, False, "ResolvedRefs is False: Because: so")),
        ([told("False", "True")], Standing(False, False, "Accepted is False: Because: so")),
        ([told("True", "True"), told("True", "True", name="another")], Standing(served=True, current=True)),
        ([told("True", "True", name="another")], Standing(served=False, current=False)),
        ([told("True", "True"), told("True", "True", 3)], Standing(served=True, current=False)),
    ],
)
def test_a_route_is_in_force_only_as_far_as_its_gateways_took_this_very_generation(
    parents: list[Json], wanted: Standing
) -> None:
    assert standing(route(status={"parents": parents})) == wanted


PUBLIC = ("prod", "public")
OLD = told("True", "True", 3) | {"controllerName": "acme/old"}
NEW = told("True", "True") | {"controllerName": "acme/new"}


@pytest.mark.parametrize(
    ("known", "parents", "wanted"),
    [
        (Abilities(gone=True), [NEW], Standing(served=False, current=False)),
        (Abilities(gone=True), [told("False", "True")], Standing(served=False, current=False)),
        (Abilities(gone=True), [NEW, told("True", "True", name="b")], Standing(served=True, current=True)),
        (Abilities(controller="acme/new"), [OLD, NEW], Standing(served=True, current=True)),
        (Abilities(controller="acme/new"), [OLD], Standing(served=True, current=False)),
        (Abilities(controller="acme/class"), [NEW], Standing(served=True, current=True)),
        (
            Abilities(controller="acme/new"),
            [OLD, told("True", "True", name="b") | {"controllerName": "acme/new"}],
            Standing(served=True, current=False),
        ),
        (Abilities(unread="403"), [OLD, NEW], Standing(served=True, current=False)),
    ],
)
def test_what_was_said_of_a_gateway_that_is_gone_or_by_who_had_it_before_does_not_count(
    known: Abilities, parents: list[Json], wanted: Standing
) -> None:
    """Where its class's controller told nothing, another one counts: it may write by a second name."""
    found = route(status={"parents": parents})
    found["spec"]["parentRefs"].append({"name": "b"})
    assert standing(found, gateways={PUBLIC: known}) == wanted


def test_the_gateways_that_status_tells_of_are_those_of_the_spec() -> None:
    parents = [told("True", "True"), told("True", "True", sectionName="tls"), told("True", "True", name="b")]
    found = route(status={"parents": [*parents, told("True", "True", name="mesh", kind="Service", group="")]})
    found["spec"]["parentRefs"] += [{"name": "public", "sectionName": "tls"}, {"name": "c"}]
    found["spec"]["parentRefs"].append({"name": "mesh", "kind": "Service", "group": ""})
    assert reported(found) == [PUBLIC]


def test_when_a_manager_wrote_last_is_read_from_the_object() -> None:
    fields = [
        {"manager": "noria", "time": "2026-01-01T00:00:05Z"},
        {"manager": "noria", "time": "2026-01-01T00:00:09Z", "operation": "Update"},
        {"manager": "noria", "time": "2026-01-01T00:00:30Z", "subresource": "status"},
        {"manager": "other", "time": "2026-01-01T00:00:40Z"},
    ]
    assert written_at({"metadata": {"managedFields": fields}}, "noria") == datetime(
        2026, 1, 1, 0, 0, 9, tzinfo=UTC
    )
    assert written_at({"metadata": {}}, "noria") is None
