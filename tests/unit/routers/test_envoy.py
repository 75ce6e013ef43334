"""The configuration as data."""

from __future__ import annotations

import json
from typing import Any

from noria_operator.routers import clusters, entrance, routes
from noria_operator.routers.bootstrap import Bootstrap, bootstrap
from noria_operator.routers.envoy import Snapshot, amended, snapshot
from noria_operator.routers.traffic import RoutedDeployment
from noria_serving import limits

POD = (("10.0.0.1", 8080),)
BOTH = frozenset({"m-1", "m-2"})


def hosts(made: RoutedDeployment) -> dict[str, Any]:
    """The virtual hosts of its routes, its preview's with what `claimed` grants."""
    granted, _ = routes.claimed("shop", [made])
    found = routes.configuration(made, granted.get(routes.preview_of(made.name), ()))
    return {host["name"]: host for host in found["virtual_hosts"]}


def table(found: Snapshot) -> dict[str, list[str]]:
    """The hosts that lead to each deployment."""
    shown = entrance.table({name: found.granted[name] for name in found.routed})
    return {host["name"]: host["domains"] for host in shown["virtual_hosts"]}


def two_versions(**changes: Any) -> RoutedDeployment:
    fields: dict[str, Any] = {"revisions": (("m-1", 90), ("m-2", 10)), "endpoints": {"m-1": POD, "m-2": POD}}
    return RoutedDeployment("m", **{**fields, **changes})


def test_bodies_that_say_they_are_too_long_are_refused_before_all_else() -> None:
    made = two_versions(guarded=True, preview=True, challenger="m-2")
    granted, _ = routes.claimed("shop", [made])
    found = routes.configuration(made, granted[routes.preview_of("m")], max_body=1000)
    shown = {host["name"]: host["routes"][0] for host in found["virtual_hosts"]}
    assert "1000 bytes" in shown["m"]["direct_response"]["body"]["inline_string"]
    for name in ("m", "m-preview"):
        assert shown[name]["direct_response"]["status"] == 413
        (header,) = shown[name]["match"].pop("headers")
        assert (header["name"], header["range_match"]["start"]) == ("content-length", 1001)
        assert shown[name]["match"] == {"prefix": "/"}, "nobody is asked who they are for that"
    assert routes.configuration(made, max_body=0) == routes.configuration(made)
    before, limited = snapshot("shop", [made]), snapshot("shop", [made], max_body=1000)
    assert limited.scopes["m"].digest != before.scopes["m"].digest
    again, _ = amended(limited, {"m": two_versions(version=2)})
    assert b"longer than 1000 bytes" in again.scopes["m"].data


def versions_of(made: RoutedDeployment, host: str = "m") -> list[dict[str, Any]]:
    """The routes of a host that lead to versions."""
    return [one for one in hosts(made)[host]["routes"] if "route" in one]


def test_a_router_is_healthy_whatever_a_single_pod_says_to_who_watches() -> None:
    first = hosts(two_versions())["m"]["routes"][0]
    assert first["match"] == {"path": "/grpc.health.v1.Health/Watch", "grpc": {}}
    assert first["direct_response"]["status"] == 404, "UNIMPLEMENTED"
    assert "response_headers_to_add" not in first, "the content type stays that of gRPC"


def test_servers_are_told_how_long_anybody_waits_for_a_call_but_not_for_a_stream() -> None:
    told = [one["route"]["timeout"] for one in versions_of(two_versions(timeout=120))]
    assert told == ["0s", "120s", "120s"]
    stream, *others = versions_of(two_versions(timeout=120, grpc={"m-1": GRPC}))
    assert "request_headers_to_add" not in stream
    for one in others:
        (header,) = one["request_headers_to_add"]
        wanted = {"key": "x-envoy-expected-rq-timeout-ms", "value": "120000"}
        assert header == {"header": wanted, "append_action": "ADD_IF_ABSENT"}


def test_a_silent_stream_is_ended_by_the_server_and_not_by_the_router() -> None:
    assert 0 < limits.DEFAULT.stream_idle <= routes.STREAM_IDLE - 30


def test_weight_0_is_sent() -> None:
    made = two_versions(revisions=(("m-1", 100), ("m-2", 0)))
    for route in versions_of(made):
        weights = {each["name"]: each["weight"] for each in route["route"]["weighted_clusters"]["clusters"]}
        assert weights == {"m-1": 100, "m-2": 0}
    found = snapshot("shop", [made]).scopes["m"]
    assert found.carrying == {"m-1"}
    assert found.named == {"m-1", "m-2"}


