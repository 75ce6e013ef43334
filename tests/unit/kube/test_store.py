from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.kube.api_server import obj

from noria_operator.kube.index import LABELS
from noria_operator.kube.kinds import DEPLOYMENT, HTTPROUTE, MODELDEPLOYMENT, POD, Json, Key
from noria_operator.kube.store import EventType, Store

A = Key(DEPLOYMENT, "ns", "a")


def test_the_newest_version_wins_whatever_the_order() -> None:
    store = Store()
    assert store.observe("ADDED", obj(version=5))
    assert not store.observe("MODIFIED", obj(version=4))
    assert not store.observe("MODIFIED", obj(version=5))
    assert store.observe("MODIFIED", obj(version=10))
    assert store.get(A) == obj(version=10)


def test_versions_are_numbers_not_words() -> None:
    store = Store()
    store.observe("ADDED", obj(version=9))
    assert store.observe("MODIFIED", obj(version=10))


def test_a_late_answer_does_not_bring_a_deleted_object_back() -> None:
    store = Store()
    store.observe("ADDED", obj(version=1))
    store.observe("DELETED", obj(version=9))
    assert not store.observe("MODIFIED", obj(version=8))
    assert store.get(A) is None


def test_an_object_that_gets_its_label_back_is_seen_again() -> None:
    store = Store()
    store.observe("ADDED", obj(version=1))
    store.observe("DELETED", obj(version=9))
    assert store.observe("ADDED", obj(version=12))


def test_what_a_watch_tells_again_after_a_cut_brings_nothing_back() -> None:
    """Also not an object that lost its label, got it back and was deleted."""
    store = Store()
    told: list[tuple[EventType, int]] = [("ADDED", 1), ("DELETED", 9), ("ADDED", 12), ("DELETED", 15)]
    for type, version in told:
        store.observe(type, obj(version=version))
    assert not any(store.observe(type, obj(version=version)) for type, version in told)


def test_a_deletion_that_comes_late_spares_the_next_object_of_that_name() -> None:
    store = Store()
    store.observe("ADDED", obj(version=1, uid="old"))
    store.observe("ADDED", obj(version=9, uid="new"))
    assert not store.observe("DELETED", obj(version=8, uid="old"))
    found = store.get(A)
    assert found is not None
    assert found["metadata"]["uid"] == "new"


def test_what_was_listed_before_it_was_deleted_does_not_come_after() -> None:
    store = Store()
    assert not store.observe("DELETED", obj("a", uid="u1", version=9))
    assert not store.observe(None, obj("a", uid="u1", version=5))
    assert store.list(DEPLOYMENT) == []


def test_what_we_deleted_is_gone_before_the_watch_says_so() -> None:
    store = Store()
    store.observe("ADDED", obj(version=1))
    store.forget(A, "uid-a")
    assert store.get(A) is None
    store.observe("ADDED", obj(version=5, uid="next"))
    store.forget(A, "uid-a")
    assert store.get(A) is not None


def test_objects_are_found_by_owner_label_and_namespace() -> None:
    store = Store()
    store.observe(None, obj("b", owner="o1", labels={"x": "1", "y": "2"}))
    store.observe(None, obj("a", owner="o1", labels={"x": "1"}))
    store.observe(None, obj("c", owner="o2"))
    store.observe(None, obj("d", owner="o1", api=("v1", "Pod")))
    assert _names(store.owned(DEPLOYMENT, "ns", "o1")) == ["a", "b"]
    assert _names(store.owned(POD, "ns", "o1")) == ["d"]
    assert store.owned(DEPLOYMENT, "other", "o1") == []
    assert _names(store.list(DEPLOYMENT, "ns", {"x": "1"})) == ["a", "b"]
    assert _names(store.list(DEPLOYMENT, labels="x=1,y=2")) == ["b"]
    assert _names(store.list(DEPLOYMENT)) == ["a", "b", "c"]
    store.observe("MODIFIED", obj("b", version=2, owner="o2"))
    assert _names(store.owned(DEPLOYMENT, "ns", "o1")) == ["a"]


