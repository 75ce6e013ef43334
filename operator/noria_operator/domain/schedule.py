"""When a cron schedule is due: keyed by the scheduled time, so that a restart neither repeats nor loses a
run.

Comes in: a cron expression, its time zone, the last scheduled time that was dealt with, now. Goes out:
the newest scheduled time since then and the next one. Older missed times are skipped, and so is the
newest when it is older than the starting deadline: after an outage a schedule yields one run at most.
Daylight saving follows Debian cron (cronsim).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

STARTING_DEADLINE: Final = timedelta(hours=1)
"""A scheduled run that could not start for this long is skipped and said so."""


class ScheduleError(ValueError):
    """The expression or the time zone is not valid."""


@dataclass(frozen=True)
class Due:
    """`at`: newest scheduled time not dealt with (None: none); `missed`: it is too old to start; `next`: the
    one to come.
    """

    at: datetime | None
    missed: bool
    next: datetime | None


def check(schedule: str, time_zone: str | None) -> None:
    """Raise `ScheduleError` unless both can be used."""
    _iterate(schedule, time_zone, datetime(2025, 1, 1, tzinfo=UTC), reverse=False)


def due(
    schedule: str,
    time_zone: str | None,
    *,
    since: datetime,
    now: datetime,
    deadline: timedelta = STARTING_DEADLINE,
) -> Due:
    """The newest scheduled time in (since, now], and the first one after now."""
    # cronsim looks strictly before its start, in whole seconds; one second more makes `now` itself count.
    edge = now.replace(microsecond=0) + timedelta(seconds=1)
    past = _iterate(schedule, time_zone, edge + _set_back(edge, time_zone), reverse=True)
    newest = next((at for at in past if at <= now), None)
    coming = next((at for at in _iterate(schedule, time_zone, now, reverse=False) if at > now), None)
    if newest is not None and newest > since:
        return Due(newest, now - newest > deadline, coming)
    return Due(None, False, coming)


def _set_back(at: datetime, time_zone: str | None) -> timedelta:
    """By how much clocks were set back, where they show this time for the second time. cronsim then takes it
    for the first one, after which scheduled times are still to come.
    """
    return at - at.astimezone(zone_named(time_zone)).replace(fold=0).astimezone(UTC)


def _iterate(schedule: str, time_zone: str | None, start: datetime, *, reverse: bool) -> Iterator[datetime]:
    if len(schedule.split()) != 5:
        raise ScheduleError(f"schedule {schedule!r} must have five fields: minute hour day month weekday")
    try:
        found = CronSim(schedule, start.astimezone(zone_named(time_zone)), reverse=reverse)
    except CronSimError as error:
        raise ScheduleError(f"schedule {schedule!r} is not a cron expression: {error}") from None
    return (at.astimezone(UTC) for at in found)


def zone_named(time_zone: str | None) -> ZoneInfo:
    """The zone with this IANA name; UTC without one. Raises `ScheduleError`."""
    try:
        return ZoneInfo(time_zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScheduleError(
            f"time zone {time_zone!r} is not known; use an IANA name such as Europe/Berlin"
        ) from None
