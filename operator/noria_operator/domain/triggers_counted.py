"""Triggers that look at what was counted of predictions and labels: from which moment on, and what they say.

Comes in: a trigger, its entry in status, the champion, counts since that moment. Goes out: a request.
Invariant: a cluster and a rehearsal over a recorded history ask here, so that both decide alike; who counts,
and how, is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from noria_operator.api.performance import EstimatedPerformance
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain import triggers_estimated as estimated
from noria_operator.domain import triggers_monitoring as monitoring
from noria_operator.domain.drift import season
from noria_operator.domain.drift.columns import Reference, Seen
from noria_operator.domain.drift.dirt import Asked
from noria_operator.domain.drift.season import Span
from noria_operator.domain.fairness import Group, Slicing
from noria_operator.domain.performance import Labelled
from noria_operator.domain.predictions import Outputs
from noria_operator.domain.schedule import zone_named
from noria_operator.domain.slice_quality import SliceLabels
from noria_operator.domain.tasks import REGRESSION
from noria_operator.domain.triggers import Champion, Json, Request, opened_at
from noria_operator.domain.triggers_concept import concept_drift
from noria_operator.domain.triggers_findings import Traffic
from noria_operator.domain.triggers_gap import Gap
from noria_operator.domain.triggers_labels import Coverage, window_start
from noria_operator.domain.triggers_performance import performance
from noria_operator.domain.triggers_samples import counted_since, new_samples
from noria_operator.domain.triggers_slices import performance_by_slice


class Counts(Protocol):
    """What was counted since a moment, summed over everything that counts; versions by their names."""

    def joined(self, version: str, metric: str = "") -> Labelled:
        """Labels of what `version` predicted."""

    def task(self, version: str) -> str:
        """Binary, multiclass or regression; empty where nobody tells."""

    def outputs(self, version: str) -> Outputs | None:
        """Predictions in bins that versions have in common."""

    def predicted(self, version: str) -> Seen | None:
        """Predictions in the frozen bins of `version`."""

    def seen(self, version: str) -> dict[str, Seen]:
        """Columns in the frozen bins of `version`, its predictions among them."""

    def groups(self, version: str, slicings: Sequence[Slicing]) -> Mapping[str, Sequence[Group]]:
        """Rows and labels by group, by feature."""

    def slice_labels(self, version: str, slicings: Sequence[Slicing]) -> SliceLabels:
        """Labels of what `version` predicted, by slice."""

    def median_delay(self) -> timedelta | None:
        """Half of the labels came within this time."""

    def rows(self) -> int:
        """Predicted rows of all versions."""

    def labelled(self) -> int:
        """Labelled rows of all versions."""

    def number(self, place: str) -> int:
        """One count, such as `requests/flights-3/ok`."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known now: counts of the open window up to now (None: there are none, or nobody tells them),
    the frozen bins of the champion, where they were asked for (`needs_reference`), windows of earlier weeks
    (`past_windows`; None: nobody was asked, or remembers), whether counts are of the whole window, not of its
    end alone, when nobody looked, whether a header leads clients' requests past the champion now (`aside`),
    whether a revision of its version gets copies now (`copied`), and when the newest run of other loops of
    the deployment began, where it led to a version (`elsewhere`).
    """

    counts: Counts | None
    reference: Reference | None = None
    earlier: Sequence[Counts] | None = None
    whole: bool = True
    gap: Gap | None = None
    aside: bool = False
    copied: bool = False
    elsewhere: str = ""


def counts_since(trigger: TriggerSpec, entry: Json, champion: Champion | None) -> datetime | None:
    """Since when counts go into the open window; None: it has yet to be opened, or the trigger has none."""
    if trigger.performance is not None:
        return window_start(entry, trigger.performance, champion)
    if trigger.estimated_performance is not None:
        return window_start(entry, estimated.as_performance(trigger.estimated_performance), champion)
    if trigger.concept_drift is not None:
        return opened_at(entry, champion)
    if monitoring.rule_of(trigger) is not None:
        return monitoring.window_start(trigger, entry, champion)
    return counted_since(entry) if trigger.new_samples is not None else None


def closes_at(trigger: TriggerSpec, since: datetime) -> datetime | None:
    """Until when a window that began at `since` stays open, whatever is counted; None: nobody can tell."""
    rule = trigger.performance or monitoring.rule_of(trigger)
    return since + rule.window if rule is not None and rule.window is not None else None


def needs_reference(trigger: TriggerSpec) -> bool:
    """Whether the champion's frozen bins have to be told, too."""
    if trigger.performance is not None:
        return trigger.performance.by_slice
    return trigger.estimated_performance is not None or monitoring.rule_of(trigger) is not None


