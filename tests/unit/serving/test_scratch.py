"""Scratch directories of a process that was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import noria_serving
from noria_serving import scratch
from noria_serving.errors import NoriaError

KILLED = """
import os
from pathlib import Path
from noria_serving import scratch
left = scratch.directory()
scratch.write_new(Path(left.name, "weights"), [b"many"])
os._exit(1)
"""


def test_what_a_process_left_is_removed_and_nothing_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = scratch.directory()
    scratch.write_new(Path(left.name, "weights"), [b"many"])
    others = tmp_path / f"noria-{os.getpid()}0-x"
    others.mkdir()
    scratch.remove(os.getpid())
    assert list(tmp_path.iterdir()) == [others]


def test_what_killed_processes_left_is_swept_and_nothing_that_somebody_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(noria_serving.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", KILLED], env=env, check=False)
    (left,) = tmp_path.iterdir()
    mine, notes, elsewhere = scratch.directory(), tmp_path / "noria-1-notes", tmp_path / "noria-1-abcdefgh"
    notes.mkdir()
    elsewhere.symlink_to(notes)
    scratch.sweep()
    assert not left.exists()
    assert {*tmp_path.iterdir()} == {Path(mine.name), notes, elsewhere}
    mine.cleanup()
    assert not Path(mine.name).exists()


def test_without_scratch_space_there_is_nothing_to_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where no directory at all can be written to, as on a root that is read-only."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nothing"))
    scratch.sweep()
    scratch.remove(os.getpid())
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "nothing")])
    scratch.sweep()
    scratch.remove(os.getpid())
    with pytest.raises(NoriaError, match="mount an emptyDir at /tmp"):
        scratch.directory()
