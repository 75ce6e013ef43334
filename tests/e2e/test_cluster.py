"""The cluster is a real one: what the demo and the other tests build on works and is enforced."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

from tests.e2e.conftest import Program
from tools.cluster import toolbox

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
SAY = ">/dev/termination-log"
"""Behind a command: its output becomes what `finished` gives."""


def pod(namespace: str, name: str, script: str, *, image: str = "", **spec: Any) -> dict[str, Any]:
    mounts = spec.pop("mounts", [])
    container = {
        "name": "main",
        "image": image or toolbox.image(),
        "command": ["sh", "-c", script],
        "securityContext": RESTRICTED,
        "volumeMounts": mounts,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            **spec,
        },
    }


def finished(kubectl: Program, namespace: str, name: str) -> str:
    """Wait until the pod has succeeded; what it said.

    Not its log: that is written beside the container, and its last lines may come after the end is known.
    """
    where = f"--namespace={namespace}"
    succeeded = "--for=jsonpath={.status.phase}=Succeeded"
    kubectl("wait", where, succeeded, f"pod/{name}", "--timeout=60s")
    message = "{.status.containerStatuses[0].state.terminated.message}"
    return kubectl("get", "pod", where, name, f"--output=jsonpath={message}")


def test_the_first_pod_of_a_namespace_runs_within_seconds(kubectl: Program, namespace: str) -> None:
    started = time.monotonic()
    kubectl.apply(pod(namespace, "first", f"echo ran {SAY}"))
    assert finished(kubectl, namespace, "first") == "ran\n"
    print(f"first pod finished after {time.monotonic() - started:.1f} s")


def test_what_a_pod_writes_is_in_its_log(kubectl: Program, namespace: str) -> None:
    kubectl.apply(pod(namespace, "writer", "echo said; sleep 60"))
    kubectl("wait", f"--namespace={namespace}", "--for=condition=Ready", "pod/writer", "--timeout=60s")
    said = kubectl("logs", f"--namespace={namespace}", "writer", "--follow", "--limit-bytes=5")
    assert said == "said\n"


def test_an_image_is_pulled_by_its_digest(kubectl: Program, namespace: str) -> None:
    kubectl.apply(pod(namespace, "by-tag", "sleep 60"))
    kubectl("wait", f"--namespace={namespace}", "--for=condition=Ready", "pod/by-tag", "--timeout=60s")
    found = kubectl.json("get", "pod", "by-tag", f"--namespace={namespace}")
    digest = found["status"]["containerStatuses"][0]["imageID"].rpartition("@")[2]
    kubectl.apply(pod(namespace, "by-digest", f"echo pinned {SAY}", image=f"{toolbox.NAME}@{digest}"))
    assert finished(kubectl, namespace, "by-digest") == "pinned\n"


def test_a_digest_that_nobody_pushed_cannot_be_pulled(kubectl: Program, namespace: str) -> None:
    kubectl.apply(pod(namespace, "unknown", "true", image=f"{toolbox.NAME}@sha256:{'0' * 64}"))
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    kubectl(
        "wait",
        f"--namespace={namespace}",
        f"--for=jsonpath={reason}=ErrImagePull",
        "pod/unknown",
        "--timeout=30s",
    )


def test_a_claim_without_a_class_is_bound_and_written_by_a_plain_user(
    kubectl: Program, namespace: str
) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}},
    }
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    mounts = [{"name": "data", "mountPath": "/data"}]
    writer = pod(namespace, "writer", "echo kept > /data/file", volumes=volumes, mounts=mounts)
    kubectl.apply(claim, writer)
    finished(kubectl, namespace, "writer")
    kubectl.apply(pod(namespace, "reader", f"cat /data/file {SAY}", volumes=volumes, mounts=mounts))
    assert finished(kubectl, namespace, "reader") == "kept\n"
    bound = kubectl.json("get", "pvc", "data", f"--namespace={namespace}")
    assert bound["status"]["phase"] == "Bound"


def test_a_service_is_found_by_name_from_pods_and_by_address_from_the_host(
    kubectl: Program, namespace: str
) -> None:
    serve = "echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"
    scratch = {"volumes": [{"name": "tmp", "emptyDir": {}}], "mounts": [{"name": "tmp", "mountPath": "/tmp"}]}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    kubectl.apply(service, pod(namespace, "web", serve, **scratch))
    kubectl("wait", f"--namespace={namespace}", "--for=condition=Ready", "pod/web", "--timeout=60s")
    get = r"printf 'GET / HTTP/1.0\r\n\r\n'"
    ask = f"until {get} | nc web 80 | grep hello {SAY}; do sleep 0.5; done"
    kubectl.apply(pod(namespace, "client", ask))
    assert finished(kubectl, namespace, "client") == "hello\n"
    found = kubectl.json("get", "service", "web", f"--namespace={namespace}")
    with urllib.request.urlopen(f"http://{found['spec']['clusterIP']}/", timeout=5) as response:
        assert response.read() == b"hello\n"


def test_a_pod_may_do_nothing_at_the_api_server_that_nobody_allowed(kubectl: Program, namespace: str) -> None:
    account = f"system:serviceaccount:{namespace}:default"
    assert "no" in kubectl("auth", "can-i", "list", "secrets", f"--as={account}", check=False)
    assert "no" in kubectl("auth", "can-i", "create", "pods", f"--as={account}", check=False)


def test_pod_security_refuses_a_privileged_pod(kubectl: Program, namespace: str) -> None:
    privileged = pod(namespace, "privileged", "true")
    privileged["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    refused = kubectl.run("apply", "--filename=-", stdin=json.dumps(privileged))
    assert refused.returncode != 0
    assert "violates PodSecurity" in refused.stderr


def test_a_validating_admission_policy_is_enforced(kubectl: Program, namespace: str) -> None:
    group = "admissionregistration.k8s.io/v1"
    maps = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    only_here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    policy = {
        "apiVersion": group,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": namespace},
        "spec": {
            "matchConstraints": {"resourceRules": [maps], "namespaceSelector": only_here},
            "validations": [{"expression": "object.metadata.name != 'refused'", "message": "not this name"}],
        },
    }
    binding = {
        "apiVersion": group,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace},
        "spec": {"policyName": namespace, "validationActions": ["Deny"]},
    }
    kubectl.apply(policy, binding)
    try:
        deadline = time.monotonic() + 20
        while True:  # a policy is in force a moment after it was written
            tried = kubectl.run(
                "create", "configmap", "refused", f"--namespace={namespace}", "--dry-run=server"
            )
            if tried.returncode or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        assert "not this name" in tried.stderr
    finally:
        kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", namespace)
