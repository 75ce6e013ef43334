"""Scratch space: directories of one process alone, and new files in them.

In: pieces of bytes. Out: files. Invariants: a file is new and by no link; a disk without space is said to be
one; two processes, or a second attempt after a crash, never meet, because every directory is made anew; what
a process left that was killed takes no room from the next one, which sees by its lock that nobody has it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from noria_serving.errors import NoriaError, Reason

_OURS: Final = re.compile(r"noria-\d+-[a-z0-9_]{8}")
_PLACE: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Directory(tempfile.TemporaryDirectory[str]):
    """Locked until the object goes, or its process."""

    def __init__(self) -> None:
        super().__init__(prefix=_prefix(os.getpid()), ignore_cleanup_errors=True)
        lock = os.open(self.name, _PLACE)
        weakref.finalize(self, os.close, lock)
        with suppress(OSError):  # a file system without locks: there nobody sweeps either
            fcntl.flock(lock, fcntl.LOCK_SH)


def directory() -> tempfile.TemporaryDirectory[str]:
    """A new directory in $TMPDIR or /tmp, which goes with the object."""
    try:
        made = _Directory()
        while not Path(made.name).exists():  # swept before it was locked
            made = _Directory()
    except OSError as error:
        raise NoriaError(
            Reason.CONFIGURATION,
            f"no scratch space: {error.strerror}; mount an emptyDir at /tmp, or set TMPDIR",
        ) from error
    return made


def sweep() -> None:
    """Remove the directories of processes that are gone."""
    with suppress(OSError):  # there need be no scratch space as long as nobody wants any
        for path in Path(tempfile.gettempdir()).iterdir():
            if _OURS.fullmatch(path.name):
                _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    """Unless somebody has it, or it is a link, or not ours to open."""
    try:
        lock = os.open(path, _PLACE)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    else:
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)


def remove(process: int) -> None:
    """What a process of ours will leave because it ends without its interpreter's exit."""
    with suppress(OSError):  # as in sweep
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
