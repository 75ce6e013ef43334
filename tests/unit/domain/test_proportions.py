"""Wilson's interval is the one that statsmodels and the literature give."""

from __future__ import annotations

import pytest
from scipy import stats

from noria_operator.domain.proportions import Z95, wilson


@pytest.mark.parametrize(("hits", "of"), [(0, 10), (1, 10), (5, 10), (10, 10), (37, 5000), (1, 1)])
def test_wilsons_interval_is_scipys(hits: int, of: int) -> None:
    found = stats.binomtest(hits, of).proportion_ci(0.95, method="wilson")
    assert wilson(hits, of) == pytest.approx((found.low, found.high), abs=1e-9)


def test_nothing_counted_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert pytest.approx(1.959964, abs=1e-6) == Z95
