"""Model servers' counters as windows: what was counted since a moment, summed over processes first.

Comes in: documents of `/counters` (integers that only grow, by server process). Goes out: their growth
since the window began. Invariants: a counter reset is a new process and never takes away what the old one
counted; a process that is gone keeps what it had counted; counts are added before anything is computed from
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import isqrt
from typing import Any

from noria_operator.domain import label_delay, tasks
from noria_operator.domain.classes import Classes
from noria_operator.domain.drift import columns
from noria_operator.domain.drift.columns import CALLED, PREDICTION, Reference, Seen
from noria_operator.domain.fairness import Group, Slicing
from noria_operator.domain.performance import REGRESSION, Errors, Labelled
from noria_operator.domain.predictions import Called, Outputs
from noria_operator.domain.quality import Labels
from noria_operator.domain.slice_quality import NONE, SliceLabels
from noria_operator.domain.slice_scores import NO_SCORES
from noria_operator.evidence.flat import counts_of
from noria_operator.evidence.growth import Growth, Row, Vector, below
from noria_operator.evidence.units import Units
from noria_serving.contract import (
    BESIDE,
    COUNTERS_SCHEMA,
    ERRORS,
    LABELS_PLACE,
    REFERENCE_SCHEMA,
    SCORE_BINS,
)

PROCESS_LIMIT = 64
"""Characters of what a process calls itself; servers take a UUID."""
MOST_PROCESSES = 16
"""Processes of one pod that are counted in a window: each time that its server begins again is one more."""


@dataclass(frozen=True, slots=True)
class Document:
    """One answer of a model server; times are Unix seconds, `origin` is where its counts begin. `restarts`
    are processes that died before this one, in the same container, `in_flight` are requests that it has not
    answered.
    """

    process: str
    version: str
    started: float
    origin: float
    at: float
    counts: Vector
    restarts: int = 0
    in_flight: int = 0


def parse(body: Any) -> Document | None:
    """The document in an answer; None when it is none that we understand."""
    if not isinstance(body, dict) or body.get("schema") != COUNTERS_SCHEMA:
        return None
    try:
        if len(process := str(body["process"])) > PROCESS_LIMIT:
            return None
        counts = counts_of(body)
        times = float(body["started"]), float(body["from"]), float(body["at"])
        beside = int(body.get("restarts", 0)), int(body.get("in_flight", 0))
        return Document(process, str(body["version"]), *times, counts, *beside)
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError):
        return None


def reference(body: Any, version: str) -> Reference | None:
    """The frozen bins of `version` in an answer; None when it tells others, or none that we understand."""
    if not isinstance(body, dict) or body.get("schema") != REFERENCE_SCHEMA or body.get("version") != version:
        return None
    try:
        return columns.parse(body)
    except (KeyError, TypeError, ValueError):
        return None


def outputs(counts: Vector, version: str) -> Outputs | None:
    """Predictions of `version`; None when there are none, or in bins that do not fit each other."""
    prefix = f"outputs/{version}/"
    found = below(counts, prefix)
    if len(found) != 1:
        return None
    exponent, first = found[0].removeprefix(prefix).split("/")
    return Outputs(int(exponent), int(first), counts[found[0]])


def labels(counts: Vector, version: str) -> Labels:
    """The joined labels of predictions that `version` made; zeros when there are none."""
    none = (0,) * SCORE_BINS
    sides = (counts.get(f"scores/{version}/{side}", none) for side in ("negatives", "positives"))
    return Labels.of(*sides, scored=not labels_only(counts, version))


def task(counts: Vector, version: str) -> str:
    """What `version` predicts: binary, multiclass or regression; empty where its servers do not tell."""
    told = _told(counts, version)
    return told.removesuffix(LABELS_PLACE)


def labels_only(counts: Vector, version: str) -> bool:
    """Whether `version` is a classifier that gives no probabilities."""
    return _told(counts, version).endswith(LABELS_PLACE)


def _told(counts: Vector, version: str) -> str:
    prefix = f"task/{version}/"
    told = {place.removeprefix(prefix) for place in below(counts, prefix)}
    return told.pop() if len(told) == 1 else ""


def called(counts: Vector, version: str) -> Called | None:
    """Predicted classes of `version`, which gives labels alone or scores of a few classes; else None, as
    where some of its servers are of a release that counts scores alone, which would look like other classes.
    """
    prefix = f"called/{version}/"
    named = {place.removeprefix(prefix): sum(counts[place]) for place in below(counts, prefix)}
    told = predicted(counts, version)
    if not (named and told):
        return None
    rest = max(0, told.rows - sum(named.values()))
    return None if rest and not labels_only(counts, version) else Called(named, rest)


def joined(counts: Vector, version: str, metric: str) -> Labelled:
    """The labels of predictions that `version` made, by what it predicts; where its servers do not tell, by
    what the metric is of.
    """
    kind = task(counts, version)
    if kind == tasks.MULTICLASS:
        table, scores = (counts.get(f"{family}/{version}") for family in ("confusion", "class_scores"))
        return Classes(labels(counts, version), table, scores, _classes(counts, version))
    if kind == tasks.REGRESSION or (not kind and metric in REGRESSION):
        return errors(counts, version)
    return labels(counts, version)


def _classes(counts: Vector, version: str) -> tuple[str, ...]:
    """Names of its classes, in the order of its table; none where servers do not tell, or not the same."""
    prefix = f"classes/{version}/"
    told = [place.removeprefix(prefix).partition("/") for place in below(counts, prefix)]
    named = {place: name for place, _, name in told}
    places = [*map(str, range(isqrt(len(counts.get(f"confusion/{version}", ())))))]
    return tuple(map(named.__getitem__, places)) if sorted(one[0] for one in told) == sorted(places) else ()


def errors(counts: Vector, version: str) -> Errors:
    """Errors of labelled rows that `version` predicted, a regression; zeros when there are none."""
    prefix = f"errors/{version}/"
    units = Units.of(place.removeprefix(prefix).rpartition("/")[0] for place in below(counts, prefix))
    rows = {
        unit: tuple(sum(counts.get(f"{prefix}{unit}/{name}", ())) for name in ERRORS)
        for unit in units.doublings
    }
    return replace(Errors(*units.added(rows)), unit=units.finest)


def labelled(counts: Vector) -> int:
    """Labelled rows of all versions; a message of feedback may bring several."""
    of_classes = sum(sum(counts[place]) for place in below(counts, "scores/"))
    of_numbers = (counts[place] for place in below(counts, "errors/") if place.endswith("/count"))
    return of_classes + sum(map(sum, of_numbers))


def median_delay(counts: Vector) -> timedelta | None:
    """Half of the labels came within this time."""
    return label_delay.median(counts.get("label_delay/buckets", ()))


def longest_delay(counts: Vector) -> timedelta | None:
    """Nearly all labels, 19 of 20, came within this time."""
    return label_delay.within(counts.get("label_delay/buckets", ()), 0.95)


def seen(counts: Vector, version: str) -> dict[str, Seen]:
    """Rows that pods of `version` took, by column, in that version's bins; predictions are a column, too."""
    prefix, found = f"features/{version}/", {}
    for place in below(counts, prefix):
        if place.endswith("/bins"):
            found[place.removeprefix(prefix).removesuffix("/bins")] = _seen(counts, place[: -len("/bins")])
    if (predictions := predicted(counts, version)) is not None:
        found[PREDICTION] = predictions
    if (classes := called(counts, version)) is not None and not labels_only(counts, version):
        found[CALLED] = Seen(tuple(round(classes.named[name]) for name in sorted(classes.named)))
    return found


