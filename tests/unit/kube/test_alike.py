"""What objects have in common is held once, and each says what it said before."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from noria_operator.kube.alike import Alike
from noria_operator.kube.kinds import CONTROLLERREVISION, DEPLOYMENT, POD, SECRET, Json

PROBE = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1}


def workload(name: str, **container: Any) -> Json:
    template = {
        "spec": {"containers": [{"name": "server", "env": [{"name": "MODEL", "value": name}]} | container]}
    }
    return json.loads(json.dumps({"metadata": {"name": name}, "spec": {"template": template}}))


def container(obj: Json, part: str = "spec") -> Json:
    return obj[part]["template"]["spec"]["containers"][0]


def test_templates_share_what_they_have_in_common_and_nothing_else() -> None:
    alike = Alike()
    one = alike(DEPLOYMENT, workload("one", livenessProbe=PROBE), None)
    two = alike(DEPLOYMENT, workload("two", livenessProbe=PROBE), None)
    assert container(one)["livenessProbe"] is container(two)["livenessProbe"]
    assert container(one)["env"] != container(two)["env"]
    record = alike(
        CONTROLLERREVISION, {"metadata": {}, "data": workload("one", livenessProbe=PROBE)["spec"]}, None
    )
    assert record["data"]["template"] is one["spec"]["template"]


def test_an_object_that_changes_keeps_what_has_not_changed() -> None:
    alike = Alike(most=1)
    before = alike(DEPLOYMENT, workload("one", livenessProbe=PROBE), None)
    after = alike(DEPLOYMENT, workload("one", livenessProbe=PROBE) | {"status": {"replicas": 1}}, before)
    assert after["spec"] is before["spec"]
    assert after["status"] == {"replicas": 1}


def test_true_is_not_taken_for_one() -> None:
    alike = Alike()
    for value in (1, True, 1.0, "1", None):
        found = container(alike(DEPLOYMENT, workload("one", stdin=[value]), None))["stdin"]
        assert [type(each) for each in found] == [type(value)]


def test_pods_that_differ_in_their_address_share_the_rest() -> None:
    alike = Alike()

    def pod(address: str) -> Json:
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        ports = [{"name": "http", "containerPort": 8080}]
        spec, status = {"containers": [{"ports": ports}]}, {"podIP": address, "conditions": [ready]}
        return alike(POD, {"metadata": {"name": address}, "spec": spec, "status": status}, None)

    one, two = pod("10.0.0.1"), pod("10.0.0.2")
    assert one["spec"] is two["spec"]
    assert one["status"]["conditions"] is two["status"]["conditions"]
    assert (one["status"]["podIP"], two["status"]["podIP"]) == ("10.0.0.1", "10.0.0.2")


def test_others_are_left_as_they_are() -> None:
    secret = {"metadata": {}, "data": {}}
    assert Alike()(SECRET, secret, None) is secret
    assert Alike()(DEPLOYMENT, {"metadata": {}}, None) == {"metadata": {}}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(specs=st.lists(st.dictionaries(st.text(max_size=3), values, max_size=4), max_size=6))
def test_whatever_is_shared_says_the_same(specs: list[Json]) -> None:
    alike = Alike(most=5)
    held = [alike(DEPLOYMENT, {"metadata": {}, "spec": json.loads(json.dumps(spec))}, None) for spec in specs]
    assert [json.dumps(each["spec"]) for each in held] == list(map(json.dumps, specs))
