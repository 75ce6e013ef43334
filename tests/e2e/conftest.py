"""What every end-to-end test shares: one real cluster, its images, kubectl and helm.

The cluster is started when the first test asks for it and removed after the last one, unless it ran before
or KEEP is set. Each test gets a namespace of its own under the `restricted` pod security standard.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.certificates import self_signed
from tests.e2e.envoy_gateway import EnvoyGateway, envoy_gateway, make_image
from tests.e2e.gateway import gateway
from tests.e2e.kube import Kube
from tests.e2e.routed import ABLE, Routed, behind, host_of
from tests.public_gateway import PublicGateway
from tools.cluster.layout import CHECKOUT, binary

COMMAND_SECONDS = 900.0
SIGNED = CHECKOUT / "tests" / "signed"
"""A bundle and signatures of it, made by model_signing 1.1.1 with keys that were thrown away."""
SIGNED_NAMESPACE = "e2e-signed"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The operator's rights are compared with its calls after everything else has made it call."""
    items.sort(key=lambda item: item.path.name == "test_operator_rights.py")


def cluster_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python3 -m tools.cluster …` as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "tools.cluster", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


def answer(*arguments: str, **environment: str) -> str:
    """What a cluster command that must succeed writes to stdout."""
    done = cluster_command(*arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass(frozen=True)
class Program:
    """A client program that works on one cluster; calling it gives its stdout."""

    path: str
    kubeconfig: Path

    def __call__(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run it; a failure shows what it said."""
        done = self.run(*arguments, stdin=stdin)
        if check and done.returncode:
            raise AssertionError(f"{Path(self.path).name} {' '.join(arguments)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it and leave its failure to the caller."""
        return subprocess.run(
            [self.path, *arguments],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        """What it prints with `--output=json`, decoded."""
        return json.loads(self(*arguments, "--output=json"))

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects (kubectl only)."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self("apply", "--server-side", "--filename=-", stdin=json.dumps(items))


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    """The running cluster's kubeconfig."""
    ran_before = cluster_command("status").returncode == 0
    yield Path(answer("up"))
    if not ran_before and not os.environ.get("KEEP"):
        answer("down")


@pytest.fixture(scope="session")
def kubectl(kubeconfig: Path) -> Program:
    """kubectl on the cluster."""
    return Program(str(binary("kubectl")), kubeconfig)


@pytest.fixture(scope="session")
def helm(kubeconfig: Path) -> Program:
    """Helm on the cluster."""
    return Program(str(binary("helm")), kubeconfig)


@pytest.fixture(scope="session")
def images(kubeconfig: Path) -> dict[str, str]:
    """Noria's images of this checkout, in the cluster's registry, by target."""
    given = os.environ.get("NORIA_IMAGES")
    if given:
        return dict(json.loads(Path(given).read_text(encoding="utf-8")))
    return dict(json.loads(answer("images")))


def image_values(images: dict[str, str]) -> list[str]:
    """The chart's values for images of this checkout."""
    values = []
    for target in ("operator", "server", "router"):
        name, digest = images[target].split("@")
        registry, repository = name.split("/", 1)
        prefix = f"images.{target}"
        values += [
            f"{prefix}.registry={registry}",
            f"{prefix}.repository={repository}",
            f"{prefix}.digest={digest}",
        ]
    return [argument for value in values for argument in ("--set", value)]


def install(helm: Program, images: dict[str, str], *values: str) -> None:
    """Install this checkout's chart in noria-system, or upgrade to it, and wait until it is ready."""
    where = ["--namespace", "noria-system", "--create-namespace", "--wait", "--timeout", "120s"]
    chart = str(CHECKOUT / "charts" / "noria")
    helm("upgrade", "--install", "noria", chart, *where, *image_values(images), *values)


@pytest.fixture(scope="session")
def noria(helm: Program, images: dict[str, str]) -> Path:
    """A cluster with Noria installed by its chart, which trusts a key and requires signatures in one
    namespace; gives the kubeconfig.
    """
    signatures = [f"--set-file=signatures.trustedKeys[0]={SIGNED / 'p256.pub'}"]
    signatures += [f"--set=signatures.requiredNamespaces={{{SIGNED_NAMESPACE}}}"]
    install(helm, images, "--set", "evidence.countersInterval=2s", *signatures)
    return helm.kubeconfig


@pytest.fixture(scope="session")
def told(helm: Program, images: dict[str, str]) -> Callable[[PublicGateway, dict[str, Any]], None]:
    """Tell Noria of a gateway, where its proxies may be asked, and what else its probe needs."""
    probes: list[dict[str, Any]] = []

    def tell(found: PublicGateway, more: dict[str, Any]) -> None:
        namespace, name = found.where
        probe = {"name": name, "gateway": f"{namespace}/{name}", "urls": list(found.own_urls)}
        probes.append({**probe, **more})
        value = {"enabled": True, "probes": probes}
        install(helm, images, "--reuse-values", "--set-json", f"routers.gateway={json.dumps(value)}")

    return tell


@pytest.fixture(scope="session")
def public(
    noria: Path,
    kubectl: Program,
    told: Callable[[PublicGateway, dict[str, Any]], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[PublicGateway]:
    """Contour, beside the cluster."""
    with gateway(kubectl, tmp_path_factory.mktemp("gateway")) as found:
        told(found, {})
        yield found


@pytest.fixture(scope="session", name="envoy_gateway")
def installed_envoy_gateway(
    noria: Path,
    kubectl: Program,
    helm: Program,
    images: dict[str, str],
    told: Callable[[PublicGateway, dict[str, Any]], None],
) -> Iterator[EnvoyGateway]:
    """Envoy Gateway, in the cluster, with a certificate that the operator trusts."""
    own, certificate = make_image(answer), self_signed(host_of("EnvoyGateway"))
    trusted = {"name": "edge-authority", "namespace": "noria-system"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": trusted}
    kubectl.apply({**secret, "stringData": {"ca.crt": certificate[0]}})
    with envoy_gateway(kubectl, helm, images, own, certificate) as found:
        told(found, {"caFrom": {"secretName": trusted["name"], "key": "ca.crt"}})
        yield found


@pytest.fixture(scope="module", params=list(ABLE))
def routed(request: pytest.FixtureRequest, kube: Kube) -> Iterator[Routed]:
    """Version 1 of those in a test file's `kube` serves, behind each kind of router in turn."""
    with behind(request.param, kube, request.getfixturevalue) as routed:
        yield routed


@pytest.fixture
def namespace(kubectl: Program) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    kubectl("delete", "namespace", name, "--wait=false")
