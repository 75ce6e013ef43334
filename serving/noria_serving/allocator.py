"""What large requests are made of stays in the process, for the next one.

By default glibc takes an array of a few hundred KiB from the kernel, with zeros in it, and gives it back when
it is freed: with requests of 1,000 rows × 50 columns these are 200 page faults for each, and an eighth of
what it costs. Other C libraries are left as they are.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""Numbers of malloc.h."""
LARGEST: Final = 4 * 1024**2
"""Bytes of the largest piece of memory that is kept: what takes more is worth the kernel's work."""
UNUSED: Final = 4 * LARGEST
"""Bytes at the end of a heap that may stay unused. A version's thread has a heap of its own."""


def keep() -> bool:
    """Keep what is freed from now on; False where there is no such allocator."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    wanted = {_M_MMAP_THRESHOLD: LARGEST, _M_TRIM_THRESHOLD: UNUSED}
    return mallopt is not None and all(mallopt(number, size) == 1 for number, size in wanted.items())
