"""Distances equal what the literature's formulae and other packages give."""

from __future__ import annotations

from math import isfinite, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance as scipy_distance
from tests.unit.domain.drift.golden import (
    CATEGORIES_CURRENT,
    CATEGORIES_REFERENCE,
    CURRENT,
    binned,
    with_outlier,
)

from noria_operator.api.monitoring import THRESHOLDS
from noria_operator.domain.drift import chi_squared, distances
from noria_operator.domain.drift.columns import Column, distance, parse
from noria_operator.domain.drift.distances import MEASURES, shares

KNOWN = [2500, 1500, 1000, 0]
SEEN = [800, 700, 450, 50]


@pytest.mark.parametrize(
    ("bins", "psi", "bits", "ks"),
    [
        (5, 0.08794, 0.01574, 0.1258),
        (10, 0.10980, 0.01949, 0.1257),
        (20, 0.12259, 0.02156, 0.1269),
        (30, 0.12717, 0.02225, 0.1266),
    ],
)
def test_numbers_in_quantile_bins_have_the_golden_distances(
    bins: int, psi: float, bits: float, ks: float
) -> None:
    for values in (CURRENT, with_outlier()):
        p, q = (shares(counts) for counts in binned(bins, values)[:2])
        assert round(distances.psi(p, q), 5) == psi
        assert round(distances.jensen_shannon(p, q), 5) == bits
        assert round(distances.kolmogorov_smirnov(p, q), 4) == ks


def test_categories_have_the_golden_distances() -> None:
    assert [*CATEGORIES_REFERENCE.values(), 0] == KNOWN
    assert [*CATEGORIES_CURRENT.values()] == SEEN
    assert round(distances.psi(shares(KNOWN), shares(SEEN)), 8) == 0.17193332
    both = [shares([*counts, 0, 0]) for counts in (KNOWN, SEEN)]
    assert round(distances.psi(*both), 8) == 0.17213400
    plain = [shares(counts, 0) for counts in (KNOWN, SEEN)]
    assert round(distances.jensen_shannon(*plain), 8) == 0.01843506
    assert round(distances.jensen_shannon_distance(*plain), 8) == 0.13577577
    assert round(distances.l_infinity(*plain), 8) == 0.1
    statistic, freedom = distances.chi_square(KNOWN, SEEN)
    assert (round(statistic, 5), freedom) == (170.97701, 3)
    assert chi_squared.beyond(statistic, freedom) == pytest.approx(7.8e-37, rel=0.01)


counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=30)


@given(st.data())
def test_distances_equal_scipys(data: st.DataObject) -> None:
    one = data.draw(counts)
    other = data.draw(st.lists(st.integers(0, 10_000), min_size=len(one), max_size=len(one)))
    p, q = shares(one), shares(other)
    places = sorted(data.draw(st.sets(st.integers(-1000, 1000), min_size=len(one), max_size=len(one))))
    assert distances.jensen_shannon_distance(p, q) == pytest.approx(
        scipy_distance.jensenshannon(p, q, base=2), abs=1e-7
    )
    assert distances.psi(p, q) == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p), abs=1e-9)
    spread = sqrt(np.average((places - np.average(places, weights=p)) ** 2, weights=p))
    assert distances.wasserstein(p, q, places) == pytest.approx(
        stats.wasserstein_distance(places, places, p, q) / spread, abs=1e-9
    )
    if sum(one) and sum(other):
        table = np.array([one, other])
        table = table[:, table.sum(axis=0) > 0]
        found = stats.chi2_contingency(table, correction=False)
        assert distances.chi_square(one, other) == (pytest.approx(found.statistic, abs=1e-6), found.dof)


@given(counts)
def test_a_distance_of_counts_to_themselves_is_zero_and_to_none_at_all_is_finite(one: list[int]) -> None:
    p, nothing = shares(one), shares([0] * len(one))
    for measure in MEASURES.values():
        assert measure(p, p) == pytest.approx(0, abs=1e-7)
        assert isfinite(measure(p, nothing))