def test_clients_are_told_when_to_come_again_only_where_no_pod_could_answer() -> None:
    def told(made: RoutedDeployment) -> set[str]:
        headers = [
            one for route in hosts(made)["m"]["routes"] for one in route.get("response_headers_to_add", [])
        ]
        return {one["header"]["value"] for one in headers if one["header"]["key"] == "retry-after"}

    assert told(two_versions()) == set()
    assert told(two_versions(endpoints={})) == {"5"}
    assert told(two_versions(revisions=())) == {"5"}, "nor has a first version come so far"


def test_a_time_out_of_more_than_the_five_idle_minutes_is_as_long_as_it_says() -> None:
    def patience(seconds: float) -> dict[str, str]:
        found = versions_of(two_versions(timeout=seconds, grpc={"m-1": GRPC}))
        matches = [json.dumps(one["match"]) for one in found]
        actions = [one["route"] for one in found]
        told = zip(matches, actions, strict=True)
        return {match: one.get("idle_timeout", "") for match, one in told if one["timeout"] != "0s"}

    assert set(patience(270).values()) == {""}
    assert set(patience(600).values()) == {"630s"}
    assert len(patience(600)) == 2, "streams end after five idle minutes"


GRPC = (("10.0.0.1", 8082),)


def test_a_revision_that_takes_grpc_has_a_cluster_for_it_with_the_same_weight() -> None:
    made = two_versions(grpc={"m-2": GRPC})
    stream, call, other = versions_of(made)
    for route in (stream, call):
        shares = route["route"]["weighted_clusters"]["clusters"]
        assert {each["name"]: each["weight"] for each in shares} == {"m-1": 90, "m-2_grpc": 10}
        revisions = [each["response_headers_to_add"][0]["header"]["value"] for each in shares]
        assert revisions == ["m-1", "m-2"], "the answer names the revision"
    assert [each["name"] for each in other["route"]["weighted_clusters"]["clusters"]] == ["m-1", "m-2"]
    assert (stream["route"]["timeout"], call["route"]["timeout"]) == ("0s", "30s")
    found = snapshot("shop", [made])
    assert found.scopes["m"].named == found.clusters.keys() == {"m-1", "m-2", "m-2_grpc"}
    assert found.scopes["m"].carrying == {"m-1", "m-2", "m-2_grpc"}
    options = {kind: str(clusters.settings(kind)) for kind in ("", "_feedback", "_grpc")}
    assert [kind for kind, text in options.items() if "'http2_protocol_options'" in text] == ["_grpc"]


def test_feedback_has_clusters_where_a_hash_finds_the_pod_and_the_shares_of_all_else() -> None:
    made = two_versions(feedback=BOTH, numbers=NUMBERS, grpc={"m-2": GRPC})
    shares = {
        route["match"]["safe_regex"]["regex"]: {
            one["name"]: one["weight"] for one in route["route"]["weighted_clusters"]["clusters"]
        }
        for route in hosts(made)["m"]["routes"]
        if "safe_regex" in route["match"] and route["match"]["safe_regex"]["regex"].endswith("/feedback")
    }
    assert shares == {
        "/v2/models/[^/]+/versions/1/feedback": {"m-1_feedback": 90},
        "/v2/models/[^/]+/versions/2/feedback": {"m-2_feedback": 10},
        "/.*/feedback": {"m-1_feedback": 90, "m-2_feedback": 10},
    }
    found = snapshot("shop", [made])
    assert found.scopes["m"].carrying == found.clusters.keys() == found.endpoints.keys()
    assert [name for name in found.clusters if b"_feedback" in found.clusters[name].data] == [
        "m-1_feedback",
        "m-2_feedback",
    ]
    policies = {kind: clusters.settings(kind)["lb_policy"] for kind in ("", "_grpc", "_aside", "_feedback")}
    assert policies.pop("_feedback") == "RING_HASH"
    assert {*policies.values()} == {"LEAST_REQUEST"}


