"""Names that several parts of the example share; nothing heavy is imported here."""

from __future__ import annotations

from typing import Final

ONE_IN: Final = 8
"""One flight in so many is sent; all of them are in the lake."""
UNKNOWN: Final = "unknown"
"""Version of an answer that names none."""
