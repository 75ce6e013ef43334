from __future__ import annotations

import copy

import pytest
from tests.unit.kube.api_server import LoopClock, Scripted, obj, refusal

from noria_operator.kube import apply
from noria_operator.kube.apply import Writer, kept
from noria_operator.kube.client import Answer
from noria_operator.kube.errors import Conflict, NameConflict, NotFound
from noria_operator.kube.kinds import DEPLOYMENT, JOB, MODELDEPLOYMENT, MODELVERSION, SECRET, Json
from noria_operator.kube.ownership import controller_uid, owned
from noria_operator.kube.requests import Request
from noria_operator.kube.store import Store

OWNER = obj("md", uid="owner", api=("noria.dev/v1alpha1", "ModelDeployment"), version=3)
DESIRED: Json = {"metadata": {"name": "a"}, "spec": {"replicas": 2}}


class Server:
    """Keeps what is applied, hands out versions, refuses what `refuse` says."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.version = 100
        self.refuse: dict[str, Answer] = {}
        self.spells: Json | None = None
        """The spec that everything is kept with."""

    def __call__(self, request: Request) -> Answer:
        if request.verb in self.refuse:
            return self.refuse[request.verb]
        name = request.path.split("/")[-1].removesuffix("/status")
        if request.verb == "get":
            found = self.objects.get(name)
            return Answer(200, found) if found else refusal(404, "NotFound")
        self.version += 1
        body = copy.deepcopy(request.body or {})
        if request.verb == "delete":
            return Answer(200, {"kind": "Status"})
        meta = body["metadata"]
        if meta.get("resourceVersion") == "1" and meta["name"] in self.objects:
            return refusal(409, "Conflict")
        body["metadata"] = {"uid": "u1", **meta, "resourceVersion": str(self.version)}
        if self.spells is not None:
            body["spec"] = copy.deepcopy(self.spells)
        self.objects[meta["name"]] = body
        return Answer(200, body)


def writer() -> tuple[Writer, Scripted, Store, Server]:
    server, store = Server(), Store()
    client = Scripted(server)
    return Writer(client, store, LoopClock()), client, store, server


def test_a_child_goes_with_its_owner_and_needs_no_right_to_its_finalizers() -> None:
    """Where OwnerReferencesPermissionEnforcement is on, blocking the owner's deletion takes that right."""
    (reference,) = owned(DESIRED, OWNER)["metadata"]["ownerReferences"]
    assert reference["controller"]
    assert "blockOwnerDeletion" not in reference


async def test_an_unchanged_child_is_applied_once() -> None:
    write, client, store, _ = writer()
    first = await write.apply(DEPLOYMENT, DESIRED, owner=OWNER)
    second = await write.apply(DEPLOYMENT, copy.deepcopy(DESIRED), owner=OWNER)
    assert client.verbs == ["patch"]
    assert first == second == store.list(DEPLOYMENT)[0]


async def test_the_first_apply_takes_over_nothing_and_the_next_ones_are_forced() -> None:
    write, client, _, _ = writer()
    await write.apply(DEPLOYMENT, DESIRED, owner=OWNER)
    await write.apply(DEPLOYMENT, {**DESIRED, "spec": {"replicas": 3}}, owner=OWNER)
    patches = [request.params["force"] for _, request in client.sent if request.verb == "patch"]
    assert patches == ["false", "true"]


async def test_what_others_add_to_a_child_is_no_reason_to_apply_it_again() -> None:
    write, client, store, _ = writer()
    made = await write.apply(DEPLOYMENT, DESIRED, owner=OWNER)
    later = copy.deepcopy(made)
    later["metadata"] |= {"resourceVersion": "200", "annotations": {"deployment.kubernetes.io/revision": "1"}}
    later["spec"]["progressDeadlineSeconds"] = 600
    store.observe("MODIFIED", later)
    await write.apply(DEPLOYMENT, DESIRED, owner=OWNER)
    assert client.verbs == ["patch"]


