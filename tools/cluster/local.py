"""The local cluster: up, down and status of Kubernetes built from Go modules, in namespaces of its own.

`up` ends with a usable cluster whatever it finds: nothing, a running one, or what a killed `up` left. One
command at a time works on the clusters of an owner.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tools.cluster import binaries, namespaces
from tools.cluster.api import Api
from tools.cluster.errors import ClusterError
from tools.cluster.layout import owner_key
from tools.cluster.locks import turn
from tools.cluster.process import Identity, tail, wait_for
from tools.cluster.progress import say, step
from tools.cluster.slots import Slot, mine, take

UP_SECONDS = 120.0
MODULES = ("kubernetes", "etcd", "coredns", "local-path")
PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "docker-registry": "docker-registry",
    "iptables": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "openssl": "openssl",
}


@dataclass(frozen=True)
class State:
    """What there is of this owner's cluster."""

    slot: Slot | None
    running: bool
    ready: bool

    @property
    def kubeconfig(self) -> Path | None:
        """Path of the kubeconfig of a running cluster."""
        return self.slot.kubeconfig if self.slot and self.running else None


def up() -> Path:
    """Start the cluster unless it runs; returns the kubeconfig of a ready cluster."""
    with _one_command():
        found = status()
        if found.slot and found.ready:
            return found.slot.kubeconfig
        _check_machine()
        binaries.ensure(*MODULES)
        if found.slot:
            namespaces.clear(found.slot)
        with step("starting the cluster"):
            return _start()


def down() -> None:
    """End the cluster of this owner and whatever an interrupted start of it left."""
    with _one_command():
        slot = mine()
        if slot is None or _belongs_to_nobody(slot):
            say("no cluster of this checkout is running")
            return
        with step("removing the cluster"):
            namespaces.clear(slot)


def status() -> State:
    """Look, without changing anything."""
    slot = mine()
    identity = Identity.load(slot.process_file) if slot else None
    running = identity is not None and identity.alive
    ready = bool(slot and running and slot.ready_file.is_file() and Api(slot.kubeconfig).ready())
    return State(slot=slot, running=running, ready=ready)


def _start() -> Path:
    slot, lock = take()
    try:
        namespaces.remove_traces(slot)
        slot.run.mkdir(parents=True, exist_ok=True)
        namespaces.start(slot, lock)
    finally:
        os.close(lock)
    identity = Identity.load(slot.process_file)

    def settled() -> bool:
        return slot.ready_file.is_file() or identity is None or not identity.alive

    wait_for(settled, UP_SECONDS)
    if slot.ready_file.is_file():
        took = json.loads(slot.ready_file.read_text(encoding="utf-8"))
        say("    " + ", ".join(f"{part} {seconds:.1f} s" for part, seconds in took.items()))
        return slot.kubeconfig
    last = tail(namespaces.log(slot))
    logs = slot.directory / "failed"
    shutil.rmtree(logs, ignore_errors=True)
    shutil.copytree(slot.run / "log", logs, ignore_dangling_symlinks=True)
    namespaces.clear(slot)
    raise ClusterError(f"the cluster did not start; its logs are in {logs}\n{last}")


def _belongs_to_nobody(slot: Slot) -> bool:
    """Whether nothing is left to remove: no record, no interface, no run directory."""
    traces = (slot.process_file, slot.run, Path("/sys/class/net") / slot.name)
    return not any(trace.exists() for trace in traces)


def check_rights() -> None:
    """Refuse, with what to use instead, for a user who can never start a local cluster."""
    if os.geteuid() != 0:
        raise ClusterError(
            "the local cluster needs root (namespaces, containers, image builds). Without root:\n"
            "  - set NORIA_KUBECONFIG to the kubeconfig of a cluster of yours: it is used, never created or "
            "deleted;\n"
            "  - or install kind and a Docker that answers as this user (rootless Docker does): kind is then "
            "used by itself;\n"
            "  - `make lint type unit chart integration` need neither."
        )


def _check_machine() -> None:
    check_rights()
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if not Path("/usr/lib/cni/bridge").exists():
        missing.append("containernetworking-plugins")
    if missing:
        raise ClusterError(f"missing on this machine: {' '.join(missing)}; run `make setup`")


def _one_command() -> AbstractContextManager[None]:
    return turn(f"commands-{owner_key()}", "up or down of this cluster")
