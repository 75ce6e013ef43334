"""How sure a share is: intervals for so many hits of so many.

Comes in: counts. Goes out: a lower and an upper bound, from 0 to 1. Invariant: with nothing counted the
interval is everything.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import Final

Interval = tuple[float, float]
Z95: Final = NormalDist().inv_cdf(0.975)


def wilson(hits: int, of: int, z: float = Z95) -> Interval:
    """Wilson's score interval: good for few and for extreme shares, at one look; `z` 1.96 is 95 %."""
    if not of:
        return 0.0, 1.0
    share, square = hits / of, z * z / of
    middle = (share + square / 2) / (1 + square)
    half = z * sqrt(share * (1 - share) / of + square / (4 * of)) / (1 + square)
    return max(0.0, middle - half) if hits else 0.0, min(1.0, middle + half) if hits < of else 1.0
