"""The same time of earlier weeks is one sample, by the clock on the wall, and its noise that of two."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.domain.drift.columns import PREDICTION, Column, Seen
from noria_operator.domain.drift.policy import Policy, judge
from noria_operator.domain.drift.season import WEEK, WEEKS, compared, earlier, usual

HOUR = timedelta(hours=1)
BERLIN, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")


def week(rows: int, **columns: tuple[int, ...]) -> dict[str, Seen]:
    return {PREDICTION: Seen((rows, 0))} | {name: Seen(bins) for name, bins in columns.items()}


def test_windows_of_earlier_weeks_are_as_long_and_newest_first() -> None:
    begin = datetime(2026, 6, 10, 14, 3, 7, tzinfo=UTC)
    found = earlier(begin, begin + HOUR, UTC)
    assert found == [(begin - n * WEEK, begin - n * WEEK + HOUR) for n in (1, 2, 3, 4)]
    assert len(found) == WEEKS


@pytest.mark.parametrize("change", [datetime(2026, 3, 30, tzinfo=UTC), datetime(2026, 10, 26, tzinfo=UTC)])
def test_nine_o_clock_is_nine_o_clock_after_clocks_were_changed(change: datetime) -> None:
    begin = datetime(change.year, change.month, change.day, 9, tzinfo=BERLIN).astimezone(UTC)
    ((start, end), *_) = earlier(begin, begin + HOUR, BERLIN)
    assert (start.astimezone(BERLIN).hour, end - start) == (9, HOUR)
    assert abs(begin - start - WEEK) == HOUR
    ((start, _), *_) = earlier(begin, begin + HOUR, UTC)
    assert begin - start == WEEK


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    st.integers(1, 20 * 24 * 3600),
    st.sampled_from([UTC, BERLIN, KOLKATA, ZoneInfo("America/St_Johns"), ZoneInfo("Australia/Lord_Howe")]),
)
def test_every_moment_has_its_like_about_a_week_ago_and_as_long(
    at: datetime, seconds: int, zone: ZoneInfo
) -> None:
    begin, length = at.replace(tzinfo=UTC), timedelta(seconds=seconds)
    weeks = 1 if length <= WEEK + HOUR else 2 if length <= 2 * WEEK + HOUR else 3
    later = begin
    for number, (start, end) in enumerate(earlier(begin, begin + length, zone), 1):
        assert end - start == length
        assert abs(begin - start - number * weeks * WEEK) <= HOUR
        assert end <= later + 3 * HOUR, (
            "no row is counted twice, but for clocks and a window that closed late"
        )
        later = start


@pytest.mark.parametrize(("days", "apart"), [(7, 1), (7.01, 1), (8, 2), (14, 2), (20, 3)])
def test_rows_of_a_window_of_more_than_a_week_are_in_no_other_one(days: float, apart: int) -> None:
    begin, length = datetime(2026, 6, 10, 14, tzinfo=UTC), timedelta(days=days)
    starts = [begin - number * apart * WEEK for number in (1, 2, 3, 4)]
    assert earlier(begin, begin + length, UTC) == [(start, start + length) for start in starts]


def test_weeks_are_added_up_and_those_that_nobody_remembers_left_out() -> None:
    found = usual([week(300, x=(100, 200)), {}, week(0, x=(0, 0)), week(100, x=(60, 40), y=(1, 2))])
    assert (found.weeks, found.rows) == (2, 400)
    assert found.bins == {PREDICTION: (400, 0), "x": (160, 240), "y": (1, 2)}
    assert usual([]).rows == usual([{}]).rows == 0


def test_bins_of_another_length_are_not_added() -> None:
    assert usual([week(9, x=(1, 2)), week(9, x=(1, 2, 3))]).bins["x"] == (1, 2)


def test_a_column_with_few_values_then_cannot_be_judged() -> None:
    columns = [Column("x", (7, 7)), Column("y", (7, 7)), Column("z", (7, 7))]
    known = usual([week(1000, x=(500, 500), y=(10, 10))])
    assert [one.bins for one in compared(columns, known, 200)] == [(500, 500), (0, 0), (0, 0)]


def test_a_season_is_no_drift_and_a_change_on_top_of_it_is() -> None:
    """Nights differ from days by more than any threshold; each hour is like itself a week ago."""
    rng = np.random.default_rng(5)
    policy = Policy(min_samples=200, predictions=False)
    shapes = [rng.dirichlet(np.full(10, 3.0)) for _ in range(24)]
    columns = [Column("x", (500,) * 10)]
    plain, like, changed, marks = 0, 0, 0, ["", "", ""]
    for shape in shapes:
        weeks = [week(400, x=tuple(map(int, rng.multinomial(400, shape)))) for _ in range(2)]
        now = {"x": Seen(tuple(map(int, rng.multinomial(800, shape))))}
        moved = {"x": Seen(tuple(map(int, rng.multinomial(800, np.roll(shape, 3)))))}
        before = compared(columns, usual(weeks), 200)
        first = judge(policy, columns, now, marks[0], HOUR)
        second = judge(policy, before, now, marks[1], HOUR, apart=True)
        third = judge(policy, before, moved, marks[2], HOUR, apart=True)
        marks = [one.marks for one in (first, second, third)]
        plain, like, changed = plain + first.drifted, like + second.drifted, changed + third.drifted
    assert (plain > 15, like, changed > 15) == (True, 0, True)


def test_windows_with_references_of_their_own_are_independent_however_small_these_are() -> None:
    policy, now = Policy(predictions=False), {"x": Seen((40,) * 10)}
    columns = [Column("x", (40,) * 10)]
    apart = judge(policy, columns, now, "", HOUR, apart=True).findings[0].floor
    together = judge(policy, columns, now, "", HOUR).findings[0].floor
    assert apart < together
