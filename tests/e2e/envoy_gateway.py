"""Envoy Gateway in the local cluster, as its own chart installs it: a controller and two proxies, all pods.

Comes in: the cluster and images. Goes out: the kinds of the Gateway API, a Gateway with a listener without
TLS and one with, and a Service by which each of its proxies can be asked. Its proxies are the Envoy of our
router's image; all else is Envoy Gateway's own doing. Invariant: nothing but the kinds stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.e2e.gateway_kinds import install_kinds
from tests.e2e.kube import Kube, condition
from tools.cluster import binaries
from tools.cluster.layout import binary

from noria_operator.api.names import SUPPORTED_FEATURES_ANNOTATION
from noria_operator.api.routers import PART_OF_COPIES

if TYPE_CHECKING:
    from tests.e2e.conftest import Program

Json = dict[str, Any]
CLASS, NAME, NAMESPACE, SYSTEM = "eg", "edge", "e2e-envoy-gateway", "envoy-gateway-system"
CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"
PROXIES = f"gateway.envoyproxy.io/owning-gateway-name={NAME}"
"""Label of its proxies' pods, and of the Deployment and the Service that it makes for them."""
CONTROLLERS = "control-plane=envoy-gateway"
HEADLESS, CERTIFICATE = "edge-proxies", "edge-tls"
SHIFT = 10_000
"""Its proxies may open no port below 1024: each is so much higher in their pods."""
SECONDS = 120


@dataclass(frozen=True)
class EnvoyGateway:
    """The Gateway; its proxies answer at `url` and, with TLS, at `tls_url`."""

    kubectl: Program
    system: Kube
    url: str
    tls_url: str
    authority: str
    where: tuple[str, str] = (NAMESPACE, NAME)
    own_urls: Sequence[str] = (
        f"http://{HEADLESS}.{SYSTEM}:{SHIFT + 80}",
        f"https://{HEADLESS}.{SYSTEM}:{SHIFT + 443}",
    )

    def restart_controller(self) -> None:
        """Kill its pod; the proxies go on with what they have."""
        self._kill(CONTROLLERS)

    def replace_routers(self) -> None:
        """As a new version of them would."""
        old = self.system.pods(PROXIES)
        deployment = self._deployment(PROXIES)
        self.kubectl("rollout", "restart", f"--namespace={SYSTEM}", f"deployment/{deployment}")
        for name in old:
            self.system.until_gone("Pod", name, timeout=SECONDS)
        self._until_ready(deployment)

    def kill_router(self) -> None:
        """The first one by name."""
        self._kill(PROXIES)

    def waiting(self) -> str:
        """What the cluster says of its proxies; their own interface listens in their pods alone."""
        pods = self.system.list("Pod", PROXIES)
        return "\n".join(
            f"{pod['metadata']['name']}: {condition(pod, 'Ready').get('status')}" for pod in pods
        )

    def _kill(self, labels: str) -> None:
        name, deployment = min(self.system.pods(labels)), self._deployment(labels)
        self.system.delete("Pod", name, grace=0)
        self.system.until_gone("Pod", name)
        self._until_ready(deployment)

    def _deployment(self, labels: str) -> str:
        (found,) = self.system.list("Deployment", labels)
        return str(found["metadata"]["name"])

    def _until_ready(self, deployment: str) -> None:
        where = f"--namespace={SYSTEM}", f"--timeout={SECONDS}s"
        self.kubectl("rollout", "status", *where, f"deployment/{deployment}")


