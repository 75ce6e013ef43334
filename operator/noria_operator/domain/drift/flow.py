"""Whether rows and labels come as they use to: too few, too many, none for too long.

Comes in: what came in a window that closed, and what is remembered of those before. Goes out: violations, and
what to remember. Invariants: what is remembered is bounded (an hour of the week each, 168 of them) and of no
version, so that a new champion changes nothing; an hour is never its own history; a window that closed late
(the operator was away, or a clock was set) says nothing of volume, nor does one whose beginning nobody
remembers, and that may have brought rows and labels; where copies may be among the rows of one, they are too
few by all of them, too many by those that are sure, and none of what is usual.

Rows an hour are compared as rates of Poisson counts, by the share that the window has of its own rows and
those remembered (Przyborowski and Wilenski 1940), at Wilson's bound; where few are usual, with the number
that may always come. Traffic scatters more than Poisson's: how much of it matters is what `max_change` is
for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from math import sqrt
from typing import Any, Final

from noria_operator.domain.drift.dirt import LABEL, Check, Violation
from noria_operator.domain.proportions import wilson
from noria_operator.domain.training_times import moment, stamp

Json = dict[str, Any]

HOUR: Final = timedelta(hours=1)
LATE: Final = timedelta(minutes=1)
"""So much, and half its length, a window may close later than it could have."""


@dataclass(frozen=True, slots=True)
class FlowPolicy:
    """What is tolerated; None, and 0 rows at least: anything is."""

    window: timedelta
    min_rows: int = 0
    max_rows: int | None = None
    max_change: float | None = None
    """Share of the usual rows of this hour of the week that may be missing; as many times more may come."""
    max_age: timedelta | None = None
    max_label_age: timedelta | None = None
    min_samples: int = 200
    zone: tzinfo = UTC

    @property
    def silence_counts(self) -> bool:
        """Whether a window has to close that nothing came in."""
        checked = self.max_change, self.max_age, self.max_label_age
        return bool(self.min_rows) or any(one is not None for one in checked)


@dataclass(frozen=True, slots=True)
class Came:
    """Rows of a window, copies among them, and labels that were joined in it."""

    begun: datetime
    ended: datetime
    rows: int
    labels: int
    whole: bool = True
    """Whether that is all; else more may have come before what is remembered."""
    sure: int | None = None
    """Rows that clients surely sent; None: all of them."""

    @property
    def least(self) -> int:
        """No fewer rows came from clients."""
        return self.rows if self.sure is None else self.sure

    @property
    def length(self) -> timedelta:
        return self.ended - self.begun


@dataclass(frozen=True, slots=True)
class Hour:
    """Rows that came in so many seconds of an hour of the week; earlier weeks count half as much each."""

    rows: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Hour) -> Hour:
        return Hour(self.rows + other.rows, self.seconds + other.seconds)


@dataclass(frozen=True, slots=True)
class Memory:
    """`hours` by hour of the week, Monday's first is 0; `open` is the hour that began at `at`. The newest row
    and label came at these times or before.
    """

    hours: Mapping[int, Hour] = field(default_factory=dict)
    at: datetime | None = None
    open: Hour = Hour()
    row: datetime | None = None
    label: datetime | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """`usual` rows of such a window; None: no week before this one is known."""

    violations: tuple[Violation, ...]
    memory: Memory
    usual: float | None = None


def judge(policy: FlowPolicy, came: Came, memory: Memory, z: float) -> Flow:
    """Judge a closed window; bounds are taken at `z` standard errors."""
    in_time = came.length <= 1.5 * policy.window + LATE
    memory = replace(
        memory,
        row=came.ended if came.rows or not came.whole else memory.row or came.begun,
        label=came.ended if came.labels or not came.whole else memory.label or came.begun,
    )
    found = [*_ages(policy, came, memory)]
    if not (in_time and came.whole):
        return Flow(tuple(found), memory)
    found = [*_rows(policy, came), *found]
    if policy.max_change is None:
        return Flow(tuple(found), memory)
    memory, place = _turned(memory, came, policy.zone)
    before = memory.hours.get(place, Hour())
    usual = before.rows * came.length.total_seconds() / before.seconds if before.seconds else None
    rows = float(came.rows)
    if usual is not None and (strange := _change(policy, came, before, usual, z)):
        found.insert(0, strange)
        if usual:  # one strange week must not make the next one strange; the first one with rows tells more
            rows = strange.tolerated
    if came.sure is not None:
        return Flow(tuple(found), memory, usual)
    return Flow(
        tuple(found), replace(memory, open=memory.open + Hour(rows, came.length.total_seconds())), usual
    )


def _rows(policy: FlowPolicy, came: Came) -> Iterator[Violation]:
    """Rows of a window that closed a little late are those of its whole length, where there are too many."""
    least, most = float(policy.min_rows), policy.max_rows
    if came.rows < least:
        yield _volume(came.rows, least)
    fit = came.least * min(1.0, policy.window / came.length)
    if most is not None and fit > most:
        yield _volume(came.least, float(most))


def _change(policy: FlowPolicy, came: Came, before: Hour, usual: float, z: float) -> Violation | None:
    """Whether there are surely fewer, or surely more rows than tolerated; what may come in a quiet hour is at
    least what a window needs to be judged.
    """
    assert policy.max_change is not None
    kept = 1 - policy.max_change
    _, high = wilson(came.rows, round(came.rows + before.rows), z)
    if usual >= policy.min_samples and high < _share(kept * usual, before.rows):
        return _volume(came.rows, kept * usual)
    most = max(usual, policy.min_samples) / kept
    if usual < policy.min_samples:  # `most` is a number then, which no share of few rows tells
        return _volume(came.least, most) if came.least - z * sqrt(came.least) > most else None
    low, _ = wilson(came.least, round(came.least + before.rows), z)
    return _volume(came.least, most) if low > _share(most, before.rows) else None


def _share(rows: float, others: float) -> float:
    return rows / (rows + others) if rows + others else 0.0


def _volume(rows: int, tolerated: float) -> Violation:
    return Violation("", Check.VOLUME, float(rows), float(rows), tolerated, rows)


def _ages(policy: FlowPolicy, came: Came, memory: Memory) -> Iterator[Violation]:
    for name, most, newest in (
        ("", policy.max_age, memory.row),
        (LABEL, policy.max_label_age, memory.label),
    ):
        age = came.ended - (newest or came.ended)
        if most is not None and age > most:
            seconds = age.total_seconds()
            yield Violation(name, Check.FRESHNESS, seconds, seconds, most.total_seconds(), came.rows)


def _turned(memory: Memory, came: Came, zone: tzinfo) -> tuple[Memory, int]:
    """The memory with the hour of this window open, and its place in the week; a window belongs to the hour
    of its middle.
    """
    at = (came.begun + came.length / 2).replace(minute=0, second=0, microsecond=0)
    place = _place(at, zone)
    if memory.at == at:
        return memory, place
    hours = dict(memory.hours)
    if memory.at is not None:
        known, past = hours.get(_place(memory.at, zone), Hour()), memory.open
        hours[_place(memory.at, zone)] = Hour(known.rows / 2 + past.rows, known.seconds / 2 + past.seconds)
    return replace(memory, hours=hours, at=at, open=Hour()), place


def _place(at: datetime, zone: tzinfo) -> int:
    local = at.astimezone(zone)
    return 24 * local.weekday() + local.hour


def as_json(policy: FlowPolicy, memory: Memory) -> Json:
    """What the policy needs, as status has it."""
    found: Json = {}
    if policy.max_age is not None and memory.row:
        found["rowAt"] = stamp(memory.row)
    if policy.max_label_age is not None and memory.label:
        found["labelAt"] = stamp(memory.label)
    if policy.max_change is not None and memory.at:
        found["zone"] = str(policy.zone)
        found["hour"] = [stamp(memory.at), *_numbers(memory.open)]
        found["hours"] = {str(place): _numbers(hour) for place, hour in sorted(memory.hours.items())}
    return found


def parse(state: Mapping[str, Any], zone: tzinfo) -> Memory:
    """What `as_json` wrote; hours of another time zone are other hours."""
    times = (moment(state[name]) if state.get(name) else None for name in ("rowAt", "labelAt"))
    if state.get("zone") != str(zone):
        return Memory({}, None, Hour(), *times)
    at, *numbers = state.get("hour") or (None, 0, 0)
    hours = {int(place): Hour(*map(float, each)) for place, each in (state.get("hours") or {}).items()}
    return Memory(hours, moment(at) if at else None, Hour(*map(float, numbers)), *times)


def _numbers(hour: Hour) -> list[int]:
    return [round(hour.rows), round(hour.seconds)]


KEPT: Final = ("rowAt", "labelAt", "zone", "hour", "hours")
"""Of no version and no wording of the rule."""
