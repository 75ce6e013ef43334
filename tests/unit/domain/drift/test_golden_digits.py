"""Our own functions give the digits that other packages were seen to give on the golden data, all of them.

Each is given the bins of the package and its way with empty ones: by ourselves we cut at the reference's
quantiles and add half a count to every bin. What is not here has no counterpart of ours: Evidently's
Kullback-Leibler divergence (.05863291) and energy distance (.23678678); its p-value of Kolmogorov and Smirnov
(8.8913e-21) and of chi-squared (0.0, since a category that the reference lacks has an expected count of
zero), as we judge sizes of effects over a floor and count a new category like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, sqrt

import numpy as np
import pytest
from scipy import stats
from tests.unit.domain.drift.golden import (
    CATEGORIES_CURRENT,
    CATEGORIES_REFERENCE,
    CURRENT,
    REFERENCE,
    Shares,
    categories,
    each_value,
    filled,
    in_bins,
)

from noria_operator.domain.drift import chi_squared, distances

BOTH = np.concatenate([REFERENCE, CURRENT])
Sides = tuple[Shares, Shares]


def nats(sides: Sides) -> float:
    """Distance of Jensen and Shannon by natural logarithms, as SciPy has it."""
    return sqrt(distances.jensen_shannon(*sides) * log(2))


def plain_wasserstein() -> float:
    """Between the values themselves, not divided by the spread as ours is."""
    return distances.wasserstein(*each_value()) * float(np.std(REFERENCE))


def sturges() -> Sides:
    """Of both sides together."""
    return in_bins(np.histogram_bin_edges(BOTH, "sturges"))


def doane() -> Sides:
    """Fourteen bins of the reference, and one for what lies outside of them."""
    p, q = in_bins(np.histogram_bin_edges(REFERENCE, "doane"))
    return [*p, 0.0], [*q, 1 - sum(q)]


def read_between_bins() -> Sides:
    """frouros' histograms of each side, read at ten ends between their bins."""
    ends = np.linspace(BOTH.min(), BOTH.max(), 10)
    a, b = (
        np.diff(stats.rv_histogram(np.histogram(each, "auto")).cdf(ends)) for each in (REFERENCE, CURRENT)
    )
    return (a / a.sum()).tolist(), (b / b.sum()).tolist()


def ten_equal() -> Sides:
    return in_bins(np.linspace(BOTH.min(), BOTH.max(), 11))


def or_tiny(given: Shares) -> Shares:
    """As frouros fills empty bins."""
    return [share or float(np.finfo(float).tiny) for share in given]


def chi_square() -> float:
    known = [CATEGORIES_REFERENCE.get(name, 0) for name in CATEGORIES_CURRENT]
    statistic, freedom = distances.chi_square(known, [*CATEGORIES_CURRENT.values()])
    assert chi_squared.beyond(statistic, freedom) == pytest.approx(7.8e-37, rel=0.01)
    return statistic


@pytest.mark.parametrize(
    ("peer", "ours", "digits"),
    [
        ("Evidently, numbers: psi", lambda: distances.psi(*map(filled, sturges())), "0.13654837"),
        ("Evidently, numbers: jensenshannon", lambda: nats(sturges()), "0.12782644"),
        ("Evidently, numbers: wasserstein", lambda: distances.wasserstein(*each_value()), "0.31169519"),
        ("Evidently, numbers: hellinger", lambda: distances.hellinger(*sturges()), "0.13012999"),
        ("Evidently, categories: psi", lambda: distances.psi(*map(filled, categories())), "0.17045084"),
        ("Evidently, categories: jensenshannon", lambda: nats(categories()), "0.11304074"),
        ("Evidently, categories: hellinger", lambda: distances.hellinger(*categories()), "0.12890824"),
        (
            "NannyML, numbers: jensen_shannon",
            lambda: distances.jensen_shannon_distance(*doane()),
            "0.15446212",
        ),
        ("NannyML, numbers: hellinger", lambda: distances.hellinger(*doane()), "0.13140689"),
        ("NannyML, numbers: wasserstein", plain_wasserstein, "0.31165421"),
        ("NannyML, numbers: D", lambda: distances.kolmogorov_smirnov(*each_value()[:2]), "0.1278"),
        (
            "NannyML, categories: jensen_shannon",
            lambda: distances.jensen_shannon_distance(*categories()),
            "0.13577577",
        ),
        ("NannyML, categories: l_infinity", lambda: distances.l_infinity(*categories()), "0.1"),
        ("NannyML, categories: chi2", chi_square, "170.97701"),
        ("TFDV's formula: bits", lambda: distances.jensen_shannon(*categories()), "0.01843506"),
        ("frouros: PSI", lambda: distances.psi(*map(or_tiny, ten_equal())), "0.13227755"),
        ("frouros: JS", lambda: nats(read_between_bins()), "0.12488375"),
        ("frouros: Hellinger", lambda: distances.hellinger(*ten_equal()), "0.12681484"),
        ("frouros: EMD", plain_wasserstein, "0.31165421"),
    ],
    ids=lambda value: value if isinstance(value, str) and ":" in value else "",
)
def test_the_digits_of_other_packages_are_ours(peer: str, ours: Callable[[], float], digits: str) -> None:
    assert f"{ours():.{len(digits.partition('.')[2])}f}" == digits