async def test_what_the_server_spells_in_its_own_way_is_applied_once_whatever_others_add() -> None:
    write, client, store, server = writer()
    wanted: Json = {**DESIRED, "spec": {"env": [{"name": "A", "value": ""}], "limits": {"cpu": "1000m"}}}
    server.spells = {"env": [{"name": "A"}], "limits": {"cpu": "1"}}
    made = await write.apply(DEPLOYMENT, wanted, owner=OWNER)
    later = copy.deepcopy(made)
    later["metadata"] |= {"resourceVersion": "200", "annotations": {"deployment.kubernetes.io/revision": "1"}}
    store.observe("MODIFIED", later)
    await write.apply(DEPLOYMENT, wanted, owner=OWNER)
    assert client.verbs == ["patch"]
    edited = copy.deepcopy(later)
    edited["metadata"]["resourceVersion"] = "201"
    edited["spec"]["env"][0]["value"] = "b"
    store.observe("MODIFIED", edited)
    await write.apply(DEPLOYMENT, wanted, owner=OWNER)
    assert client.verbs == ["patch", "patch"]


@pytest.mark.parametrize(
    ("observed", "wanted", "found"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {"a": 2}, {"a": 1}),
        ({"a": 1}, {"b": ""}, {"b": None}),
        ({"a": {"b": [{"c": 1, "d": 2}]}}, {"a": {"b": [{"c": 1}]}}, {"a": {"b": [{"c": 1}]}}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1, 2]}),
        ({"a": "1"}, {"a": "1000m"}, {"a": "1"}),
        ({"a": "text"}, {"a": {}}, {"a": "text"}),
        (None, [], None),
    ],
)
def test_what_an_object_has_in_the_places_of_another(observed: object, wanted: object, found: object) -> None:
    assert kept(observed, wanted) == found


async def test_a_child_is_made_by_one_request_that_would_conflict_with_any_that_exists() -> None:
    write, client, store, _ = writer()
    made = await write.apply(DEPLOYMENT, DESIRED, owner=OWNER)
    await write.apply(DEPLOYMENT, copy.deepcopy(DESIRED), owner=OWNER)
    assert client.verbs == ["patch"]
    sent = client.sent[0][1]
    assert sent.body is not None
    assert (sent.params["force"], sent.body["metadata"]["resourceVersion"]) == ("false", "1")
    assert store.list(DEPLOYMENT) == [made]


async def test_what_exists_already_is_looked_at_and_left_to_whoever_has_it() -> None:
    write, client, _, server = writer()
    server.objects["a"] = obj("a", labels={})
    with pytest.raises(NameConflict):
        await write.apply(DEPLOYMENT, DESIRED, owner=OWNER)
    assert client.verbs == ["patch", "get"]


async def test_our_own_child_that_the_cache_does_not_show_is_found_and_brought_to_date() -> None:
    write, client, store, server = writer()
    server.objects["a"] = obj("a", owner="owner")
    made = await write.apply(DEPLOYMENT, DESIRED, owner=OWNER)
    assert client.verbs == ["patch", "get", "patch"]
    last = client.sent[-1][1]
    assert last.body is not None
    assert (last.params["force"], last.body["metadata"].get("resourceVersion")) == ("true", None)
    assert store.list(DEPLOYMENT) == [made]


async def test_a_conflict_with_nothing_leads_to_a_second_try() -> None:
    write, client, _, server = writer()
    server.refuse["patch"] = refusal(409, "Conflict")
    with pytest.raises(Conflict):
        await write.apply(DEPLOYMENT, DESIRED, owner=OWNER)
    assert [request.params.get("force") for _, request in client.sent] == ["false", None, "false"]


async def test_a_child_that_somebody_changed_is_applied_again_and_a_status_change_is_not_a_change() -> None:
    write, client, store, _ = writer()
    made = await write.apply(DEPLOYMENT, DESIRED, owner=OWNER)
    later = copy.deepcopy(made)
    later["metadata"]["resourceVersion"] = "200"
    later["status"] = {"readyReplicas": 2}
    store.observe("MODIFIED", later)
    await write.apply(DEPLOYMENT, DESIRED, owner=OWNER)
    assert client.verbs == ["patch"]
    edited = copy.deepcopy(later)
    edited["metadata"]["resourceVersion"] = "201"
    edited["spec"]["replicas"] = 9
    store.observe("MODIFIED", edited)
    await write.apply(DEPLOYMENT, DESIRED, owner=OWNER)
    assert client.verbs == ["patch", "patch"]