@contextmanager
def envoy_gateway(
    kubectl: Program, helm: Program, images: Mapping[str, str], own: str, certificate: tuple[str, str]
) -> Iterator[EnvoyGateway]:
    """The Gateway `edge`, with its class; `own` is the image of Envoy Gateway itself."""
    install_kinds(kubectl, binary("envoy-gateway-crds.yaml"))
    values = {
        "global.images.envoyGateway.image": own,
        "global.images.envoyGateway.pullPolicy": "IfNotPresent",
        "topologyInjector.enabled": "false",  # one node has no zones; with it each proxy is ready 15 s later
        "crds.enabled": "false",
    }
    where = ["--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout", f"{SECONDS}s"]
    chosen = [word for name, value in values.items() for word in ("--set-string", f"{name}={value}")]
    helm("upgrade", "--install", "eg", str(binary("envoy-gateway-chart.tgz")), *where, *chosen)
    try:
        kubectl.apply(*_objects(images["router"], certificate))
        for kind in ("Accepted", "Programmed"):
            wait = [f"gateway/{NAME}", f"--namespace={NAMESPACE}", f"--timeout={SECONDS}s"]
            kubectl("wait", f"--for=condition={kind}", *wait)
        (address,) = kubectl.json("get", "gateway", NAME, f"--namespace={NAMESPACE}")["status"]["addresses"]
        urls = f"http://{address['value']}", f"https://{address['value']}"
        yield EnvoyGateway(kubectl, Kube(kubectl.kubeconfig, SYSTEM), *urls, certificate[0])
    finally:
        kubectl("delete", "namespace", NAMESPACE)
        kubectl("delete", "gatewayclass", CLASS)
        helm("uninstall", "eg", "--namespace", SYSTEM)
        kubectl("delete", "namespace", SYSTEM, "--wait=false")


def make_image(programs: Any) -> str:
    """Of Envoy Gateway alone, from its Go module; `programs` makes images of programs."""
    binaries.ensure("envoy-gateway")
    return str(programs("programs", "peers/envoy-gateway", "envoy-gateway"))


def _objects(router: str, certificate: tuple[str, str]) -> list[Json]:
    """What a cluster's admin writes, in the order in which it has to come."""
    data = dict(zip(("tls.crt", "tls.key"), certificate, strict=True))
    everybody = {"allowedRoutes": {"namespaces": {"from": "All"}}}
    tls = {"mode": "Terminate", "certificateRefs": [{"name": CERTIFICATE}]}
    listeners = [
        {"name": "http", "protocol": "HTTP", "port": 80, **everybody},
        {"name": "https", "protocol": "HTTPS", "port": 443, "tls": tls, **everybody},
    ]
    api = "gateway.networking.k8s.io/v1"
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": CERTIFICATE, "namespace": NAMESPACE},
            "stringData": data,
        },
        {
            "apiVersion": "gateway.envoyproxy.io/v1alpha1",
            "kind": "EnvoyProxy",
            "metadata": {"name": NAME, "namespace": SYSTEM},
            "spec": {"provider": {"type": "Kubernetes", "kubernetes": _proxies(router)}},
        },
        {
            "apiVersion": api,
            "kind": "GatewayClass",
            "metadata": {"name": CLASS, "annotations": {SUPPORTED_FEATURES_ANNOTATION: PART_OF_COPIES}},
            "spec": {
                "controllerName": CONTROLLER,
                "parametersRef": {
                    "group": "gateway.envoyproxy.io",
                    "kind": "EnvoyProxy",
                    "name": NAME,
                    "namespace": SYSTEM,
                },
            },
        },
        {
            "apiVersion": api,
            "kind": "Gateway",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {"gatewayClassName": CLASS, "listeners": listeners},
        },
        _headless(),
    ]


def _proxies(router: str) -> Json:
    return {
        "envoyDeployment": {"replicas": 2, "container": {"image": router}},
        "envoyService": {"type": "ClusterIP"},
    }


def _headless() -> Json:
    """As the documentation tells to make one: the Service of Envoy Gateway has one address for all."""
    selector = dict([PROXIES.split("=")])
    ports = [{"name": str(port), "port": SHIFT + port} for port in (80, 443)]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": HEADLESS, "namespace": SYSTEM},
        "spec": {"clusterIP": "None", "selector": selector, "ports": ports},
    }
