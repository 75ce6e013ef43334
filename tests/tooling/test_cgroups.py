"""A cluster's cgroups are made where the kubelet looks for them, in both layouts, and nothing is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tools.cluster import cgroups
from tools.cluster.errors import ClusterError


@pytest.fixture
def hybrid(tmp_path: Path) -> Path:
    """Hierarchies as cgroup v1 and hybrid machines mount them; cpu is a link, as on many of them."""
    for hierarchy in ("cpu,cpuacct", "cpuset", "memory", "systemd", "unified"):
        (tmp_path / hierarchy).mkdir()
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0\n")
    return tmp_path


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    """The one hierarchy of a machine whose systemd hands down what it always does: not hugetlb."""
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids rdma misc\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpuset cpu io memory pids\n")
    return tmp_path


def test_with_v1_every_hierarchy_has_one_and_processes_can_run_in_its_cpuset(hybrid: Path) -> None:
    for _ in range(2):
        cgroups.make("noria-3", root=hybrid)
    made = {path.relative_to(hybrid).parts[0] for path in hybrid.glob("*/noria-3")}
    assert made == {"cpu", "cpu,cpuacct", "cpuset", "memory", "systemd", "unified"}
    assert (hybrid / "cpuset/noria-3/cpuset.cpus").read_text() == "0-1\n"
    assert (hybrid / "cpuset/noria-3/cpuset.mems").read_text() == "0\n"
    assert not (hybrid / "noria-3").exists()


def test_with_v2_there_is_one_and_the_missing_controller_is_handed_down(v2: Path) -> None:
    cgroups.make("noria-3", root=v2)
    assert (v2 / "noria-3").is_dir()
    assert (v2 / "cgroup.subtree_control").read_text() == "+hugetlb"


def test_with_v2_nothing_is_written_where_all_is_handed_down_or_not_there(v2: Path) -> None:
    (v2 / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (v2 / "cgroup.subtree_control").chmod(0o444)
    before = (v2 / "cgroup.subtree_control").stat().st_mtime_ns
    cgroups.make("noria-3", root=v2)
    assert (v2 / "cgroup.subtree_control").stat().st_mtime_ns == before


def test_a_parent_that_refuses_is_named_with_what_to_do(v2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, text: str, **_: object) -> int:
        raise OSError(16, os.strerror(16))

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(ClusterError, match=r"controller hugetlb.*busy.*NORIA_KUBECONFIG"):
        cgroups.make("noria-3", root=v2)


@pytest.mark.parametrize("layout", ["hybrid", "v2"])
def test_removing_takes_the_whole_subtree_and_nothing_else(
    layout: str, request: pytest.FixtureRequest
) -> None:
    root: Path = request.getfixturevalue(layout)
    before = sorted(root.rglob("*"))
    cgroups.make("noria-3", root=root)
    for file in root.rglob("noria-3/cpuset.*"):
        file.unlink()  # the files of a real cgroup go with its directory
    for top in [*root.glob("*/noria-3"), root / "noria-3"]:
        if top.is_dir():
            (top / "kubepods" / "pod1").mkdir(parents=True, exist_ok=True)
    cgroups.remove("noria-3", root=root)
    assert sorted(root.rglob("*")) == before


def test_a_cgroup_that_is_still_in_use_is_an_error(hybrid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "REMOVE_SECONDS", 0.05)
    cgroups.make("noria-3", root=hybrid)
    with pytest.raises(ClusterError, match=r"noria-3.*a process is still in them"):
        cgroups.remove("noria-3", root=hybrid)