def test_labels_go_to_servers_that_take_them_and_not_to_a_container_of_a_users_own() -> None:
    def labels(**changes: Any) -> list[dict[str, int]]:
        return [
            {each["name"]: each["weight"] for each in route["route"]["weighted_clusters"]["clusters"]}
            for route in hosts(two_versions(feedback=frozenset({"m-1"}), **changes))["m"]["routes"]
            if route["match"].get("safe_regex") == {"regex": "/.*/feedback"}
        ]

    assert labels() == [{"m-1_feedback": 90}]
    assert labels(ranges=(("m-1", 0, 89), ("m-2", 90, 99))) == [{"m-1_feedback": 90}]
    assert labels(match=(("a", "b"),), challenger="m-2") == [{"m-1_feedback": 90}], "also of the challenger's"
    gone = {"revisions": (("m-1", 0), ("m-2", 100))}
    assert labels(**gone) == [{"m-1_feedback": 0, "m-2": 100}], "weight 0 is sent nothing"
    found = snapshot("shop", [two_versions(feedback=frozenset({"m-1"}))])
    assert found.clusters.keys() == {"m-1", "m-2", "m-1_feedback"} == found.scopes["m"].carrying


def test_a_connection_for_grpc_is_waited_for_until_its_third_packet_was_answered() -> None:
    """Linux sends it after two seconds; those before it are dropped while a server is being replaced."""
    seconds = float(clusters.settings("_grpc")["connect_timeout"].removesuffix("s"))
    assert 2.25 < seconds < 3


def reached(**changes: Any) -> list[dict[str, Any]]:
    """The routes of one host of a deployment whose challenger has weight 0."""
    made = two_versions(revisions=(("m-2", 0), ("m-1", 100)), challenger="m-2", **changes)
    return versions_of(made)


def test_copies_of_all_but_streams_and_feedback_go_to_the_challenger_by_its_protocol() -> None:
    stream, call, feedback, other = reached(mirror=30, grpc={"m-2": GRPC})
    mirrored = [one["route"].get("request_mirror_policies", [{}])[0].get("cluster") for one in (call, other)]
    assert mirrored == ["m-2_grpc", "m-2"]
    share = other["route"]["request_mirror_policies"][0]["runtime_fraction"]["default_value"]
    assert share == {"numerator": 30, "denominator": "HUNDRED"}
    assert all("request_mirror_policies" not in one["route"] for one in (stream, feedback))
    assert feedback["match"] == {"safe_regex": {"regex": "/.*/feedback"}}


def test_headers_come_before_weights_and_a_challenger_without_pods_gets_neither_them_nor_copies() -> None:
    both: dict[str, Any] = {"mirror": 30, "match": (("x-canary", "always"),)}
    first = reached(**both)[0]
    assert first["match"]["headers"] == [{"name": "x-canary", "string_match": {"exact": "always"}}]
    assert [one["name"] for one in first["route"]["weighted_clusters"]["clusters"]] == ["m-2"]
    assert reached(**both, endpoints={"m-1": POD}) == reached(endpoints={"m-1": POD})


def test_the_challenger_comes_last_so_that_its_users_are_those_at_the_upper_end() -> None:
    for route in reached():
        clusters = route["route"]["weighted_clusters"]["clusters"]
        assert [one["name"] for one in clusters] == ["m-1", "m-2"]


def test_a_challenger_that_gets_copies_or_headers_is_reachable_before_routes_send_them() -> None:
    made = two_versions(revisions=(("m-1", 100), ("m-2", 0)), challenger="m-2", mirror=1)
    assert snapshot("shop", [made]).scopes["m"].carrying == {"m-1", "m-2"}


NUMBERS = {"m-1": "1", "m-2": "2"}


def by_path(**changes: Any) -> dict[str, dict[str, int]]:
    """Weights by the expression that a path has to match."""
    return {
        route["match"]["safe_regex"]["regex"]: {
            each["name"]: each["weight"] for each in route["route"]["weighted_clusters"]["clusters"]
        }
        for route in hosts(two_versions(**changes))["m"]["routes"]
        if "safe_regex" in route["match"]
    }


def test_while_versions_share_the_traffic_a_path_that_names_one_leads_to_it() -> None:
    assert by_path(numbers=NUMBERS) == {
        "/v2/models/[^/]+/versions/1(/.*)?": {"m-1_aside": 90},
        "/v2/models/[^/]+/versions/2(/.*)?": {"m-2_aside": 10},
    }
    challenged = two_versions(numbers=NUMBERS, challenger="m-2", match=(("a", "b"),))
    found = [
        bool(one["match"].get("headers"))
        for one in hosts(challenged)["m"]["routes"]
        if "grpc" not in one["match"]
    ]
    assert found == [False, False, True, False], "also before headers are looked at"


