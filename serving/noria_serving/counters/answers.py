"""The newest answers of a version, while somebody compares them with another version's.

In: answered requests, on the event loop. Out: what was predicted, by request. Invariants: nothing is kept
unless somebody asked lately; what is kept is bounded in requests, rows and bytes; what goes is the oldest, so
that servers that are asked at one moment tell of the same stretch of time, whoever answered more. A request
of few bytes is kept as it came: to digest it takes as long as to count it, and is done of those alone that
somebody is told of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LEASE_SECONDS: Final = 120.0
"""How long answers are kept for somebody who does not ask again."""
MOST: Final = 4096
"""Answers that are kept: about 2 MB of them, if all have `MOST_ROWS`."""
MOST_ROWS: Final = 16
"""Rows of one answer that are kept, evenly spread over it: rows of one request are no independent samples."""
WHOLE: Final = 2048
"""Bytes of a request up to which it is kept as it came: 8 MiB of all. A row of 20 columns has fewer."""
LONGEST_ID: Final = 64
"""Bytes of a request's id that count; the routers' own have 36."""


Key = tuple[bytes | None, bytes]
"""What a request and its copy have in common, whoever answers them: an id, which routers give, and the body.

Ids are clients' to choose, and may repeat; those of requests that differ in their bodies do not count as one.
A request without an id is known by its body alone.
"""
_Known = tuple[Key | bytes, list[Any]]
"""Of an answer: the key, or what a longer one is known by; the values."""


class Answers:
    """Of one served version. `wanted`: whether answers are to be given to `add`."""

    def __init__(self, task: str, classes: Sequence[Any], *, most: int = MOST) -> None:
        self.task = task
        self.wanted = False
        self.next = 0
        """The number of the next answer; numbers only grow."""
        self._classes = list(classes)
        self._until = 0.0
        self._kept: deque[_Known] = deque(maxlen=most)

    def add(self, key: Key, values: Array) -> None:
        """values: one number a row, of several classes the position of the likeliest."""
        rows = len(values)
        if rows > MOST_ROWS:
            values = values[np.arange(MOST_ROWS) * rows // MOST_ROWS]
        request, body = key
        short = len(body) + len(request or b"") <= WHOLE
        self._kept.append((key if short else _name(key), values.tolist()))
        self.next += 1

    def ask(self, now: float) -> None:
        """Somebody compares; `now` is of time.monotonic(), here and below."""
        self.wanted, self._until = True, now + LEASE_SECONDS

    def expire(self, now: float) -> None:
        """Nobody compares any more: forget everything."""
        if self.wanted and now > self._until:
            self.wanted = False
            self._kept.clear()

    def since(self, number: int) -> list[tuple[str, list[Any]]]:
        """(digest of the key, values) of the answers from `number` on that are still there, oldest first; of
        several classes, their names.
        """
        gone = self.next - len(self._kept)
        later = islice(self._kept, max(0, number - gone), None)
        return [(_digest(known), self._named(values)) for known, values in later]

    def _named(self, values: list[Any]) -> list[Any]:
        if self.task != "multiclass":
            return values
        names = self._classes
        return [names[value] if value < len(names) else value for value in values]


def _name(key: Key) -> bytes:
    """The id and the body's checksum; of a request without an id the body's digest."""
    request, body = key
    if not request:
        return blake2b(body, digest_size=16).digest()
    return request[:LONGEST_ID] + crc32(body).to_bytes(4)


def _digest(known: Key | bytes) -> str:
    name = known if isinstance(known, bytes) else _name(known)
    return blake2b(name, digest_size=8).hexdigest()
