"""Errors of a regression by what it predicted: frozen where the model is trained, so that the error of rows
without labels can be estimated from their predictions.

In: predictions and labels, of held-out rows where there are some. Out: for each bin of the prediction the
number of rows and sums of |error|, its square and its fourth power, from which means and their variances
follow. Invariant: errors of the rows that a model was trained on are smaller than those to come, so whose
they are is written down, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

TRAINING: Final = "training"
HELD_OUT: Final = "heldOut"
LARGEST: Final = 1e70
"""Of larger errors the fourth power, or the sum of some, is no number."""
Array = NDArray[Any]


@dataclass(frozen=True)
class Residuals:
    """One entry a bin; `of` is `training` or `heldOut`."""

    of: str
    rows: tuple[int, ...]
    absolute: tuple[float, ...]
    squared: tuple[float, ...]
    fourth: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """As it stands in reference.json."""
        return {name: value if name == "of" else list(value) for name, value in asdict(self).items()}


def measured(edges: Sequence[float], predicted: Array, labels: Any, *, of: str) -> Residuals:
    """Of one prediction a row and its label, of several labels the first; rows where one of them is no finite
    number, or that are too far apart for one, are left out.
    """
    truth = np.asarray(labels, dtype=np.float64).reshape(len(predicted), -1)[:, 0]
    errors = predicted.astype(np.float64) - truth
    known = np.abs(errors) < LARGEST
    errors, places = np.abs(errors[known]), np.searchsorted(edges, predicted[known], side="left")
    bins = len(edges) + 1
    sums = (np.bincount(places, weights=errors**power, minlength=bins) for power in (1, 2, 4))
    rows = np.bincount(places, minlength=bins)
    return Residuals(of, tuple(map(int, rows)), *(tuple(map(float, each)) for each in sums))


def parse(entry: Mapping[str, Any], bins: int) -> Residuals:
    """Read what `as_json` wrote; KeyError, TypeError or ValueError where it is malformed."""
    rows = tuple(int(count) for count in entry["rows"])
    sums = [tuple(float(value) for value in entry[name]) for name in ("absolute", "squared", "fourth")]
    if any(len(each) != bins for each in (rows, *sums)):
        raise ValueError(f"errors must have {bins} bins, as predictions have")
    return Residuals(str(entry["of"]), rows, *sums)