def predicted(counts: Vector, version: str) -> Seen | None:
    """Predictions of `version`; None when there are none."""
    place = f"prediction/{version}"
    return _seen(counts, place) if f"{place}/bins" in counts else None


def rows(counts: Vector) -> int:
    """Predicted rows of all versions."""
    versions = {place.split("/")[1] for place in below(counts, "prediction/")}
    return sum(one.rows for version in versions if (one := predicted(counts, version)))


def _seen(counts: Vector, place: str) -> Seen:
    return Seen(counts[f"{place}/bins"], *(sum(counts.get(f"{place}/{name}", ())) for name in BESIDE))


def groups(counts: Vector, version: str, slicings: Sequence[Slicing]) -> dict[str, tuple[Group, ...]]:
    """Rows and labels of `version` by group of each of its slicings, which it alone knows."""
    return {
        one.feature: tuple(
            _group(counts, version, one.feature, (index, place), name)
            for place, name in enumerate(one.groups)
        )
        for index, one in enumerate(slicings)
    }


def slice_labels(counts: Vector, version: str, slicings: Sequence[Slicing]) -> SliceLabels:
    """Labels of `version` by slice, such as `carrier=AA`; zeros of slices without any."""
    kind, places, unit = task(counts, version), f"slice_labels/{version}", 1.0
    names = {
        (index, place): f"{one.feature}={name}"
        for index, one in enumerate(slicings)
        for place, name in enumerate(one.groups)
    }
    if kind == tasks.REGRESSION:
        prefix = f"slice_errors/{version}/"
        units = Units.of(place.removeprefix(prefix).partition("/")[0] for place in below(counts, prefix))
        unit = units.finest
        found = {name: _slice_errors(counts, prefix, units, at) for at, name in names.items()}
    else:
        found = {name: counts.get(f"{places}/{at[0]}/{at[1]}", NONE) for at, name in names.items()}
    scores, places = {}, f"slice_scores/{version}/"
    unlabelled = not any(map(any, found.values()))
    if kind != tasks.REGRESSION and (unlabelled or below(counts, places)):
        scores = {name: counts.get(f"{places}{at[0]}/{at[1]}", NO_SCORES) for at, name in names.items()}
    samples, scored = joined(counts, version, "").samples, not labels_only(counts, version)
    return SliceLabels(found, kind, samples, unit, scores, scored)