def test_two_settings_of_one_version_share_what_names_it() -> None:
    revisions = (("m-1", 50), ("m-2", 30), ("m-2b", 20))
    found = by_path(
        revisions=revisions,
        endpoints=dict.fromkeys(("m-1", "m-2", "m-2b"), POD),
        numbers={**NUMBERS, "m-2b": "2"},
    )
    assert found["/v2/models/[^/]+/versions/2(/.*)?"] == {"m-2_aside": 30, "m-2b_aside": 20}


def test_what_no_weight_divides_has_clusters_of_its_own_while_there_are_two_versions() -> None:
    found = snapshot("shop", [two_versions(numbers=NUMBERS)])
    assert found.clusters.keys() == {"m-1", "m-2", "m-1_aside", "m-2_aside"} == found.scopes["m"].carrying
    assert found.endpoints["m-2_aside"].data.endswith(found.endpoints["m-2"].data[-20:])
    warm = snapshot("shop", [two_versions(numbers=NUMBERS, revisions=(("m-1", 100), ("m-2", 0)))])
    assert warm.clusters.keys() == found.clusters.keys(), "its last requests are waited for"
    alone = snapshot("shop", [two_versions(numbers=NUMBERS, revisions=(("m-1", 100),))])
    assert alone.clusters.keys() == {"m-1"}


def test_a_path_that_names_the_champion_leads_to_it_beside_a_container_of_a_users_own() -> None:
    assert by_path(numbers={"m-1": "1"}) == {"/v2/models/[^/]+/versions/1(/.*)?": {"m-1_aside": 90}}


def test_no_path_leads_to_a_version_without_weight_or_number() -> None:
    alone: list[dict[str, Any]] = [
        {"numbers": {}},
        {"numbers": {"m-1": "1", "m-2": "1"}},
        {"numbers": NUMBERS, "revisions": (("m-1", 100), ("m-2", 0))},
        {"numbers": NUMBERS, "endpoints": {"m-1": POD}},
    ]
    for changes in alone:
        assert by_path(**changes) == {}, changes


def test_users_are_told_apart_after_predictions_by_header_or_cookie() -> None:
    for kind, key in (("header", {"header": {"header_name": "id"}}), ("cookie", {"cookie": {"name": "id"}})):
        for route in reached(sticky=(kind, "id")):
            first, user = route["route"]["hash_policy"]
            assert (first["header"]["header_name"], first["terminal"]) == ("Noria-Feedback", True)
            assert user == key


def test_what_a_preview_is_asked_has_clusters_of_its_own_for_each_protocol() -> None:
    made = two_versions(challenger="m-2", preview=True, grpc={"m-1": GRPC, "m-2": GRPC}, feedback=BOTH)
    beside = {"m-1_grpc", "m-2_grpc", "m-1_feedback", "m-2_feedback"}
    found = snapshot("shop", [made])
    assert found.clusters.keys() == {"m-1", "m-2", "m-2_aside", "m-2_grpc_aside", *beside}
    assert found.scopes["m"].named == found.clusters.keys()
    asked = {
        each["name"]
        for route in versions_of(made, "m-preview")
        for each in route["route"]["weighted_clusters"]["clusters"]
    }
    assert asked == {"m-2_aside", "m-2_grpc_aside", "m-2_feedback"}
    without = two_versions(preview=True, revisions=(("m-1", 100),))
    assert snapshot("shop", [without]).clusters.keys() == {"m-1"}
    assert b"m-2_grpc_aside" in found.clusters["m-2_grpc_aside"].data
    like = found.clusters["m-2_grpc"].data
    assert found.clusters["m-2_grpc_aside"].data.replace(b"_aside", b"")[-200:] == like[-200:]


def test_a_preview_has_hosts_of_its_own_unless_a_deployment_has_its_name() -> None:
    made = two_versions(challenger="m-2", preview=True, mirror=5, match=(("a", "b"),))
    found = hosts(made)
    assert found["m-preview"]["domains"][:2] == ["m-preview", "m-preview.shop"]
    for route in versions_of(made, "m-preview"):
        clusters = route["route"]["weighted_clusters"]["clusters"]
        assert [(each["name"], each["weight"]) for each in clusters] == [("m-2_aside", 100)]
        assert "request_mirror_policies" not in route["route"]
    thief = RoutedDeployment("a", hosts=("m-preview.shop",))
    assert snapshot("shop", [made, thief]).refused == {"a": ("m-preview.shop",)}
    other = RoutedDeployment("m-preview", revisions=(("n-1", 100),))
    assert routes.preview_of("m") not in snapshot("shop", [made, other]).granted