def past_windows(
    trigger: TriggerSpec, counts: Counts, champion: Champion | None, begin: datetime, end: datetime
) -> Sequence[Span]:
    """Windows of earlier weeks that one from `begin` to `end` is compared with; none where it is not, or has
    too few rows to be closed. Raises `ScheduleError` for a time zone that is not known.
    """
    rule = trigger.drift
    if rule is None or champion is None or rule.compare_with != "SameHour" or end < begin + rule.window:
        return ()
    predicted = counts.predicted(champion.name)
    if predicted is None or predicted.rows < rule.min_samples:
        return ()
    return season.earlier(begin, end, zone_named(trigger.time_zone))


def counted(
    trigger: TriggerSpec,
    entry: Json,
    *,
    champion: Champion | None,
    evidence: Evidence,
    now: datetime,
    warmup: timedelta = timedelta(),
) -> Request:
    """What the trigger says at `now`, where the counts end; `entry` is what it said last."""
    if trigger.performance is not None:
        rule, seen = trigger.performance, _coverage(champion, evidence.counts)
        if rule.by_slice:
            slices = _slices(champion, evidence)
            return performance_by_slice(
                trigger, rule, entry, champion=champion, labels=slices, now=now, seen=seen, warmup=warmup
            )
        labels = evidence.counts.joined(champion.name, rule.metric) if evidence.counts and champion else None
        return performance(
            trigger, rule, entry, champion=champion, labels=labels, now=now, seen=seen, warmup=warmup,
            gap=evidence.gap,
        )  # fmt: skip
    if trigger.estimated_performance is not None:
        told = _told(trigger.estimated_performance, champion, evidence)
        return estimated.estimated(
            trigger, trigger.estimated_performance, entry, champion=champion, scores=told.scores,
            labels=told.labels, now=now, warmup=warmup, predicted=told.predicted, aside=evidence.aside,
            known=evidence.reference.calibration if evidence.reference else None,
        )  # fmt: skip
    if trigger.concept_drift is not None:
        found = evidence.counts.joined(champion.name) if evidence.counts and champion else None
        return concept_drift(trigger, entry, champion=champion, labels=found, now=now, warmup=warmup)
    if monitoring.rule_of(trigger) is not None:
        traffic = _traffic(champion, evidence)
        return monitoring.watch(
            trigger, entry, champion=champion, traffic=traffic, now=now, warmup=warmup,
            aside=evidence.aside, copied=evidence.copied,
        )  # fmt: skip
    joined = evidence.counts.labelled() if evidence.counts else None
    return new_samples(trigger, entry, labels=joined, now=now, elsewhere=evidence.elsewhere)


def _coverage(champion: Champion | None, counts: Counts | None) -> Coverage:
    """How much of the champion's traffic labels tell."""
    if counts is None or champion is None:
        return Coverage()
    predicted = counts.predicted(champion.name)
    return Coverage(predicted.rows if predicted else 0, counts.median_delay())


def _slices(champion: Champion | None, evidence: Evidence) -> SliceLabels | None:
    """What was joined for the champion by slice; which slices there are, its frozen bins tell."""
    counts, reference = evidence.counts, evidence.reference
    if counts is None or champion is None or reference is None:
        return None
    return counts.slice_labels(champion.name, reference.slices)


@dataclass(frozen=True, slots=True)
class _Told:
    """What an estimate is made of."""

    scores: Outputs | None = None
    labels: Labelled | None = None
    predicted: estimated.Predicted | None = None


def _told(rule: EstimatedPerformance, champion: Champion | None, evidence: Evidence) -> _Told:
    counts, reference = evidence.counts, evidence.reference
    if counts is None or champion is None:
        return _Told()
    predicted, seen = None, counts.predicted(champion.name)
    if reference is not None and seen is not None and counts.task(champion.name) == REGRESSION:
        predicted = estimated.Predicted(seen.bins, reference.errors)
    return _Told(counts.outputs(champion.name), counts.joined(champion.name, rule.metric), predicted)


def _traffic(champion: Champion | None, evidence: Evidence) -> Traffic | None:
    counts, reference = evidence.counts, evidence.reference
    if counts is None or champion is None:
        return None
    # What a challenger alone refuses, its signature being another, says nothing of what clients send.
    malformed = counts.number(f"malformed/{champion.name}")
    answered = counts.number(f"requests/{champion.name}/ok")
    rows, equal = (counts.number(f"duplicates/{champion.name}/{name}") for name in ("rows", "equal"))
    predicted = counts.predicted(champion.name)
    return Traffic(
        counts.seen(champion.name),
        reference,
        groups=counts.groups(champion.name, reference.slices if reference else ()),
        task=counts.task(champion.name),
        asked=Asked(answered + malformed, malformed, rows, equal),
        others=counts.rows() - (predicted.rows if predicted else 0),
        labels=counts.labelled(),
        earlier=None if evidence.earlier is None else [one.seen(champion.name) for one in evidence.earlier],
        whole=evidence.whole,
    )
