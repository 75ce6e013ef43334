"""How often retraining may run and what it may use: a cooldown after the last run, and limits in any `per`
of time.

Comes in: past runs (from status), the limits, now. Goes out: whether a run may start, what holds it and from
when on it may. Invariant: a run is recorded in status before it is made, so the budget holds across restarts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

_GROWTH: Final = 6
"""Doublings of the cooldown at most: a broken pipeline is looked at once in 64 cooldowns."""
_FIRST: Final = timedelta(minutes=1)
"""What grows where there is no cooldown."""


class Block(Enum):
    """What holds a run back; the values of `status.blockedBy`."""

    COOLDOWN = "Cooldown"
    """The last run is too recent."""
    BUDGET = "Budget"
    """The runs of the budget's period are as many, or used as much, as it allows."""
    CONCURRENCY = "Concurrency"
    """A run is live, or its version is being rolled out."""
    TRIGGER = "Trigger"
    """A trigger with action Block fires."""
    CIRCUIT = "CircuitOpen"
    """Too many runs in a row came to nothing."""
    SUSPENDED = "Suspended"
    """spec.suspend is true."""
    INVALID = "InvalidSpec"
    """The spec cannot be used."""


@dataclass(frozen=True, slots=True)
class Past:
    """A run: when it started, and the hours of CPUs and GPUs that it used. Several: when the newest of them
    did, so that they leave the window together, and none too early.
    """

    at: datetime
    cpu: float = 0.0
    gpu: float = 0.0
    runs: int = 1


@dataclass(frozen=True)
class Limits:
    """None: no limit. What counts are the runs that started in the sliding window (now - per, now]."""

    cooldown: timedelta
    max_runs: int | None = None
    per: timedelta = timedelta(days=7)
    max_cpu_hours: float | None = None
    max_gpu_hours: float | None = None


def grown(cooldown: timedelta, failures: int) -> timedelta:
    """The cooldown after so many runs in a row that came to nothing: doubled by each."""
    if not failures:
        return cooldown
    doublings: int = min(failures, _GROWTH)
    return (cooldown or _FIRST) * (1 << doublings)


def blocked(limits: Limits, runs: Iterable[Past], now: datetime, *, cooldown: bool = True) -> Block | None:
    """What holds a run at `now`; `cooldown=False` for a run that a person asked for."""
    past = sorted(runs, key=lambda run: run.at)
    if _budget_free(limits, past) > now:
        return Block.BUDGET
    if cooldown and past and past[-1].at + limits.cooldown > now:
        return Block.COOLDOWN
    return None


def next_eligible(limits: Limits, runs: Iterable[Past], now: datetime, *, cooldown: bool = True) -> datetime:
    """The first time at which neither cooldown nor budget holds a run; as `blocked` has it."""
    past = sorted(runs, key=lambda run: run.at)
    times = [now, _budget_free(limits, past)]
    if cooldown and past:
        times.append(past[-1].at + limits.cooldown)
    return max(times)


def _budget_free(limits: Limits, past: list[Past]) -> datetime:
    """When the budget has room: once the runs that are left in the window stay below each limit."""
    weights: tuple[tuple[float | None, Callable[[Past], float]], ...] = (
        (limits.max_runs, lambda run: run.runs),
        (limits.max_cpu_hours, lambda run: run.cpu),
        (limits.max_gpu_hours, lambda run: run.gpu),
    )
    full = [_full_at(past, limit, weight) for limit, weight in weights if limit is not None]
    begun = max((run.at for run in full if run is not None), default=None)
    return datetime.min.replace(tzinfo=UTC) if begun is None else begun + limits.per


def _full_at(past: list[Past], limit: float, weight: Callable[[Past], float]) -> Past | None:
    """The newest run that has to leave the window before there is room; None when there is."""
    used = 0.0
    for run in reversed(past):
        used += weight(run)
        if used >= limit:
            return run
    return None
