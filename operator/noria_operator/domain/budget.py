"""How often retraining may run: a cooldown after the last run and at most `max_runs` in any `per` of time.

Comes in: the times of past runs (from status), the limits, now. Goes out: whether a run may start, what
holds it and from when on it may. Invariant: a run is recorded in status before it is made, so the budget
holds across restarts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum


class Block(Enum):
    """What holds a run back; the values of `status.blockedBy`."""

    COOLDOWN = "Cooldown"
    """The last run is too recent."""
    BUDGET = "Budget"
    """As many runs as the budget allows were started in its period."""
    CONCURRENCY = "Concurrency"
    """A run is live, or its version is being rolled out."""
    SUSPENDED = "Suspended"
    """spec.suspend is true."""
    INVALID = "InvalidSpec"
    """The spec cannot be used."""


@dataclass(frozen=True)
class Limits:
    """`max_runs` (at least 1) None: no budget. Runs are counted in the sliding window (now - per, now]."""

    cooldown: timedelta
    max_runs: int | None = None
    per: timedelta = timedelta(days=7)


def blocked(
    limits: Limits, runs: Iterable[datetime], now: datetime, *, cooldown: bool = True
) -> Block | None:
    """What holds a run at `now`; `cooldown=False` for a run that a person asked for."""
    past = sorted(runs)
    if _budget_free(limits, past) > now:
        return Block.BUDGET
    if cooldown and past and past[-1] + limits.cooldown > now:
        return Block.COOLDOWN
    return None


def next_eligible(limits: Limits, runs: Iterable[datetime], now: datetime) -> datetime:
    """The first time at which neither cooldown nor budget holds a run."""
    past = sorted(runs)
    times = [now, _budget_free(limits, past)]
    if past:
        times.append(past[-1] + limits.cooldown)
    return max(times)


def _budget_free(limits: Limits, past: list[datetime]) -> datetime:
    """When the budget has room: the moment at which the max_runs-th newest run leaves the window."""
    if limits.max_runs is None or len(past) < limits.max_runs:
        return datetime.min.replace(tzinfo=UTC)
    return past[-limits.max_runs] + limits.per
