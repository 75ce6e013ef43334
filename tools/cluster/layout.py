"""Where things are kept: everything that can be made again lives in one cache outside the repository.

Invariant: nothing here writes. `NORIA_CACHE` moves the cache, `NORIA_CLUSTER` names another cluster of the
same checkout (the tests of this tool use it).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
GO_MODULES = Path(__file__).resolve().parent / "go"


def cache() -> Path:
    """The cache directory, `~/.cache/noria` unless `NORIA_CACHE` says otherwise."""
    return Path(os.environ.get("NORIA_CACHE") or Path.home() / ".cache" / "noria")


def binaries() -> Path:
    """Directory of the built programs."""
    return cache() / "bin"


def binary(name: str) -> Path:
    """Path of one built program; `tools.cluster.binaries.ensure` makes sure that it is there and whole."""
    return binaries() / name


def owner() -> str:
    """What a cluster belongs to: this checkout, or the name given by `NORIA_CLUSTER`."""
    return os.environ.get("NORIA_CLUSTER") or str(CHECKOUT)


def owner_key() -> str:
    """A short stable key of the owner, for file and object names."""
    return hashlib.sha256(owner().encode()).hexdigest()[:8]
