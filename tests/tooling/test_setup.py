"""A half-finished virtual environment is made again; the Makefile looks for it where set-up makes it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools import venv
from tools.cluster import golang
from tools.cluster.layout import CHECKOUT


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that would have been run, in a cache of its own."""
    ran: list[str] = []

    def note(*command: str) -> None:
        ran.append(" ".join(command))
        python = venv.path() / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()

    monkeypatch.setenv("NORIA_CACHE", str(tmp_path))
    monkeypatch.setattr(venv, "_run", note)
    return ran


def test_an_environment_is_made_once_and_with_hashes(commands: list[str]) -> None:
    venv.ensure()
    assert any("--require-hashes" in command for command in commands)
    made = len(commands)
    venv.ensure()
    assert len(commands) == made


def test_an_environment_without_its_stamp_is_made_again_from_nothing(commands: list[str]) -> None:
    home = venv.ensure()
    (home / venv.STAMP).unlink()
    (home / "half-installed").touch()
    venv.ensure()
    assert not (home / "half-installed").exists()
    assert (home / venv.STAMP).is_file()


def test_an_environment_of_another_python_is_made_again(commands: list[str]) -> None:
    home = venv.ensure()
    (home / venv.STAMP).write_text("3.10", encoding="utf-8")
    made = len(commands)
    venv.ensure()
    assert len(commands) > made


def test_an_environment_that_nobody_asked_for_in_a_month_is_removed(commands: list[str]) -> None:
    used = venv.ensure()
    old = used.with_name("0123456789ab")
    old.mkdir()
    for home in (used, old):
        (home / venv.STAMP).write_text("3.11")
        os.utime(home / venv.STAMP, (0, 0))
    (used / venv.STAMP).write_text(venv._version())
    os.utime(used / venv.STAMP, (0, 0))
    venv.ensure()
    venv.forget_unused()
    assert used.exists()
    assert not old.exists()


def test_the_makefile_uses_the_environment_that_set_up_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORIA_CACHE", str(tmp_path))
    command = ["make", "--dry-run", "--always-make", "type"]
    planned = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert f"{venv.path()}/bin/python -m mypy" in planned


@pytest.mark.parametrize("target", ["cluster", "demo", "e2e", "bench", "test", "test-extended"])
def test_the_rights_to_a_cluster_are_asked_for_before_anything_is_installed(target: str) -> None:
    command = ["make", "--dry-run", "--no-print-directory", "--jobs=4", target]
    planned = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert planned.splitlines()[0] == "python3 -m tools.cluster check"


def test_byte_code_is_kept_in_the_cache_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it each run would compile, and rewrite the assertions of, every test module again."""
    monkeypatch.setenv("NORIA_CACHE", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    command = ["make", "--silent", "--eval=show:; @env", "show"]
    shown = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert f"PYTHONPYCACHEPREFIX={tmp_path}/pycache" in shown.splitlines()
    assert "PYTHONDONTWRITEBYTECODE" not in shown


def test_every_target_of_the_makefile_is_listed_by_help() -> None:
    command = ["make", "--no-print-directory", "help"]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z0-9-]+):(?!=| export)", makefile, re.MULTILINE)
    assert len(targets) > 20
    assert [line.split()[0] for line in listed.splitlines()] == targets


@pytest.mark.parametrize(
    ("said", "version"), [("go version go1.26.8 linux/amd64", (1, 26)), ("nothing", (0, 0)), ("", (0, 0))]
)
def test_the_version_of_a_go_toolchain_is_read_or_zero(
    tmp_path: Path, said: str, version: tuple[int, int]
) -> None:
    go = tmp_path / "go"
    go.write_text(f"#!{sys.executable}\nprint({said!r})\n", encoding="utf-8")
    go.chmod(0o755)
    assert golang._version(go) == version


def test_a_toolchain_that_is_not_there_has_version_zero(tmp_path: Path) -> None:
    assert golang._version(tmp_path / "go") == (0, 0)
