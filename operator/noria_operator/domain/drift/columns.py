"""Columns: what the reference knows of one, what a window counted of it, and how far apart both are.

Comes in: reference bins of a version and counts of a window, summed over pods. Goes out: distances.
Invariants: a statistic is taken over value bins alone (numbers: the reference's quantile bins with open
ends; categories: the most frequent and `other`); missing, unseen and out-of-range values are counted beside
them and judged as shares by `dirt`, so that a wave of nulls neither hides nor makes a distance.

Features, predictions and the projections of an embedding are all columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from noria_operator.domain import estimated, estimated_errors
from noria_operator.domain.drift import distances
from noria_operator.domain.drift.distances import MEASURES, shares
from noria_operator.domain.estimated_errors import ErrorsByBin
from noria_operator.domain.fairness import Slicing
from noria_operator.domain.quality import Rows

PREDICTION: Final = "__prediction__"
"""The column of what the model answered."""
CALLED: Final = "__class__"
"""The column of which class it predicted, where the one above is of how likely that was."""
PREDICTIONS: Final = (PREDICTION, CALLED)
WASSERSTEIN: Final = "wasserstein"
CHI_SQUARED: Final = "chiSquared"
ORDERED: Final = ("ks", WASSERSTEIN)


@dataclass(frozen=True, slots=True)
class Column:
    """The reference of one column: `edges` between value bins (numbers only), counts of rows by bin."""

    name: str
    bins: tuple[int, ...]
    missing: int = 0
    edges: tuple[float, ...] | None = None
    low: float = 0.0
    high: float = 0.0
    infinite: int = 0
    """Of those in the end bins: beyond `low` and `high` in the reference, too."""

    @property
    def samples(self) -> int:
        """Rows with a value."""
        return sum(self.bins)

    @property
    def centres(self) -> list[float]:
        """Middle of each bin of numbers, open ends cut at the reference's range."""
        edges = self.edges or ()
        low, high = min((self.low, *edges)), max((self.high, *edges))
        return [left / 2 + right / 2 for left, right in pairwise((low, *edges, high))]


@dataclass(frozen=True, slots=True)
class Reference:
    """What a version was trained on."""

    samples: int
    columns: tuple[Column, ...]
    prediction: Column
    errors: ErrorsByBin | None = None
    """Of a regression."""
    slices: tuple[Slicing, ...] = ()
    called: Column | None = None
    """Of a classifier that gives scores of several classes, a few: a bin each, in order of their names."""
    calibration: Rows = ()
    """Of a classifier: labels of held-out rows by score (of several classes: of the predicted one)."""

    @property
    def predictions(self) -> tuple[Column, ...]:
        """What is known of the answers."""
        return (self.prediction,) if self.called is None else (self.prediction, self.called)


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows of a window in the bins of a column; `missing` and `unseen` ones are in none, those below (`low`)
    and above (`high`) the reference's range are in the end bins.
    """

    bins: tuple[int, ...]
    missing: int = 0
    unseen: int = 0
    low: int = 0
    high: int = 0

    @property
    def samples(self) -> int:
        """Rows in bins."""
        return sum(self.bins)

    @property
    def rows(self) -> int:
        """All rows."""
        return self.samples + self.missing + self.unseen


def distance(measure: str, column: Column, bins: Sequence[int]) -> float:
    """How far `bins` lie from the reference; `measure` as in `MEASURES`, `wasserstein` or `chiSquared`. What
    needs an order (`ks`, `wasserstein`) is the largest difference of a share where categories have none.
    """
    if measure == CHI_SQUARED:
        return distances.chi_squared(column.bins, bins)
    p, q = shares(column.bins), shares(bins)
    if column.edges is None and measure in ORDERED:
        return distances.l_infinity(p, q)
    if measure == WASSERSTEIN:
        return distances.wasserstein(p, q, column.centres)
    return MEASURES[measure](p, q)


def parse(document: Mapping[str, Any]) -> Reference:
    """The reference as a model server tells it; raises KeyError, TypeError or ValueError."""
    columns = tuple(_column(entry) for entry in document["features"])
    prediction, errors = _column(document["prediction"]), document.get("errors")
    known = None if errors is None else estimated_errors.parse(errors, len(prediction.bins))
    slices = tuple(
        Slicing(str(one["feature"]), tuple(map(str, one["groups"]))) for one in document.get("slices", ())
    )
    named = document.get("called")
    called = Column(CALLED, tuple(int(named[name]) for name in sorted(named))) if named else None
    labels = document.get("calibration")
    calibration = estimated.held_out(labels) if labels else ()
    return Reference(int(document["samples"]), columns, prediction, known, slices, called, calibration)


def _column(entry: Mapping[str, Any]) -> Column:
    bins = tuple(int(count) for count in entry["counts"])
    edges = tuple(float(edge) for edge in entry["edges"]) if entry["kind"] != "category" else None
    if not bins or (edges is not None and len(edges) + 1 != len(bins)):
        raise ValueError(f"bins of {entry['name']!r} do not fit its edges")
    return Column(
        str(entry["name"]), bins, int(entry["missing"]), edges, float(entry.get("low", 0)),
        float(entry.get("high", 0)), int(entry.get("infinite", 0)),
    )  # fmt: skip


def with_bins(column: Column, bins: tuple[int, ...]) -> Column:
    """The same column with other counts as its reference; without fitting ones it cannot be judged."""
    return replace(column, bins=bins if len(bins) == len(column.bins) else (0,) * len(column.bins))
