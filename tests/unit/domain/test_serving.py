"""Serving pods and their objects: golden files, restricted pods, and what must not leak in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from noria_operator.api.modelversion import ModelVersion
from noria_operator.api.server import Server
from noria_operator.domain import serving_children as build
from noria_operator.domain.revisions import record, recorded, revision_of
from noria_operator.domain.rollout_plan import Child
from noria_operator.domain.rollout_state import Revision
from noria_operator.domain.serving import Serving, pod_template, recorded_grpc_port
from noria_operator.domain.training_locations import LocationError

GOLDEN = Path(__file__).parent
NUMBER = "deployment.kubernetes.io/revision"
UID = "7b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"
TARGET = Revision("flights-3", "0123456789", "flights-3-012345")


def version(uri: str = "pvc://models/flights/3", **artifact: Any) -> ModelVersion:
    spec = {"uri": uri, "digest": "sha256:" + "a" * 64, "format": "onnx", **artifact}
    return ModelVersion.model_validate(
        {"metadata": {"name": "flights-3"}, "spec": {"model": "flights", "version": 3, "artifact": spec}}
    )


def serving(server: dict[str, Any] | None = None, made: ModelVersion | None = None, **rest: Any) -> Serving:
    return Serving(
        namespace="prod",
        deployment="flights",
        version=made or version(),
        server=Server.model_validate(server or {}),
        labels=build.pod_labels("flights", UID, TARGET),
        selector=build.revision_selector("flights", UID, TARGET),
        image="registry/noria/server@sha256:" + "b" * 64,
        pull_policy="IfNotPresent",
        uid=UID,
        key_period=230,
        **rest,
    )


CUSTOM = {
    "runtime": "custom",
    "image": "registry/team/server:1",
    "command": ["serve"],
    "args": ["--port", "9000"],
    "port": 9000,
    "healthPath": "/healthz",
    "terminationSeconds": 10,
    "env": [{"name": "THREADS", "value": "$(PATH)"}],
    "envFrom": [{"configMapRef": {"name": "settings"}}],
    "resources": {"requests": {"cpu": "1"}, "limits": {"nvidia.com/gpu": 1}},
    "nodeSelector": {"disktype": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone"}],
    "imagePullSecrets": [{"name": "pull"}],
    "serviceAccountName": "server",
    "priorityClassName": "high",
}
CASES = {
    "noria": serving(),
    "custom": serving(CUSTOM, version("s3://lake/flights/3", secretName="lake")),
}


def objects(made: Serving) -> list[dict[str, Any]]:
    template, child = pod_template(made), Child(TARGET, "stable", 2)
    return [
        build.workload("prod", "flights", UID, child, template, replicas=2),
        build.service("prod", "flights", UID, TARGET, port=made.port, grpc_port=recorded_grpc_port(template)),
        record(TARGET.name, 3, template, made.port),
        build.keys_secret("prod", "flights", UID, bytes(32), period=230),
    ]


@pytest.mark.parametrize("name", CASES)
def test_the_objects_of_a_revision_are_those_of_the_golden_file(name: str) -> None:
    """Regenerate by hand after a change that is meant: write `objects(CASES[name])` as JSON."""
    golden = json.loads((GOLDEN / f"serving_{name}.json").read_text())
    assert objects(CASES[name]) == golden


@pytest.mark.parametrize("name", CASES)
def test_the_objects_are_valid_for_kubernetes(name: str) -> None:
    workload, service, revision, secret = objects(CASES[name])
    for body in (workload, service, revision, secret):
        kubernetes_validate.validate(body, "1.34", strict=True)


@pytest.mark.parametrize("name", CASES)
def test_every_pod_is_restricted_and_mounts_no_token(name: str) -> None:
    spec = pod_template(CASES[name])["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert all("hostPath" not in volume for volume in spec["volumes"])
    (container,) = spec["containers"]
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert all(mount.get("readOnly") or mount["mountPath"] == "/tmp" for mount in container["volumeMounts"])


def test_the_template_says_nothing_of_the_rollout() -> None:
    """Case 38: a promotion changes labels of the Deployment and restarts nothing."""
    for role in ("candidate", "stable", "previous"):
        child, made = Child(TARGET, role, 1), pod_template(serving())
        body = build.workload("prod", "flights", UID, child, made, replicas=1)
        assert body["spec"]["template"] == pod_template(serving())
        assert body["metadata"]["labels"]["noria.dev/role"] == role


@pytest.mark.parametrize(
    ("noted", "applied"),
    [(None, {NUMBER: "1"}), ({}, {NUMBER: "1"}), ({NUMBER: "1"}, {NUMBER: "1"}), ({NUMBER: "2"}, {})],
)
def test_the_number_of_a_template_is_that_of_the_first_or_left_to_kubernetes(
    noted: dict[str, str] | None, applied: dict[str, str]
) -> None:
    live = None if noted is None else {"metadata": {"annotations": noted}}
    template, child = pod_template(serving()), Child(TARGET, "stable", 1)
    body = build.workload("prod", "flights", UID, child, template, replicas=1, live=live)
    assert body["metadata"]["annotations"] == applied


def test_a_variable_of_the_user_is_passed_on_unexpanded_and_never_wins_over_ours() -> None:
    made = serving({"env": [{"name": "A", "value": "$(NORIA_DIGEST) a$$b"}]})
    env = {one["name"]: one["value"] for one in pod_template(made)["spec"]["containers"][0]["env"]}
    assert env["A"] == "$$(NORIA_DIGEST) a$$$$b"
    assert env["NORIA_VERSION"] == "flights-3"
    assert env["NORIA_BUNDLE"] == "/noria/volumes/models/flights/3"


@pytest.mark.parametrize(("allowed", "value"), [(True, "1"), (False, "0")])
def test_every_pod_is_told_whether_its_model_may_run_code_so_that_no_config_map_says_it(
    allowed: bool, value: str
) -> None:
    env = pod_template(serving(allow_code=allowed))["spec"]["containers"][0]["env"]
    assert {"name": "NORIA_ALLOW_CODE", "value": value} in env


def test_a_path_that_climbs_out_of_its_claim_makes_no_pod() -> None:
    artifact = version().spec.artifact.model_copy(update={"uri": "pvc://models/../../etc"})
    spec = version().spec.model_copy(update={"artifact": artifact})
    with pytest.raises(LocationError):
        pod_template(serving(made=version().model_copy(update={"spec": spec})))


@pytest.mark.parametrize(("asked", "given"), [(None, 60), (6, 28), (27, 28), (300, 300)])
def test_running_requests_get_twenty_seconds_after_the_drain(asked: int | None, given: int) -> None:
    spec = pod_template(serving({"terminationSeconds": asked}))["spec"]
    env = {one["name"]: one["value"] for one in spec["containers"][0]["env"]}
    assert (spec["terminationGracePeriodSeconds"], env["NORIA_DRAIN_SECONDS"]) == (given, "8")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "50"),
        ({"terminationSeconds": 300}, "290"),
        ({"terminationSeconds": 300, "payloadLog": {"uri": "s3://lake/log"}}, "280"),
        ({"terminationSeconds": 30}, None),
        ({**CUSTOM, "terminationSeconds": 300}, None),
    ],
)
def test_running_requests_get_what_the_grace_period_leaves(asked: dict[str, Any], told: str | None) -> None:
    """None: what a server gives them unasked, twenty seconds."""
    env = {one["name"]: one["value"] for one in pod_template(serving(asked))["spec"]["containers"][0]["env"]}
    assert env.get("NORIA_FINISH_SECONDS") == told


def test_a_revision_is_the_artifact_and_the_users_settings() -> None:
    """Case 34."""
    plain = revision_of("flights", version(), Server())
    assert plain == revision_of("flights", version(), Server.model_validate({"port": 8080}))
    others = [
        revision_of("flights", version("pvc://models/other"), Server()),
        revision_of("flights", version(digest="sha256:" + "c" * 64), Server()),
        revision_of("flights", version(), Server.model_validate({"resources": {"requests": {"cpu": "2"}}})),
    ]
    assert len({plain.revision, *(one.revision for one in others)}) == 4
    assert plain.name == f"flights-3-{plain.revision[:6]}"


def test_a_revision_from_before_noria_spoke_grpc_has_no_port_for_it() -> None:
    template = pod_template(serving())
    ports = template["spec"]["containers"][0]["ports"]
    assert recorded_grpc_port(template) == 8082
    ports[:] = [port for port in ports if port["name"] != "grpc"]
    assert recorded_grpc_port(template) is None
    made = build.service("prod", "flights", UID, TARGET, port=8080, grpc_port=None)
    assert [port["name"] for port in made["spec"]["ports"]] == ["http"]


@pytest.mark.parametrize(
    ("settings", "port", "told"),
    [
        ({}, 8082, None),
        ({"grpcPort": 0}, None, "off"),
        ({"runtime": "custom", "image": "a"}, None, None),
        ({"runtime": "custom", "image": "a", "grpcPort": 0}, None, None),
        ({"runtime": "custom", "image": "a", "grpcPort": 8001}, 8001, None),
    ],
)
def test_where_pods_take_grpc_is_the_users_to_say(
    settings: dict[str, Any], port: int | None, told: str | None
) -> None:
    template = pod_template(serving(settings))
    env = {one["name"]: one["value"] for one in template["spec"]["containers"][0]["env"]}
    assert (recorded_grpc_port(template), env.get("NORIA_GRPC_PORT")) == (port, told)


@pytest.mark.parametrize(("headless", "address"), [(True, "None"), (False, None)])
def test_a_service_whose_endpoints_are_read_has_no_address(headless: bool, address: str | None) -> None:
    made = build.service("prod", "flights", UID, TARGET, port=8080, grpc_port=None, headless=headless)
    assert made["spec"].get("clusterIP") == address


def test_a_drain_may_take_a_quarter_of_all_pods_and_those_that_answer_nobody() -> None:
    budget = build.disruption_budget("prod", "flights", UID)
    kubernetes_validate.validate(budget, "1.34", strict=True)
    assert budget["metadata"]["name"] == "flights"
    assert budget["spec"] == {
        "maxUnavailable": "25%",
        "selector": {"matchLabels": build.selector("flights", UID)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }


def test_a_recorded_template_is_read_back_as_it_was() -> None:
    template = pod_template(serving())
    assert recorded(json.loads(json.dumps(record(TARGET.name, 3, template, 8080)))) == (template, 8080)


def logging(uri: str, made: ModelVersion | None = None, **log: Any) -> dict[str, Any]:
    """The pod of a revision with a payload log."""
    return pod_template(serving({"payloadLog": {"uri": uri, **log}}, made))["spec"]


def variable(spec: dict[str, Any], name: str) -> Any:
    return json.loads(next(one["value"] for one in spec["containers"][0]["env"] if one["name"] == name))


def test_a_payload_log_in_a_store_is_opened_with_its_own_secret() -> None:
    made = version("s3://models/flights/3", secretName="models")
    spec = logging("s3://lake/log/", made, secretName="lake", sample="0.01", redact=["name"], every="5m")
    said = {"uri": "s3://lake/log", "sample": "0.01", "redact": ["name"], "every": 300.0}
    assert variable(spec, "NORIA_PAYLOAD_LOG") == said
    assert variable(spec, "NORIA_CREDENTIALS") == {
        "s3://lake/log": "/noria/credentials/lake",
        "s3://models/flights/3": "/noria/credentials/models",
    }
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}, "1.34", strict=True
    )


@pytest.mark.parametrize(("claim", "volume"), [("log", "payload-log"), ("models", "artifact")])
def test_a_payload_log_in_a_claim_is_writable_and_the_artifact_is_not(claim: str, volume: str) -> None:
    spec = logging(f"pvc://{claim}/days")
    assert variable(spec, "NORIA_PAYLOAD_LOG") == {"uri": "/noria/payload-log/days", "every": 60.0}
    mounts = {one["mountPath"]: one for one in spec["containers"][0]["volumeMounts"]}
    assert mounts["/noria/payload-log"] == {"name": volume, "mountPath": "/noria/payload-log"}
    assert mounts["/noria/volumes/models"]["readOnly"] is True
    claims = {
        one["name"]: one["persistentVolumeClaim"] for one in spec["volumes"] if "persistentVolumeClaim" in one
    }
    assert claims[volume] == {"claimName": claim}
    assert len({one["claimName"] for one in claims.values()}) == len(claims)  # each claim is mounted once


def test_a_pod_with_a_payload_log_gets_the_time_to_write_its_last_file() -> None:
    made = serving({"terminationSeconds": 1, "payloadLog": {"uri": "s3://lake/log"}})
    assert pod_template(made)["spec"]["terminationGracePeriodSeconds"] == 38


def test_a_warm_up_is_told_to_the_server_and_is_part_of_the_revision() -> None:
    warm = {"warmUp": {"rows": [1, 64], "calls": 5}}
    env = pod_template(serving(warm))["spec"]["containers"][0]["env"]
    assert {"name": "NORIA_WARM_UP_ROWS", "value": "1,64"} in env
    assert {"name": "NORIA_WARM_UP_CALLS", "value": "5"} in env
    hashes = {revision_of("flights", version(), Server.model_validate(one)).revision for one in ({}, warm)}
    assert len(hashes) == 2


def test_another_payload_log_is_another_revision() -> None:
    hashes = {
        revision_of("flights", version(), Server.model_validate(server)).revision
        for server in ({}, {"payloadLog": {"uri": "s3://one/log"}}, {"payloadLog": {"uri": "s3://two/log"}})
    }
    assert len(hashes) == 3
