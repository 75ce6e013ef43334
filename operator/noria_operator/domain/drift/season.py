"""The same time of earlier weeks: when it was, and what came in then.

Comes in: a window, a time zone, what was counted in the windows before it. Goes out: the times of those, and
one sample to compare with. Invariants: a window is compared with windows that are as long, at the same time
by the clock on the wall; counts of other versions are in other bins and stay out; weeks that nobody remembers
are left out, so that a reference is as large as its noise floor says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from math import ceil
from typing import Final

from noria_operator.domain.drift.columns import PREDICTION, Column, Seen, with_bins

WEEKS: Final = 4
"""How many are looked at: enough that one strange week is a fourth, few enough that a year's season is not
averaged away.
"""
WEEK: Final = timedelta(weeks=1)
_LATE: Final = timedelta(hours=1)
"""By how much a window of a week may be longer: it closes when somebody looks."""

Week = Mapping[str, Seen]
Span = tuple[datetime, datetime]
"""Beginning and end of a window that is over."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What came in at the same time of so many `weeks`, by column."""

    bins: Mapping[str, tuple[int, ...]]
    weeks: int
    rows: int


def earlier(begin: datetime, end: datetime, zone: tzinfo, weeks: int = WEEKS) -> list[Span]:
    """The same time of the weeks before, the newest first; as many weeks apart as none reaches into the next
    one, or into this window. Clocks that were changed meanwhile are followed: 9 o'clock is 9 o'clock.
    """
    local, length = begin.astimezone(zone), end - begin
    apart = max(1, ceil((length - _LATE) / WEEK)) * WEEK
    starts = [(local - number * apart).astimezone(UTC) for number in range(1, weeks + 1)]
    return [(start, start + length) for start in starts]


def usual(weeks: Iterable[Week]) -> Usual:
    """The sum of the weeks in which the version predicted anything."""
    known = [week for week in weeks if PREDICTION in week and week[PREDICTION].rows]
    names = {name for week in known for name in week}
    bins = {name: _sum([week[name].bins for week in known if name in week]) for name in names}
    return Usual(bins, len(known), sum(week[PREDICTION].rows for week in known))


def compared(columns: Sequence[Column], known: Usual, least: int) -> list[Column]:
    """The columns with what was usual as their reference; one with fewer values than `least` then cannot be
    judged.
    """
    each = [known.bins.get(column.name, ()) for column in columns]
    return [
        with_bins(column, bins if sum(bins) >= least else ())
        for column, bins in zip(columns, each, strict=True)
    ]


def _sum(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Bins of one version are as many in each week; of others nothing is added."""
    length = len(rows[0])
    return tuple(map(sum, zip(*(row for row in rows if len(row) == length), strict=True)))
