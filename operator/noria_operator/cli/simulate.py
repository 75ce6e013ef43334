"""`kubectl noria simulate`: what a ContinuousTraining's policy would have done over recorded labels.

In: the object, from the cluster or from a file, and a CSV of predictions with their outcomes: columns `time`
(RFC 3339, when the label was known), `score` (0 to 1), `label` (0 or 1), and perhaps `version`. Out: lines.
Decisions are `domain.rehearsal`'s, which are the operator's own. What a new version would have been worth
nobody knows: the recorded quality stays what it was, so a loss that lasts asks again as soon as it may.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml

from noria_operator.api import names
from noria_operator.api.parsing import InvalidSpec
from noria_operator.cli.cluster import CommandError
from noria_operator.cli.text import table
from noria_operator.domain.rehearsal import Rehearsal, Told
from noria_operator.domain.schedule import ScheduleError
from noria_operator.domain.training_times import stamp
from noria_operator.domain.triggers import Champion

Json = dict[str, Any]

_COLUMNS: Final = ("time", "score", "label")


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled prediction."""

    at: datetime
    score: float
    label: bool
    version: str


def simulate(obj: Json, rows: Iterable[Row], *, took: timedelta, every: timedelta) -> Iterator[str]:
    """The decisions, then a summary. `took`: how long a training run takes; `every`: how often windows are
    looked at, beside the times that schedules and cooldowns name.
    """
    told: list[Told] = []
    loop: Rehearsal | None = None
    count, next_look = 0, datetime.min.replace(tzinfo=UTC)
    try:
        for row in rows:
            if loop is None:
                loop = Rehearsal(_fresh(obj, row.at), Champion(row.version, {}, row.at))
            if row.version != loop.champion.name:
                loop.champion = Champion(row.version, {}, row.at)
            if row.at >= next_look:
                told += _until(loop, row.at, took)
                next_look = row.at + every
            loop.arrivals.add(row.at, row.version, row.score, row.label)
            count, last = count + 1, row.at
        if loop is None:
            raise CommandError("the history has no rows; it needs columns time, score and label")
        told += _until(loop, last + every, took)
    except (InvalidSpec, ScheduleError) as error:
        raise CommandError(f"the policy cannot be used: {error}") from error
    yield from _report(loop, told, count)


def read(path: Path) -> Iterator[Row]:
    """The rows of a CSV, in the order of their times."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            lines = csv.DictReader(stream)
            missing = [name for name in _COLUMNS if name not in (lines.fieldnames or ())]
            if missing:
                raise CommandError(
                    f"{path} has no column {', '.join(missing)}; it needs {', '.join(_COLUMNS)}"
                )
            rows = [_row(path, number, line) for number, line in enumerate(lines, 2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"cannot read {path}: {error}") from error
    return iter(sorted(rows, key=lambda row: row.at))


def policy(path: Path) -> Json:
    """The ContinuousTraining in a YAML file."""
    try:
        found = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(one, dict)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CommandError(f"cannot read {path}: {error}") from error
    loops = [one for one in found if one.get("kind") == names.CONTINUOUS_TRAINING]
    if len(loops) != 1:
        raise CommandError(f"{path} must hold one {names.CONTINUOUS_TRAINING}, not {len(loops)}")
    return loops[0]


def _row(path: Path, number: int, line: dict[str, str]) -> Row:
    try:
        at = datetime.fromisoformat(line["time"])
        score, label = float(line["score"]), float(line["label"])
    except (ValueError, TypeError) as error:
        raise CommandError(f"{path} line {number}: {error}") from error
    if not 0 <= score <= 1 or label not in (0, 1):
        raise CommandError(f"{path} line {number}: score must be from 0 to 1, label 0 or 1")
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return Row(at.astimezone(UTC), score, bool(label), line.get("version") or "recorded")


def _fresh(obj: Json, at: datetime) -> Json:
    """The object as if it had been created with the first row."""
    meta = obj.get("metadata", {})
    kept = {"name": meta.get("name", "loop"), "namespace": meta.get("namespace", "default")}
    kept |= {"uid": "simulated", "generation": 1, "creationTimestamp": stamp(at)}
    return {name: obj[name] for name in ("apiVersion", "kind", "spec") if name in obj} | {"metadata": kept}


def _until(loop: Rehearsal, now: datetime, took: timedelta) -> Iterator[Told]:
    """What is decided up to `now`; nobody knows what a run's version would have been worth."""
    return loop.until(now, took=took, ended=lambda name, at: loop.finish(name, at, champion=None))


def _report(loop: Rehearsal, told: list[Told], count: int) -> Iterator[str]:
    rows = [("AT", "TRIGGER", "DECISION", "MESSAGE")]
    rows += [(stamp(one.at), one.trigger, one.decision, one.message) for one in told]
    yield from table(rows)
    started = [one for one in told if one.decision == "Started"]
    by_trigger = {
        name: sum(one.trigger == name for one in started) for name in {one.trigger for one in started}
    }
    why = ", ".join(f"{number} by {name}" for name, number in sorted(by_trigger.items()))
    yield ""
    yield f"{count} labels, {len(started)} runs" + (f": {why}" if why else "")
    if loop.left_out:
        yield f"not simulated, as they need more than labels: {', '.join(loop.left_out)}"
