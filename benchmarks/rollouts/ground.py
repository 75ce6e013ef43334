"""Where both controllers run: a network of its own, an API server, simulated pods, and counters.

Comes in: a folder. Goes out: a `Ground` with a client, an account for each controller, and what the API
server counted of its requests. Invariant: every simulated pod's address is local here, so a real router can
bind the address of its pod.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.cluster import binaries
from tools.cluster.controlplane import control_plane

from benchmarks.harness import FLOW_SCHEMA, flow_schema, flow_total, kubectl, login_as
from noria_operator.kube.client import Client
from noria_operator.kube.login import from_kubeconfig

POD_ADDRESSES = "10.0.0.0/8"
CLONE_NEWNET = 0x40000000
BITMAP = {
    "kube-apiserver": (
        "--emulated-version=1.33",  # the last that lets it be chosen
        "--feature-gates=MultiCIDRServiceAllocator=false,WatchList=true",
    ),
    "kube-scheduler": ("--emulated-version=1.33",),  # today's waits for what that API server has not
}
"""Flags with which addresses of Services are kept in a bitmap, as before Kubernetes 1.33, and watches begin
with all there is, as today. An address takes the same time then however many there are.
"""
BITMAP_HELP = "addresses of Services from a bitmap, as before Kubernetes 1.33"


def enter_network(*programs: str) -> None:
    """Give this process, and what it starts, a network of its own. Needs root.

    The control plane and `programs` are built first, where they are not: from there nobody reaches anything.
    """
    binaries.ensure("etcd", "kubernetes", "kwok", *programs)
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        sys.exit("a network of its own cannot be made: this benchmark needs root")
    for command in (["link", "set", "lo", "up"], ["route", "add", "local", POD_ADDRESSES, "dev", "lo"]):
        subprocess.run(["ip", *command], check=True)


@dataclass(frozen=True)
class Ground:
    """A fresh API server."""

    folder: Path
    kubeconfig: Path
    client: Client

    async def login(self, account: str, *, namespace: str) -> Path:
        """A kubeconfig that logs in as a service account, whose requests are counted from now on."""
        await self.client.create(FLOW_SCHEMA, "", flow_schema(account, namespace=namespace, flow=account))
        return login_as(self.kubeconfig, account, self.folder, namespace=namespace)

    def requests(self, account: str) -> float:
        """Requests of the account that the API server has counted."""
        return flow_total(self.kubeconfig, account)


@asynccontextmanager
async def ground(folder: Path, *, audited: bool = False, bitmap: bool = False) -> AsyncIterator[Ground]:
    """A fresh API server, whose data are gone afterwards; `bitmap`: one with these flags."""
    flags = BITMAP if bitmap else {}
    with control_plane(folder / "cluster", kwok=True, audited=audited, flags=flags) as kubeconfig:
        raise_pod_limit(kubeconfig)
        async with Client(from_kubeconfig(kubeconfig)) as client:
            yield Ground(folder, kubeconfig, client)


def raise_pod_limit(kubeconfig: Path) -> None:
    """Let the simulated node take the pods of any number of rollouts."""
    room = {"cpu": "100k", "memory": "1Pi", "pods": "100k"}
    patch = json.dumps({"status": {"capacity": room, "allocatable": room}})
    node = ["patch", "node", "kwok-0", "--subresource=status", "--type=merge", "-p", patch]
    kubectl(kubeconfig, *node)


def spawn(command: Sequence[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start a program that writes to `log`."""
    with log.open("wb") as out:
        return subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out)
