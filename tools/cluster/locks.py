"""Taking turns: what several commands of this machine would break for each other, one at a time does.

In: the name of a lock in the cache, and in words what it is for. A killed holder frees its lock by itself.
Whoever has to wait says so, with the elapsed time.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tools.cluster.errors import ClusterError
from tools.cluster.layout import cache
from tools.cluster.progress import step


@contextmanager
def turn(name: str, what: str) -> Iterator[None]:
    """Hold the lock; raises `ClusterError` where the cache cannot be written."""
    with _opened(cache() / f".{name}.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step(f"waiting for another command on this machine: {what}"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w", encoding="utf-8")
    except OSError as refused:
        raise ClusterError(
            f"the cache {path.parent} cannot be written ({refused.strerror}); "
            "set NORIA_CACHE to a directory of yours"
        ) from refused