@pytest.mark.parametrize("freedom", [1, 2, 9, 24, 200])
@pytest.mark.parametrize("probability", [0.5, 0.05, 1e-3, 1e-6, 1e-12])
def test_the_chi_squared_distribution_is_scipys(freedom: int, probability: float) -> None:
    value = chi_squared.critical(probability, freedom)
    assert value == pytest.approx(stats.chi2.isf(probability, freedom), rel=1e-6)
    assert chi_squared.beyond(value, freedom) == pytest.approx(probability, rel=1e-3)
    assert chi_squared.beyond(freedom / 3, freedom) == pytest.approx(stats.chi2.sf(freedom / 3, freedom))


def test_the_chi_squared_distribution_has_ends() -> None:
    assert chi_squared.beyond(0, 3) == 1
    assert chi_squared.beyond(5, 0) == 0
    assert chi_squared.beyond(float("inf"), 3) == 0
    assert chi_squared.critical(0.01, 0) == 0


def test_earth_is_moved_within_the_range_of_the_reference() -> None:
    known, seen, edges = binned(10, with_outlier())
    column = Column("x", tuple(known), 0, tuple(edges), -3.7, 3.7)
    found = distance("wasserstein", column, seen)
    assert found == distance("wasserstein", column, binned(10, CURRENT)[1])
    assert 0.2 < found < 0.4  # 0.31 between the values themselves


@pytest.mark.parametrize(
    ("known", "seen"), [(KNOWN, SEEN), (SEEN, KNOWN), (binned(10, CURRENT)[0], SEEN * 2 + [5, 9])]
)
def test_chi_squared_as_a_measure_is_the_statistic_of_the_counts_by_what_noise_scales_with(
    known: list[int], seen: list[int]
) -> None:
    """So that it does not grow with the rows: the same shares from ten times as many say the same."""
    table = np.array([known, seen])
    statistic = stats.chi2_contingency(table[:, table.sum(axis=0) > 0], correction=False).statistic
    scale = 1 / sum(known) + 1 / sum(seen)
    column = Column("x", tuple(known))
    assert distance("chiSquared", column, seen) == pytest.approx(statistic * scale, rel=1e-9)
    more = Column("x", tuple(10 * count for count in known))
    assert distance("chiSquared", more, [10 * count for count in seen]) == pytest.approx(statistic * scale)


def test_without_a_threshold_each_measure_asks_for_the_same_move() -> None:
    """Of a normal distribution in the bins of its tenths, by 0.46 standard deviations: a PSI of 0.2."""
    edges = stats.norm.ppf(np.linspace(0.1, 0.9, 9))
    below = stats.norm.cdf(edges - 0.46)
    moved = np.rint(1e9 * np.diff([0, *below, 1])).astype(int).tolist()
    column = Column("x", (10**12,) * 10, 0, tuple(edges), -4.0, 4.0)
    for measure, threshold in THRESHOLDS.items():
        if measure != "wasserstein":  # of centres of open bins
            assert distance(measure, column, moved) == pytest.approx(threshold, rel=0.05), measure


def test_chi_squared_of_nothing_is_nothing() -> None:
    assert distance("chiSquared", Column("x", tuple(KNOWN)), [0, 0, 0, 0]) == 0
    assert distance("chiSquared", Column("x", (0, 0)), [5, 5]) == 0


def test_categories_have_no_order_to_measure_along() -> None:
    column = Column("x", tuple(KNOWN))
    for measure in ("ks", "wasserstein"):
        assert distance(measure, column, SEEN) == distance("lInfinity", column, SEEN)


@pytest.mark.parametrize("low", [0.0, 7.5])
def test_a_constant_column_has_a_distance(low: float) -> None:
    column = Column("x", (100,), 0, (), low, low)
    for measure in (*MEASURES, "wasserstein", "chiSquared"):
        assert distance(measure, column, (30,)) == 0


@pytest.mark.parametrize(
    "wrong", [{"counts": []}, {"edges": [1.0]}, {"counts": ["x", "y", "z"]}, {"missing": None}]
)
def test_a_reference_whose_bins_do_not_fit_is_refused(wrong: dict[str, object]) -> None:
    good = {"name": "x", "kind": "numeric", "edges": [1.0, 2.0], "counts": [1, 2, 3], "missing": 0}
    document = {"samples": 6, "features": [good], "prediction": good}
    assert parse(document).columns[0].bins == (1, 2, 3)
    with pytest.raises((TypeError, ValueError)):
        parse(document | {"features": [good | wrong]})
