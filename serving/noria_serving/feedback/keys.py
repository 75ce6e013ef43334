"""The keys that sign feedback tokens, read from mounted Secrets and read again when they change.

In: a file, `{"active": kid, "keys": {kid: base64 of 32 bytes}, "from": Unix time}`, or a directory of such
files, one a period. Out: a KeyRing: the key whose time began last signs, it and the one before verify, and so
does one whose time is still to come (another pod's clock may be ahead). Invariant: a file that is missing,
half written or malformed never takes away the keys that were read before.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)
MISSED_SECONDS: Final = 1.0
"""How often the files are looked at, at most, for keys that tokens name: a client may name any."""


@dataclass(frozen=True)
class KeyRing:
    """`active` signs; all of `keys` verify."""

    active: str
    keys: Mapping[str, bytes]


@dataclass(frozen=True)
class KeyFile:
    """What one file says; `begins`: when its active key begins to sign."""

    ring: KeyRing
    begins: float = 0.0


def parse(data: bytes) -> KeyFile:
    """A keys file's bytes → KeyFile; ValueError says what is wrong with it."""
    document = json.loads(data)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), dict):
        raise ValueError("`keys` must be an object")  # noqa: TRY004  one error for every malformed file
    keys = {str(kid): base64.b64decode(value, validate=True) for kid, value in document["keys"].items()}
    if not 1 <= len(keys) <= 2 or any(len(key) != 32 or not 0 < len(kid) <= 32 for kid, key in keys.items()):
        raise ValueError("give one or two keys of 32 bytes, with ids of at most 32 characters")
    active = document.get("active")
    if active not in keys:
        raise ValueError("`active` must name one of the keys")
    return KeyFile(KeyRing(str(active), keys), float(document.get("from", 0)))


def in_force(files: Iterable[KeyFile], now: float) -> KeyRing | None:
    """The keys that count now; where none has begun, the first that will."""
    ordered = sorted(files, key=lambda file: file.begins)
    if not ordered:
        return None
    begun = [file for file in ordered if file.begins <= now] or ordered[:1]
    counting = [*begun[-2:], *(file for file in ordered if file.begins > now)]
    keys = {kid: key for file in counting for kid, key in file.ring.keys.items()}
    return KeyRing(begun[-1].ring.active, keys)


@cache
def of_process() -> KeyRing:
    """One random key that lives as long as the process, for all versions that it serves."""
    return KeyRing("local", {"local": secrets.token_bytes(32)})


class MountedKeys:
    """The current KeyRing; without a location (a laptop) that of the process."""

    def __init__(self, location: str | None, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(location) if location else None
        self._clock = clock
        self._missed = -math.inf
        self._files: dict[str, tuple[tuple[int, int], KeyFile]] = {}
        self.ring: KeyRing | None = of_process() if location is None else None
        self.refresh()

    def refresh(self) -> None:
        """Read what changed; called every few seconds."""
        if self._path is None:
            return
        try:
            found = sorted(self._path.glob("*.json")) if self._path.is_dir() else [self._path]
        except OSError as error:
            log.warning("feedback keys cannot be read: %s", error)
            found = []
        for path in found:
            self._read(path)
        self.ring = in_force((file for _, file in self._files.values()), self._clock())

    def missed(self) -> None:
        """A token names a key that is not here: perhaps it has come since."""
        now = self._clock()
        if not 0 <= now - self._missed < MISSED_SECONDS:
            self._missed = now
            self.refresh()

    def _read(self, path: Path) -> None:
        known = self._files.get(path.name)
        try:
            status = path.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if known is None or known[0] != seen:
                self._files[path.name] = (seen, parse(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            log.warning("feedback keys cannot be read: %s", error)
