"""Bins for predictions that versions of a model have in common, whatever their references are.

Comes in: the range in which a version's predictions usually lie (of all that training had, one outlier would
make bins that hold everything). Goes out: bins of one width, a power of two, each beginning at
a multiple of it. Invariant: bins of two versions nest, the narrower in the wider ones, so that counts of both
can be added up to the same bins, where those of references (quantiles of each version) cannot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from noria_serving.contract import GRID_BINS
from noria_serving.reference import Bins


@dataclass(frozen=True)
class Grid:
    """Bin i holds [first + i, first + i + 1) times 2 to the `exponent`; those at the ends are open."""

    exponent: int
    first: int
    size: int

    @property
    def edges(self) -> tuple[float, ...]:
        """Inner bounds. A value on one belongs above it: the largest number below stands for it."""
        bounds = (math.ldexp(self.first + index, self.exponent) for index in range(1, self.size))
        return tuple(math.nextafter(bound, -math.inf) for bound in bounds)

    def as_json(self, counts: list[int]) -> Mapping[str, Any]:
        """As `/counters` shows it."""
        return {"exponent": self.exponent, "first": self.first, "bins": counts}


def grid_of(prediction: Bins) -> Grid | None:
    """That of a version; scores all have the range from 0 to 1, bundles of earlier releases that of their
    extremes. None for predictions that are texts.
    """
    if prediction.kind != "numeric":
        return None
    low, high = prediction.usual or (prediction.low, prediction.high)
    if prediction.usual is None and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    span = high - low or abs(high)
    exponent = min(max(math.frexp(span)[1] - GRID_BINS.bit_length(), -1000), 900)
    first = math.floor(math.ldexp(low, -exponent))
    last = math.ceil(math.ldexp(high, -exponent))
    return Grid(exponent, first, max(1, last - first))
