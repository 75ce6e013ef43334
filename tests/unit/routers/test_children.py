"""The router's objects."""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from noria_operator.domain.keys import router_token
from noria_operator.routers import children
from noria_operator.routers.children import Settings

GOLDEN = Path(__file__).parent / "router_deployment.json"
SETTINGS = Settings(image="noria/router@sha256:1", xds_address="noria-xds.noria:18000", master_key=b"k" * 32)


def owner(name: str, **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "shop", "uid": f"uid-{name}"}
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": meta,
        "spec": {"model": name, **spec},
    }


def created(body: dict[str, Any], annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """As the API server would answer: with a uid, others' annotations, and defaults."""
    meta = {**body["metadata"], "uid": "0a1b2c3d-4e5f"}
    meta["annotations"] = meta.get("annotations", {}) | (annotations or {})
    answer: dict[str, Any] = copy.deepcopy({**body, "metadata": meta})
    answer["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    return answer


def created_anchor(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "metadata": {**body["metadata"], "uid": "0a1b"}}


def applied(settings: Settings = SETTINGS) -> dict[str, Any]:
    first = created(children.deployment("shop", [owner("m")], settings, live=None))
    return children.deployment("shop", [owner("m")], settings, live=first)


def running(settings: Settings = SETTINGS) -> dict[str, Any]:
    return created(applied(settings))


def test_the_deployment_is_as_reviewed() -> None:
    assert applied() == json.loads(GOLDEN.read_text())


def test_routers_pull_their_image_as_the_operator_does() -> None:
    pulled = applied(replace(SETTINGS, pull_secrets=("registry", "mirror")))["spec"]["template"]["spec"]
    assert pulled["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]


def test_no_pod_is_started_before_its_configuration_has_a_name() -> None:
    first = children.deployment("shop", [owner("m")], SETTINGS, live=None)
    assert first["spec"]["replicas"] == 0
    second = children.deployment("shop", [owner("m")], SETTINGS, live=created(first))
    assert second["spec"]["replicas"] == 2
    volumes = {each["name"]: each for each in second["spec"]["template"]["spec"]["volumes"]}
    secret = children.secret("shop", SETTINGS, created(first))
    assert volumes["config"]["secret"]["secretName"] == secret["metadata"]["name"]
    assert secret["metadata"]["name"].startswith("noria-router-0a1b2c3d-")
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "0a1b2c3d-4e5f"


def test_building_twice_changes_nothing() -> None:
    assert children.deployment("shop", [owner("m")], SETTINGS, live=running()) == applied()


def test_a_router_of_before_delta_discovery_is_replaced_once() -> None:
    before = running()
    kept = json.loads(before["metadata"]["annotations"][children.TEMPLATE_ANNOTATION])
    del kept["metadata"]["annotations"][children.DISCOVERY_ANNOTATION]
    kept["spec"]["containers"][0]["image"] = "noria/router@sha256:0"
    before["metadata"]["annotations"][children.TEMPLATE_ANNOTATION] = json.dumps(kept)
    after = children.deployment("shop", [owner("m")], SETTINGS, live=before)
    assert after["spec"]["template"] == applied()["spec"]["template"]
    assert after["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert children.deployment("shop", [owner("m")], SETTINGS, live=created(after)) == after


@pytest.mark.parametrize(
    "now",
    [
        replace(SETTINGS, xds_address="ml-noria-xds.ml-system.svc:18000"),
        replace(SETTINGS, master_key=b"l" * 32),
    ],
)
def test_routers_that_no_operator_would_answer_any_more_are_replaced_once(now: Settings) -> None:
    """The installation has another name or namespace, or another master key."""
    after = children.deployment("shop", [owner("m")], now, live=running())
    volumes = after["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["secret"]["secretName"] == children.secret_name("shop", now, running())
    assert after["spec"]["template"] != applied()["spec"]["template"]
    assert after["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert children.deployment("shop", [owner("m")], now, live=created(after)) == after


def test_routers_that_do_not_say_which_operator_they_ask_are_replaced_once() -> None:
    """Those of before: nobody knows whether they are answered."""
    before = running()
    kept = json.loads(before["metadata"]["annotations"][children.TEMPLATE_ANNOTATION])
    del kept["metadata"]["annotations"][children.OPERATOR_ANNOTATION]
    kept["spec"]["containers"][0]["image"] = "noria/router@sha256:0"
    before["metadata"]["annotations"][children.TEMPLATE_ANNOTATION] = json.dumps(kept)
    after = children.deployment("shop", [owner("m")], SETTINGS, live=before)
    assert after["spec"]["template"] == applied()["spec"]["template"]


def test_what_pods_are_made_for_tells_nothing_of_the_key() -> None:
    notes = applied()["spec"]["template"]["metadata"]["annotations"]
    assert router_token(SETTINGS.master_key, "shop") not in json.dumps(notes)


def test_an_upgrade_of_the_operator_leaves_running_pods_alone() -> None:
    live = running()
    newer = replace(SETTINGS, image="noria/router@sha256:2", replicas=3)
    after = children.deployment("shop", [owner("m")], newer, live=live)
    assert after["spec"]["template"] == applied()["spec"]["template"]
    assert after["spec"]["replicas"] == 3


def test_a_restart_brings_image_and_configuration_up_to_date_once() -> None:
    newer = replace(SETTINGS, image="noria/router@sha256:2", certificates=("a",))
    asked = created(running(), annotations={children.RESTART_ANNOTATION: "1"})
    after = children.deployment("shop", [owner("m")], newer, live=asked)
    template = after["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == "noria/router@sha256:2"
    assert template["spec"]["volumes"][0]["secret"]["secretName"] == children.secret_name(
        "shop", newer, asked
    )
    assert children.secret_name("shop", newer, asked) != children.secret_name("shop", SETTINGS, asked)
    done = created(after, annotations={children.RESTART_ANNOTATION: "1"})
    assert children.deployment("shop", [owner("m")], newer, live=done)["spec"]["template"] == template


def test_the_router_belongs_to_all_deployments_and_is_controlled_by_none() -> None:
    leaving = owner("z")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    (anchor,) = anchors = children.anchors("shop", [owner("b"), owner("a"), leaving])
    references = anchor["metadata"]["ownerReferences"]
    assert [each["name"] for each in references] == ["a", "b"]
    assert not any(each.get("controller") for each in references)
    live = [created_anchor(each) for each in anchors]
    for body in (
        children.deployment("shop", live, SETTINGS, live=None),
        children.service("shop", live, SETTINGS),
        children.disruption_budget("shop", live, SETTINGS),
    ):
        assert body is not None
        (only,) = body["metadata"]["ownerReferences"]
        assert (only["kind"], only["name"], only["uid"]) == ("ControllerRevision", "noria-router-u", "0a1b")
        assert not only.get("controller")


def test_replicas_are_the_most_that_anybody_asks_for() -> None:
    assert children.replicas_wanted([]) == 2
    assert children.replicas_wanted([owner("a")]) == 2
    assert children.replicas_wanted([owner("a", router={"replicas": 1})]) == 1
    assert (
        children.replicas_wanted([owner("a", router={"replicas": 1}), owner("b", router={"replicas": 3})])
        == 3
    )


def test_a_single_router_has_no_disruption_budget() -> None:
    single = Settings(image="i", xds_address="a:1", master_key=b"k" * 32, replicas=1)
    assert children.disruption_budget("shop", [owner("a")], single) is None
    budget = children.disruption_budget("shop", [owner("a")], SETTINGS)
    assert budget is not None
    assert budget["spec"]["maxUnavailable"] == 1


def test_the_services_of_deployments_select_the_router_and_nothing_else() -> None:
    service = children.deployment_service(owner("m"))
    labels = running()["spec"]["template"]["metadata"]["labels"]
    assert service["metadata"]["name"] == "m"
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["selector"]["noria.dev/router"] == "true"
    assert service["spec"]["ports"][0]["port"] == 80


def test_the_bootstrap_in_the_secret_is_for_this_namespace() -> None:
    live = running()
    config = json.loads(children.secret("shop", SETTINGS, live)["stringData"]["envoy.json"])
    other = json.loads(children.secret("other", SETTINGS, live)["stringData"]["envoy.json"])
    assert config["node"]["metadata"]["namespace"] == "shop"
    assert config["node"]["metadata"]["token"] != other["node"]["metadata"]["token"]
    assert base64.b64encode(SETTINGS.master_key).decode() not in json.dumps(config)


def test_the_lame_duck_ends_before_the_pod_is_killed() -> None:
    pod = running()["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    headers = container["lifecycle"]["preStop"]["httpGet"]["httpHeaders"]
    config = children.secret("shop", SETTINGS, running())["stringData"]["envoy.json"]
    assert headers[0]["value"] in config
    assert pod["terminationGracePeriodSeconds"] > 12


def secured(*certificates: str) -> Settings:
    return replace(SETTINGS, certificates=certificates)


def test_certificates_are_those_that_deployments_name_each_once() -> None:
    tls = [{"secretName": name} for name in ("b", "a", "b")]
    owners = [owner(f"m{number}", router={"tls": one}) for number, one in enumerate(tls)]
    assert children.certificates_wanted([*owners, owner("m")]) == ("a", "b")


def test_pods_mount_certificates_and_nothing_else_of_their_secrets() -> None:
    pod = applied(secured("a.example", "b"))["spec"]["template"]["spec"]
    mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    volumes = {one["name"]: one["secret"] for one in pod["volumes"] if "secret" in one}
    assert mounts["tls-0"] == "/etc/noria-tls/a.example"
    assert volumes["tls-1"]["secretName"] == "b"
    assert [item["key"] for item in volumes["tls-1"]["items"]] == ["tls.crt", "tls.key"]
    files = children.secret("shop", secured("a.example", "b"), running())["stringData"]
    assert set(files) == {"envoy.json", "tls-0.json", "tls-1.json"}
    assert "/etc/noria-tls/a.example/tls.key" in files["tls-0.json"]


def test_other_certificates_replace_the_pods_and_the_same_ones_do_not() -> None:
    live = running(secured("a"))
    kept = children.deployment("shop", [owner("m")], secured("a"), live=live)
    assert kept["spec"]["template"] == applied(secured("a"))["spec"]["template"]
    for certificates in ((), ("a", "b"), ("b",)):
        other = children.deployment("shop", [owner("m")], secured(*certificates), live=live)
        assert other["spec"]["template"] != kept["spec"]["template"]


def test_the_port_for_tls_is_there_for_those_who_ask_for_it() -> None:
    def ports(service: dict[str, Any]) -> set[int]:
        return {one["port"] for one in service["spec"]["ports"]}

    asked = owner("m", router={"tls": {"secretName": "a"}})
    assert ports(children.deployment_service(asked)) == {80, 443, 8082}
    assert ports(children.deployment_service(owner("n"))) == {80, 8082}
    assert ports(children.service("shop", [], secured("a"))) == {80, 443, 8082}


def test_routers_listen_on_both_families_where_the_cluster_has_ipv6() -> None:
    def listening(settings: Settings) -> list[dict[str, Any]]:
        config = json.loads(children.secret("shop", settings, running())["stringData"]["envoy.json"])
        found = [one["address"] for one in config["static_resources"]["listeners"]]
        return [one["socket_address"] for one in found if "socket_address" in one]

    both = listening(replace(SETTINGS, address="::", certificates=("a",)))
    assert [(one["address"], one["ipv4_compat"]) for one in both] == [("::", True)] * 3
    assert all(one.keys() == {"address", "port_value"} for one in listening(SETTINGS))
