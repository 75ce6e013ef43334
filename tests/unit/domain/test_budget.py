"""Cooldown and budget hold whatever the order and the number of attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.domain.budget import Block, Limits, Past, blocked, grown, next_eligible

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("ago", "limits", "expected"),
    [
        ([], Limits(6 * HOUR, 1), None),
        ([7], Limits(6 * HOUR), None),
        ([6], Limits(6 * HOUR), None),
        ([5], Limits(6 * HOUR), Block.COOLDOWN),
        ([5], Limits(timedelta()), None),
        ([30, 20, 10], Limits(6 * HOUR, 3, 48 * HOUR), Block.BUDGET),
        ([49, 20, 10], Limits(6 * HOUR, 3, 48 * HOUR), None),
        ([30, 20, 1], Limits(6 * HOUR, 3, 48 * HOUR), Block.BUDGET),
    ],
)
def test_what_holds_a_run_is_named(ago: list[int], limits: Limits, expected: Block | None) -> None:
    assert blocked(limits, [Past(NOW - hours * HOUR) for hours in ago], NOW) is expected


def test_a_person_waits_for_the_budget_but_not_for_the_cooldown() -> None:
    last = [Past(NOW - HOUR)]
    assert blocked(Limits(6 * HOUR, 2), last, NOW, cooldown=False) is None
    assert blocked(Limits(6 * HOUR, 1), last, NOW, cooldown=False) is Block.BUDGET


limits = st.builds(
    Limits,
    cooldown=st.integers(0, 600).map(lambda minutes: timedelta(minutes=minutes)),
    max_runs=st.none() | st.integers(1, 5),
    per=st.integers(1, 2000).map(lambda minutes: timedelta(minutes=minutes)),
    max_cpu_hours=st.none() | st.integers(1, 20),
    max_gpu_hours=st.none() | st.integers(1, 6),
)


@given(limits, st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=80))
def test_the_budget_is_never_exceeded_in_any_window(rule: Limits, attempts: list[tuple[int, bool]]) -> None:
    runs: list[datetime] = []
    now = NOW
    for minutes, by_hand in attempts:
        now += timedelta(minutes=minutes)
        if blocked(rule, map(Past, runs), now, cooldown=not by_hand) is None:
            runs.append(now)
    for start in runs:
        within = [run for run in runs if start <= run < start + rule.per]
        assert rule.max_runs is None or len(within) <= rule.max_runs


@given(limits, st.lists(st.integers(0, 3000), max_size=20))
def test_a_run_may_start_at_the_next_eligible_time_and_not_before(rule: Limits, ago: list[int]) -> None:
    runs = [Past(NOW - timedelta(minutes=minutes), cpu=minutes % 7, gpu=minutes % 3) for minutes in ago]
    when = next_eligible(rule, runs, NOW)
    assert blocked(rule, runs, when) is None
    assert when == NOW or blocked(rule, runs, when - timedelta(seconds=1)) is not None


@pytest.mark.parametrize(
    ("limits", "block", "eligible"),
    [
        (Limits(timedelta(), per=24 * HOUR, max_cpu_hours=10), Block.BUDGET, 4),
        (Limits(timedelta(), per=24 * HOUR, max_cpu_hours=4), Block.BUDGET, 14),
        (Limits(timedelta(), per=24 * HOUR, max_cpu_hours=11), None, 0),
        (Limits(timedelta(), per=24 * HOUR, max_gpu_hours=1), Block.BUDGET, 4),
        (Limits(timedelta(), per=24 * HOUR, max_runs=2, max_gpu_hours=2), Block.BUDGET, 4),
    ],
)
def test_hours_that_runs_used_count_while_the_runs_are_in_the_window(
    limits: Limits, block: Block | None, eligible: int
) -> None:
    runs = [
        Past(NOW - 30 * HOUR, cpu=99, gpu=99),
        Past(NOW - 20 * HOUR, cpu=6, gpu=1),
        Past(NOW - 10 * HOUR, 4),
    ]
    assert blocked(limits, runs, NOW) is block
    assert next_eligible(limits, runs, NOW) == NOW + eligible * HOUR


@pytest.mark.parametrize(
    ("cooldown", "failures", "minutes"),
    [
        (6 * HOUR, 0, 360),
        (6 * HOUR, 1, 720),
        (6 * HOUR, 3, 2880),
        (HOUR, 100, 64 * 60),
        (timedelta(minutes=0.5), 1, 1),
        (timedelta(), 2, 4),
    ],
)
def test_each_failure_in_a_row_doubles_the_cooldown(cooldown: timedelta, failures: int, minutes: int) -> None:
    assert grown(cooldown, failures) == timedelta(minutes=minutes)
