"""A schedule is due once for each scheduled time, whatever happens to the operator in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.domain.schedule import ScheduleError, check, due

MONDAY = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("since", "now", "at", "missed"),
    [
        (-MINUTE, -timedelta(seconds=1), None, False),
        (-MINUTE, timedelta(), MONDAY, False),
        (-MINUTE, timedelta(milliseconds=1), MONDAY, False),
        (-MINUTE, 59 * MINUTE, MONDAY, False),
        (-MINUTE, 60 * MINUTE, MONDAY, False),
        (-MINUTE, 60 * MINUTE + timedelta(milliseconds=1), MONDAY, True),
        (timedelta(), 59 * MINUTE, None, False),
        (timedelta(days=-30), 5 * MINUTE, MONDAY, False),
    ],
)
def test_only_the_newest_time_since_the_last_one_is_due(
    since: timedelta, now: timedelta, at: datetime | None, missed: bool
) -> None:
    found = due("0 2 * * 1", None, since=MONDAY + since, now=MONDAY + now)
    assert (found.at, found.missed) == (at, missed)
    assert found.next is not None
    assert found.next > MONDAY + now


def test_a_time_zone_moves_the_schedule_through_daylight_saving() -> None:
    winter = due("0 2 * * *", "Europe/Berlin", since=MONDAY - timedelta(hours=3), now=MONDAY)
    assert winter.at == datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
    july = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
    summer = due(
        "0 2 * * *", "Europe/Berlin", since=july - timedelta(days=1), now=july, deadline=timedelta(days=1)
    )
    assert summer.at == datetime(2026, 7, 1, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("minutes", range(0, 121, 10))
@pytest.mark.parametrize(
    ("schedule", "zone", "at", "following"),
    [
        ("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 25, 0, 30), datetime(2026, 10, 26, 1, 30)),
        ("30 1,2 * * *", "America/New_York", datetime(2026, 11, 1, 5, 30), datetime(2026, 11, 1, 7, 30)),
        ("50 23 * * *", "America/Santiago", datetime(2026, 4, 5, 2, 50), datetime(2026, 4, 6, 3, 50)),
    ],
)
def test_a_time_that_clocks_show_twice_is_over_after_the_first_one(
    schedule: str, zone: str, at: datetime, following: datetime, minutes: int
) -> None:
    first, later = at.replace(tzinfo=UTC), following.replace(tzinfo=UTC)
    now = first + minutes * MINUTE
    found = due(schedule, zone, since=first - MINUTE, now=now)
    assert (found.at, found.missed) == ((first, minutes > 60) if now < later else (later, False))
    if now < later:
        assert found.next == later
    assert due(schedule, zone, since=now, now=now).at is None


@pytest.mark.parametrize(
    ("schedule", "zone", "says"),
    [
        ("0 2 * *", None, "five fields"),
        ("0 0 2 * * 1", None, "five fields"),
        ("61 2 * * 1", None, "not a cron"),
        ("0 2 31 2 *", None, "not a cron"),
        ("0 2 * * 1", "Mars/Olympus", "not known"),
        ("0 2 * * 1", "../etc/passwd", "not known"),
    ],
)
def test_a_schedule_that_cannot_be_used_says_why(schedule: str, zone: str | None, says: str) -> None:
    with pytest.raises(ScheduleError, match=says):
        check(schedule, zone)


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=40))
def test_every_scheduled_time_is_handled_at_most_once_and_none_before_it_is_due(gaps: list[int]) -> None:
    handled = now = MONDAY
    started: list[datetime] = []
    for minutes in gaps:
        now += minutes * MINUTE
        found = due("30 */6 * * *", "America/New_York", since=handled, now=now)
        if found.at is not None:
            assert found.at <= now
            handled = found.at
            if not found.missed:
                started.append(found.at)
    assert started == sorted(set(started))
