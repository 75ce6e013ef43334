"""The keys that sign feedback tokens: two at most, read from a mounted Secret and read again when it changes.

In: a file, `{"active": kid, "keys": {kid: base64 of 32 bytes}}`. Out: a KeyRing. Invariant: a file that is
missing, half written or malformed never takes away the keys that were read before.
"""

from __future__ import annotations

import base64
import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from noria_serving.contract import FEEDBACK_KEYS_FILE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeyRing:
    """`active` signs; all of `keys` verify."""

    active: str
    keys: Mapping[str, bytes]


def parse(data: bytes) -> KeyRing:
    """A keys file's bytes → KeyRing; ValueError says what is wrong with it."""
    document = json.loads(data)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), dict):
        raise ValueError("`keys` must be an object")  # noqa: TRY004  one error for every malformed file
    keys = {str(kid): base64.b64decode(value, validate=True) for kid, value in document["keys"].items()}
    if not 1 <= len(keys) <= 2 or any(len(key) != 32 or not 0 < len(kid) <= 32 for kid, key in keys.items()):
        raise ValueError("give one or two keys of 32 bytes, with ids of at most 32 characters")
    active = document.get("active")
    if active not in keys:
        raise ValueError("`active` must name one of the keys")
    return KeyRing(str(active), keys)


class MountedKeys:
    """The current KeyRing; without a file (a laptop) one random key that lives as long as the process."""

    def __init__(self, location: str | None) -> None:
        self._path: Path | None = None
        self.ring: KeyRing | None = None
        self._seen: tuple[int, int] | None = None
        if location is None:
            self.ring = KeyRing("local", {"local": secrets.token_bytes(32)})
            return
        path = Path(location)
        self._path = path / FEEDBACK_KEYS_FILE if path.is_dir() else path
        self.refresh()

    def refresh(self) -> None:
        """Read the file again if it changed; called every few seconds and when a key id is unknown."""
        if self._path is None:
            return
        try:
            status = self._path.stat()
            if (status.st_mtime_ns, status.st_ino) == self._seen:
                return
            self.ring = parse(self._path.read_bytes())
            self._seen = (status.st_mtime_ns, status.st_ino)
        except (OSError, ValueError, TypeError) as error:
            log.warning("feedback keys cannot be read: %s", error)