async def test_a_child_carries_its_owner() -> None:
    body = owned(DESIRED, OWNER)
    assert controller_uid(body) == "owner"
    assert body["metadata"]["namespace"] == "ns"
    assert body["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "noria",
        "noria.dev/owner-kind": "ModelDeployment",
        "noria.dev/owner-name": "md",
        "noria.dev/owner-uid": "owner",
    }
    assert DESIRED["metadata"] == {"name": "a"}, "the desired object itself is left as it was"


@pytest.mark.parametrize(
    "theirs",
    [
        obj("a", labels={}),
        obj("a", owner="somebody"),
        obj("a"),
    ],
)
async def test_what_another_controls_is_not_touched(theirs: Json) -> None:
    write, client, _, server = writer()
    server.objects["a"] = theirs
    with pytest.raises(NameConflict) as raised:
        await write.apply(DEPLOYMENT, DESIRED, owner=OWNER)
    assert raised.value.kind == DEPLOYMENT
    assert raised.value.name == "a"
    assert client.verbs == ["patch", "get"]


async def test_without_an_owner_our_label_decides() -> None:
    shared: Json = {"metadata": {"name": "noria-router", "namespace": "ns"}, "spec": {}}
    write, client, _, server = writer()
    server.objects["noria-router"] = obj("noria-router", labels={})
    with pytest.raises(NameConflict):
        await write.apply(DEPLOYMENT, shared)
    server.objects["noria-router"] = obj("noria-router")
    await write.apply(DEPLOYMENT, shared)
    assert client.verbs == ["patch", "get", "patch", "get", "patch"]


async def test_what_is_created_once_is_found_again_and_never_changed() -> None:
    write, client, _, _ = writer()
    first = await write.create_once(DEPLOYMENT, DESIRED, owner=OWNER)
    again = await write.create_once(DEPLOYMENT, {**DESIRED, "spec": {"replicas": 7}}, owner=OWNER)
    assert client.verbs == ["create"]
    assert again == first


async def test_a_create_after_a_crash_finds_its_own_work() -> None:
    write, client, _, server = writer()
    server.refuse["create"] = refusal(409, "AlreadyExists")
    server.objects["a"] = obj("a", owner="owner")
    assert await write.create_once(DEPLOYMENT, DESIRED, owner=OWNER) == obj("a", owner="owner")
    server.objects["a"] = obj("a", owner="somebody")
    write, client, _, server2 = writer()
    server2.refuse, server2.objects = server.refuse, server.objects
    with pytest.raises(NameConflict):
        await write.create_once(DEPLOYMENT, DESIRED, owner=OWNER)
    assert client.verbs == ["create", "get"]


async def test_a_child_without_our_label_gets_it_back_so_that_the_watch_shows_it() -> None:
    write, client, store, server = writer()
    made = await write.create_once(JOB, DESIRED, owner=OWNER)
    bare = copy.deepcopy(made)
    del bare["metadata"]["labels"]
    server.objects["a"] = bare
    server.refuse["create"] = refusal(409, "AlreadyExists")
    store.observe("DELETED", made)  # it left the selector of the watch
    await write.create_once(JOB, DESIRED, owner=OWNER)
    assert client.verbs == ["create", "create", "get", "patch"]
    sent = client.sent[-1][1].body
    assert sent is not None
    assert sent.keys() == {"apiVersion", "kind", "metadata"}
    assert sent["metadata"] == {"name": "a", "namespace": "ns", "labels": made["metadata"]["labels"]}
    assert len(store.list(JOB)) == 1


async def test_an_object_without_owner_is_known_by_the_uid_that_it_was_made_for() -> None:
    labels = {"noria.dev/owner-uid": "tj-1"}
    version: Json = {"metadata": {"name": "m-1", "namespace": "ns", "labels": labels}, "spec": {}}
    api = ("noria.dev/v1alpha1", "ModelVersion")
    ours = obj("m-1", api=api, labels={"app.kubernetes.io/managed-by": "noria", **labels})
    write, _, _, server = writer()
    server.refuse["create"] = refusal(409, "AlreadyExists")
    server.objects["m-1"] = ours
    assert await write.create_once(MODELVERSION, version) == ours
    write, _, _, server = writer()
    server.refuse["create"] = refusal(409, "AlreadyExists")
    other = {"app.kubernetes.io/managed-by": "noria", "noria.dev/owner-uid": "tj-2"}
    server.objects["m-1"] = obj("m-1", api=api, labels=other)
    with pytest.raises(NameConflict):
        await write.create_once(MODELVERSION, version)


