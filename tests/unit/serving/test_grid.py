"""Bins that versions have in common."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from noria_operator.domain.performance import Errors, measure
from noria_operator.domain.predictions import Outputs, distance
from noria_serving.contract import GRID_BINS, LARGEST_ERROR, usual_range
from noria_serving.counters.grid import Grid, grid_of
from noria_serving.counters.recorder import Recorder
from noria_serving.counters.state import State
from noria_serving.feedback.desk import unit_exponent
from noria_serving.reference import Bins, Reference, category, numeric


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


def trained(values: NDArray[np.float64]) -> Bins:
    """The bins of a regression with such predictions."""
    return replace(numeric("p", values), usual=usual_range(sorted(values.tolist())))


def told(values: NDArray[np.float64], bins: Bins) -> Outputs:
    grid = grid_of(bins)
    assert grid is not None
    places = np.searchsorted(np.array(grid.edges), values, side="left")
    return Outputs(grid.exponent, grid.first, tuple(np.bincount(places, minlength=grid.size).tolist()))


@pytest.mark.parametrize(
    ("champion", "challenger"),
    [([], []), ([], [1e5]), ([-1e5], []), ([1e300], [1e5, -1e5]), ([5e3] * 300, [-7e3] * 300)],
)
def test_outliers_of_training_hide_no_distance(champion: list[float], challenger: list[float]) -> None:
    random = np.random.default_rng(0)
    learnt = random.normal(50, 10, 50_000), random.normal(100, 20, 50_000)
    old, new = random.normal(50, 10, 20_000), random.normal(100, 20, 4_000)
    found = distance(
        told(old, trained(np.append(learnt[0], champion))),
        told(new, trained(np.append(learnt[1], challenger))),
    )
    assert found == pytest.approx(ks_2samp(old, new).statistic, abs=0.02)


@pytest.mark.parametrize(("share", "most"), [(0.0, 0.03), (0.85, 0.01), (0.97, 0.003)])
def test_a_long_tail_hides_none_nor_does_a_value_that_most_rows_have(share: float, most: float) -> None:
    random = np.random.default_rng(1)

    def some(n: int, mean: float) -> NDArray[np.float64]:
        return np.where(random.random(n) < share, 0.0, random.lognormal(mean, 2.0, n))

    old, new = some(20_000, 3.0), some(4_000, 3.0 + math.log(3))
    found = distance(
        told(old, trained(some(200_000, 3.0))), told(new, trained(some(200_000, 3 + math.log(3))))
    )
    assert found == pytest.approx(ks_2samp(old, new).statistic, abs=most)


def test_numbers_between_0_and_1_are_told_apart_as_others_are() -> None:
    grid = grid_of(trained(np.random.default_rng(1).normal(0.5, 0.001, 1000)))
    assert grid is not None
    assert grid.size > GRID_BINS / 2
    assert math.ldexp(grid.size, grid.exponent) < 0.02


def test_bins_of_bundles_of_earlier_releases_stay_and_nest_with_those_of_new_ones() -> None:
    values = np.append(np.random.default_rng(1).normal(50, 10, 1000), 1e5)
    older, newer = grid_of(numeric("p", values)), grid_of(trained(values))
    assert older is not None
    assert newer is not None
    assert math.ldexp(older.first + older.size, older.exponent) >= 1e5
    assert (older.exponent, newer.exponent) == (9, -1)


def test_the_unit_of_errors_follows_usual_predictions_and_no_outlier() -> None:
    values = np.random.default_rng(1).normal(50, 10, 50_000)
    outlier = trained(np.append(values, 1e7))
    assert unit_exponent(trained(values)) == unit_exponent(numeric("p", values)) == -10
    assert unit_exponent(numeric("p", np.append(values, 1e7))) == 7, "of an earlier release"
    assert math.ldexp(1.0, unit_exponent(outlier)) < (values.max() - values.min()) / 100
    assert math.ldexp(LARGEST_ERROR, unit_exponent(outlier)) > 1000 * (values.max() - values.min())


@pytest.mark.parametrize("metric", ["rmse", "mae"])
def test_a_few_rows_of_a_much_larger_scale_are_seen_to_be_three_times_as_wrong(metric: str) -> None:
    """What users spend, of whom few buy anything."""
    random = np.random.default_rng(1)
    buys = random.random(5000) < 0.07
    spent = np.where(buys, random.lognormal(7, 0.8, 5000), random.gamma(2, 0.2, 5000))
    predicted = np.where(buys, 1500 * random.lognormal(0, 0.3, 5000), 0.4)
    unit = math.ldexp(1.0, unit_exponent(trained(predicted + random.random(5000))))
    values = []
    for times in (1, 3):
        state = State(Reference(0, (), numeric("p", predicted)), ())
        for error in np.where(buys, times * predicted, predicted) - spent:
            state.add_error("m-1", error, unit)
        errors = Errors(**state.as_json(state.vector)["errors"]["m-1"], unit=unit)
        measured = measure(metric, errors)
        assert measured is not None
        values.append(measured.value)
    assert values[1] > 2 * values[0]


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
