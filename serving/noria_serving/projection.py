"""An embedding as a few numbers: its length and random projections, counted in bins as features are.

In: rows of a vector. Out: one number a row for each projection: the sum of the vector's numbers with signs
that seed and place decide, by the root of the width (Achlioptas, "Database-friendly random projections", JCSS
2003), or the vector's length. A shift of the mean moves some projection almost surely, one of the scale moves
all and the length. Invariant: signs are made from integers alone, so they are the same wherever and whenever
they are made: nothing but the seed has to be kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.errors import NoriaError, Reason
from noria_serving.signature import Tensor

NORM: Final = -1
"""In the place of a projection's number: the vector's length."""
PROJECTIONS: Final = 8
"""Of each embedding, beside its length."""
MAX_WIDTH: Final = 4096
Array = NDArray[Any]


@dataclass(frozen=True)
class Projection:
    """Which number of a vector of so many numbers; `index` from 0 on, or NORM."""

    width: int
    seed: int
    index: int

    def as_json(self) -> dict[str, int]:
        """As it stands in reference.json."""
        return {"width": self.width, "seed": self.seed, "index": self.index}

    @property
    def signs(self) -> NDArray[np.float64]:
        """Of each number of the vector; NORM has none."""
        places = np.arange(self.width, dtype=np.uint64) + np.uint64(self.index * MAX_WIDTH)
        start = np.uint64(self.seed * 0x9E3779B97F4A7C15 % 2**64)
        odd = mixed(places + start) & np.uint64(1)
        return np.asarray((odd.astype(np.float64) * 2 - 1) / np.sqrt(self.width))


def parse(entry: Mapping[str, Any]) -> Projection:
    """Read what `as_json` wrote; KeyError, TypeError or ValueError where it is malformed."""
    found = Projection(int(entry["width"]), int(entry["seed"]), int(entry["index"]))
    if not 1 <= found.width <= MAX_WIDTH or not 0 <= found.seed < 2**32 or not NORM <= found.index < 64:
        raise ValueError("a projection is of 1 to 4096 numbers, with a seed of 32 bits")
    return found


def of(width: int, seed: int) -> list[Projection]:
    """All that an embedding is counted by."""
    return [Projection(width, seed, index) for index in (NORM, *range(PROJECTIONS))]


def vectors(tensor: Tensor, array: Array, asked: Mapping[str, range]) -> Mapping[str, range]:
    """The columns of a tensor that are embeddings, by name: those asked for, or all by the tensor's own."""
    width = array.shape[1]
    if array.dtype.kind not in "fiu" or width == 1:
        if asked:
            text = "embeddings are columns of X as one array of numbers: give X as an array"
            raise NoriaError(Reason.DATA_INVALID, text)
        return {}
    if not asked and "embedding" in tensor.name.lower():
        return {tensor.name: range(min(width, MAX_WIDTH))}
    taken: set[int] = set()
    for name, columns in asked.items():
        if columns.step != 1 or not columns or columns.start < 0 or columns.stop > width:
            text = f"embedding {name!r} must be a range of the {width} columns of X, like range(0, {width})"
            raise NoriaError(Reason.DATA_INVALID, text)
        if len(columns) > MAX_WIDTH or taken.intersection(columns):
            text = f"embedding {name!r} overlaps another, or has more than {MAX_WIDTH} columns"
            raise NoriaError(Reason.DATA_INVALID, text)
        taken.update(columns)
    return asked


class Projected:
    """Turns vectors into numbers, all projections of one embedding at once."""

    def __init__(self, projections: Sequence[Projection]) -> None:
        self.width = projections[0].width
        self._norms = [place for place, one in enumerate(projections) if one.index == NORM]
        self._others = [place for place, one in enumerate(projections) if one.index != NORM]
        rows = [projections[place].signs for place in self._others]
        self._weights = {kind: np.array(rows, dtype=kind).reshape(-1, self.width) for kind in "fd"}

    def __call__(self, vectors: Array) -> Array:
        """vectors: float32 or float64, (width, rows). A row for each projection; NaN where a number is."""
        found = np.empty((len(self._norms) + len(self._others), vectors.shape[1]), vectors.dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            found[self._others] = self._weights[vectors.dtype.char] @ vectors
            if self._norms:
                found[self._norms] = np.sqrt(np.einsum("ij,ij->j", vectors, vectors))
        return found


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014); it maps 64 bits one to one."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