def test_what_all_there_is_does_not_show_was_deleted_unless_it_is_newer() -> None:
    store = Store()
    for name, version in (("kept", 1), ("gone", 10), ("newer", 11)):
        store.observe("ADDED", obj(name, uid=name, version=version))
    assert store.prune(DEPLOYMENT, None, {"kept"}, 10) == 1
    assert _names(store.list(DEPLOYMENT)) == ["kept", "newer"]
    assert not store.observe("MODIFIED", obj("gone", uid="gone", version=10)), "it does not come back"


def test_subscribers_hear_of_news_only() -> None:
    store, heard = Store(), []

    def hear(type: EventType, obj: Json) -> None:
        heard.append((type, obj["metadata"]["resourceVersion"]))

    leave = store.subscribe(hear)
    store.observe("ADDED", obj(version=1))
    store.observe("MODIFIED", obj(version=1))
    store.observe("DELETED", obj(version=3))
    leave()
    store.observe("ADDED", obj("other"))
    assert heard == [("ADDED", "1"), ("DELETED", "3")]


def test_subscribers_do_not_hear_how_many_pods_a_deployment_has() -> None:
    store, heard = Store(), []
    store.subscribe(lambda _, obj: heard.append(obj["metadata"]["resourceVersion"]))

    def observe(version: int, status: Json, **spec: int) -> None:
        store.observe("MODIFIED", {**obj(version=version), "spec": spec, "status": status})

    refused = {"type": "ReplicaFailure", "status": "True"}
    observe(1, {}, replicas=2)
    observe(2, {"readyReplicas": 1}, replicas=2)
    observe(3, {"readyReplicas": 2}, replicas=3)
    observe(4, {"conditions": [refused]}, replicas=3)
    observe(5, {"readyReplicas": 3}, replicas=3)
    observe(6, {"readyReplicas": 4}, replicas=3)
    assert heard == ["1", "3", "4", "5"]
    found = store.get(A)
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "6", "it is known all the same"


def test_subscribers_do_not_hear_how_many_pods_a_drain_may_take() -> None:
    store, heard = Store(), []
    store.subscribe(lambda type, obj: heard.append((type, obj["metadata"]["resourceVersion"])))

    def budget(version: int, allowed: int, most: str = "25%") -> Json:
        made = obj(version=version, api=("policy/v1", "PodDisruptionBudget"))
        return {**made, "spec": {"maxUnavailable": most}, "status": {"disruptionsAllowed": allowed}}

    store.observe("ADDED", budget(1, 0))
    store.observe("MODIFIED", budget(2, 1))
    store.observe("MODIFIED", budget(3, 1, "100%"))
    store.observe("DELETED", budget(4, 1, "100%"))
    assert heard == [("ADDED", "1"), ("MODIFIED", "3"), ("DELETED", "4")]


def test_every_version_of_a_pod_is_told_since_routers_count_by_them() -> None:
    store, heard = Store(), []
    store.subscribe(lambda _, obj: heard.append(obj["metadata"]["resourceVersion"]))
    for version in (1, 2):
        store.observe("MODIFIED", {**obj(version=version, api=("v1", "Pod")), "spec": {}})
    assert heard == ["1", "2"]


def test_managed_fields_are_not_kept() -> None:
    store, seen = Store(), obj()
    seen["metadata"]["managedFields"] = [{"manager": "noria"}]
    store.observe("ADDED", seen)
    assert store.get(A) == obj()


def test_what_thousands_of_objects_have_in_common_is_held_once() -> None:
    store = Store()
    for name in ("a", "b"):
        store.observe("ADDED", json.loads(json.dumps(obj(name, labels={"team": "flights"}))))
    one, other = (found["metadata"]["labels"] for found in store.list(DEPLOYMENT))
    assert [id(word) for word in (*one, *one.values())] == [id(word) for word in (*other, *other.values())]


def test_a_kind_is_synced_when_it_was_said_to_be() -> None:
    store = Store()
    assert not store.synced(POD)
    store.mark_synced(POD)
    assert store.synced(POD)


def _names(found: list[Json]) -> list[str]:
    return [one["metadata"]["name"] for one in found]


_HOSTS = st.lists(st.sampled_from(["x.example", "y.example"]), unique=True)


