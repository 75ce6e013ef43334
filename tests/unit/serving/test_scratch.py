"""Scratch directories of a process that was killed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from noria_serving import scratch


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
