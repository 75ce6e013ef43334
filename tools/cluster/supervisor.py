"""The first process inside the cluster's namespaces: it prepares them, starts the parts, keeps them running.

It runs as pid 1 of its own pid, mount and network namespace (`tools.cluster.namespaces` makes them), so that
everything the cluster does to processes, mounts and the network ends with it. It holds the lock of its slot.

    python3 -m tools.cluster.supervisor SLOT
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tools.cluster import addons, cgroups, components, kubeconfig, node, pki, toolbox
from tools.cluster.api import Api
from tools.cluster.components import Component
from tools.cluster.errors import ClusterError
from tools.cluster.process import spawn, wait_for, write_atomically
from tools.cluster.slots import NODE, REGISTRY, Slot

LINK = "c0"
LINK_SECONDS = 30.0
PART_SECONDS = 60.0
RESTART_PAUSE_SECONDS = 1.0
PARTIES = ("admin", "controller-manager", "scheduler", "node", "proxy", "dns", "storage")
# What a kubelet sets for the whole machine: private copies cover these files, so the host keeps its own.
TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


class Supervisor:
    """The parts of one running cluster, by pid."""

    def __init__(self, slot: Slot) -> None:
        """Nothing runs yet."""
        self._slot = slot
        self._children: dict[int, Component] = {}
        self._started = time.monotonic()
        self._took: dict[str, float] = {}

    def start(self) -> None:
        """Bring the cluster up, from an empty namespace to a ready node."""
        slot = self._slot
        keys = slot.directory / "pki"
        names = f"IP:{slot.node_address},DNS:{NODE}"
        at = slot.endpoints
        pki.ensure(keys, (*pki.control_plane_parties(at.api_names), *pki.node_parties(NODE, names)))
        for party in PARTIES:
            kubeconfig.write(slot.run / f"{party}.conf", server=at.server, pki=keys, party=party)
        node.write_files(slot)
        prepare_network(slot)
        prepare_mounts(slot)
        self._run(components.etcd(slot.run, at))
        audit = components.auditing(slot.run)
        self._run(components.api_server(slot.run, keys, at, authorization="Node,RBAC", audit=audit))
        self._run(node.registry(slot))
        self._runtime()
        self._until("registry", lambda: answers(f"http://{REGISTRY}/v2/"))
        toolbox.push()
        api = Api(slot.kubeconfig)
        self._until("API server", api.ready)
        self._run(components.controller_manager(slot.run, keys, at, nodes=True))
        self._run(components.scheduler(slot.run))
        self._run(node.kubelet(slot))
        self._run(node.proxy(slot))
        addons.install(api)
        self._run(node.dns(slot))
        self._run(node.storage(slot))
        self._until("node", lambda: api.node_ready(NODE))
        self._until("DNS", lambda: answers(f"http://{slot.node_address}:8181/ready"))
        self._until("service account", lambda: has_default_account(api))
        write_atomically(slot.ready_file, json.dumps(self._took))

    def forever(self) -> None:
        """Reap what ends, start again what must run; never returns."""
        while True:
            pid, status = os.wait()
            component = self._children.pop(pid, None)
            if component is None:
                continue
            note(f"{component.name} ended with {os.waitstatus_to_exitcode(status)}; starting it again")
            time.sleep(RESTART_PAUSE_SECONDS)
            self._run(component)

    def _run(self, component: Component) -> None:
        child = spawn(component.argv, log=self._slot.run / "log" / f"{component.name}.log")
        self._children[child.pid] = component

    def _runtime(self) -> None:
        """Start containerd on the images of the last run, without the containers of the last run."""
        if (self._slot.directory / "containerd").is_dir():
            cleaner = spawn(
                node.containerd(self._slot, config="cleaner.toml").argv,
                log=self._slot.run / "log" / "containerd.log",
            )
            self._until("container runtime", containerd_answers)
            left = ctr("containers", "list", "--quiet").split()
            if left:
                ctr("containers", "delete", *left)
            cleaner.terminate()
            cleaner.wait()
        self._run(node.containerd(self._slot))
        self._until("container runtime", containerd_answers)

    def _until(self, what: str, condition: Callable[[], bool]) -> None:
        if not wait_for(condition, PART_SECONDS):
            raise ClusterError(f"{what}: not ready after {PART_SECONDS:.0f} s; see {self._slot.run / 'log'}")
        self._took[what] = round(time.monotonic() - self._started, 2)


def prepare_network(slot: Slot) -> None:
    """Wait for the interface that the host hands in, then set addresses and forwarding."""
    run("ip", "link", "set", "lo", "up")
    if not wait_for(lambda: LINK in {name for _, name in socket.if_nameindex()}, LINK_SECONDS, every=0.01):
        raise ClusterError("nobody handed in a network interface: the start was interrupted")
    run("ip", "address", "add", f"{slot.node_address}/30", "dev", LINK)
    run("ip", "link", "set", LINK, "up")
    run("ip", "route", "add", "default", "via", slot.host_address)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="utf-8")


def prepare_mounts(slot: Slot) -> None:
    """Private copies of the two global state directories and of the machine-wide tunables; our cgroups."""
    for directory in ("/run/containerd", "/var/lib/cni"):
        Path(directory).mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "noria", directory)
    for name, value in TUNABLES.items():
        cover = slot.run / "tunables" / name
        write_atomically(cover, f"{value}\n")
        run("mount", "--bind", str(cover), f"/proc/sys/{name}")
    cgroups.make(slot.name)


def run(*command: str) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


def ctr(*arguments: str) -> str:
    """Run containerd's own client in the namespace of Kubernetes."""
    command = ["ctr", "--address", node.CONTAINERD_SOCKET, "--namespace", "k8s.io", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def containerd_answers() -> bool:
    """Whether containerd accepts connections."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(node.CONTAINERD_SOCKET)
        except OSError:
            return False
        return True


def answers(url: str) -> bool:
    """Whether a URL of the node answers with success."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=1):
            return True
    except OSError:
        return False


def has_default_account(api: Api) -> bool:
    """Whether pods can be made in the namespace `default`."""
    try:
        api.get("/api/v1/namespaces/default/serviceaccounts/default")
    except Exception:
        return False
    return True


def note(line: str) -> None:
    """Write a line to the supervisor's own log."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


def main() -> None:
    """Bring up the cluster of a slot and stay."""
    supervisor = Supervisor(Slot(int(sys.argv[1])))
    try:
        supervisor.start()
    except ClusterError as failed:
        note(f"failed: {failed}")
        sys.exit(1)
    note("ready")
    supervisor.forever()


if __name__ == "__main__":
    main()
