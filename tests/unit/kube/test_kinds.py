from __future__ import annotations

import pytest

from noria_operator.kube import requests
from noria_operator.kube.errors import Conflict, NameConflict, ServerError, error_of
from noria_operator.kube.kinds import (
    DEPLOYMENT,
    KINDS,
    NODE,
    POD,
    TRAININGJOB,
    Key,
    key_of,
    kind_at,
    kind_named,
    kind_of,
)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (POD.path(), "/api/v1/pods"),
        (POD.path("ns"), "/api/v1/namespaces/ns/pods"),
        (DEPLOYMENT.path("ns", "a"), "/apis/apps/v1/namespaces/ns/deployments/a"),
        (NODE.path("", "n1"), "/api/v1/nodes/n1"),
        (
            TRAININGJOB.path("ns", "a", "status"),
            "/apis/noria.dev/v1alpha1/namespaces/ns/trainingjobs/a/status",
        ),
    ],
)
def test_paths_are_those_of_the_api_server(path: str, wanted: str) -> None:
    assert path == wanted


def test_a_collection_is_recognized_by_its_path() -> None:
    for kind in KINDS:
        assert kind_at(kind.path()) == kind
        assert kind_at(kind.path("ns")) == kind
    for path in ("/", "/apis/apps/v1", "/api/v1/secretsandmore", POD.path("ns", "a"), "/apis"):
        assert kind_at(path) is None


def test_an_object_knows_its_key() -> None:
    obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "ns"}}
    assert key_of(obj) == Key(DEPLOYMENT, "ns", "a")
    assert str(key_of(obj)) == "Deployment ns/a"
    assert key_of({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}) == Key(NODE, "", "n")
    with pytest.raises(KeyError):
        kind_of({"apiVersion": "apps/v1", "kind": "StatefulSet"})


def test_kinds_have_different_names_and_are_found_by_them() -> None:
    assert len({kind.kind for kind in KINDS}) == len(KINDS)
    assert kind_named("TrainingJob") == TRAININGJOB


def test_a_status_write_carries_nothing_but_status() -> None:
    request = requests.apply_status(TRAININGJOB, "ns", "a", {"phase": "Running"}, resource_version="7")
    assert request.content_type == "application/apply-patch+yaml"
    assert request.params == {"fieldManager": "noria", "force": "true"}
    assert request.body == {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "a", "namespace": "ns", "resourceVersion": "7"},
        "status": {"phase": "Running"},
    }
    assert request.writes


def test_answers_that_are_no_status_object_still_become_errors() -> None:
    assert isinstance(error_of(502, "<html>Bad Gateway</html>"), ServerError)
    assert isinstance(error_of(409, None), Conflict)
    assert "<html>" in str(error_of(502, "<html>"))


def test_a_name_conflict_says_what_to_do() -> None:
    error = NameConflict(DEPLOYMENT, "a")
    assert error.reason == "NameConflict"
    assert "Deployment 'a' exists" in error.message
    assert error.retry is not None
