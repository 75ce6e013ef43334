"""A control plane without nodes: etcd, API server and controllers on loopback, for integration tests.

Needs no root and no container runtime. `control_plane(directory)` is a context manager that gives the path of
an admin kubeconfig; with `kwok=True` pods run on a simulated node. Everything it starts dies with the process
that started it, even when that one is killed; `start`/`stop` keep one running between commands.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tools.cluster import binaries, components, kubeconfig, pki
from tools.cluster.api import Api, ApiError
from tools.cluster.components import Component, Endpoints
from tools.cluster.errors import ClusterError
from tools.cluster.process import Identity, spawn, tail, wait_for
from tools.ports import free_port

START_SECONDS = 60.0
KWOK_NODE = "kwok-0"
Flags = Mapping[str, Sequence[str]]
"""By component."""


@contextmanager
def control_plane(
    directory: Path, *, kwok: bool = False, audited: bool = False, flags: Flags | None = None
) -> Iterator[Path]:
    """Run a control plane whose data live in `directory`; gives the admin kubeconfig, ends it afterwards.

    `audited`: its API server writes down what `components.audit_log` is for; `flags`: more than the usual.
    """
    directory = directory.resolve()
    path = start(directory, kwok=kwok, audited=audited, flags=flags, die_with_parent=True)
    try:
        yield path
    finally:
        stop(directory)


def start(
    directory: Path,
    *,
    kwok: bool = False,
    audited: bool = False,
    flags: Flags | None = None,
    die_with_parent: bool = False,
) -> Path:
    """Start a fresh control plane in `directory` and return its admin kubeconfig when the API is ready."""
    binaries.ensure("etcd", "kubernetes", *(["kwok"] if kwok else []))
    stop(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for attempt in (1, 2, 3):  # another program may take a port between our choice and its use
        try:
            return _start(
                directory, kwok=kwok, audited=audited, flags=flags or {}, die_with_parent=die_with_parent
            )
        except _PortTaken as taken:
            stop(directory)
            if attempt == 3:
                raise ClusterError(str(taken)) from taken
    raise AssertionError("unreachable")


def stop(directory: Path) -> None:
    """End what `start` left running in `directory` and remove its data; does nothing when nothing runs."""
    for record in sorted((directory / "processes").glob("*.json"), reverse=True):
        identity = Identity.load(record)
        if identity is not None:
            identity.end()
        record.unlink()
    shutil.rmtree(directory / "etcd", ignore_errors=True)


def running(directory: Path) -> bool:
    """Whether a control plane of that directory runs."""
    records = list((directory / "processes").glob("*.json"))
    found = [Identity.load(record) for record in records]
    return bool(found) and all(identity is not None and identity.alive for identity in found)


class _PortTaken(Exception):
    """A component could not bind the port chosen for it."""


def _start(directory: Path, *, kwok: bool, audited: bool, flags: Flags, die_with_parent: bool) -> Path:
    def spawned(component: Component) -> subprocess.Popen[bytes]:
        argv = (*component.argv, *flags.get(component.name, ()))
        return _spawn(directory, replace(component, argv=argv), die_with_parent)

    at = _endpoints()
    keys = directory / "pki"
    pki.ensure(keys, pki.control_plane_parties(at.api_names))
    for party in ("admin", "controller-manager", "scheduler"):
        kubeconfig.write(directory / f"{party}.conf", server=at.server, pki=keys, party=party)
    admin = directory / "admin.conf"
    audit = components.auditing(directory) if audited else ()
    api_server = components.api_server(directory, keys, at, authorization="Node,RBAC", audit=audit)
    first = [components.etcd(directory, at), api_server]
    then = [components.controller_manager(directory, keys, at, nodes=kwok)]
    if kwok:
        then += [components.scheduler(directory), components.kwok(directory)]
    children = [spawned(component) for component in first]
    api = Api(admin)
    _wait_until_ready(directory, api, first, children)
    for component in then:
        spawned(component)
    _wait_for_controllers(api)
    if kwok:
        _simulated_node(api)
    return admin


def _endpoints() -> Endpoints:
    return Endpoints(
        address="127.0.0.1",
        bind="127.0.0.1",
        api_port=free_port(),
        etcd_port=free_port(),
        etcd_peer_port=free_port(),
        service_cidr="10.96.0.0/16",
        pod_cidr="10.244.0.0/16",
    )


def _spawn(directory: Path, component: Component, die_with_parent: bool) -> subprocess.Popen[bytes]:
    log = directory / "log" / f"{component.name}.log"
    child = spawn(component.argv, log=log, die_with_parent=die_with_parent)
    identity = Identity.of(child.pid)
    if identity is not None:
        identity.save(directory / "processes" / f"{component.name}.json")
    return child


def _wait_until_ready(
    directory: Path, api: Api, started: list[Component], children: list[subprocess.Popen[bytes]]
) -> None:
    def dead() -> list[Component]:
        return [c for c, child in zip(started, children, strict=True) if child.poll() is not None]

    ready = wait_for(lambda: bool(dead()) or api.ready(), START_SECONDS)
    if failed := dead():
        last = tail(directory / "log" / f"{failed[0].name}.log")
        if "address already in use" in last:
            raise _PortTaken(last)
        raise ClusterError(f"{failed[0].name} ended at its start:\n{last}")
    if not ready:
        last = tail(directory / "log" / "kube-apiserver.log")
        raise ClusterError(f"the API server was not ready after {START_SECONDS:.0f} s:\n{last}")


def _wait_for_controllers(api: Api) -> None:
    """Wait for the default service account: pods and Jobs cannot be made before it."""

    def made() -> bool:
        try:
            api.get("/api/v1/namespaces/default/serviceaccounts/default")
        except ApiError:
            return False
        return True

    if not wait_for(made, START_SECONDS):
        raise ClusterError("the controller-manager made no service account; see its log")


def _simulated_node(api: Api) -> None:
    allocatable = {"cpu": "64", "memory": "256Gi", "pods": "4096"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": KWOK_NODE,
            "labels": {"type": "kwok", "kubernetes.io/hostname": KWOK_NODE, "kubernetes.io/os": "linux"},
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "status": {"allocatable": allocatable, "capacity": allocatable},
    }
    api.post("/api/v1/nodes", node)
    deadline = time.monotonic() + START_SECONDS
    while not api.node_ready(KWOK_NODE):
        if time.monotonic() > deadline:
            raise ClusterError("the simulated node did not become Ready; see the log of kwok")
        time.sleep(0.05)


def describe(directory: Path) -> str:
    """One line of JSON about a control plane, for `status`."""
    return json.dumps({"directory": str(directory), "running": running(directory)})
