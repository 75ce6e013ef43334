"""The normal mixture against the check values of its reference."""

from __future__ import annotations

from math import exp, inf, isclose, log, log1p, sqrt

import pytest

from noria_operator.domain.sequences import boundary, log_one_sided, log_two_sided, tuned

V, ALPHA = 100.0, 0.05


def bound(rho: float) -> float:
    """The sum at which the one-sided e-value reaches 1/alpha."""
    low, high = 0.0, 1000.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if log_one_sided(middle, V, rho) < log(1 / ALPHA) else (low, middle)
    return low


def test_the_two_sided_boundary_has_the_published_values() -> None:
    rho = tuned(V, ALPHA)
    assert rho == pytest.approx(12.60056, abs=5e-6)
    assert log_two_sided(10, V, rho) == pytest.approx(-0.6510052, abs=5e-8)
    reached = sqrt((V + rho) * (log1p(V / rho) + 2 * log(1 / ALPHA)))
    assert reached == pytest.approx(30.35209, abs=5e-6)
    assert log_two_sided(reached, V, rho) == pytest.approx(log(1 / ALPHA))


def test_the_one_sided_boundary_has_the_published_values() -> None:
    rho = tuned(V, 2 * ALPHA)
    assert log_one_sided(10, V, rho) == pytest.approx(-0.06502391, abs=5e-9)
    assert bound(rho) == pytest.approx(27.66071, abs=5e-6)


@pytest.mark.parametrize("alpha", [0.05, 1e-4])
@pytest.mark.parametrize("v", [1.0, 30.0, 1000.0])
def test_the_boundary_is_where_the_one_sided_test_rejects(alpha: float, v: float) -> None:
    reached = log_one_sided(boundary(v, alpha, tightest=30), v, tuned(30, 2 * alpha))
    assert exp(reached) * alpha == pytest.approx(1, abs=0.02)
    assert boundary(0, alpha, tightest=0) == 0


def test_far_out_it_stays_a_number_and_goes_on_smoothly() -> None:
    rho = tuned(V, 2 * ALPHA)
    before, after = (log_one_sided(-z * sqrt(V + rho), V, rho) for z in (29.999, 30.001))
    assert isclose(exp(before - after), 1, abs_tol=0.01)
    assert log_one_sided(-1e9, V, rho) < -10
    assert log_one_sided(1.0, inf, rho) == inf
