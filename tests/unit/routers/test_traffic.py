"""Weights to send, and who may be given requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.backends import by_arm

from noria_operator.api import names
from noria_operator.kube import kinds
from noria_operator.kube.lean import lean
from noria_operator.routers.backends import Backend, backend
from noria_operator.routers.source import endpoints, routed
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


Json = dict[str, Any]

READY, ENDING, GONE, STARTING = "ready", "ending", "gone", "starting"
PORTS = {"http": 8080}
OURS = {**PORTS, "counters": 8081}


def pod(address: str, state: str, revision: str = "m-1", *, ports: dict[str, int] = PORTS) -> Json:
    """As the API server has it; GONE ends without passing its probe."""
    whose = {"owner-uid": "u", "version": f"v-{revision}", "revision": revision}
    labels = {f"noria.dev/{name}": value for name, value in whose.items()}
    ending = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if state in (ENDING, GONE) else {}
    named = [{"name": name, "containerPort": port} for name, port in ports.items()]
    passes = "True" if state in (READY, ENDING) else "False"
    return {
        "metadata": {"name": f"{revision}-{address}", "labels": labels, **ending},
        "spec": {"containers": [{"name": "server", "ports": named}, {"name": "sidecar"}]},
        "status": {
            "phase": "Running",
            "podIP": address,
            "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": passes}],
        },
    }


def share(revision: str, weight: int, **more: Any) -> Json:
    return {"name": revision, "version": f"v-{revision}", "revision": revision, "weight": weight, **more}


def body(*shares: Json, **status: Any) -> Json:
    meta = {"name": "m", "namespace": "shop", "uid": "u"}
    return {"metadata": meta, "spec": {"model": "m"}, "status": {"traffic": list(shares), **status}}


def test_what_routers_know_of_a_pod_is_what_its_endpoint_would_say() -> None:
    """Cases of Kubernetes' own tests of EndpointSlices: conditions, ended pods and missing addresses."""
    place = ("10.0.0.1", 8080, None)
    assert backend(pod("10.0.0.1", READY)) == Backend(*place, serving=True, ending=False)
    assert backend(pod("10.0.0.1", ENDING)) == Backend(*place, serving=True, ending=True)
    assert backend(pod("10.0.0.1", STARTING)) == Backend(*place, serving=False, ending=False)
    assert backend(pod("10.0.0.1", GONE)) == Backend(*place, serving=False, ending=True)
    for phase, address in (("Succeeded", "10.0.0.1"), ("Failed", "10.0.0.1"), ("Pending", "")):
        one = pod(address, READY)
        one["status"]["phase"] = phase
        assert backend(one) is None
    bare = {**pod("", STARTING), "status": {}}
    assert backend(bare) is None
    unprobed = pod("10.0.0.1", READY)
    del unprobed["status"]["conditions"]
    assert backend(unprobed) == Backend(*place, serving=False, ending=False)


def test_what_the_store_keeps_of_a_pod_is_enough() -> None:
    for state in (READY, ENDING, GONE, STARTING):
        one = pod("10.0.0.1", state, ports={"http": 8080, "grpc": 8082})
        assert backend(lean(kinds.POD, one)) == backend(one)
        assert by_arm([lean(kinds.POD, one)]) == by_arm([one])


def test_a_port_is_that_of_the_first_container_that_names_it() -> None:
    """As Kubernetes finds a Service's port: another container's port of another name is nobody's."""
    one = pod("10.0.0.1", READY, ports={"counters": 9, "grpc": 8082, "http": 8080})
    one["spec"]["containers"][1]["ports"] = [{"name": "http", "containerPort": 1}, {"containerPort": 2}]
    assert backend(one) == Backend("10.0.0.1", 8080, 8082, serving=True, ending=False, ours=True)


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([("10.0.0.1", READY), ("10.0.0.2", STARTING)], ["10.0.0.1"]),
        ([("10.0.0.1", READY), ("10.0.0.2", ENDING)], ["10.0.0.1"]),
        ([("10.0.0.1", ENDING), ("10.0.0.2", STARTING)], ["10.0.0.1"]),
        ([("10.0.0.1", GONE)], []),
        ([], []),
    ],
)
def test_ready_pods_get_requests_and_ending_ones_only_when_nobody_else_is_there(
    pods: list[tuple[str, str]], expected: list[str]
) -> None:
    found = [one for each in pods if (one := backend(pod(*each)))]
    assert [ip for ip, _ in endpoints(found)] == expected


