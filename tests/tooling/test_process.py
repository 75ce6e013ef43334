"""Only processes that are still the same are ever ended."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.cluster.process import Identity, tail, write_atomically


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing for a while."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_running_process_is_recognised_after_a_round_trip_through_a_file(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    identity = Identity.of(sleeper.pid)
    assert identity is not None
    identity.save(tmp_path / "process.json")
    assert Identity.load(tmp_path / "process.json") == identity
    assert identity.alive


def test_ending_a_process_waits_until_it_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    identity = Identity.of(sleeper.pid)
    assert identity is not None
    identity.end()
    assert not identity.alive


@pytest.mark.parametrize("change", [{"started": 1}, {"boot": "another"}])
def test_a_pid_that_has_changed_hands_is_not_ended(
    sleeper: subprocess.Popen[bytes], change: dict[str, int | str]
) -> None:
    identity = Identity.of(sleeper.pid)
    assert identity is not None
    stranger = dataclasses.replace(identity, **change)  # type: ignore[arg-type]
    assert not stranger.alive
    stranger.end()
    assert identity.alive


def test_a_process_that_ended_has_no_identity(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    sleeper.wait()
    assert Identity.of(sleeper.pid) is None


@pytest.mark.parametrize("content", ["", "{", '{"pid": 1}', "[]", "null"])
def test_a_record_that_is_not_whole_counts_as_none(tmp_path: Path, content: str) -> None:
    record = tmp_path / "process.json"
    record.write_text(content, encoding="utf-8")
    assert Identity.load(record) is None


def test_a_file_is_replaced_whole_with_its_mode_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old", encoding="utf-8")
    write_atomically(path, "new", mode=0o600)
    assert path.read_text(encoding="utf-8") == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["key"]


def test_the_tail_of_a_log_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log") == ""
