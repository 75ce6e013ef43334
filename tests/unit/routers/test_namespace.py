"""A configuration that is kept up to date piece by piece."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.backends import by_arm

from noria_operator.routers import namespace
from noria_operator.routers.discovery import Kind
from noria_operator.routers.envoy import Snapshot, snapshot
from noria_operator.routers.namespace import Namespace
from noria_operator.routers.source import by_envoy, routed

Json = dict[str, Any]


def deployment(
    name: str,
    *,
    host: str = "",
    preview: bool = False,
    kind: str = "Envoy",
    weight: int = 10,
    told: bool = True,
) -> Json:
    shares = ((1, 100 - weight), (2, weight))
    traffic = [
        {"name": f"{name}-{n}", "version": f"v-{n}", "revision": str(n), "weight": part} for n, part in shares
    ]
    spec: Json = {"model": name, "hosts": [host] if host else [], "router": {"type": kind}}
    spec["strategy"] = {"preview": preview}
    made = f"2026-01-0{len(name)}T00:00:00Z"
    meta = {"name": name, "namespace": "shop", "uid": name, "creationTimestamp": made}
    status = {"observedGeneration": 1, "traffic": traffic} if told else {}
    return {"kind": "ModelDeployment", "metadata": meta, "spec": spec, "status": status}


def pod(owner: str, revision: int, address: str, *, ready: bool = True, number: int = 0) -> Json:
    labels = {"owner-uid": owner, "version": f"v-{revision}", "revision": str(revision)}
    return {
        "kind": "Pod",
        "metadata": {
            # One of its name may come back with another revision.
            "name": f"{owner}-{number}",
            "namespace": "shop",
            "labels": {f"noria.dev/{name}": value for name, value in labels.items()},
        },
        "spec": {
            "containers": [
                {"ports": [{"name": "http", "containerPort": 1}, {"name": "counters", "containerPort": 2}]}
            ]
        },
        "status": {"podIP": address, "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


NAMES = ["a", "bb", "a-preview"]
CHANGES = st.one_of(
    st.builds(
        lambda gone, *args, **more: (deployment(*args, **more), gone),
        st.booleans(),
        st.sampled_from(NAMES),
        host=st.sampled_from(["", "x.example.com", "bb"]),
        preview=st.booleans(),
        kind=st.sampled_from(["Envoy", "Service"]),
        weight=st.sampled_from([0, 10]),
        told=st.booleans(),
    ),
    st.builds(
        lambda gone, *args, **more: (pod(*args, **more), gone),
        st.booleans(),
        st.sampled_from([*NAMES, "nobody"]),
        st.integers(1, 2),
        address=st.sampled_from(["", "10.0.0.1", "10.0.0.2"]),
        ready=st.booleans(),
        number=st.integers(0, 1),
    ),
)


@given(st.lists(st.lists(CHANGES, max_size=3), max_size=8))
def test_whatever_happens_it_is_as_if_made_anew_and_all_that_differs_is_told(
    batches: list[list[Any]],
) -> None:
    objects: dict[tuple[str, str], Json] = {}
    made = Namespace("shop", [], [])
    for batch in batches:
        for obj, gone in batch:
            key = obj["kind"], obj["metadata"]["name"]
            objects.pop(key, None)
            if not gone:
                objects[key] = obj
            note = made.deployment if obj["kind"] == "ModelDeployment" else made.pod
            note(obj, gone=gone)
        before = made.snapshot
        touched = made.update()
        assert made.snapshot == anew(objects)
        for kind in Kind:
            old, new = before.resources(kind), made.snapshot.resources(kind)
            assert {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)} <= touched[
                kind
            ]


def anew(objects: dict[tuple[str, str], Json]) -> Snapshot:
    pods = by_arm(each for (kind, _), each in objects.items() if kind == "Pod")
    deployments = [
        each for (kind, _), each in objects.items() if kind == "ModelDeployment" and by_envoy(each)
    ]
    return snapshot("shop", [routed(each, pods) for each in deployments])


def test_a_changed_deployment_and_its_changed_pods_are_read_anew_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []

    def reading(deployment: Json, pods: Any) -> Any:
        read.append(deployment["metadata"]["name"])
        return routed(deployment, pods)

    monkeypatch.setattr(namespace, "routed", reading)
    made = Namespace("shop", [deployment("a"), deployment("bb")], [pod("a", 1, "10.0.0.1")])
    assert sorted(read) == ["a", "bb"]
    first = made.snapshot
    assert made.pod(pod("a", 1, "10.0.0.2"), gone=False)
    clusters = {f"a-{number}{kind}" for number in (1, 2) for kind in ("", "_feedback", "_aside")} | {
        "a-2_grpc"
    }
    assert made.update() == {
        Kind.CLUSTERS: clusters,
        Kind.ENDPOINTS: clusters,
        Kind.SCOPES: {"a"},
    }
    assert read[2:] == ["a"]
    assert made.snapshot.endpoints["a-1"] != first.endpoints["a-1"]
    assert made.snapshot.scopes == first.scopes
    assert not made.pod(pod("nobody", 1, "10.0.0.3"), gone=False), "pods of no router's change nothing"
    told = pod("a", 1, "10.0.0.2")
    told["status"]["containerStatuses"] = [{"name": "server", "restartCount": 1}]
    assert not made.pod(told, gone=False), "most of what is told of a pod is nothing to a router"
    assert made.deployment(deployment("bb", weight=20), gone=False)
    made.update()
    assert read[3:] == ["bb"]
    assert made.snapshot.scopes["*"] is first.scopes["*"], "no host has moved"


def test_pods_of_a_first_version_lead_to_it_before_any_status_does() -> None:
    made = Namespace("shop", [deployment("a", told=False), deployment("bb")], [])
    assert not made.snapshot.endpoints.get("a-1-1")
    assert made.pod(pod("a", 1, "10.0.0.1", ready=False), gone=False)
    made.update()
    assert not made.snapshot.endpoints.get("a-1-1")
    assert made.pod(pod("a", 1, "10.0.0.1"), gone=False)
    assert made.update()[Kind.ENDPOINTS] == {"a-1-1", "a-1-1_feedback"}
    assert made.pod(pod("a", 2, "10.0.0.2", number=1), gone=False)
    made.update()
    assert not made.snapshot.endpoints.get("a-1-1"), "two revisions: a status has to say which"
    assert made.deployment(deployment("a"), gone=False)
    made.update()
    assert made.snapshot.endpoints["a-2"]
