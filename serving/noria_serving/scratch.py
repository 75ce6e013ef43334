"""Scratch space: directories of one process alone, and new files in them.

In: pieces of bytes. Out: files. Invariants: a file is new and by no link; a disk without space is said to be
one; two processes, or a second attempt after a crash, never meet, because every directory is made anew.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from noria_serving.errors import NoriaError, Reason


def directory() -> tempfile.TemporaryDirectory[str]:
    """A new directory in $TMPDIR or /tmp, which goes with the object."""
    try:
        return tempfile.TemporaryDirectory(prefix=_prefix(os.getpid()), ignore_cleanup_errors=True)
    except OSError as error:
        raise NoriaError(
            Reason.CONFIGURATION,
            f"no scratch space: {error.strerror}; mount an emptyDir at /tmp, or set TMPDIR",
        ) from error


def remove(process: int) -> None:
    """What a process of ours has left, or will leave because it ends without its interpreter's exit."""
    for path in Path(tempfile.gettempdir()).glob(f"{_prefix(process)}*"):
        shutil.rmtree(path, ignore_errors=True)


def write_new(path: Path, pieces: Iterable[bytes]) -> None:
    """A file that was not there, nor a link by its name."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as stream:
            for piece in pieces:
                stream.write(piece)
    except OSError as error:
        raise NoriaError(
            Reason.STORAGE_UNAVAILABLE,
            f"{path.name!r} cannot be written to {path.parent}: {error.strerror}; give the pod more scratch "
            "space",
        ) from error


def _prefix(process: int) -> str:
    return f"noria-{process}-"
