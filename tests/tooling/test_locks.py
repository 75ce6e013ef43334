"""Commands that would break each other's work take turns, and who waits is told so."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tools import setup, venv
from tools.cluster import binaries
from tools.cluster.errors import ClusterError
from tools.cluster.locks import turn
from tools.cluster.process import wait_for


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NORIA_CACHE", str(tmp_path))
    return tmp_path


def test_who_has_to_wait_is_told_for_what_and_goes_on_after(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    did: list[str] = []

    def second() -> None:
        with turn("thing", "the thing"):
            did.append("second")

    waiting = threading.Thread(target=second)
    said = ""

    def told() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return "waiting for another command on this machine: the thing" in said

    with turn("thing", "the thing"):
        waiting.start()
        assert wait_for(told, 10)
        did.append("first")
    waiting.join()
    assert did == ["first", "second"]


def test_who_need_not_wait_says_nothing(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with turn("thing", "the thing"), turn("another", "another thing"):
        pass
    assert capsys.readouterr().err == ""


def test_the_environment_waits_for_no_program_that_is_being_built(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(venv, "_run", lambda *command: made.append(command[1]))
    monkeypatch.setattr("sys.argv", ["setup", "--venv"])
    with turn("binaries", "programs"):
        assert setup.main() == 0
    assert made


def test_a_cache_that_cannot_be_written_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NORIA_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ClusterError, match=r"cannot be written .*set NORIA_CACHE"):
        binaries.ensure("etcd")
