"""A program counts only while it is whole and made from the present inputs."""

from __future__ import annotations

import dataclasses
import tarfile
from pathlib import Path

import pytest
from tools.cluster import binaries, golang
from tools.cluster.modules import MODULES


@pytest.fixture
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with whole programs of every module; gives the directory of the programs."""
    monkeypatch.setenv("NORIA_CACHE", str(tmp_path))
    directory = tmp_path / "bin"
    directory.mkdir()
    for module in MODULES.values():
        for program in module.programs:
            (directory / program).write_bytes(b"\x7fELF and more")
        binaries.seal(module)
    return directory


@pytest.mark.parametrize("name", MODULES)
def test_programs_that_were_sealed_are_whole(sealed: Path, name: str) -> None:
    assert binaries.whole(MODULES[name])


@pytest.mark.parametrize("name", MODULES)
def test_a_truncated_program_is_not_whole(sealed: Path, name: str) -> None:
    (sealed / MODULES[name].programs[-1]).write_bytes(b"\x7fELF")
    assert not binaries.whole(MODULES[name])


@pytest.mark.parametrize("name", MODULES)
def test_a_missing_program_is_not_whole(sealed: Path, name: str) -> None:
    (sealed / MODULES[name].programs[0]).unlink()
    assert not binaries.whole(MODULES[name])


def test_programs_of_other_flags_are_not_whole(sealed: Path) -> None:
    for change in ({"ldflags": "-s"}, {"tags": "slicelabels"}):
        assert not binaries.whole(dataclasses.replace(MODULES["etcd"], **change))


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_stamp_that_was_not_finished_does_not_count(sealed: Path, content: str) -> None:
    (sealed / ".stamps" / "etcd.json").write_text(content, encoding="utf-8")
    assert not binaries.whole(MODULES["etcd"])


def test_nothing_is_built_when_everything_is_whole(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("built although whole")

    monkeypatch.setattr(binaries, "_build", refuse)
    binaries.ensure(*MODULES)


def test_what_go_keeps_of_its_builds_is_in_the_cache_and_can_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORIA_CACHE", str(tmp_path))
    monkeypatch.setenv("GOCACHE", "/elsewhere")
    monkeypatch.setattr(golang, "ensure", lambda: Path("/go"))
    kept: list[dict[str, str]] = []

    def built(source: Path, environment: dict[str, str], *command: str) -> str:
        kept.append(environment)
        (Path(environment["GOBIN"]) / "server").write_bytes(b"\x7fELF")
        return ""

    monkeypatch.setattr(binaries, "_go", built)
    binaries.ensure("etcd")
    assert {Path(kept[0][name]).parent for name in ("GOCACHE", "GOMODCACHE")} == {tmp_path / "go-cache"}
    assert kept[0]["GOFLAGS"] == "-modcacherw"


def test_what_a_go_module_does_not_ship_is_put_into_a_copy_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, home, out = tmp_path / "source", tmp_path / "home", tmp_path / "out"
    for folder in (source, home, out):
        folder.mkdir()
    (home / "main.go").write_text("package main")
    for name in ("go.mod", "go.sum"):
        (source / name).write_text(name)
    asked: list[tuple[str, ...]] = []

    def go(_: Path, environment: dict[str, str], *command: str) -> str:
        asked.append(command[1:])
        return f"{home}\n" if command[1] == "list" else ""

    monkeypatch.setattr(binaries, "_go", go)
    module = MODULES["alertmanager"]
    flags = binaries._completed(source, {}, Path("go"), module, out)
    assert module.absent is not None
    path, file = module.absent
    assert flags == [f"-modfile={out / 'go.mod'}"]
    assert (out / "completed" / "main.go").is_file()
    assert "no pages" in (out / "completed" / file).read_text()
    assert ("mod", "edit", f"-replace={path}={out / 'completed'}", str(out / "go.mod")) in asked
    assert not (home / file).exists(), "Go's own copy stays as it is"
    assert binaries._completed(source, {}, Path("go"), MODULES["prometheus"], out) == []


def test_a_chart_is_packed_with_its_values_and_without_the_kinds(tmp_path: Path) -> None:
    files = ("Chart.yaml", "values.tmpl.yaml", "templates/a.yaml", "charts/crds/Chart.yaml")
    for name in (*files, "charts/crds/crds/large.yaml"):
        (tmp_path / "gateway-helm" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "gateway-helm" / name).write_text(name)
    binaries._pack(tmp_path / "gateway-helm", tmp_path / "chart.tgz")
    with tarfile.open(tmp_path / "chart.tgz") as packed:
        found = {each.name for each in packed if each.isfile()}
    wanted = {name.replace("values.tmpl", "values") for name in files}
    assert found == {f"gateway-helm/{name}" for name in wanted}


def test_charts_and_files_of_a_module_are_no_programs_to_run() -> None:
    assert MODULES["envoy-gateway"].executables == ("envoy-gateway",)
    assert MODULES["etcd"].executables == ("etcd",)