def test_pods_are_found_by_whose_they_are_and_what_they_serve() -> None:
    others = [pod("10.0.0.3", READY, "m-2"), pod("10.0.0.4", READY), pod("10.0.0.5", READY)]
    others[1]["metadata"]["labels"]["noria.dev/owner-uid"] = "one of this name that is gone"
    others[2]["metadata"]["labels"].pop("noria.dev/revision")  # somebody took it out to look at it
    unlabelled = {**pod("10.0.0.6", READY), "metadata": {"name": "unlabelled"}}
    pods = by_arm([pod("10.0.0.2", READY), *others, unlabelled, pod("10.0.0.1", READY)])
    found = routed(body(share("m-1", 100)), pods)
    assert found.endpoints == {"m-1": (("10.0.0.1", 8080), ("10.0.0.2", 8080))}


def test_a_long_name_of_a_version_is_found_by_its_label() -> None:
    long = "m" * 70
    label = names.fit(long)
    one = pod("10.0.0.1", READY)
    one["metadata"]["labels"]["noria.dev/version"] = label
    found = routed(body({**share("m-1", 100), "version": long}), by_arm([one]))
    assert found.endpoints == {"m-1": (("10.0.0.1", 8080),)}


def test_a_model_deployment_is_routed_by_its_status() -> None:
    deployment = body(share("m-1", 90), share("m-2", 10), trafficVersion=7)
    deployment["spec"] = {"model": "flights", "hosts": ["x.example.com"], "router": {"timeout": "1m30s"}}
    found = routed(deployment, by_arm([pod("10.0.0.1", READY, ports=OURS)]))
    assert found == RoutedDeployment(
        name="m",
        hosts=("x.example.com",),
        revisions=(("m-1", 90), ("m-2", 10)),
        timeout=90.0,
        endpoints={"m-1": (("10.0.0.1", 8080),), "m-2": ()},
        version=7,
        grpc={"m-2": ()},
        numbers={"m-1": "1", "m-2": "2"},
        feedback=frozenset({"m-1", "m-2"}),
    )
    deployment["spec"]["server"] = {"runtime": "custom"}
    found = routed(deployment, {})
    assert found.numbers == {}, "what such a server calls its versions is its own affair"
    assert not found.feedback


@pytest.mark.parametrize("runtime", ["custom", "noria"])
def test_who_takes_labels_and_whose_version_may_be_named_is_seen_by_the_pods(runtime: str) -> None:
    deployment = body(share("m-1", 90), share("m-2", 10))
    deployment["spec"] = {"model": "flights", "server": {"runtime": runtime}}
    found = routed(deployment, by_arm([pod("10.0.0.1", READY, ports=OURS), pod("10.0.0.2", READY, "m-2")]))
    assert found.feedback == {"m-1"}
    assert found.numbers == {"m-1": "1"}


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
    deployment = body(
        share("m-1", 70, ranges="0-49,60-79"),
        share("m-2", 20, ranges="80-99"),
        share("m-3", 10, ranges="50-59", match=header),
        stable={"name": "m-1"},
        candidate={"name": "m-2"},
        others=[{"name": "m-3"}],
    )
    found = routed(deployment, {})
    assert (found.challenger, found.champion) == ("m-2", "m-1")
    assert found.arms == (("m-3", (("x-team", "b"),)),)
    assert found.ranges == (("m-1", 0, 49), ("m-1", 60, 79), ("m-2", 80, 99), ("m-3", 50, 59))


def test_ports_for_grpc_go_by_their_name_and_unknown_ones_may_still_come() -> None:
    both = {"grpc": 8082, "http": 8080}
    pods = [
        pod("10.0.0.1", READY, ports=both),
        pod("10.0.0.2", STARTING, ports=both),
        pod("10.0.0.3", READY, "m-2"),
        pod("", STARTING, "m-3"),
    ]
    found = routed(body(share("m-1", 100), *(share(f"m-{n}", 0) for n in (2, 3, 4))), by_arm(pods))
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
    one: list[str],
    two: list[str],
    expected: dict[str, int],
) -> None:
    pods = [
        pod(f"10.0.{row}.{column}", state, name)
        for row, (name, states) in enumerate([("m-1", one), ("m-2", two)])
        for column, state in enumerate(states)
    ]
    found = routed(body(*(share(*each) for each in weights.items())), by_arm(pods))
    assert {name: len(places) for name, places in found.endpoints.items()} == expected


def test_a_first_version_that_was_never_ready_is_given_nothing() -> None:
    assert routed(body(), by_arm([pod("10.0.0.1", STARTING)])).endpoints == {}


def test_a_probe_that_fails_everywhere_changes_nothing_for_the_router() -> None:
    """The very same endpoints: not even an update is sent."""
    served = body(share("m-1", 100))
    well, sick = [by_arm([pod("10.0.0.1", state), pod("10.0.0.2", state)]) for state in (READY, STARTING)]
    assert routed(served, well) == routed(served, sick)


def test_a_model_deployment_that_serves_nothing_yet_is_known_without_revisions() -> None:
    found = routed({"metadata": {"name": "m", "uid": "u"}, "spec": {"model": "m"}}, {})
    assert (found.revisions, found.timeout) == ((), 30.0)
