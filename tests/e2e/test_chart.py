"""The chart's life on a real cluster: install, test, upgrade, rollback, uninstall, with nothing left behind.

A release of its own, bound to its own namespace, so that the release under the other tests is left alone.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Program, image_values
from tools.cluster.layout import CHECKOUT

RELEASE = "life"
NAMESPACE = "noria-life"
OPERATOR = "life-noria-operator"
CHART = str(CHECKOUT / "charts" / "noria")
WAIT = ("--wait", "--timeout", "180s")


@pytest.fixture(scope="module")
def options(noria: Path, kubectl: Program, images: dict[str, str]) -> Iterator[list[str]]:
    """Options of install and upgrade; the namespace holds the chart's pods to the restricted standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    )
    own = ["--set", "crds.enabled=false", "--set", f"watchNamespaces={{{NAMESPACE}}}"]
    yield ["--namespace", NAMESPACE, *image_values(images), *own]
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def master_key(kubectl: Program) -> bytes:
    secret = kubectl.json("get", "secret", "life-noria-master-key", "--namespace", NAMESPACE)
    return base64.b64decode(secret["data"]["master-key"])


def operator(kubectl: Program) -> tuple[int, int]:
    """Wanted and ready operator pods."""
    found = kubectl.json("get", "deployment", OPERATOR, "--namespace", NAMESPACE)
    return found["spec"]["replicas"], found["status"].get("readyReplicas", 0)


def left_over(kubectl: Program) -> list[str]:
    """Everything that still carries the release's label."""
    selector = f"--selector=app.kubernetes.io/instance={RELEASE}"
    kinds = "deployment,replicaset,pod,service,serviceaccount,role,rolebinding,networkpolicy,pdb,secret"
    found = kubectl("get", kinds, selector, "--namespace", NAMESPACE, "--output=name").split()
    kinds = "clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding,crd"
    return found + kubectl("get", kinds, selector, "--output=name").split()


def uninstall(helm: Program, kubectl: Program) -> None:
    """Uninstall and wait for the pods. Helm does not: with `--wait` it ends once all that it has seen so far
    is gone, and by chance reports what it sees after that as left.
    """
    helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--cascade=foreground")
    selector = f"--selector=app.kubernetes.io/instance={RELEASE}"
    for kind in ("deployment", "pod"):
        kubectl("wait", "--for=delete", kind, selector, "--namespace", NAMESPACE, "--timeout=120s")


def test_the_chart_lives_from_install_to_uninstall(
    helm: Program, kubectl: Program, options: list[str]
) -> None:
    helm("install", RELEASE, CHART, *WAIT, *options)
    assert operator(kubectl) == (2, 2)
    key = master_key(kubectl)
    assert re.fullmatch(rb"[A-Za-z0-9]{64}", key)

    helm("test", RELEASE, "--namespace", NAMESPACE, "--timeout", "120s")

    helm("upgrade", RELEASE, CHART, *WAIT, *options, "--set", "replicas=1", "--set", "logLevel=DEBUG")
    assert operator(kubectl) == (1, 1)
    assert master_key(kubectl) == key

    helm("rollback", RELEASE, "1", "--namespace", NAMESPACE, *WAIT)
    assert operator(kubectl) == (2, 2)
    assert master_key(kubectl) == key

    kubectl("delete", "pod", "life-noria-test", "--namespace", NAMESPACE, "--ignore-not-found")
    uninstall(helm, kubectl)
    assert left_over(kubectl) == ["secret/life-noria-master-key"]


def test_an_upgrade_that_cannot_start_is_undone(helm: Program, kubectl: Program, options: list[str]) -> None:
    helm("install", RELEASE, CHART, *WAIT, *options)
    missing = ["--set", "masterKey.existingSecret=nowhere"]
    failing = helm.run(
        "upgrade", RELEASE, CHART, *options, *missing, "--rollback-on-failure", "--wait", "--timeout", "20s"
    )
    assert failing.returncode != 0
    assert operator(kubectl) == (2, 2)
    assert helm.json("status", RELEASE, "--namespace", NAMESPACE)["info"]["status"] == "deployed"
    uninstall(helm, kubectl)


def test_the_operator_has_no_rights_outside_its_namespaces(kubectl: Program, noria: Path) -> None:
    whole = "system:serviceaccount:noria-system:noria-operator"
    for verb, resource in (("list", "secrets"), ("get", "secrets"), ("create", "pods"), ("get", "nodes")):
        answer = kubectl.run("auth", "can-i", verb, resource, "--all-namespaces", f"--as={whole}")
        assert answer.stdout.strip() == "no", f"{verb} {resource}"
    allowed = kubectl.run("auth", "can-i", "create", "secrets", "--all-namespaces", f"--as={whole}")
    assert allowed.stdout.strip() == "yes"
