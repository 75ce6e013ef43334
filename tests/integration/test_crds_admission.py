"""The chart's admission policies on a real API server: Noria is no way around the rights of who asks."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.api.cases import with_changes
from tests.unit.api.objects import BASES
from tools.cluster import binaries, layout
from tools.cluster.api import Api

from noria_serving.contract import CODE_FORMATS

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "admission"
OPERATOR = "system:serviceaccount:noria-system:noria-operator"
OUR_KINDS = ["trainingjobs", "modelversions", "modeldeployments", "continuoustrainings"]

# What each user may do besides writing Noria's kinds.
USERS: dict[str, list[Json]] = {
    "writer": [],
    "pod-maker": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}],
    "reader": [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["lake", "a", "registry"],
            "verbs": ["get"],
        }
    ],
    "impersonator": [
        {
            "apiGroups": [""],
            "resources": ["serviceaccounts"],
            "resourceNames": ["trainer"],
            "verbs": ["impersonate"],
        }
    ],
}

PLAIN: Json = {"model": "m", "image": "i", "output": {"uri": "pvc://models/m"}}
Try = Callable[[str, Json], str]


def kubectl(kubeconfig: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(layout.binary("kubectl")), f"--kubeconfig={kubeconfig}", *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def policies() -> str:
    binaries.ensure("helm")
    command = [str(layout.binary("helm")), "template", "noria", str(ROOT / "charts/noria")]
    options = ["--namespace=noria-system", "--show-only=templates/admission.yaml"]
    options += ["--set=allowCodeNamespaces={trusted}"]
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture(scope="module")
def attempt(kubeconfig: Path) -> Iterator[Try]:
    """Create an object (dry run) as a user; gives the refusal, empty when it is accepted."""
    rendered = policies()
    api = Api(kubeconfig)
    for name in (NAMESPACE, "trusted"):
        api.post("/api/v1/namespaces", {"metadata": {"name": name}})
    for user, extra in USERS.items():
        _grant(api, user, [{"apiGroups": ["noria.dev"], "resources": OUR_KINDS, "verbs": ["*"]}, *extra])
    _grant(api, OPERATOR, [{"apiGroups": ["noria.dev"], "resources": OUR_KINDS, "verbs": ["*"]}])
    applied = kubectl(kubeconfig, "apply", "--server-side", "-f", "-", stdin=rendered)
    assert applied.returncode == 0, applied.stderr

    def run(user: str, obj: Json) -> str:
        words = ["create", "--dry-run=server", "-f", "-", f"--as={user}", f"--namespace={NAMESPACE}"]
        return kubectl(kubeconfig, *words, stdin=json.dumps(obj)).stderr

    _wait_until_in_force(run)
    yield run
    kubectl(kubeconfig, "delete", "--wait=false", "-f", "-", stdin=rendered)


def _grant(api: Api, user: str, rules: list[Json]) -> None:
    name = user.replace(":", "-")
    group = "/apis/rbac.authorization.k8s.io/v1/namespaces"
    for namespace in (NAMESPACE, "trusted"):
        api.post(f"{group}/{namespace}/roles", {"metadata": {"name": name}, "rules": rules})
        subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
        ref = {"kind": "Role", "name": name, "apiGroup": "rbac.authorization.k8s.io"}
        binding = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
        api.post(f"{group}/{namespace}/rolebindings", binding)


def _wait_until_in_force(run: Try) -> None:
    deadline = time.monotonic() + 60
    while "serviceAccountName" not in run(
        "writer", job(serviceAccountName="trainer")
    ) or "runs code" not in run("writer", code("pickle")):
        assert time.monotonic() < deadline, "the policies did not come into force"
        time.sleep(0.2)


def job(**spec: Any) -> Json:
    return BASES["tj"] | {"metadata": {"name": "tried"}, "spec": PLAIN | spec}


def code(form: str) -> Json:
    return with_changes(
        BASES["mv"],
        {"spec.artifact": {**BASES["mv"]["spec"]["artifact"], "format": form, "secretName": None}},
    )


LOG = {"uri": "s3://lake/log", "secretName": "lake"}
LISTED = {"secretName": "a"}
ISSUER = {"issuer": "i", "audiences": ["m"], "jwks": {"secretName": "a"}}
REFERENCES: list[tuple[str, Json]] = [
    ("data", job(data=[{"name": "a", "uri": "s3://lake/a", "secretName": "lake"}])),
    ("output", job(output={"uri": "s3://lake/a", "secretName": "lake"})),
    ("env", job(envFrom=[{"secretRef": {"name": "a"}}])),
    ("pull", job(imagePullSecrets=[{"name": "registry"}])),
    ("artifact", with_changes(BASES["mv"], {"spec.artifact.secretName": "lake"})),
    ("server", BASES["md"] | {"spec": {"model": "m", "server": {"envFrom": [{"secretRef": {"name": "a"}}]}}}),
    ("payload log", with_changes(BASES["md"], {"spec.server": {"payloadLog": LOG}, "spec.router": {}})),
    ("certificate", with_changes(BASES["md"], {"spec.router": {"tls": {"secretName": "a"}}})),
    ("keys of callers", with_changes(BASES["md"], {"spec.router": {"access": {"apiKeys": LISTED}}})),
    ("keys of an issuer", with_changes(BASES["md"], {"spec.router": {"access": {"jwt": ISSUER}}})),
    ("template", with_changes(BASES["ct"], {"spec.template.spec.imagePullSecrets": [{"name": "a"}]})),
]  # fmt: skip


@pytest.mark.parametrize("obj", [it[1] for it in REFERENCES], ids=[it[0] for it in REFERENCES])
def test_a_secret_needs_the_right_to_read_it_or_to_make_pods(attempt: Try, obj: Json) -> None:
    assert "may neither create pods nor get all of these Secrets" in attempt("writer", obj)
    assert attempt("reader", obj) == ""
    assert attempt("pod-maker", obj) == ""


def test_a_secret_that_the_user_may_not_read_is_refused_beside_one_that_they_may(attempt: Try) -> None:
    both = job(envFrom=[{"secretRef": {"name": "a"}}, {"secretRef": {"name": "other"}}])
    assert "names the Secrets a, other" in attempt("reader", both)


def test_a_service_account_needs_the_right_to_be_it_or_to_make_pods(attempt: Try) -> None:
    named = job(serviceAccountName="trainer")
    assert "you may neither create pods nor impersonate this ServiceAccount" in attempt("writer", named)
    assert attempt("impersonator", named) == ""
    assert attempt("pod-maker", named) == ""
    assert "impersonate" in attempt("impersonator", job(serviceAccountName="stronger"))


@pytest.mark.parametrize("user", [*USERS, OPERATOR])
def test_an_object_that_names_nothing_is_everybodys(attempt: Try, user: str) -> None:
    assert attempt(user, job()) == ""
    assert attempt(user, BASES["md"] | {"spec": {"model": "m"}}) == ""


def test_the_operator_writes_what_a_checked_object_said(attempt: Try) -> None:
    assert attempt(OPERATOR, job(serviceAccountName="trainer", envFrom=[{"secretRef": {"name": "a"}}])) == ""


@pytest.mark.parametrize("form", CODE_FORMATS)
def test_code_needs_the_administrators_consent(attempt: Try, kubeconfig: Path, form: str) -> None:
    refused = attempt("pod-maker", code(form))
    said = f"spec.artifact.format: {form} runs code of its own, and namespace admission does not allow that"
    assert said in refused
    words = ["create", "--dry-run=server", "-f", "-", "--as=pod-maker", "--namespace=trusted"]
    assert kubectl(kubeconfig, *words, stdin=json.dumps(code(form))).stderr == ""
