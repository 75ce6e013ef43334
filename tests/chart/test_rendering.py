"""What the chart makes is valid, safe and small, whatever the values."""

from __future__ import annotations

import base64
import gzip
import json
import re
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import kubernetes_validate
import pytest
import yaml
from tests.chart.rendering import CHART, PUBLIC_KEY, ROOT, VARIANTS, helm, named, objects, pods

from noria_operator.api.crdgen.files import generated_files
from noria_operator.controllers.context import MAX_BODY, Config
from noria_operator.domain.notifications import TYPES
from noria_serving.contract import CODE_FORMATS

Json = dict[str, Any]
RELEASE_LIMIT = 300_000
variants = pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)


def test_helm_lint_has_no_complaint() -> None:
    done = helm("lint", str(CHART), "--strict")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@variants
def test_objects_are_valid_for_the_oldest_and_the_newest_kubernetes(values: Json) -> None:
    for obj in objects(values):
        # Kinds of the Prometheus operator have no schema in there; promtool reads their rules.
        if obj["kind"] != "CustomResourceDefinition" and "monitoring.coreos.com" not in obj["apiVersion"]:
            for version in ("1.30", "1.34"):
                kubernetes_validate.validate(obj, version, strict=True)


@variants
def test_no_two_objects_have_one_name(values: Json) -> None:
    keys = [(it["kind"], it["metadata"].get("namespace"), it["metadata"]["name"]) for it in objects(values)]
    assert len(keys) == len(set(keys))


@variants
def test_every_object_carries_the_labels_of_the_release(values: Json) -> None:
    for obj in objects(values):
        labels = obj["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "noria", obj["kind"]
        assert set(values.get("commonLabels", {}).items()) <= set(labels.items()), obj["kind"]


@variants
def test_pods_meet_the_restricted_standard(values: Json) -> None:
    found = pods(objects(values))
    assert len(found) == 2
    for pod in found:
        assert restricted_violations(pod) == []


def restricted_violations(pod: Json) -> list[str]:
    """What the restricted pod security standard has against a pod spec."""
    bad = [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    allowed = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    for volume in pod.get("volumes", []):
        bad += [f"volume {kind}" for kind in volume if kind != "name" and kind not in allowed]
    whole = pod.get("securityContext", {})
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        own = {**whole, **container.get("securityContext", {})}
        checks = {
            "runAsNonRoot": own.get("runAsNonRoot") is True,
            "runAsUser": own.get("runAsUser") != 0,
            "seccomp": own.get("seccompProfile", {}).get("type") == "RuntimeDefault",
            "escalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "privileged": not own.get("privileged"),
            "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
            "host ports": not any(port.get("hostPort") for port in container.get("ports", [])),
            "resources": {"requests", "limits"} <= set(container.get("resources", {})),
        }
        bad += [name for name, holds in checks.items() if not holds]
    return bad


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}, "volume hostPath"),
        ({"securityContext": {}}, "runAsNonRoot"),
    ],
)
def test_the_restricted_check_can_fail(change: Json, violation: str) -> None:
    (pod, *_) = pods(objects())
    assert violation in restricted_violations(pod | change)


def test_the_crds_are_the_generated_ones() -> None:
    found = {it["metadata"]["name"]: it for it in objects() if it["kind"] == "CustomResourceDefinition"}
    assert len(found) == 4
    for path, text in generated_files().items():
        if path.parts[0] == "crds":
            plain = yaml.safe_load(text)
            assert found[plain["metadata"]["name"]]["spec"] == plain["spec"]
            copy = PurePosixPath("charts/noria/templates/crds") / path.name
            assert (ROOT / copy).read_text() == generated_files()[copy]


def test_crds_and_the_master_key_stay_when_the_release_goes() -> None:
    kept = {it["kind"] for it in objects() if _policy(it) == "keep"}
    assert kept == {"CustomResourceDefinition", "Secret"}
    loose = objects({"crds": {"keep": False}})
    assert {it["kind"] for it in loose if _policy(it) == "keep"} == {"Secret"}
    without = objects({"crds": {"enabled": False}})
    assert not [it for it in without if it["kind"] == "CustomResourceDefinition"]


