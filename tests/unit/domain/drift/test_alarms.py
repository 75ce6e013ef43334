"""Expected false alarms follow from what is tested, and a level follows from how many are allowed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from noria_operator.domain.drift.alarms import (
    Correction,
    Family,
    expected,
    level,
    needed,
    of_each,
    windows_a_month,
)

HOURLY = Family(730.5, features=20, single=1, needed=1, k=1, n=1)


def test_one_window_at_a_level_is_the_union_of_its_tests() -> None:
    assert expected(0.01, HOURLY) == pytest.approx(730.5 * 0.01)
    assert expected(0.01, replace(HOURLY, features=0)) == pytest.approx(730.5 * 0.01)
    assert expected(0.01, replace(HOURLY, features=0, single=0)) == 0


@pytest.mark.parametrize(
    ("k", "n", "alpha", "share"),
    [(2, 3, 0.01, 3.0e-4), (3, 5, 0.01, 9.9e-6), (2, 3, 0.05, 7.3e-3), (3, 5, 0.05, 1.2e-3)],
)
def test_several_windows_are_what_independent_ones_give(k: int, n: int, alpha: float, share: float) -> None:
    """Figures of k of n in any n windows; an alarm is told once, at the window that completes it."""
    tests = Family(1.0, features=0, single=1, needed=1, k=k, n=n)
    assert share / n < expected(alpha, tests) < share
    rng = np.random.default_rng(1)
    flags = rng.random((400_000, n)) < 0.2
    completed = flags[:, -1] & (flags.sum(axis=1) >= k)
    assert expected(0.2, tests) == pytest.approx(completed.mean(), rel=0.02)


def test_a_share_of_features_divides_what_one_of_them_gives() -> None:
    many = replace(HOURLY, needed=needed(0.3, 20), single=0)
    assert needed(0.3, 20) == 6
    assert expected(0.01, many) == pytest.approx(expected(0.01, replace(many, needed=1)) / 6)
    assert [needed(share, 10) for share in (0.0, 0.1, 0.11, 1.0)] == [1, 1, 2, 10]


@pytest.mark.parametrize("correction", Correction)
@pytest.mark.parametrize("independent", [True, False])
@pytest.mark.parametrize("allowed", [10.0, 0.1, 1e-4])
def test_the_level_for_a_number_expects_that_number(
    allowed: float, independent: bool, correction: Correction
) -> None:
    tests = replace(HOURLY, k=2, n=3, independent=independent, correction=correction)
    assert expected(level(allowed, tests), tests) == pytest.approx(allowed, rel=1e-3)


def test_more_alarms_than_any_level_gives_is_the_highest_level() -> None:
    assert level(1e9, HOURLY) == 0.5


def test_a_reference_of_a_windows_size_earns_no_credit_for_several_windows() -> None:
    tests = replace(HOURLY, k=2, n=3, independent=False)
    assert expected(0.01, tests) == pytest.approx(expected(0.01, HOURLY))


def test_windows_of_no_length_have_a_second() -> None:
    assert windows_a_month(timedelta()) == windows_a_month(timedelta(seconds=1))
    assert windows_a_month(timedelta(hours=1)) == pytest.approx(730.5)


def test_benjamini_and_hochberg_find_more_than_bonferroni() -> None:
    p = [0.001, 0.021, 0.03, 0.6, 0.002, 0.9, 0.04, 0.05, 0.07, 0.5]
    assert [x for x in p if x <= of_each(p, 0.05, Correction.BONFERRONI)] == [0.001, 0.002]
    found = of_each(p, 0.15, Correction.BENJAMINI_HOCHBERG)
    assert [x for x in p if x > found] == [0.6, 0.9, 0.5]
    assert found == pytest.approx(0.15 * 7 / 10)
    assert of_each([], 0.05, Correction.BENJAMINI_HOCHBERG) == 0.05
    assert of_each([0.9], 0.05, Correction.BENJAMINI_HOCHBERG) == 0.05
