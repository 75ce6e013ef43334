"""Weights to send, and who may be given requests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.routers.source import by_service, endpoints, routed
from noria_operator.routers.traffic import RoutedDeployment, effective, in_order

POD = ("10.0.0.1", 8080)


def deployment(weights: dict[str, int], *alive: str) -> RoutedDeployment:
    return RoutedDeployment("m", revisions=tuple(weights.items()), endpoints=dict.fromkeys(alive, (POD,)))


@pytest.mark.parametrize(
    ("weights", "alive", "sent"),
    [
        ({"a": 90, "b": 10}, ["a", "b"], {"a": 90, "b": 10}),
        ({"a": 90, "b": 10}, ["a"], {"a": 100, "b": 0}),
        ({"a": 90, "b": 10}, ["b"], {"a": 0, "b": 100}),
        ({"a": 90, "b": 10}, [], {"a": 90, "b": 10}),
        ({"a": 100, "b": 0}, ["b"], {"a": 100, "b": 0}),
        ({"a": 34, "b": 33, "c": 33}, ["b", "c"], {"a": 0, "b": 50, "c": 50}),
        ({"a": 50, "b": 25, "c": 25}, ["a", "c"], {"a": 67, "b": 0, "c": 33}),
        ({}, [], {}),
    ],
)
def test_a_cluster_without_endpoints_gives_its_share_away(
    weights: dict[str, int], alive: list[str], sent: dict[str, int]
) -> None:
    assert effective(deployment(weights, *alive)) == sent


@given(
    st.lists(st.integers(0, 100), min_size=1, max_size=4).filter(lambda weights: 0 < sum(weights) <= 100),
    st.sets(st.integers(0, 4)),
)
def test_sent_weights_are_integers_with_sum_100_and_never_on_a_dead_cluster(
    parts: list[int], alive: set[int]
) -> None:
    weights = {f"c{index}": part for index, part in enumerate([*parts, 100 - sum(parts)])}
    living = {f"c{index}" for index in alive}
    sent = effective(deployment(weights, *living))
    assert sent.keys() == weights.keys()
    assert sum(sent.values()) == 100
    assert all(0 <= weight <= 100 for weight in sent.values())
    assert all(sent[name] == 0 for name, weight in weights.items() if weight == 0)
    if living & {name for name, weight in weights.items() if weight}:
        assert {name for name, weight in sent.items() if weight} <= living


def slice_of(*pods: tuple[str, dict[str, bool]], service: str = "m-1", port: int = 8080) -> dict[str, object]:
    return {
        "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"port": port}],
        "endpoints": [{"addresses": [ip], "conditions": conditions} for ip, conditions in pods],
    }


READY = {"ready": True, "serving": True, "terminating": False}
ENDING = {"ready": False, "serving": True, "terminating": True}
GONE = {"ready": False, "serving": False, "terminating": True}
STARTING = {"ready": False, "serving": False, "terminating": False}


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([("10.0.0.1", READY), ("10.0.0.2", STARTING)], ["10.0.0.1"]),
        ([("10.0.0.1", READY), ("10.0.0.2", ENDING)], ["10.0.0.1"]),
        ([("10.0.0.1", ENDING), ("10.0.0.2", STARTING)], ["10.0.0.1"]),
        ([("10.0.0.1", GONE)], []),
        ([("10.0.0.1", {})], ["10.0.0.1"]),
        ([], []),
    ],
)
def test_ready_pods_get_requests_and_ending_ones_only_when_nobody_else_is_there(
    pods: list[tuple[str, dict[str, bool]]], expected: list[str]
) -> None:
    assert [ip for ip, _ in endpoints([slice_of(*pods)])] == expected


def test_endpoints_come_from_all_slices_of_the_service_and_from_no_other() -> None:
    slices = [
        slice_of(("10.0.0.2", READY)),
        slice_of(("10.0.0.1", READY)),
        slice_of(("10.0.0.3", READY), service="m-2"),
        {"metadata": {"name": "unlabelled"}, "ports": None, "endpoints": None},
    ]
    assert endpoints(by_service(slices)["m-1"]) == (("10.0.0.1", 8080), ("10.0.0.2", 8080))


def test_a_model_deployment_is_routed_by_its_status() -> None:
    body = {
        "metadata": {"name": "m", "namespace": "shop"},
        "spec": {"model": "flights", "hosts": ["x.example.com"], "router": {"timeout": "1m30s"}},
        "status": {
            "traffic": [{"name": "m-1", "weight": 90}, {"name": "m-2", "weight": 10}],
            "trafficVersion": 7,
        },
    }
    found = routed(body, by_service([slice_of(("10.0.0.1", READY))]))
    assert found == RoutedDeployment(
        name="m",
        hosts=("x.example.com",),
        revisions=(("m-1", 90), ("m-2", 10)),
        timeout=90.0,
        endpoints={"m-1": (("10.0.0.1", 8080),), "m-2": ()},
        version=7,
        grpc={"m-2": ()},
    )


SEVERAL = RoutedDeployment(
    name="m",
    revisions=(("m-1", 60), ("m-2", 20), ("m-3", 20), ("m-0", 0)),
    endpoints={name: (("10.0.0.1", 8080),) for name in ("m-1", "m-2", "m-3", "m-0")},
    challenger="m-2",
    arms=(("m-3", ()),),
    champion="m-1",
    ranges=(("m-1", 0, 49), ("m-3", 50, 69), ("m-1", 70, 79), ("m-2", 80, 99)),
)


def test_with_several_challengers_users_go_by_ranges() -> None:
    assert in_order(SEVERAL) == [("m-1", 50), ("m-3", 20), ("m-1", 10), ("m-2", 20), ("m-0", 0)]


def test_an_arm_without_pods_gives_its_users_to_the_champion_and_nobody_else_moves() -> None:
    dead = replace(SEVERAL, endpoints={**SEVERAL.endpoints, "m-3": ()})
    assert effective(dead) == {"m-1": 80, "m-2": 20, "m-3": 0, "m-0": 0}
    assert in_order(dead) == [("m-1", 50), ("m-1", 20), ("m-1", 10), ("m-2", 20), ("m-3", 0), ("m-0", 0)]


def test_without_pods_of_the_champion_arms_share_what_it_had() -> None:
    dead = replace(SEVERAL, endpoints={**SEVERAL.endpoints, "m-1": ()})
    assert effective(dead) == {"m-1": 0, "m-2": 50, "m-3": 50, "m-0": 0}
    assert dict(in_order(dead)) == effective(dead)


def test_arms_and_ranges_come_from_the_status() -> None:
    header = [{"name": "x-team", "value": "b"}]
    status = {
        "stable": {"name": "m-1"},
        "candidate": {"name": "m-2"},
        "others": [{"name": "m-3"}],
        "traffic": [
            {"name": "m-1", "weight": 70, "ranges": "0-49,60-79"},
            {"name": "m-2", "weight": 20, "ranges": "80-99"},
            {"name": "m-3", "weight": 10, "ranges": "50-59", "match": header},
        ],
    }
    found = routed({"metadata": {"name": "m"}, "spec": {"model": "m"}, "status": status}, {})
    assert (found.challenger, found.champion) == ("m-2", "m-1")
    assert found.arms == (("m-3", (("x-team", "b"),)),)
    assert found.ranges == (("m-1", 0, 49), ("m-1", 60, 79), ("m-2", 80, 99), ("m-3", 50, 59))


def test_ports_for_grpc_go_by_their_name_and_unknown_ones_may_still_come() -> None:
    both = slice_of(("10.0.0.1", READY), ("10.0.0.2", STARTING))
    both["ports"] = [{"name": "grpc", "port": 8082}, {"name": "http", "port": 8080}]
    old = slice_of(("10.0.0.3", READY), service="m-2")
    empty = {**slice_of(service="m-3"), "ports": []}
    traffic = [{"name": f"m-{number}", "weight": 0} for number in (2, 3, 4)]
    body = {
        "metadata": {"name": "m", "namespace": "shop"},
        "spec": {},
        "status": {"traffic": [{"name": "m-1", "weight": 100}, *traffic]},
    }
    found = routed(body, by_service([both, old, empty]))
    assert found.grpc == {"m-1": (("10.0.0.1", 8082),), "m-3": (), "m-4": ()}
    assert found.endpoints["m-1"] == (("10.0.0.1", 8080),)
    assert found.endpoints["m-2"] == (("10.0.0.3", 8080),)


@pytest.mark.parametrize(
    ("weights", "one", "two", "expected"),
    [
        ({"m-1": 100, "m-2": 0}, [STARTING, STARTING], [], {"m-1": 2, "m-2": 0}),
        ({"m-1": 100, "m-2": 0}, [STARTING, READY], [], {"m-1": 1, "m-2": 0}),
        ({"m-1": 100, "m-2": 0}, [STARTING, ENDING], [], {"m-1": 1, "m-2": 0}),
        ({"m-1": 100, "m-2": 0}, [STARTING, GONE], [], {"m-1": 1, "m-2": 0}),
        ({"m-1": 100, "m-2": 0}, [GONE], [], {"m-1": 0, "m-2": 0}),
        ({"m-1": 100, "m-2": 0}, [STARTING], [STARTING], {"m-1": 1, "m-2": 0}),
        ({"m-1": 100, "m-2": 0}, [STARTING], [READY], {"m-1": 1, "m-2": 1}),
        ({"m-1": 90, "m-2": 10}, [READY], [STARTING], {"m-1": 1, "m-2": 0}),
        ({"m-1": 90, "m-2": 10}, [STARTING], [STARTING, STARTING], {"m-1": 1, "m-2": 2}),
    ],
)
def test_pods_that_were_ready_keep_their_requests_while_no_version_with_weight_has_a_ready_one(
    weights: dict[str, int],
    one: list[dict[str, bool]],
    two: list[dict[str, bool]],
    expected: dict[str, int],
) -> None:
    traffic = [{"name": name, "weight": weight} for name, weight in weights.items()]
    body = {"metadata": {"name": "m"}, "spec": {"model": "m"}, "status": {"traffic": traffic}}
    pods = {"m-1": one, "m-2": two}
    slices = [
        slice_of(*[(f"10.0.{row}.{column}", state) for column, state in enumerate(states)], service=name)
        for row, (name, states) in enumerate(pods.items())
    ]
    found = routed(body, by_service(slices))
    assert {name: len(places) for name, places in found.endpoints.items()} == expected


def test_a_first_version_that_was_never_ready_is_given_nothing() -> None:
    body = {"metadata": {"name": "m"}, "spec": {"model": "m"}, "status": {"traffic": []}}
    assert routed(body, by_service([slice_of(("10.0.0.1", STARTING))])).endpoints == {}


def test_a_probe_that_fails_everywhere_changes_nothing_for_the_router() -> None:
    """The very same endpoints: not even an update is sent."""
    body = {
        "metadata": {"name": "m"},
        "spec": {"model": "m"},
        "status": {"traffic": [{"name": "m-1", "weight": 100}]},
    }
    well, sick = [slice_of(("10.0.0.1", state), ("10.0.0.2", state)) for state in (READY, STARTING)]
    assert routed(body, by_service([well])) == routed(body, by_service([sick]))


def test_a_model_deployment_that_serves_nothing_yet_is_known_without_revisions() -> None:
    found = routed({"metadata": {"name": "m"}, "spec": {"model": "m"}}, {})
    assert (found.revisions, found.timeout) == ((), 30.0)
