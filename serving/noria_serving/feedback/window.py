"""Which tokens were counted already: one bit for each token that a process of the deployment issued.

Only verified tokens come here, so sequence numbers are dense and nobody can make the bitmaps grow but by
traffic. Invariant: memory stays under LIMIT bytes; the processes heard of longest ago are forgotten first,
and a restart forgets everything (counting once is best effort across restarts).
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from typing import Final

LIMIT: Final = 16 * 1024 * 1024


class Window:
    """A set of (process, sequence)."""

    def __init__(self, *, limit: int = LIMIT) -> None:
        self._limit = limit
        self._bitmaps: OrderedDict[bytes, dict[int, bytearray]] = OrderedDict()
        self._size = 0

    def add(self, process: bytes, sequence: int) -> bool:
        """True the first time."""
        pages = self._bitmaps.setdefault(process, {})
        self._bitmaps.move_to_end(process)
        page = pages.get(sequence >> 13)
        if page is None:
            page = pages[sequence >> 13] = bytearray(1024)
            self._size += 1024
            self._trim(process)
        byte, bit = (sequence >> 3) & 1023, 1 << (sequence & 7)
        if page[byte] & bit:
            return False
        page[byte] |= bit
        return True

    def _trim(self, current: bytes) -> None:
        while self._size > self._limit:
            process, pages = next(iter(self._bitmaps.items()))
            if process == current:
                del pages[min(pages)]
                self._size -= 1024
            else:
                self._size -= 1024 * len(self._bitmaps.pop(process))


@cache
def of_process() -> Window:
    """One for all versions that this process serves, since any of them takes the tokens of the others."""
    return Window()