def _policy(obj: Json) -> str | None:
    policy: str | None = obj["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
    return policy


def test_a_release_stays_far_below_the_size_of_a_secret() -> None:
    files = [path for path in CHART.rglob("*") if path.is_file()]
    chart = {str(path): base64.b64encode(path.read_bytes()).decode() for path in files}
    release = json.dumps({"chart": chart, "manifest": yaml.safe_dump_all(objects())})
    assert len(base64.b64encode(gzip.compress(release.encode()))) < RELEASE_LIMIT


def test_images_are_pinned_by_digest_when_one_is_given() -> None:
    found = objects(VARIANTS["pinned"])
    container = named(found, "Deployment", "noria-operator")["spec"]["template"]["spec"]["containers"][0]
    env = {it["name"]: it.get("value") for it in container["env"]}
    assert container["image"] == "127.0.0.1:5000/noria/operator@sha256:" + "a" * 64
    assert env["NORIA_SERVER_IMAGE"] == "registry.example/noria/server@sha256:" + "b" * 64
    assert env["NORIA_ROUTER_IMAGE"] == "other.example/noria/router:1.2"
    assert {pod["imagePullSecrets"][0]["name"] for pod in pods(found)} == {"registry"}
    config = Config.from_env({it["name"]: it.get("value", "noria") for it in container["env"]})
    assert config.pull_secrets == ("registry",)


def test_trusted_keys_reach_the_operator_as_they_were_given() -> None:
    found = objects(VARIANTS["everything"])
    container = named(found, "Deployment", "noria-wheel-operator")["spec"]["template"]["spec"]["containers"][
        0
    ]
    config = Config.from_env({it["name"]: it.get("value", "noria") for it in container["env"]})
    told = config.fetching("prod")
    assert told["NORIA_TRUSTED_KEYS"] == f"{PUBLIC_KEY}\n{PUBLIC_KEY.rstrip()}"
    assert told["NORIA_REQUIRE_SIGNATURE"] == "1"


def test_receivers_of_notifications_reach_the_operator_with_their_secrets_as_files() -> None:
    pod = pods(objects(VARIANTS["everything"]))[0]
    container = pod["containers"][0]
    config = Config.from_env({it["name"]: it.get("value", "noria") for it in container["env"]})
    mounted = {it["name"]: PurePosixPath(it["mountPath"]) for it in container["volumeMounts"]}[
        "notifications"
    ]
    (volume,) = [it["projected"] for it in pod["volumes"] if it["name"] == "notifications"]
    files = {
        str(mounted / it["secret"]["items"][0]["path"]): (
            it["secret"]["name"],
            it["secret"]["items"][0]["key"],
        )
        for it in volume["sources"]
    }
    plain, chat, signed = config.notifications
    assert plain.url == "https://hooks.example/a?b=c"
    assert plain.events == {"rollout.aborted"}
    assert files == {
        str(chat.url_file): ("slack", "url"),
        str(signed.url_file): ("hooks", "address"),
        str(signed.key_file): ("hooks", "secret"),
    }
    assert all(it["secret"]["optional"] for it in volume["sources"])
    assert chat.format == "slack"
    assert chat.namespaces == {"prod"}


def test_query_templates_reach_the_operator_as_they_were_written() -> None:
    """Also where the kubelet would put a variable in the place of `$(a)`."""
    _, written = VARIANTS["everything"]["queryTemplates"]
    container = pods(objects(VARIANTS["everything"]))[0]["containers"][0]
    env = {it["name"]: it.get("value", "noria").replace("$$", "$") for it in container["env"]}
    config = Config.from_env(env)
    template = config.query_templates["error-share"]
    assert config.query_templates["by-source"].source is config.metric_sources["mimir"]
    assert (template.source.address, template.query) == (written["address"], written["query"])
    assert template.args == written["args"]


def test_metric_sources_reach_the_operator_with_their_secrets_as_files() -> None:
    made = objects(VARIANTS["everything"])
    pod = pods(made)[0]
    container = pod["containers"][0]
    env = {it["name"]: it.get("value", "noria").replace("$$", "$") for it in container["env"]}
    config = Config.from_env(env)
    (mounted,) = [it["mountPath"] for it in container["volumeMounts"] if it["name"] == "sources"]
    (volume,) = [it["projected"] for it in pod["volumes"] if it["name"] == "sources"]
    secrets = {
        f"{mounted}/{it['secret']['items'][0]['path']}": (
            it["secret"]["name"],
            it["secret"]["items"][0]["key"],
        )
        for it in volume["sources"]
    }
    chosen = config.metric_sources[config.counts_from]
    assert (chosen.tenant, chosen.delay) == ("models$(a)", timedelta(minutes=1))
    assert secrets == {
        str(chosen.token_file): ("mimir", "token"),
        str(chosen.ca_file): ("authorities", "ca.crt"),
    }
    assert all(it["secret"]["optional"] for it in volume["sources"])
    assert config.metric_sources["near"].token_file is None


def test_probes_of_gateways_reach_the_operator_with_their_authorities_as_files() -> None:
    pod = pods(objects(VARIANTS["everything"]))[0]
    container = pod["containers"][0]
    config = Config.from_env({it["name"]: it.get("value", "noria") for it in container["env"]})
    (mounted,) = [it["mountPath"] for it in container["volumeMounts"] if it["name"] == "gateways"]
    (volume,) = [it["projected"] for it in pod["volumes"] if it["name"] == "gateways"]
    (source,) = volume["sources"]
    edge = config.gateway_probes["edge", "tls"]
    assert str(edge.ca_file) == f"{mounted}/{source['secret']['items'][0]['path']}"
    assert source["secret"]["name"] == "authorities"
    assert source["secret"]["optional"]
    assert (edge.urls, edge.host) == (("https://10.0.0.1:8443", "https://[fd00::1]"), "edge.example")
    assert config.gateway_probes["infra", "public"].urls == ("http://envoy.infra:8080",)


@pytest.mark.parametrize(("variant", "size"), [("everything", 3_000_000_000), ("default", MAX_BODY)])
def test_the_longest_body_reaches_the_operator_as_a_whole_number(variant: str, size: int) -> None:
    container = pods(objects(VARIANTS[variant]))[0]["containers"][0]
    config = Config.from_env({it["name"]: it.get("value", "noria") for it in container["env"]})
    assert config.router_max_body == size


def test_without_receivers_nothing_is_mounted_for_them() -> None:
    pod = pods(objects())[0]
    assert "notifications" not in {it["name"] for it in pod["volumes"]}
    assert "NORIA_NOTIFICATIONS" not in {it["name"] for it in pod["containers"][0]["env"]}


def test_the_values_know_every_event_that_can_be_told() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    found = schema["properties"]["notifications"]["items"]["properties"]["events"]["items"]["enum"]
    assert found == sorted(TYPES)


def test_the_master_key_is_long_random_and_left_to_the_user_where_they_bring_one() -> None:
    key = base64.b64decode(named(objects(), "Secret", "noria-master-key")["data"]["master-key"])
    assert re.fullmatch(rb"[A-Za-z0-9]{64}", key)
    bare = objects(VARIANTS["bare"])
    assert not [it for it in bare if it["kind"] == "Secret"]
    assert pods(bare)[0]["volumes"][0]["secret"]["secretName"] == "mine"


def test_a_second_master_key_is_refused_where_the_chart_is_rendered_without_a_cluster() -> None:
    """There each rendering makes another one, and nobody would see it change."""
    secret = named(objects(), "Secret", "noria-master-key")
    assert secret["immutable"]
    assert secret["data"] != named(objects({"logLevel": "DEBUG"}), "Secret", "noria-master-key")["data"]


def test_routers_find_the_operator_where_its_service_is() -> None:
    found = objects(release="wheel")
    (address,) = [
        it["value"] for it in pods(found)[0]["containers"][0]["env"] if it["name"] == "NORIA_XDS_ADDRESS"
    ]
    service, namespace, rest = address.split(".")
    assert (namespace, rest) == ("noria-system", "svc:18000")
    ports = named(found, "Service", service)["spec"]["ports"]
    assert [(it["port"], it["targetPort"]) for it in ports] == [(18000, "xds")]


def test_each_release_of_a_namespace_has_a_lease_of_its_own() -> None:
    """Called as its Deployment is, by which its pods know each other; that of a release `noria` as ever."""
    for release in ("noria", "team-a", "team-b"):
        found = objects(release=release)
        container = pods(found)[0]["containers"][0]
        config = Config.from_env({it["name"]: it.get("value", "noria") for it in container["env"]})
        assert named(found, "Deployment", config.lease)
        assert (config.lease == "noria-operator") == (release == "noria")


@pytest.mark.parametrize("name", ["noria-references", "noria-code"])
def test_policies_of_an_installation_for_some_namespaces_leave_the_others_alone(name: str) -> None:
    """Another installation works there, whose operator these know nothing of."""
    kind = "ValidatingAdmissionPolicy"
    everywhere = named(objects({}), kind, name)["spec"]["matchConstraints"]
    some = named(objects(VARIANTS["namespaced"]), kind, name)["spec"]["matchConstraints"]
    selector = some.pop("namespaceSelector")
    assert some == everywhere
    (one,) = selector["matchExpressions"]
    assert one == {
        "key": "kubernetes.io/metadata.name",
        "operator": "In",
        "values": VARIANTS["namespaced"]["watchNamespaces"],
    }


def test_the_policy_knows_every_format_that_runs_code() -> None:
    policy = named(objects({}), "ValidatingAdmissionPolicy", "noria-code")
    (validation,) = policy["spec"]["validations"]
    listed = re.match(r"!\(object\.spec\.artifact\.format in \[(.*?)\]\)", validation["expression"])
    assert listed is not None
    assert sorted(re.findall(r"'(\w+)'", listed[1])) == sorted(CODE_FORMATS)


def test_services_and_policies_select_the_operators_pods() -> None:
    for values in (VARIANTS["default"], VARIANTS["everything"]):
        found = objects(values)
        (deployment,) = [it for it in found if it["kind"] == "Deployment"]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        selectors = [it["spec"]["selector"] for it in found if it["kind"] == "Service"]
        selectors += [
            (it["spec"].get("selector") or it["spec"]["podSelector"])["matchLabels"]
            for it in found
            if it["kind"] in ("NetworkPolicy", "PodDisruptionBudget", "Deployment")
        ]
        assert len(selectors) == 5
        for selector in selectors:
            assert set(selector.items()) <= set(labels.items())


def test_a_disruption_budget_stands_only_where_a_pod_can_be_spared() -> None:
    assert [it for it in objects() if it["kind"] == "PodDisruptionBudget"]
    assert not [it for it in objects(VARIANTS["one replica"]) if it["kind"] == "PodDisruptionBudget"]


def test_notes_name_the_next_commands() -> None:
    done = helm("install", "noria", str(CHART), "--dry-run=client", "--namespace=noria-system")
    assert done.returncode == 0, done.stderr
    notes = done.stdout.split("NOTES:")[1]
    for command in (
        "rollout status deployment/noria-operator",
        "helm test noria",
        "kubectl get noria --watch",
        "copy Secret noria-master-key and name the copy in masterKey.existingSecret",
    ):
        assert command in notes


def test_the_default_objects_are_these() -> None:
    assert sorted(f"{it['kind']} {it['metadata']['name']}" for it in objects()) == [
        "ClusterRole noria-edit",
        "ClusterRole noria-operator",
        "ClusterRole noria-view",
        "ClusterRoleBinding noria-operator",
        "CustomResourceDefinition continuoustrainings.noria.dev",
        "CustomResourceDefinition modeldeployments.noria.dev",
        "CustomResourceDefinition modelversions.noria.dev",
        "CustomResourceDefinition trainingjobs.noria.dev",
        "Deployment noria-operator",
        "NetworkPolicy noria-operator",
        "Pod noria-test",
        "PodDisruptionBudget noria-operator",
        "Role noria-operator-lease",
        "RoleBinding noria-operator-lease",
        "Secret noria-master-key",
        "Service noria-operator",
        "Service noria-xds",
        "ServiceAccount noria-operator",
        "ValidatingAdmissionPolicy noria-code",
        "ValidatingAdmissionPolicy noria-references",
        "ValidatingAdmissionPolicyBinding noria-code",
        "ValidatingAdmissionPolicyBinding noria-references",
    ]
