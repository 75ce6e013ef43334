"""Bins that versions have in common."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from noria_serving.contract import GRID_BINS
from noria_serving.counters.grid import Grid, grid_of
from noria_serving.counters.recorder import Recorder
from noria_serving.reference import Reference, category, numeric


def bins(*values: float) -> Grid:
    found = grid_of(numeric("p", np.array(values)))
    assert found is not None
    return found


def test_scores_have_the_same_bins_whatever_their_reference_saw() -> None:
    assert bins(0.2, 0.4) == bins(0.0, 1.0) == Grid(-7, 0, 128)


@pytest.mark.parametrize(
    "values",
    [(-3.0, 9.0), (280.0, 300.0), (1e6, 5e6), (0.001, 7.0), (-1e-9, 1e-9 + 2), (5.0, 5.0), (-2.0, -1.0)],
)
def test_the_range_is_covered_by_bins_that_begin_at_multiples_of_their_width(
    values: tuple[float, ...],
) -> None:
    grid = bins(*values)
    width = math.ldexp(1.0, grid.exponent)
    assert grid.size <= 2 * GRID_BINS + 2
    assert grid.first * width <= min(values)
    assert (grid.first + grid.size) * width >= max(values)
    assert list(grid.edges) == sorted(set(grid.edges))


def test_predictions_that_are_texts_have_none() -> None:
    assert grid_of(category("p", np.array(["a", "b"]))) is None


def counted(reference: Reference, values: NDArray[np.float64]) -> dict[int, int]:
    recorder = Recorder(reference)
    for value in values:
        recorder.answered({}, np.array([value]))
    recorder.fold()
    found = recorder.state.as_json(recorder.state.vector)["outputs"]
    return {found["first"] + index: count for index, count in enumerate(found["bins"]) if count}


def test_predictions_are_counted_where_they_lie_and_beyond_the_range_at_its_ends() -> None:
    reference = Reference(2, (), numeric("p", np.array([0.0, 64.0])))
    values = np.array([0.0, 0.4999, 0.5, 63.999, 64.0, 1e9, -5.0, np.nan])
    assert counted(reference, values) == {0: 3, 1: 1, 127: 3}
    finer = replace(reference, prediction=numeric("p", np.array([0.0, 32.0])))
    coarse: dict[int, int] = {}
    for place, count in counted(finer, values[:3]).items():
        coarse[place // 2] = coarse.get(place // 2, 0) + count
    assert coarse == counted(reference, values[:3]), "the bins of another version nest in these"
