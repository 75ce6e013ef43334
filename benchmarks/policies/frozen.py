"""What the models of a trial saw in training, as their bundles would tell it, and rows in these bins.

Comes in: rows as a model takes them, an array or a frame. Goes out: columns by name, and the frozen bins of a
version by the code that makes those of a bundle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from examples.flights.features import DAY, FEATURES
from numpy.typing import NDArray

from noria_operator.domain.drift.columns import PREDICTION
from noria_operator.domain.drift.distances import psi, shares
from noria_operator.domain.recorded import Predicted
from noria_operator.domain.recorded_bins import Bins
from noria_serving import reference

PSI_BINS: Final = 10
Column = NDArray[Any]


def columns(rows: Any) -> dict[str, Column]:
    """The features that the model reads: numbers, or objects that are text."""
    if isinstance(rows, np.ndarray):
        return {f"x{place}": rows[:, place] for place in range(rows.shape[1])}
    names = [name for name in FEATURES if name != DAY]
    return {name: rows[name].to_numpy() for name in names}


def frozen(rows: Any, scores: NDArray[np.float64]) -> Bins:
    """The bins of a version that learnt from these rows."""
    each = columns(rows)
    features = tuple(
        reference.category(name, values) if values.dtype == object else reference.numeric(name, values)
        for name, values in each.items()
    )
    known = reference.Reference(len(scores), features, reference.numeric(PREDICTION, scores))
    return Bins(reference.document(known), each.keys())


def predicted(bins: Bins, version: str, rows: Any, scores: Sequence[float]) -> list[Predicted]:
    """Rows that a version predicted, in its bins."""
    each = {name: [*map(str, values.tolist())] for name, values in columns(rows).items()}
    return [Predicted(version, score, bins.cells(_row(each, at), score)) for at, score in enumerate(scores)]


def farthest(before: Any, now: Any) -> float:
    """The largest population stability index of a feature, in tenths of the rows `before`."""
    seen = columns(now)
    return max(_index(values, seen[name]) for name, values in columns(before).items())


def _row(each: Mapping[str, Sequence[str]], at: int) -> dict[str, str]:
    return {name: texts[at] for name, texts in each.items()}


def _index(before: Column, now: Column) -> float:
    if before.dtype == object:
        names = [name for name, _ in Counter(before.tolist()).most_common(PSI_BINS - 1)]
        found = [[Counter(side.tolist())[name] for name in names] for side in (before, now)]
        counts = [[*known, len(side) - sum(known)] for known, side in zip(found, (before, now), strict=True)]
        return psi(*map(shares, counts))
    before, now = (side[~np.isnan(side)] for side in (before, now))
    edges = np.quantile(before, np.linspace(0, 1, PSI_BINS + 1)[1:-1])
    places = [np.bincount(np.searchsorted(edges, side), minlength=PSI_BINS) for side in (before, now)]
    return psi(*(shares(one.tolist()) for one in places))
