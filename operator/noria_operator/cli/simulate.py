"""`kubectl noria simulate`: what a ContinuousTraining's policy would have done over a recorded history.

In: the object, from the cluster or from a file, and a history (`recorded_history`). Out: lines. Decisions are
`domain.rehearsal`'s, which are the operator's own. What a new version would have been worth nobody knows: the
recorded quality stays what it was, so a loss that lasts asks again as soon as it may.
"""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from noria_operator.api import names
from noria_operator.api.parsing import InvalidSpec
from noria_operator.cli.cluster import CommandError, Objects, find
from noria_operator.cli.recorded_history import History, Row, read
from noria_operator.cli.text import table
from noria_operator.domain.rehearsal import FROZEN_BINS, Rehearsal, Told
from noria_operator.domain.schedule import ScheduleError
from noria_operator.domain.training_times import stamp
from noria_operator.domain.triggers import Champion, champion_of

Json = dict[str, Any]
SURELY_MORE = 1.5
"""Of rows, whose copies are among them: as many as another version has, but for the edges of a look."""


def run(options: Namespace, objects: Objects | None) -> Iterator[str]:
    """The lines to print; of a policy in a file, which needs no cluster, `objects` may be None."""
    if options.file is not None or objects is None:
        obj, versions = policy(options.file), []
    elif options.name is None:
        raise CommandError("say which ContinuousTraining, or give its policy with --file")
    else:
        obj = find(objects, f"{names.CONTINUOUS_TRAINING}/{options.name}")
        versions = objects.list(names.MODEL_VERSION)
    if options.history is None:
        raise CommandError(
            "say --history FILE: the cluster keeps counts, not rows, and other windows need other counts. "
            "Record rows with spec.server.payloadLog of the ModelDeployment; `noria-server history` makes "
            "the file of them"
        )
    history = read(options.history, options.reference)
    return simulate(obj, history, took=options.training_time, every=options.every, versions=versions)


def simulate(
    obj: Json, history: History, *, took: timedelta, every: timedelta, versions: Sequence[Json] = ()
) -> Iterator[str]:
    """The decisions, then a summary. `took`: how long a training run takes; `every`: how often windows are
    looked at, beside the times that schedules and cooldowns name; `versions`: what the registry has.
    """
    try:
        run = _Run(obj, history, took=took, every=every, versions=versions)
        next_look = history.rows[0].predicted
        for at, row, labelled in _in_order(history):
            if at >= next_look or run.loop.due(at):
                run.look(at)
                next_look = at + every
            run.take(at, row, labelled=labelled)
        run.look(at + every)
    except (InvalidSpec, ScheduleError) as error:
        raise CommandError(f"the policy cannot be used: {error}") from error
    yield from _report(run, history)


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


class _Run:
    """The loop over the history. The champion is the version with most of the traffic between two looks, so
    that a challenger with a small weight is none, nor is one that gets copies of all requests (of the first
    look see `_first_champion`); where the registry does not know it, it is as old as its
    first prediction, and nobody knows how good it was when it was accepted. None is older than the last run.
    """

    def __init__(
        self, obj: Json, history: History, *, took: timedelta, every: timedelta, versions: Sequence[Json]
    ) -> None:
        begin = history.rows[0].predicted
        self._registry = {one["metadata"]["name"]: one for one in versions}
        self._begun: dict[str, datetime] = {}
        self._made: datetime | None = None
        for one in history.rows:
            self._begun.setdefault(one.row.version, one.predicted)
        champion = self._champion(_first_champion(history.rows, begin + every))
        self.loop = Rehearsal(_fresh(obj, begin), champion, history.model)
        self.told: list[Told] = []
        self._took, self._traffic = took, Counter[str]()

    def take(self, at: datetime, row: Row, *, labelled: bool) -> None:
        """A prediction, or its label."""
        if labelled and row.label is not None:
            self.loop.arrivals.labelled(at, row.row, row.label, delay=at - row.predicted)
        else:
            self.loop.arrivals.predicted(at, row.row)
            self._traffic[row.row.version] += 1

    def look(self, at: datetime) -> None:
        """What is decided up to a moment."""
        serving = self.loop.champion.name
        if self._traffic:
            most, rows = self._traffic.most_common(1)[0]
            if rows >= SURELY_MORE * self._traffic[serving] and most != serving:
                self.loop.champion = self._champion(most)
            self._traffic.clear()
        self.told += self.loop.until(at, took=self._took, ended=self._end)

    def _end(self, name: str, at: datetime) -> None:
        """A run made a version: nobody knows what it would have been worth, but how old it is."""
        self.loop.finish(name, at, champion=None)
        self._made = at
        self.loop.champion = replace(self.loop.champion, made=at)

    def _champion(self, version: str) -> Champion:
        known = self._registry.get(version)
        found = champion_of(version, known) if known else Champion(version, {}, self._begun[version])
        return replace(found, made=max(filter(None, (found.made, self._made)), default=None))


def _first_champion(rows: Sequence[Row], until: datetime) -> str:
    """The version with most of the traffic up to the first look, before which none is known; of those that
    have about as many rows, the lowest number: most challengers are made later than their champion.
    """
    traffic = Counter(one.row.version for one in rows if one.predicted <= until)
    most = max(traffic.values())
    alike = [version for version, number in traffic.items() if number * SURELY_MORE > most]
    return min(alike, key=names.version_number)


def _in_order(history: History) -> Iterator[tuple[datetime, Row, bool]]:
    """Predictions and labels by time, each label after its prediction."""
    events = [(one.predicted, one, False) for one in history.rows]
    events += [(one.known, one, True) for one in history.rows if one.label is not None]
    return iter(sorted(events, key=lambda event: event[0]))


def _fresh(obj: Json, at: datetime) -> Json:
    """The object as if it had been created with the first row."""
    meta = obj.get("metadata", {})
    kept = {"name": meta.get("name", "loop"), "namespace": meta.get("namespace", "default")}
    kept |= {"uid": "simulated", "generation": 1, "creationTimestamp": stamp(at)}
    return {name: obj[name] for name in ("apiVersion", "kind", "spec") if name in obj} | {"metadata": kept}


def _report(run: _Run, history: History) -> Iterator[str]:
    rows = [("AT", "TRIGGER", "DECISION", "MESSAGE")]
    rows += [(stamp(one.at), one.trigger, one.decision, one.message) for one in run.told]
    yield from table(rows)
    started = Counter(one.trigger for one in run.told if one.decision == "Started")
    why = ", ".join(f"{number} by {name}" for name, number in sorted(started.items()))
    labels = sum(one.label is not None for one in history.rows)
    yield ""
    yield (
        f"{len(history.rows)} predictions, {labels} labels, {started.total()} runs"
        + (f": {why}" if why else "")
    )
    for name, lacks in run.loop.left_out:
        how = ": give --reference" if lacks == FROZEN_BINS else ""
        yield f"not simulated: {name}, which needs {lacks}{how}"
    for name, missing in run.loop.short:
        yield f"simulated without its member {missing}: {name}"
    yield from history.notes
