"""Fairness by hand-computed rates, and its alarms by simulation."""

from __future__ import annotations

from datetime import timedelta
from math import inf, sqrt
from random import Random

import pytest

from noria_operator.domain.fairness import Check, Fairness, Finding, Group, Policy, enough, judge
from noria_operator.domain.fairness import _least_difference as least_difference
from noria_operator.domain.fairness import _most_ratio as most_ratio

DAY = timedelta(days=1)
Z = 1.959963984540054
GROUPS = (
    Group("f", rows=1000, positive=200, tn=450, fp=50, fn=100, tp=100),
    Group("m", rows=2000, positive=1000, tn=400, fp=200, fn=80, tp=320),
    Group("other", rows=40, positive=40, tp=30),
    Group("missing", rows=5000, positive=5000, tp=5000),
)


def found(check: Check, bound: float, groups: tuple[Group, ...] = GROUPS) -> Finding:
    [one] = judge(Policy({check: bound}), groups, DAY).findings
    return one


@pytest.mark.parametrize(
    ("check", "value", "rates"),
    [
        (Check.PARITY_DIFFERENCE, 0.3, (0.5, 0.2)),  # 1000/2000 - 200/1000
        (Check.PARITY_RATIO, 0.4, (0.5, 0.2)),  # 0.2 / 0.5
        (Check.OPPORTUNITY_DIFFERENCE, 0.3, (0.8, 0.5)),  # 320/400 - 100/200
        (Check.ODDS_DIFFERENCE, 0.3, (0.8, 0.5)),  # the same; of negative labels 200/600 - 50/500
    ],
)
def test_values_are_those_of_the_definitions(check: Check, value: float, rates: tuple[float, float]) -> None:
    one = found(check, 0.8 if check is Check.PARITY_RATIO else 0.05)
    assert one.value == pytest.approx(value)
    assert one.rates == pytest.approx(rates)
    assert (one.low, one.high, one.left_out, one.exceeded) == ("f", "m", ("other",), True)


def test_odds_differ_by_the_larger_of_both_differences() -> None:
    groups = (Group("f", 900, tn=300, fp=300, fn=150, tp=150), Group("m", 900, tn=570, fp=30, fn=140, tp=160))
    one = found(Check.ODDS_DIFFERENCE, 0.2, groups)
    assert (one.value, one.of, one.exceeded) == (pytest.approx(0.45), "of negative labels", True)
    assert (one.high, one.low, one.rates, one.samples) == ("f", "m", pytest.approx((0.5, 0.05)), 1800)
    assert not found(Check.ODDS_DIFFERENCE, 0.45, groups).exceeded


def test_odds_are_compared_between_groups_with_labels_of_both_kinds() -> None:
    policy = Policy({Check.ODDS_DIFFERENCE: 0.1})
    lenient = Group("x", 900, tn=900)
    assert not enough(policy, (GROUPS[0], lenient))
    assert enough(policy, (*GROUPS[:2], lenient))
    assert found(Check.ODDS_DIFFERENCE, 0.1, (*GROUPS[:2], lenient)).left_out == ("x",)


def test_two_kinds_of_rate_share_the_false_alarms() -> None:
    """What is sure of the difference among positive labels is less sure where negative ones are looked at."""
    assert found(Check.ODDS_DIFFERENCE, 0.1).surely < found(Check.OPPORTUNITY_DIFFERENCE, 0.1).surely


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """His example (1998, table II a): 56/70 against 48/80, method 10: 0.0524 to 0.3339."""
    assert least_difference((56, 70), (48, 80), Z) == pytest.approx(0.0524, abs=5e-5)
    assert -least_difference((48, 80), (56, 70), Z) == pytest.approx(0.3339, abs=5e-5)


def test_the_interval_of_a_ratio_ends_where_that_of_the_difference_meets_it() -> None:
    """At its upper end r the interval of p(low) - r p(high), by the same method, ends at 0."""
    from noria_operator.domain.proportions import wilson

    high, low = (120, 300), (60, 250)
    ratio = most_ratio(high, low, Z)
    one, other = high[0] / high[1], low[0] / low[1]
    least, most = wilson(*high, Z)[0], wilson(*low, Z)[1]
    upper = other - ratio * one + sqrt((most - other) ** 2 + ratio**2 * (one - least) ** 2)
    assert upper == pytest.approx(0, abs=1e-9)
    assert most_ratio((0, 300), (10, 300), Z) == inf


def test_a_window_is_judged_once_two_groups_have_enough_of_each_kind() -> None:
    parity, both = {Check.PARITY_RATIO: 0.8}, {Check.PARITY_RATIO: 0.8, Check.OPPORTUNITY_DIFFERENCE: 0.1}
    predicted = (Group("a", rows=300, positive=9), Group("b", rows=200), Group("missing", rows=900))
    assert enough(Policy(parity), predicted)
    assert not enough(Policy(both), predicted)
    assert enough(Policy(both), GROUPS)
    assert not enough(Policy(parity), predicted[::2])
    assert not enough(Policy(parity), ())


def test_nobody_is_treated_worse_where_nobody_is_chosen() -> None:
    none = (Group("a", rows=300), Group("b", rows=300))
    one = found(Check.PARITY_RATIO, 0.8, none)
    assert (one.value, one.exceeded) == (1.0, False)


def test_small_groups_need_more_of_a_difference() -> None:
    for times, exceeded in ((1, False), (10, True)):
        groups = (Group("a", 200 * times, 60 * times), Group("b", 200 * times, 90 * times))
        assert found(Check.PARITY_DIFFERENCE, 0.05, groups).exceeded is exceeded


def drawn(random: Random, rates: tuple[float, ...], rows: int) -> tuple[Group, ...]:
    return tuple(
        Group(f"g{place}", rows, sum(random.random() < rate for _ in range(rows)))
        for place, rate in enumerate(rates)
    )


def alarms(rates: tuple[float, ...], rows: int, bounds: dict[Check, float], windows: int) -> int:
    random, policy = Random(5), Policy(bounds, false_alarms=1.0)  # one a month: a level that can be seen
    verdicts = (judge(policy, drawn(random, rates, rows), timedelta(days=3)) for _ in range(windows))
    return sum(one.findings[0].exceeded for one in verdicts)


@pytest.mark.extended
@pytest.mark.parametrize("bounds", [{Check.PARITY_DIFFERENCE: 0.1}, {Check.PARITY_RATIO: 0.8}])
def test_false_alarms_come_no_oftener_than_promised(bounds: dict[Check, float]) -> None:
    """400 windows of three days are 39 months; groups differ by just what is tolerated."""
    assert alarms((0.4, 0.5, 0.5, 0.5), 300, bounds, 400) <= 39
    assert alarms((0.5, 0.5, 0.5, 0.5), 300, bounds, 400) == 0


def test_what_is_unfair_is_found() -> None:
    verdict: Fairness = judge(
        Policy({Check.PARITY_RATIO: 0.8, Check.OPPORTUNITY_DIFFERENCE: 0.1}), GROUPS, DAY
    )
    assert [one.exceeded for one in verdict.findings] == [True, True]
    assert verdict.expected == pytest.approx(0.01, rel=0.01)
    assert alarms((0.3, 0.5), 1000, {Check.PARITY_DIFFERENCE: 0.1}, 5) == 5
