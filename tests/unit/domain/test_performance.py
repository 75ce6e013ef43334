"""Each metric has an interval that holds the truth about as often as it says."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
from sklearn.metrics import f1_score, mean_absolute_error, root_mean_squared_error

from noria_operator.domain.costs import Costs
from noria_operator.domain.performance import EXPECTED_COST, Errors, Measured, measure
from noria_operator.domain.quality import RATED, Labels, rows
from noria_serving.contract import SCORE_BINS

RNG = np.random.default_rng(5)
FIRST = RNG.bit_generator.state
SHARES = np.array([0.5, 1.5, 3.0, 1.0, 2.0])
BINS = (20, 60, 110, 150, 180)
TRUTH = 400_000


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """Whatever tests ran before."""
    RNG.bit_generator.state = FIRST


def drawn(count: int) -> Labels:
    """Scores in five bins, calibrated but for a tenth too low."""
    negatives, positives = [0] * SCORE_BINS, [0] * SCORE_BINS
    for place, many in zip(BINS, RNG.multinomial(count, SHARES / SHARES.sum()), strict=True):
        positives[place] = int(RNG.binomial(many, min(1.0, 1.1 * (place + 0.5) / SCORE_BINS)))
        negatives[place] = int(many) - positives[place]
    return Labels.of(negatives, positives)


def value(metric: str, joined: Labels, costs: Costs | None = None) -> Measured:
    found = measure(metric, joined, costs) if costs else measure(metric, joined)
    assert found is not None
    return found


@pytest.mark.simulated
@pytest.mark.parametrize("metric", [*RATED, EXPECTED_COST])
def test_the_interval_holds_the_truth_in_about_95_of_100_windows(metric: str) -> None:
    costs = Costs(false_positive=2, false_negative=10, true_positive=-1)
    truth = value(metric, drawn(TRUTH), costs).value
    windows = [value(metric, drawn(600), costs) for _ in range(200)]
    held = sum(one.low <= truth <= one.high for one in windows)
    assert 180 <= held <= 200
    spread = float(np.std([one.value for one in windows]))
    assert np.median([one.error for one in windows]) == pytest.approx(spread, rel=0.35)


def test_values_are_those_of_the_metrics() -> None:
    labels = drawn(1000)
    for metric, rated in RATED.items():
        assert value(metric, labels).value == rated(rows(labels))
    scores = np.repeat([row[0] for row in rows(labels)], [row[1] + row[2] for row in rows(labels)])
    truth = np.concatenate([np.repeat([0, 1], [row[1], row[2]]) for row in rows(labels)])
    assert value("f1", labels).value == pytest.approx(f1_score(truth, scores > 0.5))


def test_the_cost_matrix_prices_each_label() -> None:
    labels = Labels.of([0] * 150 + [30] + [0] * 49, [10] + [0] * 149 + [60] + [0] * 49)
    costs = Costs(false_positive=2, false_negative=10, true_positive=-1, true_negative=0)
    assert value(EXPECTED_COST, labels, costs).value == pytest.approx((30 * 2 + 10 * 10 - 60) / 100)
    mistakes = value(EXPECTED_COST, labels).value
    assert mistakes == pytest.approx(1 - value("accuracy", labels).value)


def test_errors_of_a_regression_are_scikit_learns_and_their_intervals_hold() -> None:
    unit, predicted = 2.0**-10, np.zeros(500)
    held = {"rmse": 0, "mae": 0}
    truth = {"rmse": 3.0, "mae": 3 * sqrt(2 / np.pi)}
    for _ in range(200):
        label = RNG.normal(0, 3, 500)
        units = np.rint((predicted - label) / unit).astype(int)
        over, under = int(units[units > 0].sum()), int(-units[units < 0].sum())
        errors = Errors(500, over, under, int((units**2).sum()), 0, unit)
        for metric, theirs in (("rmse", root_mean_squared_error), ("mae", mean_absolute_error)):
            found = measure(metric, errors)
            assert found is not None
            assert found.value == pytest.approx(theirs(label, predicted), abs=1e-3)
            held[metric] += found.low <= truth[metric] <= found.high
    assert all(180 <= count <= 200 for count in held.values())


def errors_of(drawn: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Errors:
    units = np.rint(drawn * 2**10).astype(int)
    over, under = int(units[units > 0].sum()), int(-units[units < 0].sum())
    return Errors(len(units), over, under, int((units**2).sum()), 0, 2.0**-10)


@pytest.mark.parametrize(
    ("law", "least", "most"),
    [
        (lambda: RNG.normal(size=1000), 0.9, 1.1),
        (lambda: RNG.laplace(size=1000), 0.9, 1.15),
        (lambda: RNG.standard_t(5, 1000), 0.6, 1.2),
        (lambda: RNG.normal(size=1000) * (RNG.random(1000) < 0.02), 0.9, 4.0),
    ],
    ids=["normal", "Laplace", "long tails", "mostly exact"],
)
def test_rmse_of_errors_with_long_tails_is_not_taken_for_surer_than_it_is(
    law: Callable[[], np.ndarray[tuple[int], np.dtype[np.float64]]], least: float, most: float
) -> None:
    windows = [measure("rmse", errors_of(law())) for _ in range(300)]
    found = [one for one in windows if one is not None]
    spread = float(np.std([one.value for one in found]))
    assert least < np.median([one.error for one in found]) / spread < most


def test_what_labels_cannot_tell_has_no_value() -> None:
    assert [measure(metric, Labels.none()) for metric in (*RATED, EXPECTED_COST)] == [None] * 10
    assert measure("rmse", Errors()) is None
    assert measure("rmse", drawn(10)) is None
    assert measure("auc", Errors(10)) is None
    assert measure("auc", Labels.of([1] * SCORE_BINS, [0] * SCORE_BINS)) is None


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_errors_below_their_unit_are_no_surer_than_half_of_it(metric: str) -> None:
    rounded = measure(metric, Errors(1000, 4, 3, 7, 0, 128.0))
    assert rounded is not None
    assert rounded.low == 0
    assert rounded.high > 64
    assert rounded.excess == 64
    fine = measure(metric, Errors(1000, 900, 900, 3600, 0, 128.0))
    assert fine is not None
    assert fine.excess == 0


def test_a_window_without_a_mistake_is_not_sure_of_it() -> None:
    right = Labels.of([50] + [0] * 199, [0] * 199 + [50])
    assert value("accuracy", right) == Measured(1.0, pytest.approx(0.963, abs=1e-3), 1.0)
    assert value("auc", right).low < 1
    costly = value(EXPECTED_COST, right, Costs(false_negative=10))
    assert (costly.value, costly.error) == (0.0, pytest.approx(0.1))
    assert value("f1", right).error == pytest.approx(0.01, rel=0.05)
    assert value("calibration", right).high > 0.01
    assert value("f1", Labels.of([97] + [0] * 199, [3] + [0] * 199)).error > 0.2  # no positive was found
    exact = [measure(metric, Errors(100, unit=0.5)) for metric in ("mae", "rmse")]
    assert all(one is not None and one.value == 0 and one.error > 100 for one in exact)
