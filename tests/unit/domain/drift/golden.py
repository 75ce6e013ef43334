"""Data without random numbers, on which other packages' figures are known."""

from __future__ import annotations

from itertools import chain, repeat
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_QUANTILE = NormalDist().inv_cdf


def normal(rows: int) -> Array:
    """Quantiles of the standard normal distribution at the middles of `rows` equal steps."""
    return np.array([_QUANTILE((row + 0.5) / rows) for row in range(rows)])


REFERENCE = normal(5000)
CURRENT = 0.3 + 1.2 * normal(2000)
CATEGORIES_REFERENCE = {"a": 2500, "b": 1500, "c": 1000}
CATEGORIES_CURRENT = {"a": 800, "b": 700, "c": 450, "d": 50}


def with_outlier() -> Array:
    """The current numbers with one that is far off."""
    return np.concatenate([CURRENT[:-1], [1e4]])


def rows(counts: dict[str, int]) -> list[str]:
    """One text a row."""
    return list(chain.from_iterable(repeat(name, count) for name, count in counts.items()))


def binned(
    bins: int, values: Array, reference: Array = REFERENCE
) -> tuple[list[int], list[int], list[float]]:
    """Counts of the reference and of `values` in the reference's quantile bins, and the inner edges."""
    edges = np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1])
    counted = [
        np.bincount(np.searchsorted(edges, each, side="left"), minlength=bins).tolist()
        for each in (reference, values)
    ]
    return counted[0], counted[1], edges.tolist()
