"""How many errors of the champion one cause makes, as far as its windows tell."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.domain.overdispersion import Overdispersion


def after(*windows: tuple[int, int]) -> Overdispersion:
    """Windows of requests and errors."""
    seen = Overdispersion()
    for requests, errors in windows:
        seen = seen.plus(requests, errors)
    return seen


windows = st.lists(st.integers(0, 50).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=9)


@given(windows)
def test_dispersion_is_pearsons_statistic_by_its_degrees_of_freedom(seen: list[tuple[int, int]]) -> None:
    counted = [(n, k) for n, k in seen if n]
    requests, errors = (sum(column) for column in zip(*counted, strict=True)) if counted else (0, 0)
    if len(counted) < 2 or errors in (0, requests):
        return
    share = errors / requests
    pearson = sum((k - n * share) ** 2 / (n * share * (1 - share)) for n, k in counted)
    assert after(*seen).dispersion == pytest.approx(pearson / (len(counted) - 1), rel=1e-9, abs=1e-9)


@given(windows)
def test_a_cause_makes_one_error_at_least_and_what_a_window_has_at_most(seen: list[tuple[int, int]]) -> None:
    found = after(*seen)
    assert 1 <= found.per_cause <= max(1, *(k for _, k in seen), 1)
    assert after(*seen, (0, 0)) == found


@pytest.mark.parametrize("seen", [(), ((90, 0),) * 9, ((90, 90),) * 9, ((90, 1), (90, 0), (90, 1))])
def test_nothing_is_known_of_causes_where_nothing_or_everything_fails_or_errors_stand_alone(
    seen: tuple[tuple[int, int], ...],
) -> None:
    assert after(*seen).per_cause == 1


def test_all_errors_of_the_only_window_may_be_of_one_cause() -> None:
    assert after((90, 7)).per_cause == 7


def test_one_burst_among_single_errors_counts_by_what_a_window_with_errors_has() -> None:
    """Not by the variance, to which one burst adds its square."""
    seen = after(*[(90, 1), (90, 0), (90, 0)] * 20, (90, 40))
    assert seen.per_cause == pytest.approx(60 / 21)
    assert seen.dispersion > 20


@pytest.mark.parametrize(("share", "requests"), [(0.005, 90), (0.02, 900), (0.1, 90)])
def test_independent_errors_are_nearly_one_a_cause_whatever_the_traffic(share: float, requests: int) -> None:
    random = np.random.default_rng(1)
    found = [
        after(*((requests, int(k)) for k in random.binomial(requests, share, size=60))) for _ in range(50)
    ]
    assert fmean(one.per_cause for one in found) < 1.15


@pytest.mark.parametrize("size", [2, 5, 20])
def test_clusters_are_known_by_their_size_once_some_were_seen(size: int) -> None:
    random = np.random.default_rng(1)
    found = [
        after(*((900, int(size * k)) for k in random.poisson(0.2, size=180))).per_cause for _ in range(50)
    ]
    assert fmean(found) == pytest.approx(size, rel=0.15)
