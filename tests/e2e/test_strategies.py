"""Strategies beside the canary, under load behind Noria's own router.

Copies, the only copy that fits, the last request of a version that leaves, another strategy in the middle of
a rollout, versions that never come up, a champion that is gone. The numbers are those of
docs/rollout-cases.md.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kubernetes
import pytest
from tests.e2e.disturbances import no_new_pods
from tests.e2e.grpc_load import stream
from tests.e2e.kube import Json, Kube, condition, namespace, phase
from tests.e2e.load import CONNECTIONS
from tests.e2e.models import approve
from tests.e2e.routed import CANARY, Routed, behind

pytestmark = pytest.mark.extended

TESTER = {"x-canary": "always"}
FOR_TESTERS: Json = {"match": [{"name": "x-canary", "value": "always"}], "pause": True}
TOO_SMALL: Json = {"resources": {"requests": {"memory": "8Mi"}, "limits": {"memory": "24Mi"}}}
"""A server that is killed for its memory before it is ready, again and again."""


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    with namespace(noria, "e2e-strategies") as kube:
        approve(kube, images["example-flights"], 2)
        yield kube


@pytest.fixture
def routed(kube: Kube) -> Iterator[Routed]:
    """Version 1 serves with two pods."""
    with behind("Envoy", kube, lambda _: pytest.fail("no gateway"), replicas=2) as routed:
        yield routed


@contextmanager
def generations(routed: Routed) -> Iterator[list[set[str]]]:
    """Of which revisions there were pods that take room, after every change while the block lasts; not those
    of a deployment of the same name that was there before, which may still end.
    """
    kube, seen = routed.kube, list[set[str]]()
    labels = f"noria.dev/owner-uid={routed.wait(phase('Healthy'))['metadata']['uid']}"
    done = threading.Event()

    def look() -> None:
        core = kube.at(kube.namespace).core
        while not done.is_set():
            pods: dict[str, Json] = {}
            for event in kubernetes.watch.Watch().stream(
                core.list_namespaced_pod, kube.namespace, label_selector=labels, timeout_seconds=2
            ):
                pod = event["raw_object"]
                pods[pod["metadata"]["name"]] = pod
                if event["type"] == "DELETED" or pod["status"].get("phase") in ("Succeeded", "Failed"):
                    del pods[pod["metadata"]["name"]]
                seen.append({each["metadata"]["labels"]["noria.dev/revision"] for each in pods.values()})

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join(timeout=30)


def test_copies_cost_clients_nothing_whatever_becomes_of_them(routed: Routed) -> None:
    with routed.load() as load:
        load.until_sent(100)
        routed.deploy(2, {"mirror": 100, "pause": True})
        routed.paused()
        before = load.sent
        load.until_sent(400)
        assert routed.counted(2) >= load.sent - before - 100, "nearly every request since was copied"
        routed.kill(routed.pods(2))
        load.until_sent(400)
        routed.paused()
        assert set(load.versions) == {"1"}, "copies answer nobody"
        routed.say("promote-full")
        routed.until(tiny_2=100)
        load.until_sent(200)
    print(f"mirror: {load.sent} requests, {len(load.failures)} failed")
    assert not load.failures, load.summary


def test_where_one_copy_fits_the_next_one_begins_when_the_last_pod_is_gone(routed: Routed) -> None:
    """Nothing answers in between, which is said at once: by the router, and by a pod that is not up yet."""
    with generations(routed) as seen, routed.load() as load:
        load.until_sent(100)
        load.phase = "recreate"
        routed.deploy(2, type="Recreate")
        down = routed.wait(lambda md: condition(md, "Servable").get("reason") == "Recreating")
        assert condition(down, "Ready")["status"] == "False"
        routed.wait(lambda md: condition(md, "Ready")["status"] == "True")
        load.until_sent(CONNECTIONS)  # what was on its way when status said so
        lost = len(load.failures)
        load.until_sent(200)
        assert len(load.failures) == lost, "over when status says so"
        assert load.versions["2"] > 0

        load.phase = "a server too small to come up"
        routed.deploy(2, type="Recreate", progressDeadline="20s", server=TOO_SMALL)
        routed.wait(phase("RolledBack"))
        routed.wait(lambda md: condition(md, "Ready")["status"] == "True")
        load.until_sent(CONNECTIONS)
        lost = len(load.failures)
        load.until_sent(200)
        assert len(load.failures) == lost, "the champion came up again"
    print(f"Recreate: {load.sent} requests, {load.summary}")
    assert load.failures
    assert all(": 503 " in one for one in load.failures), load.summary
    assert len(set.union(*seen)) == 3
    assert max(map(len, seen)) == 1, "never two revisions at once, on the way back neither"


def test_pods_go_only_when_their_last_request_was_answered(routed: Routed) -> None:
    """A stream of a tester's keeps the challenger's pods; all that is theirs goes with its end."""
    routed.deploy(2, FOR_TESTERS, {"weight": 20, "pause": True})
    routed.paused()
    with routed.load() as load:
        with stream(routed.address(), routed.name, TESTER) as ask:
            assert ask() == "2"
            old = routed.pods(2)
            routed.say("abort")
            routed.wait(lambda md: any("drainingSince" in one for one in md["status"]["traffic"]))
            load.until_sent(500)
            assert ask() == "2"
            assert [pod["metadata"]["name"] for pod in routed.pods(2)] == [
                pod["metadata"]["name"] for pod in old
            ], "none was told to end"
        for pod in old:
            routed.kube.until_gone("Pod", pod["metadata"]["name"], timeout=90)
        routed.wait(lambda md: len(md["status"]["traffic"]) == 1)
    print(f"drain: {load.sent} requests, {len(load.failures)} failed")
    assert not load.failures, load.summary


def test_other_strategies_in_the_middle_of_a_rollout_lose_no_request(routed: Routed) -> None:
    """Case 35: a canary becomes a blue-green and a shadow becomes a canary; 8: back to the champion."""
    blue_green: Json = {"replicas": "100%", "pause": True}
    with routed.load() as load:
        load.phase = "canary"
        routed.deploy(2, CANARY)
        routed.until(tiny_1=80, tiny_2=20)
        load.phase = "blue-green"
        routed.deploy(2, blue_green)
        routed.paused()
        load.phase = "back to the champion"  # 8
        routed.back()
        load.phase = "shadow"
        routed.deploy(2, {"mirror": 100, "pause": True})
        routed.paused()
        load.phase = "canary again"
        routed.deploy(2, CANARY)
        routed.until(tiny_1=80, tiny_2=20)
        routed.say("promote-full")
        routed.until(tiny_2=100)
        load.until_sent(200)
    print(f"strategies: {load.sent} requests, {len(load.failures)} failed")
    assert not load.failures, load.summary


def test_a_version_that_never_comes_up_is_given_up_and_its_successor_is_not(routed: Routed) -> None:
    """Cases 10, 16, 18 and 38: traffic stays with the champion; a mended spec is not aborted for the broken
    one's time.
    """
    with routed.load() as load:
        load.phase = "a version that crashes"
        routed.deploy(2, CANARY, progressDeadline="20s", server=TOO_SMALL)
        md = routed.wait(phase("RolledBack"))
        assert "OOMKilled" in md["status"]["message"] or "deadline" in md["status"]["message"].lower()
        load.phase = "the same, mended in the middle of it"
        routed.say("retry")
        routed.wait(lambda md: "candidate" in md["status"])
        routed.deploy(2, CANARY, progressDeadline="60s")
        routed.until(tiny_1=80, tiny_2=20)
        routed.say("promote-full")
        routed.until(tiny_2=100)
        load.until_sent(200)
    print(f"broken versions: {load.sent} requests, {len(load.failures)} failed")
    assert not load.failures, load.summary


def test_a_good_version_takes_over_from_a_champion_whose_pods_stay_away(routed: Routed) -> None:
    """Case 9: it has all traffic meanwhile, and is judged by what it answers."""
    with routed.load() as load:
        load.until_sent(100)
        routed.deploy(2, {**CANARY, "replicas": "100%"}, {"weight": 50, "minRequests": 300, "analysis": {}})
        routed.paused()
        with no_new_pods(routed.kube):
            load.phase = "all pods of the champion killed"
            routed.kill(routed.pods(1))
            load.until_sent(200)
            lost, before = len(load.failures), load.versions["1"]
            load.phase = "nobody but the challenger"
            routed.say("resume")
            routed.until(tiny_2=100)
            load.until_sent(200)
    print(f"broken champion: {load.sent} requests, {load.summary}")
    assert lost <= CONNECTIONS, load.summary
    assert len(load.failures) == lost, load.summary
    assert load.versions["1"] == before, "its pods stayed away"