def test_every_cluster_that_a_route_names_is_in_the_snapshot() -> None:
    found = snapshot("shop", [two_versions()])
    assert found.clusters.keys() == found.scopes["m"].named == found.endpoints.keys()
    assert routes.configuration(two_versions())["validate_clusters"] is True


def test_the_same_input_in_any_order_gives_the_same_bytes() -> None:
    one, other = two_versions(), RoutedDeployment("n", revisions=(("n-1", 100),), endpoints={"n-1": POD})
    assert snapshot("shop", [one, other]) == snapshot("shop", [other, one])
    assert snapshot("shop", [one]).scopes["m"] != snapshot("shop", [two_versions(timeout=5)]).scopes["m"]


def test_a_change_of_pods_changes_endpoints_alone_unless_the_last_one_goes() -> None:
    before = snapshot("shop", [two_versions()])
    more = snapshot("shop", [two_versions(endpoints={"m-1": POD, "m-2": (*POD, ("10.0.0.2", 8080))})])
    assert (before.scopes, before.clusters) == (more.scopes, more.clusters)
    assert before.endpoints["m-1"] == more.endpoints["m-1"]
    assert before.endpoints["m-2"] != more.endpoints["m-2"]
    none = snapshot("shop", [two_versions(endpoints={"m-1": POD})])
    assert none.scopes["m"] != before.scopes["m"]
    assert (none.scopes["m"].carrying, none.empty) == ({"m-1"}, {"m-2"})


def test_a_host_wanted_twice_stays_with_the_older_deployment() -> None:
    older = RoutedDeployment("z", hosts=("x.example.com",), created="2026-01-01T00:00:00Z")
    newer = RoutedDeployment("a", hosts=("x.example.com",), created="2026-01-02T00:00:00Z")
    found = snapshot("shop", [newer, older])
    assert table(found)["z"][4:] == ["x.example.com"]
    assert found.refused == {"a": ("x.example.com",)}


def test_of_two_of_one_age_the_first_by_name_gets_the_host_and_the_other_is_told() -> None:
    found = snapshot(
        "shop",
        [
            RoutedDeployment("b", hosts=("x.example.com", "b.example.com", "X.EXAMPLE.COM")),
            RoutedDeployment("a", hosts=("x.example.com", "b", "*", "version.noria.internal", "a")),
        ],
    )
    assert table(found)["a"][4:] == ["x.example.com"]
    assert table(found)["b"][4:] == ["b.example.com"]
    assert found.refused == {
        "a": ("b", "*", "version.noria.internal"),
        "b": ("x.example.com", "x.example.com"),
    }
    domains = [domain for hosts in table(found).values() for domain in hosts]
    assert len(domains) == len(set(domains))


def test_weights_in_force_are_told_as_configured_and_as_sent() -> None:
    made = two_versions(endpoints={"m-1": POD}, version=7)
    (route,) = hosts(made)["version.noria.internal"]["routes"]
    told = json.loads(route["direct_response"]["body"]["inline_string"])
    assert told == {"version": 7, "weights": {"m-1": 90, "m-2": 10}, "effective": {"m-1": 100, "m-2": 0}}


def test_an_empty_namespace_has_a_configuration_too() -> None:
    found = snapshot("shop", [])
    assert table(found).keys() == {"*", "version.noria.internal"}
    assert found.scopes.keys() == {"*"}
    assert found.clusters == {}


def test_the_admin_interface_is_on_a_unix_socket_only() -> None:
    found = bootstrap(Bootstrap("shop", "token", "drain", "noria-xds.noria:18000"))
    assert found["admin"]["address"]["pipe"]["path"] == "/tmp/envoy-admin.sock"
    listening = {each["name"]: each["address"] for each in found["static_resources"]["listeners"]}
    ports = {name: each.get("socket_address", {}).get("port_value") for name, each in listening.items()}
    assert ports == {"traffic": 8080, "stats": 9902}


def test_the_token_stands_in_the_node_and_nowhere_else() -> None:
    text = json.dumps(bootstrap(Bootstrap("shop", "the-token", "drain", "noria-xds.noria:18000")))
    assert text.count("the-token") == 1
    assert json.loads(text)["node"]["metadata"] == {"namespace": "shop", "token": "the-token"}
