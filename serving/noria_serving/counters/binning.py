"""Arrays of values → counts in frozen bins. Pure numpy; order of rows and how they are cut into batches do
not matter.

A vector of counts has, for each feature, its bins and then missing, unseen, below and above the reference's
range (state.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria_serving.quality import spelling
from noria_serving.reference import Bins

Array = NDArray[Any]
Counts = NDArray[np.int64]


class Numbers:
    """Counts numeric features, all of them at once.

    How many values do not exceed a bound is one binary search of that bound in the sorted values; every count
    is a difference of two such numbers. The bounds of a feature are its edges (a value on an edge goes to the
    lower bin), the last number below its range, the range's end and infinity (beyond it is only NaN). What is
    counted in several sets of bins, as predictions are, is sorted once.

    Values of float32 are not widened, which takes half as long again; they exceed a bound where they exceed
    the largest float32 up to it.
    """

    def __init__(self, rows: Sequence[Sequence[tuple[int, Bins]]]) -> None:
        """rows: the sets of bins that count each row of values, and where in the vector they begin."""
        self._bounds: dict[str, list[Array]] = {"f": [], "d": []}
        targets: list[int] = []
        upper: list[int] = []
        lower: list[int] = []
        at = 2  # place 0 holds zero, place 1 the number of rows
        for counted in rows:
            every = np.concatenate([_bounds(bins) for _, bins in counted])
            for start, bins in counted:
                edges = at + len(bins.edges)
                size, below, high, end = bins.size, *range(edges, edges + 3)
                steps = [0, *range(at, edges), end]
                lower += [left for left, _ in pairwise(steps)] + [end, 0, high]
                upper += [right for _, right in pairwise(steps)] + [1, below, end]
                targets += [*range(start, start + size), start + size, start + size + 2, start + size + 3]
                at = end + 1
            self._bounds["f"].append(_down(every))
            self._bounds["d"].append(every)
        self._places = np.zeros(at, dtype=np.int64)
        self._targets, self._upper, self._lower = np.array(targets), np.array(upper), np.array(lower)

    def add(self, values: Array, vector: Counts) -> None:
        """values: float32 or float64, a row for each feature, which is sorted in place."""
        bounds = self._bounds[values.dtype.char]
        if not bounds:
            return
        values.sort(axis=1)
        places = self._places
        places[1] = values.shape[1]
        found = [row.searchsorted(wanted, "right") for row, wanted in zip(values, bounds, strict=True)]
        np.concatenate(found, out=places[2:])
        vector[self._targets] += places[self._upper] - places[self._lower]


def _bounds(bins: Bins) -> NDArray[np.float64]:
    return np.array([*bins.edges, np.nextafter(bins.low, -np.inf), bins.high, np.inf])


def _down(bounds: NDArray[np.float64]) -> Array:
    """The largest float32 up to each."""
    with np.errstate(over="ignore"):
        nearest = bounds.astype(np.float32)
    return np.where(nearest > bounds, np.nextafter(nearest, np.float32(-np.inf)), nearest)


class Called:
    """Counts predicted classes, which come as their positions."""

    def __init__(self, start: int, bins: Bins, classes: Sequence[Any]) -> None:
        """classes: by position; those without a bin of their own are in the last one."""
        table = {value: start + index for index, value in enumerate(bins.values)}
        rest = start + len(bins.values)
        self._targets = np.array([table.get(spelling(one), rest) for one in classes])

    def add(self, values: Array, vector: Counts) -> None:
        """values: one row of positions."""
        found = np.bincount(values[0].astype(np.int64), minlength=len(self._targets))
        np.add.at(vector, self._targets, found)


class Texts:
    """Counts one feature of categories; the empty string is a missing value."""

    def __init__(self, start: int, bins: Bins) -> None:
        other, missing = start + len(bins.values), start + bins.size
        self._unseen = missing + 1 if bins.complete else other
        self._table = {value: start + index for index, value in enumerate(bins.values)}
        self._table.update({value: other for value in bins.known if value not in self._table})
        self._table[""] = missing

    def add(self, values: Iterable[str], vector: Counts) -> Counter[str]:
        """values: one string a row. How often each occurs."""
        tally = Counter(values)
        for value, times in tally.items():
            vector[self._table.get(value, self._unseen)] += times
        return tally
