"""The cgroups of one cluster, in both layouts that Linux has.

v1 and hybrid: one directory in each hierarchy below the root. v2: one directory in the single hierarchy,
whose controllers the parent must hand down: the kubelet takes a cgroup root that lacks one for missing.
What is handed down stays: it is a setting of the machine that systemd makes too, all but hugetlb.
"""

from __future__ import annotations

import os
from pathlib import Path

from tools.cluster.errors import ClusterError
from tools.cluster.process import wait_for

ROOT = Path("/sys/fs/cgroup")
# What the kubelet wants of a cgroup v2, as far as the machine has it (cgroup_v2_manager_linux.go).
CONTROLLERS = ("cpu", "cpuset", "hugetlb", "memory", "pids")
REMOVE_SECONDS = 15.0


def make(name: str, *, root: Path = ROOT) -> None:
    """Make the cgroups of a cluster; making them again changes nothing."""
    if unified(root):
        _hand_down(root)
        (root / name).mkdir(exist_ok=True)
        return
    for hierarchy in root.iterdir():
        if hierarchy.is_dir():
            (hierarchy / name).mkdir(exist_ok=True)
    for file in ("cpuset.cpus", "cpuset.mems"):  # empty in a new cpuset, where nothing can run then
        inherited = root / "cpuset" / file
        if inherited.is_file():
            (root / "cpuset" / name / file).write_text(inherited.read_text("utf-8"), encoding="utf-8")


def remove(name: str, *, root: Path = ROOT) -> None:
    """Remove them, deepest first; the kernel may see late that the last process has gone."""

    def gone() -> bool:
        tops = [*root.glob(f"*/{name}"), root / name]
        for top in tops:
            for directory, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError:
                    continue
        return not any(top.exists() for top in tops)

    if not wait_for(gone, REMOVE_SECONDS):
        raise ClusterError(f"the cgroups {name} could not be removed: a process is still in them")


def unified(root: Path = ROOT) -> bool:
    """Whether this machine has cgroup v2 alone."""
    return (root / "cgroup.controllers").is_file()


def _hand_down(root: Path) -> None:
    available = set((root / "cgroup.controllers").read_text("utf-8").split())
    control = root / "cgroup.subtree_control"
    handed_down = set(control.read_text("utf-8").split())
    for controller in sorted(available.intersection(CONTROLLERS) - handed_down):
        try:
            control.write_text(f"+{controller}", encoding="utf-8")
        except OSError as refused:
            raise ClusterError(
                f"cgroup v2: {root} does not hand down its controller {controller} ({refused.strerror}), "
                "without which no kubelet starts. Inside a container, processes stand in that cgroup: "
                "run this on the host, or set NORIA_KUBECONFIG to a cluster of yours"
            ) from refused
