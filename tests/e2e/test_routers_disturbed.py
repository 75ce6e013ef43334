"""The same for every kind of router: what clients notice when something around it goes or changes.

What each declares that it can do says what may fail; kinds are those of `tests/e2e/routed.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.disturbances import kill_leader, operator_away
from tests.e2e.kube import Kube, namespace, phase
from tests.e2e.load import CONNECTIONS, Load
from tests.e2e.models import approve
from tests.e2e.routed import CANARY, RARE, SETTLE, Routed, chance

pytestmark = pytest.mark.extended


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    """Two versions of a model, ready to be served."""
    with namespace(noria, "e2e-disturbed") as kube:
        approve(kube, images["example-flights"], 2)
        yield kube


def test_a_challenger_whose_pods_are_all_killed_costs_what_the_router_declares(routed: Routed) -> None:
    """Case 55: nothing where routers fall back and try again, else what was on its way to them."""
    routed.deploy(2, CANARY)
    routed.until(tiny_1=80, tiny_2=20)
    with routed.load() as load:
        load.until_sent(100)
        routed.kill(routed.pods(2))
        routed.wait(
            lambda md: {one["version"] for one in md["status"]["traffic"] if one["weight"]} == {"tiny-1"}
        )
        load.until_sent(100)
        lost, sent = len(load.failures), load.sent
        routed.until(tiny_1=80, tiny_2=20)
        load.until_sent(200)
    print(f"{routed.kind}: all pods of the challenger killed: {load.summary}")
    assert len(load.failures) == lost, f"after {sent} requests: {load.summary}"
    if routed.able.retries and routed.able.falls_back:
        assert not load.failures, load.summary
    assert lost <= CONNECTIONS, load.summary
    routed.back()


def test_a_server_pod_that_is_killed_costs_what_the_router_declares(routed: Routed) -> None:
    """Nothing where routers try again at another pod, else what was on its way to it."""
    with routed.load() as load:
        load.until_sent(100)
        routed.kill(routed.pods(1)[:1])
        load.until_sent(100)
        lost = len(load.failures)
        routed.wait(phase("Healthy"))
        load.until_sent(100)
    print(f"{routed.kind}: a server pod killed: {load.summary}")
    assert lost == len(load.failures), load.summary
    assert lost <= (0 if routed.able.retries else CONNECTIONS), load.summary


def test_routers_that_are_replaced_lose_no_request_and_know_what_was_in_force(routed: Routed) -> None:
    routed.deploy(2, CANARY, {"weight": 50, "pause": True})
    routed.until(tiny_1=80, tiny_2=20)
    with routed.load() as load:
        load.until_sent(100)
        routed.replace_routers()
        load.until_sent(100)
    assert not load.failures, load.summary
    assert chance(routed.answers(1_000), {"1": 80, "2": 20}) > RARE
    routed.say("promote")
    routed.until(tiny_1=50, tiny_2=50)
    assert chance(routed.answers(1_000), {"1": 50, "2": 50}) > RARE
    routed.back()


def test_nothing_is_lost_while_no_operator_is_there_and_it_goes_on_where_it_was(routed: Routed) -> None:
    routed.deploy(2, CANARY, {"weight": 50, "pause": True})
    routed.until(tiny_1=80, tiny_2=20)
    with routed.load() as load:
        with operator_away(routed.kube):
            load.until_sent(100)
            gone = routed.pods(1)[0]["metadata"]["name"]
            routed.kube.delete("Pod", gone)
            routed.kube.until_gone("Pod", gone)
            load.until_sent(100)
            assert chance(routed.answers(1_000), {"1": 80, "2": 20}) > RARE
            routed.say("promote")
        routed.until(tiny_1=50, tiny_2=50)
        load.until_sent(100)
    assert not load.failures, load.summary
    routed.back()


def test_two_hundred_changes_of_weights_lose_no_request(routed: Routed) -> None:
    """Through the operator, each in force before the next."""
    most = 99 if routed.able.any_weight else 50
    scale = {"replicas": "100%"} if routed.able.scale else {}
    changes = 0
    assumed = routed.gateway is not None and not routed.able.read_back
    if assumed:
        routed.router["gateway"]["settle"] = "0s"
    with routed.load() as load:
        while changes < 200:
            for weight in range(1, most + 1):
                routed.deploy(2, {"weight": weight, "pause": True, **scale})
                routed.until(tiny_1=100 - weight, tiny_2=weight)
                changes += 1
            routed.deploy(1)
            routed.until(tiny_1=100)
            changes += 1
        load.until_sent(100)
    if assumed:
        routed.router["gateway"]["settle"] = SETTLE[routed.kind]
    print(f"{routed.kind}: {changes} changes, {load.sent} requests, {len(load.failures)} failed")
    assert not load.failures, load.summary
    assert min(load.versions.values()) > 200
    routed.back()


def test_a_cycle_loses_no_request_and_what_is_in_force_is_exact(routed: Routed) -> None:
    """Canary, abort, retry, promote, undo, the operator killed meanwhile; at both of its addresses."""
    inside = Load(routed.own_url(), rate=20, headers={"Host": routed.name})
    with routed.load(rate=40) as load, inside:
        load.until_sent(50)
        routed.deploy(2, CANARY)
        routed.until(tiny_1=80, tiny_2=20)
        kill_leader(routed.kube)
        routed.say("abort")
        routed.until(tiny_1=100)
        assert routed.answers(480) == {"1": 480}

        routed.say("retry")
        routed.until(tiny_1=80, tiny_2=20)
        routed.say("promote-full")
        routed.until(tiny_2=100)
        assert routed.answers(480) == {"2": 480}

        routed.say("undo")
        routed.until(tiny_1=100)
        assert routed.answers(480) == {"1": 480}
        load.until_sent(100)
    assert not load.failures, load.summary
    assert not inside.failures, inside.summary
    assert load.versions["2"] > 0
    routed.back()
