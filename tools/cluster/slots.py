"""Slots: each cluster on this machine has its own addresses, names and state directory.

A slot is a number. Everything a cluster leaves outside its own namespaces follows from it: the network
interface, two routes, one cgroup in each hierarchy, one directory in the cache. Whoever holds the slot's
lock owns it; the cluster's first process holds it while it lives, so a killed cluster frees its slot.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.components import Endpoints
from tools.cluster.errors import ClusterError
from tools.cluster.layout import cache, owner
from tools.cluster.process import write_atomically

COUNT = 16
LOCKS = Path("/run/lock/noria")
NODE = "noria"
REGISTRY = "127.0.0.1:5000"


@dataclass(frozen=True)
class Slot:
    """One place for a cluster on this machine."""

    number: int

    @property
    def name(self) -> str:
        """Name of its interface on the host and of its cgroups."""
        return f"noria-{self.number}"

    @property
    def directory(self) -> Path:
        """What stays between runs: container images, keys."""
        return cache() / "slots" / str(self.number)

    @property
    def run(self) -> Path:
        """What belongs to one run only: `down` removes it."""
        return self.directory / "run"

    @property
    def node_address(self) -> str:
        """Address of the node, as host and pods see it."""
        return f"10.251.{self.number}.1"

    @property
    def host_address(self) -> str:
        """Address of the host, as the node sees it."""
        return f"10.251.{self.number}.2"

    @property
    def endpoints(self) -> Endpoints:
        """Where this cluster's control plane listens, inside its own network namespace."""
        return Endpoints(
            address=self.node_address,
            bind="0.0.0.0",  # of a network namespace of its own
            api_port=6443,
            etcd_port=2379,
            etcd_peer_port=2380,
            service_cidr=f"10.{112 + self.number}.0.0/16",
            pod_cidr=f"10.245.{self.number}.0/24",
        )

    @property
    def networks(self) -> tuple[ipaddress.IPv4Network, ...]:
        """The address ranges that the host must not use otherwise."""
        at = self.endpoints
        ranges = (f"{self.node_address}/30", at.service_cidr, at.pod_cidr)
        return tuple(ipaddress.IPv4Network(text, strict=False) for text in ranges)

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig."""
        return self.run / "admin.conf"

    @property
    def process_file(self) -> Path:
        """Identity of the process that holds the namespaces; it writes the file itself."""
        return self.directory / "process.json"

    @property
    def ready_file(self) -> Path:
        """Present from the moment the cluster is usable; holds the seconds that each part took."""
        return self.run / "ready.json"

    @property
    def recorded_owner(self) -> str:
        """Who used the slot last; empty when nobody did."""
        try:
            return str(json.loads((self.directory / "owner.json").read_text(encoding="utf-8"))["owner"])
        except (OSError, ValueError, KeyError):
            return ""

    def claim(self) -> None:
        """Write down that the slot is this owner's from now on."""
        write_atomically(self.directory / "owner.json", json.dumps({"owner": owner()}))

    def lock(self) -> int | None:
        """Take the slot: an open descriptor that holds the lock, or None when a cluster lives in it."""
        return _lock(LOCKS / f"{self.number}.lock")


def mine() -> Slot | None:
    """The slot that this owner used last, running or not."""
    for number in range(COUNT):
        if Slot(number).recorded_owner == owner():
            return Slot(number)
    return None


def take() -> tuple[Slot, int]:
    """A free slot and its lock: this owner's last one, else one never used, else the lowest free one."""
    last = mine()
    unused = [s for s in map(Slot, range(COUNT)) if not s.recorded_owner]
    used = [s for s in map(Slot, range(COUNT)) if s.recorded_owner]
    for slot in [*([last] if last else []), *used, *unused]:
        held = slot.lock()
        if held is None:
            continue
        if slot != last and _collides(slot):
            os.close(held)
            continue
        slot.claim()
        return slot, held
    raise ClusterError(
        f"all {COUNT} cluster slots of this machine are in use; run `make cluster-down` in another checkout"
    )


def _lock(path: Path) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _collides(slot: Slot) -> bool:
    return collision(slot, Path("/proc/net/route").read_text(encoding="utf-8"))


def collision(slot: Slot, routes: str) -> bool:
    """Whether the host's routes (proc/net/route) lead one of the slot's ranges through another interface."""
    for line in routes.splitlines()[1:]:
        interface, destination, _, _, _, _, _, mask, *_ = line.split()
        if interface == slot.name or int(mask, 16) == 0:
            continue
        network = ipaddress.IPv4Network((_address(destination), _address(mask)))
        if any(network.overlaps(own) for own in slot.networks):
            return True
    return False


def _address(little_endian: str) -> str:
    return socket.inet_ntoa(struct.pack("<L", int(little_endian, 16)))
