"""Predictions by slice, counted when rows are folded.

In: the scores and columns of all rows that waited, in one order. Out: two counts a group in the vector: its
rows, and those with a score of one half or more. Invariant: without slicings nothing is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress
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
        self,
        scores: Array,
        numbers: Array,
        texts: Sequence[Sequence[str]],
        tallies: Sequence[Mapping[str, int]],
        vector: NDArray[np.int64],
    ) -> None:
        """scores: one a row; numbers: a row of values for each numeric feature, before they are sorted;
        texts: a list for each feature of text, and in `tallies` how often it holds each.
        """
        if not self._each:
            return
        positive = scores >= 0.5
        for one, start, place in self._each:
            counts = vector[start : start + WIDTH * one.size].reshape(one.size, WIDTH)
            if one.numeric:
                codes = one.codes(numbers[place])
                found = np.bincount(WIDTH * codes + positive, minlength=WIDTH * one.size)
                counts += found.reshape(one.size, WIDTH)
                counts[:, 0] += found[1::2]
            else:
                counts[:, 0] += one.grouped(tallies[place])
                counts[:, 1] += one.grouped(Counter(compress(texts[place], positive.tolist())))
