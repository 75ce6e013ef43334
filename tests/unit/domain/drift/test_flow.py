"""Rows and labels that do not come as they use to are found, and nothing that chance or a clock explains."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import NormalDist
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.domain.drift.dirt import LABEL, Check
from noria_operator.domain.drift.flow import Came, Flow, FlowPolicy, Memory, as_json, judge, parse

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, WEEK = timedelta(hours=1), timedelta(weeks=1)
QUARTER = timedelta(minutes=15)
Z = 4.0
CHANGE = FlowPolicy(window=HOUR, max_change=0.5)


def came(rows: int, labels: int = 0, at: datetime = MONDAY, length: timedelta = HOUR) -> Came:
    return Came(at, at + length, rows, labels)


def checks(found: Flow) -> list[tuple[str, Check]]:
    return [(one.column, one.check) for one in found.violations]


def weeks(*rows: int, policy: FlowPolicy = CHANGE, at: datetime = MONDAY, z: float = Z) -> Flow:
    """The same hour of one week after the other, and an ordinary hour after each."""
    found = Flow((), Memory())
    for number, each in enumerate(rows):
        begin = at + number * WEEK
        found = judge(policy, came(each, at=begin), found.memory, z)
        memory = judge(policy, came(500, at=begin + HOUR), found.memory, z).memory
        found = Flow(found.violations, parse(as_json(policy, memory), policy.zone), found.usual)
    return found


@pytest.mark.parametrize(
    ("rows", "length", "found"),
    [
        (1000, HOUR, False),
        (5000, HOUR, False),
        (999, HOUR, True),
        (5001, HOUR, True),
        (0, HOUR, True),
        (5400, 1.1 * HOUR, False),
        (5600, 1.1 * HOUR, True),
        (0, 3 * HOUR, False),
    ],
)
def test_rows_have_a_least_and_a_most_for_a_window_of_its_length(
    rows: int, length: timedelta, found: bool
) -> None:
    policy = FlowPolicy(window=HOUR, min_rows=1000, max_rows=5000)
    said = judge(policy, came(rows, length=length), Memory(), Z)
    assert checks(said) == [("", Check.VOLUME)] * found


def test_nothing_is_asked_of_rows_unless_a_bound_is_set() -> None:
    for policy in (FlowPolicy(window=HOUR), FlowPolicy(window=HOUR, max_rows=5)):
        assert not policy.silence_counts
        assert checks(judge(policy, came(0), Memory(), Z)) == []
    for policy in (
        FlowPolicy(window=HOUR, min_rows=1),
        FlowPolicy(window=HOUR, max_age=HOUR),
        FlowPolicy(window=HOUR, max_label_age=HOUR),
        CHANGE,
    ):
        assert policy.silence_counts


def test_what_came_before_anybody_remembers_is_not_taken_for_nothing() -> None:
    policy = FlowPolicy(window=HOUR, min_rows=1000, max_change=0.5, max_age=QUARTER, max_label_age=QUARTER)
    known = judge(policy, came(2000, 5, at=MONDAY - WEEK), Memory(), Z).memory
    end = Came(MONDAY, MONDAY + HOUR, 3, 0, whole=False)
    found = judge(policy, end, known, Z)
    assert (checks(found), found.usual) == ([], None)
    assert (found.memory.row, found.memory.label) == (end.ended, end.ended)
    assert (found.memory.open, found.memory.hours) == (known.open, known.hours)


@pytest.mark.parametrize(
    ("rows", "sure", "found"),
    [(5001, 5000, False), (9000, 1000, False), (9000, 5001, True), (999, 0, True), (1000, 0, False)],
)
def test_of_rows_that_may_be_copies_only_what_is_sure_is_too_much_and_only_all_of_them_too_few(
    rows: int, sure: int, found: bool
) -> None:
    policy = FlowPolicy(window=HOUR, min_rows=1000, max_rows=5000)
    said = judge(policy, replace(came(rows), sure=sure), Memory(), Z)
    assert checks(said) == [("", Check.VOLUME)] * found


def test_a_window_of_which_some_rows_may_be_copies_is_compared_with_what_is_usual_and_is_none_of_it() -> None:
    for rows, sure, found in ((1500, 500, 0), (8000, 1500, 0), (700, 100, 1), (9000, 8000, 1)):
        known = weeks(2000).memory
        said = judge(CHANGE, replace(came(rows, at=MONDAY + WEEK), sure=sure), known, Z)
        assert (said.usual, checks(said)) == (2000, [("", Check.VOLUME)] * found), rows
        after = judge(CHANGE, came(500, at=MONDAY + WEEK + HOUR), said.memory, Z).memory
        assert judge(CHANGE, came(2000, at=MONDAY + 2 * WEEK), after, Z).usual == 2000


def test_rows_are_compared_with_the_same_hour_of_earlier_weeks() -> None:
    first = weeks(2000)
    assert (first.usual, checks(first)) == (None, [])
    assert (weeks(2000, 1300).usual, checks(weeks(2000, 1300))) == (2000, [])
    for rows in (500, 0, 8000):
        assert checks(weeks(2000, rows)) == [("", Check.VOLUME)], rows
    assert checks(weeks(2000, 3700)) == []
    assert weeks(2000, 500).violations[0].tolerated == 1000
    assert weeks(2000, 8000).violations[0].tolerated == 4000


def test_the_hour_that_runs_is_not_its_own_history() -> None:
    policy = FlowPolicy(window=QUARTER, max_change=0.5)
    memory = Memory()
    for number in range(4):
        found = judge(policy, came(600, at=MONDAY + number * QUARTER, length=QUARTER), memory, Z)
        memory = found.memory
        assert found.usual is None
    found = judge(policy, came(600, at=MONDAY + WEEK, length=QUARTER), memory, Z)
    assert found.usual == 600


def test_one_strange_week_does_not_make_the_next_one_strange() -> None:
    assert checks(weeks(2000, 0)) and checks(weeks(2000, 90_000))
    assert checks(weeks(2000, 0, 2000)) == []
    assert checks(weeks(2000, 90_000, 2000)) == []


def test_a_lasting_change_is_usual_after_some_weeks() -> None:
    assert checks(weeks(2000, 9000))
    assert not checks(weeks(2000, *[9000] * 5))
    assert not checks(weeks(9000, *[2000] * 5))


def test_a_quiet_hour_may_have_as_many_rows_as_a_window_needs() -> None:
    assert checks(weeks(5, 380)) == []
    assert checks(weeks(0, 100_000)) == [("", Check.VOLUME)]
    assert checks(weeks(0, 100_000, 100_000)) == [], "the first rows of an hour are usual from then on"
    assert checks(weeks(150, 0)) == [], "too few to miss"


@pytest.mark.parametrize("usual", [0, 1, 3, 10, 100, 199])
def test_a_quiet_hour_may_have_four_hundred_rows_and_not_five_hundred_or_a_million(usual: int) -> None:
    """200 rows by 1 - 0.5, however few are usual."""
    assert [bool(weeks(usual, rows).violations) for rows in (400, 430, 500, 1000, 10**9)] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_few_rows_are_no_change_that_is_sure() -> None:
    assert checks(weeks(210, 100)) == []
    assert checks(weeks(210, 20)) == [("", Check.VOLUME)]


def test_hours_are_those_of_the_time_zone_through_a_change_of_clocks() -> None:
    berlin = FlowPolicy(window=HOUR, max_change=0.5, zone=ZoneInfo("Europe/Berlin"))
    nine = datetime(2026, 3, 25, 9, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    memory = judge(berlin, came(2000, at=nine), Memory(), Z).memory
    memory = judge(berlin, came(40, at=nine + HOUR), memory, Z).memory
    later = datetime(2026, 4, 1, 9, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    assert later - nine == WEEK - HOUR
    assert judge(berlin, came(2000, at=later), memory, Z).usual == 2000
    assert parse(as_json(berlin, memory), UTC).hours == {}, "hours of another zone are others"


def test_rows_and_labels_may_stay_away_for_so_long() -> None:
    policy = FlowPolicy(window=HOUR, max_age=2 * HOUR, max_label_age=4 * HOUR)
    memory, told = Memory(), []
    for number, (rows, labels) in enumerate([(9, 1), (9, 0), (0, 0), (0, 0), (0, 0), (0, 0), (9, 0), (9, 1)]):
        found = judge(policy, came(rows, labels, at=MONDAY + number * HOUR), memory, Z)
        memory = parse(as_json(policy, found.memory), UTC)
        told.append([name for name, _ in checks(found)])
    assert told == [[], [], [], [], [""], ["", LABEL], [LABEL], []]


def test_what_never_came_is_old_from_the_first_window_on() -> None:
    policy = FlowPolicy(window=HOUR, max_label_age=2 * HOUR)
    memory = judge(policy, came(9), Memory(), Z).memory
    assert memory.label == MONDAY
    found = judge(policy, came(9, at=MONDAY + 2 * HOUR), memory, Z)
    assert checks(found) == [(LABEL, Check.FRESHNESS)]
    assert (found.violations[0].share, found.violations[0].tolerated) == (3 * 3600, 2 * 3600)


def test_a_clock_that_jumps_says_nothing_of_volume() -> None:
    policy = FlowPolicy(window=QUARTER, min_rows=100, max_change=0.5)
    before = judge(policy, came(500, at=MONDAY, length=QUARTER), Memory(), Z).memory
    ahead = judge(policy, came(10, at=MONDAY + QUARTER, length=QUARTER + 2 * HOUR), before, Z)
    assert (checks(ahead), ahead.memory.hours, ahead.memory.open) == ([], before.hours, before.open)
    back = judge(policy, came(500, at=MONDAY - 5 * HOUR, length=QUARTER), before, Z)
    assert checks(back) == []


def test_a_clock_that_is_set_back_makes_nothing_old() -> None:
    policy = FlowPolicy(window=HOUR, max_age=HOUR)
    memory = judge(policy, came(9, at=MONDAY + 9 * HOUR), Memory(), Z).memory
    assert checks(judge(policy, came(0), memory, Z)) == []


@pytest.mark.simulated
def test_false_alarms_stay_below_what_is_stated() -> None:
    """Two thousand weeks at the very edge of what is tolerated, where rows come by chance alone."""
    rng, level = np.random.default_rng(3), 0.01
    z, alarms = -NormalDist().inv_cdf(level), 0
    for usual, rows in zip(rng.poisson(1000, 2000).tolist(), rng.poisson(500, 2000).tolist(), strict=True):
        alarms += bool(weeks(usual, rows, z=z).violations)
    assert 0 < alarms <= 2000 * level + 3 * (2000 * level) ** 0.5


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 10**7), st.integers(1, 200)), min_size=1, max_size=60
    )
)
def test_what_is_remembered_is_bounded_whatever_comes(windows: list[tuple[int, int, int]]) -> None:
    policy = FlowPolicy(window=HOUR, max_change=0.3, max_age=HOUR, max_label_age=HOUR)
    memory = Memory()
    for hours, rows, minutes in windows:
        window = came(rows, rows % 2, at=MONDAY + hours * HOUR, length=timedelta(minutes=minutes))
        found = judge(policy, window, memory, Z)
        memory = parse(as_json(policy, found.memory), UTC)
        assert all(one.tolerated >= 0 for one in found.violations)
    assert set(memory.hours) <= set(range(168))
    assert len(json.dumps(as_json(policy, memory))) < 168 * 30 + 200
