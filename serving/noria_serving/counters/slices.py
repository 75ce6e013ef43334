"""Predictions by slice, counted when rows are folded.

In: the scores and columns of all rows that waited, in one order. Out: two counts a group in the vector: its
rows, and those with a score of one half or more. Invariant: without slicings nothing is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.slices import Slicing

Array = NDArray[Any]
WIDTH: Final = 2
"""Counts of a group."""


class Sliced:
    """Counts by all slicings of a version."""

    def __init__(
        self, slicings: Sequence[Slicing], starts: Sequence[int], numbers: Sequence[Any], texts: Sequence[Any]
    ) -> None:
        """starts: where each one's groups begin in the vector. numbers, texts: (tensor, column) of the rows
        that `add` gets.
        """
        self._each = [
            (one, start, (numbers if one.numeric else texts).index((one.input, one.column)))
            for one, start in zip(slicings, starts, strict=True)
        ]

    def add(
        self, scores: Array, numbers: Array, texts: Sequence[Sequence[str]], vector: NDArray[np.int64]
    ) -> None:
        """scores: one a row; numbers: a row of values for each numeric feature, before they are sorted."""
        if not self._each:
            return
        positive = scores >= 0.5
        for one, start, place in self._each:
            codes = one.codes(numbers[place]) if one.numeric else one.codes_of_texts(texts[place])
            found = np.bincount(WIDTH * codes + positive, minlength=WIDTH * one.size)
            counts = vector[start : start + WIDTH * one.size].reshape(one.size, WIDTH)
            counts[:, 0] += found[0::2] + found[1::2]
            counts[:, 1] += found[1::2]