async def test_a_secret_is_created_without_being_read() -> None:
    write, client, store, server = writer()
    secret: Json = {"metadata": {"name": "s"}, "data": {}}
    await write.create_once(SECRET, secret, owner=OWNER)
    server.refuse["create"] = refusal(409, "AlreadyExists")
    await write.create_once(SECRET, secret, owner=OWNER)
    assert client.verbs == ["create"]
    assert store.list(SECRET) == []


async def test_secrets_of_long_ago_are_remembered_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody hears that one is gone."""
    monkeypatch.setattr(apply, "MOST_BLIND", 2)
    write, client, _, _ = writer()
    for name in ("a", "b", "c", "c", "b", "a"):
        await write.create_once(SECRET, {"metadata": {"name": name}, "data": {}}, owner=OWNER)
    made = [(request.body or {})["metadata"]["name"] for _, request in client.sent]
    assert made == ["a", "b", "c", "a"]


async def test_a_delete_means_this_object_and_is_seen_at_once() -> None:
    write, client, store, _ = writer()
    made = await write.apply(DEPLOYMENT, DESIRED, owner=OWNER)
    await write.delete(DEPLOYMENT, made)
    body = client.sent[-1][1].body
    assert body is not None
    assert body["preconditions"] == {"uid": made["metadata"]["uid"]}
    assert store.list(DEPLOYMENT) == []
    leaving = obj("b")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    await write.delete(DEPLOYMENT, leaving)
    assert client.verbs.count("delete") == 1


async def test_status_is_written_when_it_differs_and_guarded_by_the_version_it_came_from() -> None:
    write, client, store, _ = writer()
    store.observe("ADDED", OWNER)
    status: Json = {"phase": "Healthy", "message": None, "history": [{"at": "t", "note": None}]}
    after = await write.status(MODELDEPLOYMENT, OWNER, status)
    sent = client.sent[0][1]
    assert sent.path.endswith("/modeldeployments/md/status")
    assert sent.body is not None
    assert sent.body["metadata"]["resourceVersion"] == "3"
    assert sent.body["status"] == {"phase": "Healthy", "history": [{"at": "t"}]}
    await write.status(MODELDEPLOYMENT, after, status)
    assert len(client.sent) == 1


async def test_a_status_that_the_server_keeps_otherwise_is_not_written_for_ever() -> None:
    write, client, store, server = writer()
    store.observe("ADDED", OWNER)

    def defaulting(request: Request) -> Answer:
        answer = server(request)
        answer.body["status"]["default"] = "from the CRD"
        return answer

    client.respond = defaulting
    after = await write.status(MODELDEPLOYMENT, OWNER, {"phase": "Healthy"})
    await write.status(MODELDEPLOYMENT, after, {"phase": "Healthy"})
    assert len(client.sent) == 1


async def test_a_conflict_on_status_brings_the_newer_object_into_the_store() -> None:
    """Also one of a user's, who labels nothing: the watch that will tell of it may be late."""
    write, _, store, server = writer()
    theirs = obj("md", uid="owner", api=("noria.dev/v1alpha1", "ModelDeployment"), version=3, labels={})
    store.observe("ADDED", theirs)
    server.refuse["patch"] = refusal(409, "Conflict")
    newer = copy.deepcopy(theirs)
    newer["metadata"]["resourceVersion"] = "9"
    server.objects["md"] = newer
    with pytest.raises(Conflict):
        await write.status(MODELDEPLOYMENT, theirs, {"phase": "Healthy"})
    assert store.list(MODELDEPLOYMENT) == [newer]


async def test_an_object_that_is_gone_when_its_status_is_written_leaves_the_store() -> None:
    write, _, store, server = writer()
    store.observe("ADDED", OWNER)
    server.refuse["patch"] = refusal(404, "NotFound")
    with pytest.raises(NotFound):
        await write.status(MODELDEPLOYMENT, OWNER, {"phase": "Healthy"})
    assert store.list(MODELDEPLOYMENT) == []