@st.composite
def _changes(draw: st.DrawFn) -> list[tuple[EventType, Json]]:
    """A history of a few ModelDeployments and pods in two namespaces that take turns with names and uids."""
    found: list[tuple[EventType, Json]] = []
    for version in range(1, draw(st.integers(1, 25))):
        labels = draw(st.dictionaries(st.sampled_from([*LABELS, "plain"]), st.sampled_from("12"), max_size=3))
        made = obj(
            draw(st.sampled_from("abc")),
            version=version,
            uid=f"uid-{draw(st.integers(1, 6))}",
            api=draw(st.sampled_from([(MODELDEPLOYMENT.api_version, "ModelDeployment"), ("v1", "Pod")])),
            labels=labels,
            owner=draw(st.sampled_from([None, "o1", "o2"])),
            spec={"model": draw(st.sampled_from(["m", "n"])), "hosts": draw(_HOSTS)},
        )
        made["metadata"]["namespace"] = draw(st.sampled_from(["ns", "other"]))
        found.append((draw(st.sampled_from(["ADDED", "MODIFIED", "DELETED"])), made))
    return found


@given(_changes())
def test_what_is_indexed_is_what_a_scan_would_find(changes: list[tuple[EventType, Json]]) -> None:
    store = Store()
    for type, changed in changes:
        store.observe(type, changed)
        every = {kind: store.list(kind) for kind in (MODELDEPLOYMENT, POD)}
        for kind, space, value in itertools.product(every, ("ns", "other"), ("1", "2")):
            here = [one for one in every[kind] if one["metadata"]["namespace"] == space]
            assert store.list(kind, space) == sorted(here, key=lambda one: str(one["metadata"]["name"]))
            for label in (*LABELS, "plain"):
                carrying = [one for one in here if one["metadata"]["labels"].get(label) == value]
                assert store.list(kind, space, {label: value}) == carrying
            assert store.owned(kind, space, f"o{value}") == [
                one for one in here if [f"o{value}"] == [ref["uid"] for ref in _references(one)]
            ]
        for one in every[MODELDEPLOYMENT]:
            space, model = one["metadata"]["namespace"], one["spec"]["model"]
            assert one in store.list(MODELDEPLOYMENT, space, fields={"spec.model": model})
            for host in one["spec"]["hosts"]:
                both = store.list(MODELDEPLOYMENT, space, fields={"spec.hosts": host, "spec.model": model})
                assert one in both
                assert all(host in each["spec"]["hosts"] and each["spec"]["model"] == model for each in both)


@pytest.mark.parametrize(
    ("host", "path", "found"),
    [("a.example", "/", ["named"]), ("*", "/v2/models/flights", ["anywhere"]), ("*", "/", ["bare"])],
)
def test_routes_are_found_by_the_host_and_the_path_that_they_ask_for(
    host: str, path: str, found: list[str]
) -> None:
    store = Store()
    matches = [{"path": {"type": "PathPrefix", "value": "/v2/models/flights"}}, {"headers": []}]
    specs: dict[str, Json] = {
        "named": {"hostnames": ["A.example"], "rules": [{"matches": matches}]},
        "anywhere": {"rules": [{"matches": matches[:1]}]},
        "bare": {"rules": [{}]},
    }
    for name, spec in specs.items():
        made = obj(name, uid=name, api=(HTTPROUTE.api_version, HTTPROUTE.kind))
        store.observe(None, {**made, "spec": spec})
    fields = {"spec.hostnames": host, "spec.rules.matches.path": path}
    assert [one["metadata"]["name"] for one in store.list(HTTPROUTE, fields=fields)] == found


def test_a_field_that_is_not_indexed_is_refused_rather_than_ignored() -> None:
    store = Store()
    store.observe(None, obj("md", api=(MODELDEPLOYMENT.api_version, "ModelDeployment")))
    with pytest.raises(KeyError):
        store.list(MODELDEPLOYMENT, "ns", {"app.kubernetes.io/managed-by": "noria"}, fields={"spec.x": "1"})


def test_objects_are_found_by_uid_until_they_are_gone() -> None:
    store = Store()
    store.observe(None, obj(uid="u1"))
    assert store.with_uid("u1") == obj(uid="u1")
    store.observe("ADDED", obj(uid="u2", version=2))
    assert store.with_uid("u1") is None
    store.observe("DELETED", obj(uid="u2", version=3))
    assert store.with_uid("u2") is None


def _references(one: Json) -> list[Json]:
    found: list[Json] = one["metadata"].get("ownerReferences", [])
    return found
