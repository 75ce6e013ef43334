"""What becomes of the output of `noria-server`'s commands where nobody takes it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from noria_serving.bundle import Bundle
from noria_serving.main import main

HEAD = "id,row,time,version,output.y\n"


@pytest.fixture
def logged(tmp_path: Path) -> str:
    """A payload log of one prediction."""
    (tmp_path / "log" / "predictions").mkdir(parents=True)
    (tmp_path / "log" / "predictions" / "rows.csv").write_text(HEAD + "a,0,2026-01-01T00:00:00Z,v,1.5\n")
    return str(tmp_path / "log")


def ended(*arguments: str) -> object:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code


@pytest.mark.parametrize("command", ["history", "reference"])
def test_a_place_that_cannot_be_written_to_is_said_in_a_line(
    command: str, logged: str, matrix_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = logged if command == "history" else str(matrix_bundle.path)
    nowhere = tmp_path / "nowhere" / "out"
    assert ended(command, place, "--output", str(nowhere)) == 2
    assert f"{nowhere} cannot be written: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["history", "inspect", "reference"])
def test_a_reader_that_has_enough_is_no_fault(
    command: str, logged: str, matrix_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `head` has, after its lines."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        assert ended(command, logged if command == "history" else str(matrix_bundle.path)) == 0
