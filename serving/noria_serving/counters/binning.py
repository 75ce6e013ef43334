"""Arrays of values → counts in frozen bins. Pure numpy; order of rows and how they are cut into batches do
not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria_serving.reference import Bins

Array = NDArray[Any]


class Binner:
    """Counts one feature: its bins, then missing, unseen, below and above the reference's range."""

    def __init__(self, bins: Bins) -> None:
        self.size = bins.size
        self._edges = np.array(bins.edges, dtype=np.float64)
        self._low, self._high = bins.low, bins.high
        self._numeric = bins.kind == "numeric"
        other, self._missing, self._unseen = len(bins.values), self.size, self.size + 1
        self._table = {value: index for index, value in enumerate(bins.values)}
        self._table.update({value: other for value in bins.known if value not in self._table})
        self._table[""] = self._missing

    def count(self, values: Array) -> NDArray[np.int64]:
        """A vector of size + 4 counts that add up over any partition of the values."""
        return self._numbers(values) if self._numeric else self._categories(values)

    def _numbers(self, values: Array) -> NDArray[np.int64]:
        numbers = values.astype(np.float64, copy=False)
        total = len(numbers)
        if np.isnan(numbers).any():
            numbers = numbers[~np.isnan(numbers)]
        counts = np.zeros(self.size + 4, dtype=np.int64)
        counts[: self.size] = np.bincount(
            np.searchsorted(self._edges, numbers, side="left"), minlength=self.size
        )
        counts[self.size] = total - len(numbers)
        counts[self.size + 2] = np.count_nonzero(numbers < self._low)
        counts[self.size + 3] = np.count_nonzero(numbers > self._high)
        return counts

    def _categories(self, values: Array) -> NDArray[np.int64]:
        find, unseen = self._table.get, self._unseen
        indices = [find(value, unseen) for value in values.tolist()]
        return np.bincount(indices, minlength=self.size + 4).astype(np.int64, copy=False)
