"""Zip archives that others made.

In: an entry of one. Out: nothing, or `FormatRefused`. Invariant: what passes is unpacked by zipfile a piece
at a time. The other methods it unpacks all at once, whatever the entry claims to become: 231 bytes of bzip2
are 100 MiB.
"""

from __future__ import annotations

from typing import Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipInfo

from noria_serving.errors import NoriaError, Reason

METHODS: Final = (ZIP_STORED, ZIP_DEFLATED)


def check_method(entry: ZipInfo) -> None:
    """How it is packed."""
    if entry.compress_type not in METHODS:
        raise NoriaError(
            Reason.FORMAT_REFUSED,
            f"{entry.filename!r:.200} in the archive is packed by method {entry.compress_type}; zip it "
            "with deflate, the usual one",
        )
