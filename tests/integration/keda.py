"""A real KEDA beside a control plane: its operator and its adapter, which answers Kubernetes' autoscaler.

Comes in: a client with all rights and its kubeconfig. Goes out: nothing; while the context lasts
ScaledObjects are acted on and the API server answers for `external.metrics.k8s.io`. Invariant: both processes
live as long as the context, and the API that they answer goes with them. Starting them holds up the event
loop: an operator of the test's comes after them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import yaml
from tests.certificates import self_signed
from tests.integration.conftest import install
from tests.integration.running import eventually
from tests.sockets import until_it_answers
from tools.cluster import binaries
from tools.cluster.layout import binary
from tools.ports import free_port

from noria_operator.kube.client import Client
from noria_operator.kube.kinds import ENDPOINTSLICE, SERVICE, Json, Kind

SCALED = Kind("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject")
API_SERVICE = Kind("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False)
NAME, SPACE = "keda", "kube-system"
API = "v1beta1.external.metrics.k8s.io"


@asynccontextmanager
async def keda(client: Client, kubeconfig: Path, folder: Path) -> AsyncIterator[None]:
    """KEDA for the whole control plane; `folder` is for its certificates and logs."""
    binaries.ensure(NAME)
    text = binary("keda-crds.yaml").read_text(encoding="utf-8")
    crds = list(filter(None, yaml.safe_load_all(text)))
    await install(client, crds, map(_kind, crds))  # its operator gives up on kinds that come later
    certificate, key = self_signed("localhost")
    for name, text in (("ca.crt", certificate), ("tls.crt", certificate), ("tls.key", key)):
        (folder / name).write_text(text)
    address = _own_address()
    metrics, health, told, secure, other = (free_port() for _ in range(5))
    operator = [
        f"--metrics-bind-address=127.0.0.1:{metrics}",
        f"--health-probe-bind-address=127.0.0.1:{health}",
        f"--metrics-service-bind-address=127.0.0.1:{told}",
        f"--cert-dir={folder}",
    ]
    adapter = [
        *(f"--{who}-kubeconfig={kubeconfig}" for who in ("authentication", "authorization", "lister")),
        f"--metrics-service-address=localhost:{told}",
        f"--secure-port={secure}",
        f"--port={other}",
        f"--cert-dir={folder}",
    ]
    with (
        _running("keda-operator", operator, kubeconfig, folder) as first,
        _running("keda-adapter", adapter, kubeconfig, folder) as second,
    ):
        until_it_answers(first, f"http://127.0.0.1:{health}/readyz")
        until_it_answers(second, f"https://127.0.0.1:{secure}/readyz", trusted=False)
        for kind, body in _objects(address, secure):
            await client.apply(kind, "" if kind == API_SERVICE else SPACE, body, manager="test")
        try:
            await eventually(lambda: _available(client), seconds=60)
            yield
        finally:  # an API that nobody answers breaks discovery
            await client.delete(API_SERVICE, "", API)


@contextmanager
def _running(
    program: str, options: Sequence[str], kubeconfig: Path, folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    where = {"KUBECONFIG": str(kubeconfig), "POD_NAMESPACE": SPACE, "KEDA_CLUSTER_OBJECT_NAMESPACE": SPACE}
    with (folder / f"{program}.log").open("wb") as log:
        command, env = [str(binary(program)), *options], {**os.environ, **where, "WATCH_NAMESPACE": ""}
        with subprocess.Popen(command, env=env, stdout=log, stderr=log) as process:
            try:
                yield process
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=5)
                process.kill()


def _kind(crd: Json) -> Kind:
    spec, called = crd["spec"], crd["spec"]["names"]
    version = spec["versions"][0]["name"]
    return Kind(spec["group"], version, called["plural"], called["kind"], spec["scope"] == "Namespaced")


async def _available(client: Client) -> bool:
    found = (await client.get(API_SERVICE, "", API)).get("status", {}).get("conditions", ())
    return any(one["type"] == "Available" and one["status"] == "True" for one in found)


def _own_address() -> str:
    """One of this machine's that is not loopback, which endpoints may not be."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("203.0.113.1", 9))  # nothing is sent
        return str(probe.getsockname()[0])


def _objects(address: str, port: int) -> list[tuple[Kind, Json]]:
    ports = [{"name": "https", "port": port}]
    slice_ = {
        "metadata": {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}],
        "ports": ports,
    }
    api = {
        "service": {"name": NAME, "namespace": SPACE},
        "group": "external.metrics.k8s.io",
        "version": "v1beta1",
        "insecureSkipTLSVerify": True,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    return [
        (SERVICE, {"metadata": {"name": NAME}, "spec": {"ports": [{"name": "https", "port": 443}]}}),
        (ENDPOINTSLICE, slice_),
        (API_SERVICE, {"metadata": {"name": API}, "spec": api}),
    ]
