"""Errors to expect without labels: by hand, against what comes true, and where nothing is known."""

from __future__ import annotations

import json
from math import sqrt

import numpy as np
import pytest

from noria_operator.domain.estimated_errors import ErrorsByBin, ExpectedErrors, parse
from noria_operator.domain.performance import Measured, measure, unsuitable
from noria_serving.residuals import measured
from noria_serving.result import canonical

KNOWN = ErrorsByBin("heldOut", (100, 50, 0), (100.0, 150.0, 0.0), (200.0, 500.0, 0.0), (900.0, 7000.0, 0.0))


def value(metric: str, predicted: tuple[int, ...], known: ErrorsByBin = KNOWN) -> Measured:
    found = measure(metric, ExpectedErrors(known, predicted))
    assert found is not None
    return found


def test_the_estimate_is_the_one_made_by_hand() -> None:
    """Means of |e| 1 and 3, of its square 2 and 10; a quarter of the window falls into the first bin."""
    mae = value("mae", (250, 750, 0))
    assert mae.value == pytest.approx(0.25 * 1 + 0.75 * 3)
    scatter = (0.25 * 2 + 0.75 * 10 - 2.5**2) / 1000
    doubt = 0.25**2 * (2 - 1) / 100 + 0.75**2 * (10 - 9) / 50
    assert mae.error == pytest.approx(sqrt(scatter + doubt))
    assert value("rmse", (250, 750, 0)).value == pytest.approx(sqrt(0.25 * 2 + 0.75 * 10))


def test_a_bin_without_rows_counts_as_the_mean_of_all() -> None:
    assert value("mae", (0, 0, 10)).value == pytest.approx(250 / 150)


@pytest.mark.parametrize("strange", [np.nan, np.inf, 1e200])
def test_a_label_that_can_be_no_label_leaves_the_errors_of_the_others(strange: float) -> None:
    """A bundle's JSON holds no infinity, and the fourth power of a large number is one."""
    predicted, labels = np.array([-1.0, 1.0, 2.0]), np.array([-2.0, strange, 2.5])
    found = measured((0.0,), predicted, labels, of="heldOut")
    assert (found.rows, found.absolute) == ((1, 1), (1.0, 0.5))
    assert json.loads(canonical(found.as_json()))["fourth"] == [1.0, 0.0625]


@pytest.mark.simulated
@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_the_interval_holds_what_comes_true_where_only_the_inputs_move(metric: str) -> None:
    rng, edges = np.random.default_rng(4), tuple(np.linspace(-1, 1, 9))

    def drawn(count: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
        predicted = rng.normal(shift, 1, count)
        place = np.searchsorted(edges, predicted, side="left")
        return predicted, predicted + rng.normal(0, 1 + place / 4, count)

    held = 0
    for _ in range(200):
        known = parse(measured(edges, *drawn(4000, 0.0), of="heldOut").as_json(), 10)
        predicted, truth = drawn(1500, 1.0)
        bins = np.bincount(np.searchsorted(edges, predicted, side="left"), minlength=10)
        errors = np.abs(predicted - truth)
        came = float(errors.mean()) if metric == "mae" else float(np.sqrt((errors**2).mean()))
        found = value(metric, tuple(bins.tolist()), known)
        held += found.low <= came <= found.high
    assert 180 <= held <= 200
    assert found.value > value(metric, known.rows, known).value * 1.2, "the window has larger errors"


def test_what_is_not_known_has_no_estimate() -> None:
    nothing = ErrorsByBin("training", (0,), (0.0,), (0.0,), (0.0,))
    assert measure("mae", ExpectedErrors(nothing, (10,))) is None
    assert measure("mae", ExpectedErrors(KNOWN, (0, 0, 0))) is None
    assert measure("mae", ExpectedErrors(KNOWN, (1, 2))) is None, "bins of another reference"
    assert unsuitable("auc", ExpectedErrors(KNOWN, (1, 2, 3))).endswith("use one of rmse, mae")


@pytest.mark.parametrize("broken", [{"rows": [1]}, {"squared": ["x", 1, 2]}, {"fourth": None}])
def test_errors_that_are_malformed_are_refused(broken: dict[str, object]) -> None:
    good = {"of": "training", "rows": [1, 2, 3], "absolute": [1, 2, 3], "squared": [1, 2, 3]}
    with pytest.raises((TypeError, ValueError)):
        parse({**good, "fourth": [1, 2, 3], **broken}, 3)
