"""The cluster comes and goes whole: nothing is left behind, whatever was killed and when.

These tests work on a cluster of their own (another owner, so another slot) beside the shared one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import answer, cluster_command
from tools.cluster.layout import CHECKOUT, owner
from tools.cluster.process import Identity
from tools.cluster.slots import COUNT, Slot

OTHER = f"{owner()}#lifecycle"
HERE = {"NORIA_CLUSTER": OTHER}

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or bool(os.environ.get("NORIA_KUBECONFIG")),
    reason="works on the local build, which needs root",
)


@pytest.fixture
def other() -> Iterator[None]:
    """The other owner, who has no cluster before and after."""
    answer("down", **HERE)
    yield
    answer("down", **HERE)


def slot() -> Slot:
    """The slot that the other owner uses."""
    return next(s for s in map(Slot, range(COUNT)) if s.recorded_owner == OTHER)


def inside() -> dict[str, str]:
    """The namespaces of the other owner's cluster."""
    identity = Identity.load(slot().process_file)
    assert identity is not None
    children = Path(f"/proc/{identity.pid}/task/{identity.pid}/children").read_text(encoding="utf-8").split()
    return {kind: os.readlink(f"/proc/{children[0]}/ns/{kind}") for kind in ("pid", "net", "mnt")}


def processes_in(namespaces: dict[str, str]) -> dict[int, bytes]:
    """Pid and command line of all running processes of this machine that are in one of the namespaces."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            member = any(os.readlink(process / "ns" / kind) == value for kind, value in namespaces.items())
            if member and Identity.of(int(process.name)):
                found[int(process.name)] = (process / "cmdline").read_bytes()
        except OSError:  # it has ended since the listing
            continue
    return found


def traces(of: Slot) -> list[str]:
    """Everything on the host that carries the slot's name, addresses or directory."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    found = [
        f"link {line}" for line in links.splitlines() if f" {of.name}@" in line or f" {of.name}:" in line
    ]
    networks = [str(network) for network in of.networks]
    found += [f"route {line}" for line in routes.splitlines() if any(n in line for n in networks)]
    found += [
        f"rule {line}" for line in rules.splitlines() if "KUBE-" in line or any(n in line for n in networks)
    ]
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    found += [f"mount {line}" for line in mounts if str(of.run) in line]
    groups = os.walk("/sys/fs/cgroup")  # which others make and remove meanwhile
    found += [f"cgroup {folder}/{of.name}" for folder, names, _ in groups if of.name in names]
    found += [str(path) for path in (of.run, of.process_file) if path.exists()]
    return found


def test_down_leaves_no_process_mount_namespace_link_rule_or_cgroup(other: None) -> None:
    kubeconfig = answer("up", **HERE)
    namespaces = inside()
    assert processes_in(namespaces)
    assert traces(slot())
    answer("down", **HERE)
    assert processes_in(namespaces) == {}
    assert traces(slot()) == []
    assert not Path(kubeconfig).exists()


def test_up_again_changes_nothing_and_down_again_is_no_error(other: None) -> None:
    first = answer("up", **HERE)
    namespaces = inside()
    assert answer("up", **HERE) == first
    assert inside() == namespaces
    answer("down", **HERE)
    answer("down", **HERE)


def test_two_clusters_run_side_by_side(kubeconfig: Path, other: None) -> None:
    answer("up", **HERE)
    mine = json.loads(answer("status", "--json"))
    theirs = json.loads(answer("status", "--json", **HERE))
    assert mine["ready"]
    assert theirs["ready"]
    assert mine["kubeconfig"] != theirs["kubeconfig"]
    answer("down", **HERE)
    assert json.loads(answer("status", "--json"))["ready"]


@pytest.mark.parametrize(
    ("seconds", "repair"),
    [(0.15, "up"), (0.3, "down"), (0.5, "up"), (0.8, "down"), (2.0, "up"), (4.0, "down")],
)
def test_a_start_killed_at_any_moment_is_repaired_by_the_next_command(
    other: None, seconds: float, repair: str
) -> None:
    started = subprocess.Popen(
        [sys.executable, "-m", "tools.cluster", "up"],
        cwd=CHECKOUT,
        env={**os.environ, **HERE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)  # the moment of the kill is what the test is about
    started.send_signal(signal.SIGKILL)
    started.wait()
    answer(repair, **HERE)
    if repair == "up":
        assert cluster_command("status", **HERE).returncode == 0
        answer("down", **HERE)
    assert traces(slot()) == []


def test_a_cluster_whose_first_process_was_killed_is_started_again(other: None) -> None:
    answer("up", **HERE)
    identity = Identity.load(slot().process_file)
    assert identity is not None
    identity.end()
    assert cluster_command("status", **HERE).returncode == 3
    answer("up", **HERE)
    assert cluster_command("status", **HERE).returncode == 0


def test_a_part_that_was_killed_is_started_again(other: None) -> None:
    answer("up", **HERE)
    namespaces = inside()

    def scheduler() -> int | None:
        programs = {pid: line.split(b"\0")[0] for pid, line in processes_in(namespaces).items()}
        return next((pid for pid, program in programs.items() if b"kube-scheduler" in program), None)

    pid = scheduler()
    assert pid is not None
    killed = Identity.of(pid)
    assert killed is not None
    killed.end()
    deadline = time.monotonic() + 10
    while scheduler() is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
