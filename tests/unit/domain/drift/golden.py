"""Data without random numbers, on which other packages' figures are known."""

from __future__ import annotations

from itertools import chain, repeat
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria_operator.domain.drift.distances import shares

Array = NDArray[np.float64]
Shares = list[float]

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


def categories() -> tuple[Shares, Shares]:
    """Shares of both sides, nothing added."""
    known = [CATEGORIES_REFERENCE.get(name, 0) for name in CATEGORIES_CURRENT]
    return shares(known, 0), shares(list(CATEGORIES_CURRENT.values()), 0)


def in_bins(edges: Any) -> tuple[Shares, Shares]:
    """Shares of all rows in bins of the peer's edges, as it counts them."""
    reference, current = (
        (np.histogram(each, edges)[0] / len(each)).tolist() for each in (REFERENCE, CURRENT)
    )
    return reference, current


def each_value() -> tuple[Shares, Shares, list[float]]:
    """Every value is a bin of its own: what a distance of bins is without bins."""
    values = np.unique(np.concatenate([REFERENCE, CURRENT]))
    reference, current = (
        (np.bincount(np.searchsorted(values, each), minlength=len(values)) / len(each)).tolist()
        for each in (REFERENCE, CURRENT)
    )
    return reference, current, values.tolist()


def filled(given: Shares) -> Shares:
    """As Evidently fills empty bins."""
    least = min(share for share in given if share)
    return [share or (least / 1e6 if least <= 0.0001 else 0.0001) for share in given]
