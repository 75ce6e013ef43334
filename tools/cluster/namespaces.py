"""Making and removing what a cluster has outside its own namespaces: one process, one interface, its cgroups.

`enter` runs as a process of its own: it writes down who it is, then becomes `unshare`, which keeps pid and
start time. However early it is killed, the next `clear` finds it by that record, and nothing by name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools.cluster import cgroups
from tools.cluster.errors import ClusterError
from tools.cluster.layout import CHECKOUT
from tools.cluster.process import Identity, spawn, tail, wait_for
from tools.cluster.slots import Slot
from tools.cluster.supervisor import LINK

CHILD_SECONDS = 15.0
UNSHARE = ("--pid", "--mount", "--net", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")


def start(slot: Slot, lock: int) -> None:
    """Start the supervisor in new namespaces, hand it the slot's lock and a network interface."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}
    module = [sys.executable, "-m", "tools.cluster.namespaces", str(slot.number)]
    child = spawn(module, log=log(slot), env=environment, pass_fds=(lock,))
    first = _first_child(slot, child)
    _ip("link", "add", slot.name, "type", "veth", "peer", "name", LINK, "netns", str(first))
    _ip("address", "add", f"{slot.host_address}/30", "dev", slot.name)
    _ip("link", "set", slot.name, "up")
    _ip("route", "add", slot.endpoints.service_cidr, "via", slot.node_address)
    _ip("route", "add", slot.endpoints.pod_cidr, "via", slot.node_address)


def enter(slot: Slot) -> None:
    """Write down this process, then become the parent of the cluster's first process."""
    identity = Identity.of(os.getpid())
    if identity is None:
        raise ClusterError("cannot read /proc of this very process")
    identity.save(slot.process_file)
    supervisor = [sys.executable, "-m", "tools.cluster.supervisor", str(slot.number)]
    os.execvp("unshare", ["unshare", *UNSHARE, "--", *supervisor])


def clear(slot: Slot) -> None:
    """End the cluster of a slot, whatever state it is in, and remove every trace but the cached images."""
    identity = Identity.load(slot.process_file)
    if identity is not None:
        _end(identity)
    held = _locked_when_ended(slot)
    try:
        remove_traces(slot)
    finally:
        os.close(held)


def remove_traces(slot: Slot) -> None:
    """Remove what an ended cluster left outside its namespaces; the caller holds the slot's lock."""
    slot.process_file.unlink(missing_ok=True)
    if (Path("/sys/class/net") / slot.name).exists():
        subprocess.run(["ip", "link", "delete", slot.name], capture_output=True, check=False)
    cgroups.remove(slot.name)
    shutil.rmtree(slot.run, ignore_errors=True)


def first_process(slot: Slot) -> int | None:
    """Pid, on the host, of the first process inside; None when the cluster does not run."""
    identity = Identity.load(slot.process_file)
    if identity is None or not identity.alive:
        return None
    return _child_of(identity.pid)


def log(slot: Slot) -> Path:
    """The supervisor's own log."""
    return slot.run / "log" / "supervisor.log"


def _end(parent: Identity) -> None:
    """End the process and its child: pid 1 inside, whose end waits for that of every process in there."""
    child = _child_of(parent.pid) if parent.alive else None
    first = Identity.of(child) if child is not None else None
    parent.end()
    if first is not None and not wait_for(lambda: not first.alive, CHILD_SECONDS):
        raise ClusterError(
            f"process {first.pid} of the cluster does not end: something in it hangs in the kernel"
        )


def _locked_when_ended(slot: Slot) -> int:
    """Take the slot's lock, which is free as soon as the last process that held it has gone."""
    deadline = time.monotonic() + CHILD_SECONDS
    while (held := slot.lock()) is None:
        identity = Identity.load(slot.process_file)  # a start that was killed may write its record only now
        if identity is not None:
            _end(identity)
        if time.monotonic() > deadline:
            raise ClusterError(
                f"slot {slot.number} is still held after its cluster was ended; is another one starting?"
            )
        time.sleep(0.02)
    return held


def _first_child(slot: Slot, started: subprocess.Popen[bytes]) -> int:
    found: list[int] = []

    def ready() -> bool:
        child = _child_of(started.pid)
        if child is not None and _own_network(child):
            found.append(child)
        return bool(found) or started.poll() is not None

    if not wait_for(ready, CHILD_SECONDS, every=0.005) or not found:
        raise ClusterError(f"the cluster's namespaces could not be made:\n{tail(log(slot))}")
    return found[0]


def _child_of(pid: int) -> int | None:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        return None
    return int(children[0]) if children else None


def _own_network(pid: int) -> bool:
    """Whether the process has left the host's network namespace: unshare's child exists a moment before."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    except OSError:
        return False


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")


if __name__ == "__main__":
    enter(Slot(int(sys.argv[1])))