def _slice_errors(counts: Vector, prefix: str, units: Units, place: tuple[int, int]) -> Row:
    index, group = place
    rows = {unit: counts.get(f"{prefix}{unit}/{index}/{group}", NONE) for unit in units.doublings}
    return units.added(rows) or NONE


def _group(counts: Vector, version: str, feature: str, place: tuple[int, int], name: str) -> Group:
    index, group = place
    told = [counts.get(f"slices/{version}/{feature}/{what}", ()) for what in ("total", "positive")]
    rows, positive = (row[group] if group < len(row) else 0 for row in told)
    labels = counts.get(f"slice_labels/{version}/{index}/{group}", (0, 0, 0, 0))
    return Group(name, rows, positive, *labels)


@dataclass(slots=True)
class Window:
    """What was counted since `since` (Unix seconds), by process."""

    since: float
    baselines: dict[str, Vector] = field(default_factory=dict)
    origins: dict[str, float] = field(default_factory=dict)
    """When baselines were the counts, by the clocks of those who counted."""
    latest: dict[str, Vector] = field(default_factory=dict)
    opened: float = 0.0
    """When somebody began to read it, by that one's clock."""
    whole: bool = True
    """Whether servers remembered all of it that was counted before that, and every process has its place."""
    _processes: dict[str, set[str]] = field(default_factory=dict)
    """Those that are counted, by pod."""

    def admits(self, pod: str, process: str) -> bool:
        """Whether this process of a pod (by its uid) is counted. A pod that always names another one would
        fill the memory."""
        known = self._processes.setdefault(pod, set())
        if process not in known and len(known) >= MOST_PROCESSES:
            self.whole = False
            return False
        known.add(process)
        return True

    def needs_difference(self, document: Document) -> bool:
        """Whether this process counted before the window and it is not known how much."""
        return document.process not in self.baselines and document.started < self.since

    def take(self, document: Document, difference: Document | None = None) -> None:
        """Take in cumulative counts; `difference`, from the server's own memory, when the process is older
        than the window and was not seen before.
        """
        if document.process not in self.baselines:
            before: Vector = {}
            if difference:
                before = Growth([(document.counts, difference.counts)])
                self.origins[document.process] = difference.origin
            self.baselines[document.process] = before
        self.latest[document.process] = document.counts

    def begin(self, document: Document) -> None:
        """What this process had counted when the window began."""
        if document.process not in self.baselines:
            self.baselines[document.process] = document.counts
            self.origins[document.process] = document.at

    def total(self) -> Growth:
        """The sum over all processes, also those that are gone."""
        return Growth([(counts, self.baselines[process]) for process, counts in self.latest.items()])
