"""What a regression's error probably is where no labels came yet, from its predictions alone.

Comes in: errors by bin of the prediction, frozen when the version was trained, and how many predictions of a
window fell into each bin. Goes out: RMSE or MAE to expect, with its interval. The mean error of a bin is
taken for that of every row in it (stratified reweighting; the idea of NannyML's DLE, whose second model
looks at all features where this looks at the prediction). A bin without rows counts as the mean of all.

Invariants: counts alone decide; the estimate never says that the concept changed, nor that a feature moved
which the prediction does not follow: whoever shows one has to say so. The interval covers what the window's
own errors scatter, and how well those of the reference are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final

HELD_OUT: Final = "heldOut"
"""Whose errors a bundle has where it was given labels of rows that the model did not learn from."""


@dataclass(frozen=True, slots=True)
class ErrorsByBin:
    """Rows, and sums of |error|, its square and its fourth power, in each bin of the prediction; `of` says
    whether they are of the rows of `training` or of `heldOut` ones.
    """

    of: str
    rows: tuple[int, ...]
    absolute: tuple[float, ...]
    squared: tuple[float, ...]
    fourth: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ExpectedErrors:
    """Predictions of a window in the bins of `known`."""

    known: ErrorsByBin
    predicted: tuple[int, ...]

    @property
    def samples(self) -> int:
        """Number of predictions."""
        return sum(self.predicted)


def parse(entry: Mapping[str, Any], bins: int) -> ErrorsByBin:
    """Errors as a model server tells them; raises KeyError, TypeError or ValueError."""
    rows = tuple(int(count) for count in entry["rows"])
    sums = [tuple(float(value) for value in entry[name]) for name in ("absolute", "squared", "fourth")]
    if any(len(each) != bins for each in (rows, *sums)):
        raise ValueError(f"errors must have {bins} bins")
    return ErrorsByBin(str(entry["of"]), rows, *sums)


def mean_error(expected: ExpectedErrors, power: int) -> tuple[float, float] | None:
    """(mean, its variance) of |error| (`power` 1) or of its square (2); None where nothing is known."""
    known, rows = expected.known, sum(expected.known.rows)
    if not rows or not expected.samples or len(expected.predicted) != len(known.rows):
        return None
    first, second = (known.absolute, known.squared) if power == 1 else (known.squared, known.fourth)
    means, squares, counts = _by_bin(known.rows, first), _by_bin(known.rows, second), known.rows
    mean = scatter = doubt = 0.0
    for count, one, square, behind in zip(expected.predicted, means, squares, counts, strict=True):
        share = count / expected.samples
        mean += share * one
        scatter += share * square
        doubt += share**2 * max(0.0, square - one**2) / (behind or rows)
    return mean, max(0.0, scatter - mean**2) / expected.samples + doubt


def estimate(metric: str, expected: ExpectedErrors, z: float) -> tuple[float, float, float] | None:
    """(value, low, high) of `rmse` or `mae`, `z` standard errors to each side; None as in `mean_error`."""
    found = mean_error(expected, 2 if metric == "rmse" else 1)
    if found is None:
        return None
    half = z * sqrt(found[1])
    ends = found[0], max(0.0, found[0] - half), found[0] + half
    return (sqrt(ends[0]), sqrt(ends[1]), sqrt(ends[2])) if metric == "rmse" else ends


def _by_bin(rows: Sequence[int], sums: Sequence[float]) -> list[float]:
    """The mean of each bin; of all where a bin is empty."""
    whole = sum(sums) / sum(rows)
    return [total / count if count else whole for count, total in zip(rows, sums, strict=True)]
