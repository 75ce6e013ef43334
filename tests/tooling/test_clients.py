"""The environments of outside clients: each from its own lock file, apart from each other and from ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools import clients, venv


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that would have been run, in a cache of its own."""
    ran: list[str] = []
    monkeypatch.setenv("NORIA_CACHE", str(tmp_path))

    def note(*command: str) -> None:
        ran.append(" ".join(command))
        for name in clients.SIZES:
            python = venv.path(clients.requirements(name)) / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()

    monkeypatch.setattr(venv, "_run", note)
    return ran


def test_each_environment_has_a_lock_file_and_a_place_of_its_own() -> None:
    assert all(clients.requirements(name).is_file() for name in clients.SIZES)
    places = {venv.path(clients.requirements(name)) for name in clients.SIZES}
    assert len(places | {venv.path()}) == len(clients.SIZES) + 1


def test_an_environment_is_made_from_its_lock_file_and_only_once(commands: list[str]) -> None:
    python = clients.python("peer-mlserver")
    assert python.exists()
    assert any(str(clients.requirements("peer-mlserver")) in command for command in commands)
    made = len(commands)
    assert clients.python("peer-mlserver") == python
    assert len(commands) == made


def test_a_damaged_environment_is_made_again(commands: list[str]) -> None:
    python = clients.python("clients")
    python.unlink()
    made = len(commands)
    assert clients.python("clients").exists()
    assert len(commands) > made
