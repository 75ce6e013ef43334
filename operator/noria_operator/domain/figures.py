"""Figures of quality as status has them, and as sentences say them.

Comes in: a number of any scale. Goes out: text. Invariant: a figure keeps six significant digits however
small it is, as what is written is what later windows are compared with.
"""

from __future__ import annotations

from math import floor, log10
from typing import Final

from noria_operator.api.types import format_decimal

LARGEST: Final = 999_999_999_999_999.0
"""No larger figure can be written."""
_PLACES: Final = 6
_SMALL: Final = 1e-3


def written(value: float) -> str:
    """With six places, and as many more as six significant digits take; at most LARGEST."""
    kept = min(max(value, -LARGEST), LARGEST)
    leading = floor(log10(abs(kept))) if kept else 0
    return format_decimal(round(kept, max(_PLACES, _PLACES - 1 - leading)))


def said(value: float) -> str:
    """With four places, and where these say little of it with four significant digits."""
    return f"{value:.4f}" if abs(value) >= _SMALL or not value else f"{value:.4g}"
