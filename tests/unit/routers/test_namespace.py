"""A configuration that is kept up to date piece by piece."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.routers import namespace
from noria_operator.routers.discovery import Kind
from noria_operator.routers.envoy import Snapshot, snapshot
from noria_operator.routers.namespace import Namespace
from noria_operator.routers.source import by_envoy, by_service, routed

Json = dict[str, Any]


def deployment(
    name: str, *, host: str = "", preview: bool = False, kind: str = "Envoy", weight: int = 10
) -> Json:
    traffic = [{"name": f"{name}-1", "weight": 100 - weight}, {"name": f"{name}-2", "weight": weight}]
    spec: Json = {"model": name, "hosts": [host] if host else [], "router": {"type": kind}}
    spec["strategy"] = {"preview": preview}
    meta = {"name": name, "namespace": "shop", "creationTimestamp": f"2026-01-0{len(name)}T00:00:00Z"}
    return {"kind": "ModelDeployment", "metadata": meta, "spec": spec, "status": {"traffic": traffic}}


def pods(service: str, address: str, *, ready: bool = True, number: int = 0) -> Json:
    meta = {
        "name": f"{service}-{number}",
        "namespace": "shop",
        "labels": {"kubernetes.io/service-name": service},
    }
    endpoints = [{"addresses": [address], "conditions": {"ready": ready}}]
    return {
        "kind": "EndpointSlice",
        "metadata": meta,
        "ports": [{"name": "http", "port": 1}],
        "endpoints": endpoints,
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
    ),
    st.builds(
        lambda gone, name, revision, **more: (pods(f"{name}-{revision}", **more), gone),
        st.booleans(),
        st.sampled_from([*NAMES, "nobody"]),
        st.integers(1, 2),
        address=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
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
            note = made.deployment if obj["kind"] == "ModelDeployment" else made.slice
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
    slices = by_service(each for (kind, _), each in objects.items() if kind == "EndpointSlice")
    deployments = [
        each for (kind, _), each in objects.items() if kind == "ModelDeployment" and by_envoy(each)
    ]
    return snapshot("shop", [routed(each, slices) for each in deployments])


def test_a_changed_deployment_and_its_changed_pods_are_read_anew_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []

    def reading(deployment: Json, slices: Any) -> Any:
        read.append(deployment["metadata"]["name"])
        return routed(deployment, slices)

    monkeypatch.setattr(namespace, "routed", reading)
    made = Namespace("shop", [deployment("a"), deployment("bb")], [pods("a-1", "10.0.0.1")])
    assert sorted(read) == ["a", "bb"]
    first = made.snapshot
    assert made.slice(pods("a-1", "10.0.0.2"), gone=False)
    assert made.update() == {
        Kind.CLUSTERS: {"a-1", "a-2", "a-2_grpc"},
        Kind.ENDPOINTS: {"a-1", "a-2", "a-2_grpc"},
        Kind.SCOPES: {"a"},
    }
    assert read[2:] == ["a"]
    assert made.snapshot.endpoints["a-1"] != first.endpoints["a-1"]
    assert made.snapshot.scopes == first.scopes
    assert not made.slice(pods("nobody-1", "10.0.0.3"), gone=False), "pods of no router's change nothing"
    assert made.deployment(deployment("bb", weight=20), gone=False)
    made.update()
    assert read[3:] == ["bb"]
    assert made.snapshot.scopes["*"] is first.scopes["*"], "no host has moved"
