"""What ContinuousTrainings say: what each trigger measured and decided, what holds runs, what is left. Pure.

In: a ContinuousTraining, the ModelDeployment it watches, TrainingJobs, now. Out: samples. Invariant: every
trigger has its samples whatever its kind, from the fields that all triggers share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from noria_operator.api.types import parse_duration
from noria_operator.domain.budget import Past
from noria_operator.domain.fairness import Check
from noria_operator.domain.triggers import kind_named, loss_since
from noria_operator.domain.triggers_runs import pasts
from noria_operator.state_metrics import families
from noria_operator.state_metrics.deployments import Sample, seconds

Json = dict[str, Any]
_FAIRNESS: Final = frozenset(Check)
_HOUR: Final = 3600.0
_NUMBERS: Final = (
    (families.VALUE, "value"),
    (families.THRESHOLD, "threshold"),
    (families.BEST, "best"),
    (families.SAMPLES, "samples"),
    (families.COVERAGE, "coverage"),
)
_TIMES: Final = ((families.WINDOW_END, "windowEndedAt"), (families.NEXT, "nextRun"))


def training(obj: Json, deployment: Json | None) -> Iterator[Sample]:
    """All samples of one but those of its budget."""
    triggers, status, place = obj["spec"].get("triggers", ()), obj.get("status", {}), _place(obj)
    for entry in status.get("triggers", ()):
        kind = kind_named(entry["name"], triggers)
        yield from _trigger((*place, entry["name"]), entry, kind)
        since = loss_since(entry, triggers)
        if since is not None and _unanswered(entry, deployment):
            yield families.LOST, (*place, entry["name"], kind), seconds(since)
    if by := status.get("blockedBy"):
        yield families.BLOCKED, (*place, by), 1
    results = Counter(run["result"] for run in status.get("runs", ()) if run.get("result"))
    for result, count in results.items():
        yield families.RESULTS, (*place, result), count


def budget(obj: Json, jobs: Sequence[Json], now: datetime) -> Iterator[Sample]:
    """What the budget of one allows and leaves now; `jobs` are the TrainingJobs of its model."""
    if allowed := obj["spec"].get("budget"):
        status = obj.get("status", {})
        spent = pasts(status.get("runs", ()), jobs, now, status.get("olderRuns", ()))
        yield from _budget(_place(obj), allowed, spent, now)


def _place(obj: Json) -> tuple[str, str, str, str]:
    """Values of the labels `families.TRAINING`."""
    meta, spec = obj["metadata"], obj["spec"]
    return meta["namespace"], spec["deployment"], spec["template"]["spec"]["model"], meta["name"]


def _trigger(place: tuple[str, ...], entry: Json, kind: str) -> Iterator[Sample]:
    for family, name in _NUMBERS:
        number = _number(entry.get(name))
        if number is not None:
            yield family, place, number
    low, _, high = str(entry.get("interval") or "").partition(" to ")
    for end, text in (("low", low), ("high", high)):
        if (bound := _number(text)) is not None:
            yield families.BOUND, (*place, end), bound
    for column in entry.get("columns", ()):
        yield from _slice(place, column) if kind == "Performance" else _column(place, column)
    if length := entry.get("windowLength"):
        yield families.WINDOW, place, parse_duration(length).total_seconds()
    if decision := entry.get("decision"):
        yield families.DECISION, (*place, decision, kind), 1
    if reason := entry.get("reason"):
        yield families.REASON, (*place, reason), 1
    if entry.get("problem"):
        yield families.PROBLEM, place, 1
    for family, name in _TIMES:
        if at := entry.get(name):
            yield family, place, seconds(at)


def _slice(place: tuple[str, ...], column: Json) -> Iterator[Sample]:
    named = (*place, column["name"])
    yield families.SLICE_LOST, named, int(bool(column.get("drifted")))
    if (number := _number(column.get("value"))) is not None:
        yield families.SLICE_VALUE, named, number


def _column(place: tuple[str, ...], column: Json) -> Iterator[Sample]:
    if column.get("check") in _FAIRNESS:
        named = (*place, column["name"], column["check"])
        yield families.UNFAIR, named, int(bool(column.get("drifted")))
        for family, name in ((families.FAIRNESS, "value"), (families.FAIRNESS_BOUND, "threshold")):
            if (number := _number(column.get(name))) is not None:
                yield family, named, number
        return
    score, floor = _number(column.get("value")), _number(column.get("floor"))
    if score is not None:
        yield families.SCORE, (*place, column["name"], column.get("check", "")), score
    if floor is not None:
        yield families.FLOOR, (*place, column["name"]), floor


def _number(value: Any) -> float | None:
    """Triggers may tell a word in the place of a number."""
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _unanswered(entry: Json, deployment: Json | None) -> bool:
    """Whether the version that is worse still serves: after a promotion the loop may not have looked yet, and
    where nothing is served its trigger keeps what it knew.
    """
    served = (((deployment or {}).get("status") or {}).get("stable") or {}).get("version")
    return served is not None and served == entry.get("version")


def _budget(place: tuple[str, ...], budget: Json, pasts: Iterable[Past], now: datetime) -> Iterator[Sample]:
    since = now - parse_duration(budget["per"])
    spent = [run for run in pasts if run.at > since]
    if runs := budget.get("maxRuns"):
        yield families.BUDGET, place, runs
        yield families.LEFT, place, max(0, runs - sum(run.runs for run in spent))
    for resource, limit in (("cpu", budget.get("maxCpuHours")), ("gpu", budget.get("maxGpuHours"))):
        if limit is not None:
            left = float(limit) - sum(getattr(run, resource) for run in spent)
            yield families.TIME_BUDGET, (*place, resource), _HOUR * float(limit)
            yield families.TIME_LEFT, (*place, resource), _HOUR * max(0.0, left)
