"""What a closed window says of a model's input and output: distances from training, or from other windows.

Comes in: the rule, what was counted, the entry so far. Goes out: the fields of the entry that change.
Invariant: value, threshold, samples, reason and a sentence are there for every verdict, also "no".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta, tzinfo
from typing import Any, Final

from noria_operator.api.monitoring import THRESHOLDS, Drift
from noria_operator.api.types import format_decimal
from noria_operator.domain.conditions import clip
from noria_operator.domain.drift import policy, season
from noria_operator.domain.drift.alarms import Correction
from noria_operator.domain.drift.columns import PREDICTION, PREDICTIONS, Column, Reference, Seen, with_bins
from noria_operator.domain.drift.dirt import Asked
from noria_operator.domain.drift.flow import Came
from noria_operator.domain.drift.policy import Policy
from noria_operator.domain.drift.season import Usual, Week
from noria_operator.domain.fairness import Group
from noria_operator.domain.triggers import in_a_row
from noria_operator.domain.triggers_aside import led_aside, not_compared

Json = dict[str, Any]

FOUND: Final = ("Drifted", "Violated", "Unfair")
"""Reasons of a finding that stands."""
NAME_LIMIT: Final = 253
SHOWN: Final = 10
"""Columns in status."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What pods of the champion counted since the open window began, and its frozen bins; None: not told."""

    seen: Mapping[str, Seen]
    reference: Reference | None
    groups: Mapping[str, Sequence[Group]] = field(default_factory=dict)
    """By column of its slices."""
    task: str = ""
    asked: Asked = field(default_factory=Asked)
    others: int = 0
    """Rows that other versions predicted: clients' own, and copies."""
    labels: int = 0
    """Joined with predictions of any version."""
    earlier: Sequence[Week] | None = None
    """What the champion saw at the same time of the weeks before; None: nobody was asked, or remembers."""
    whole: bool = True
    """Whether this is all that came in the window; else what is remembered of its end."""

    @property
    def rows(self) -> int:
        """Rows that the champion predicted."""
        return self.seen[PREDICTION].rows if PREDICTION in self.seen else 0


@dataclass(frozen=True, slots=True)
class Closed:
    """A window that closed: the entry before it, what came in, the frozen bins, when it was."""

    entry: Json
    traffic: Traffic
    reference: Reference
    came: Came
    zone: tzinfo

    @property
    def length(self) -> timedelta:
        """How long it was."""
        return self.came.length


def drift_policy(rule: Drift) -> Policy:
    """The rule in numbers."""
    threshold = THRESHOLDS[rule.measure] if rule.threshold is None else float(rule.threshold)
    return Policy(
        measure=rule.measure,
        threshold=threshold,
        share=float(rule.share),
        features=frozenset(rule.features),
        predictions=rule.predictions,
        min_samples=rule.min_samples,
        k=rule.for_,
        n=rule.of,
        false_alarms=float(rule.false_alarms_per_month),
        correction=Correction(rule.correction),
    )


def drift(rule: Drift, closed: Closed) -> Json:
    """The distances from training, from the window before, or from the same time of earlier weeks."""
    if wrong := unknown(rule.features, closed.reference):
        return wrong
    if led_aside(closed.entry):
        stands = closed.entry.get("reason") in FOUND
        emptied: Json = {} if stands else {"value": None, "columns": []}
        return emptied | not_compared(closed.entry, stands=stands)
    state = dict(closed.entry["state"])
    asked = drift_policy(rule)
    columns = policy.watched(asked, closed.reference)
    apart = rule.compare_with == "SameHour"
    if apart:
        usual = season.usual(closed.traffic.earlier or ())
        if usual.rows < rule.min_samples:
            return _no_history(rule, closed, usual)
        columns, against = (
            season.compared(columns, usual, rule.min_samples),
            _in_weeks(usual, closed.entry["version"]),
        )
    elif rule.compare_with == "PreviousWindow":
        before, against = state.get("previous"), "the window before"
        state["previous"] = {one.name: list(_bins(closed, one)) for one in columns}
        if before is None:
            text = "the first window has none before it to be compared with"
            return said({"state": state}, "No", "FirstWindow", text)
        columns = [with_bins(one, tuple(before.get(one.name, ()))) for one in columns]
    else:
        against = f"training of {closed.entry['version']}"
    seen, marks = closed.traffic.seen, state.get("marks", "")
    found = policy.judge(asked, columns, seen, marks, closed.length, apart=apart)
    return _verdict(asked, found, closed, state, against)


def _verdict(asked: Policy, found: policy.Drift, closed: Closed, state: Json, against: str) -> Json:
    text = _drift_in_words(against, asked, found, closed)
    figures = {
        "value": number(found.share),
        "threshold": number(asked.share),
        "expectedFalseAlarms": number(found.expected),
        "columns": [_column(asked, one) for one in found.worst[:SHOWN]],
        "state": state | {"marks": found.marks},
    }
    if found.drifted:
        return said(figures, "Fire", "Drifted", text)
    if found.suspected:
        return said(figures, "Wait", "Suspected", text)
    return said(figures, "No", "Steady", text)


def _no_history(rule: Drift, closed: Closed, usual: Usual) -> Json:
    """A window without one to compare it with leaves a finding standing."""
    if closed.entry.get("reason") in FOUND:
        return {}
    version = closed.entry["version"]
    if closed.traffic.earlier is None:
        text = (
            f"pods of {version} remember an hour, not a week: let the operator take counts from a Prometheus "
            "(countsFrom in the chart's values), or compare with Reference or PreviousWindow"
        )
    else:
        text = (
            f"{usual.rows} rows of {version} are known of this time in the {season.WEEKS} weeks before, "
            f"{rule.min_samples} are needed: it has to be served, and scraped, for more than a week"
        )
    return said({"columns": []}, "Wait", "NoHistory", text)


def _in_weeks(usual: Usual, version: str) -> str:
    weeks = "the week before" if usual.weeks == 1 else f"{usual.weeks} weeks before"
    return f"the same time of {weeks} ({usual.rows} rows of {version})"


def _drift_in_words(against: str, asked: Policy, found: policy.Drift, closed: Closed) -> str:
    predicted = any(one.drifted for one in found.findings if one.name in PREDICTIONS)
    what = f"{'the predictions and ' if predicted else ''}{100 * found.share:.3g} % of the features"
    worst = ", ".join(f"{one.name} {asked.measure} {one.value or 0:.3g}" for one in found.worst[:3])
    return (
        f"{what} drifted from {against} in {asked.k} of {asked.n} windows "
        f"({100 * asked.share:g} % of them count"
        f"{', or the predictions alone' if asked.predictions else ''}); {closed.traffic.rows} rows"
        f"{f'; farthest: {worst}' if worst else ''}"
    )


def unknown(named: Sequence[str], reference: Reference) -> Json | None:
    """What to say where the version has no such feature."""
    known = {column.name for column in reference.columns}
    strange = [name for name in named if name not in known]
    if not strange:
        return None
    names, has = ", ".join(strange[:3]), ", ".join(sorted(known)[:20])
    text = f"the model has no feature {names}: correct features of the trigger (it has {has})"
    return said({}, "Wait", "UnknownFeature", text)


def _bins(closed: Closed, column: Column) -> Sequence[int]:
    seen = closed.traffic.seen.get(column.name)
    return seen.bins if seen else ()


def _column(asked: Policy, found: policy.Finding) -> Json:
    return {
        "name": clip(found.name, NAME_LIMIT),
        "value": number(found.value or 0.0),
        "threshold": number(asked.threshold),
        "floor": number(found.floor),
        "samples": found.samples,
        "drifted": found.drifted,
    }


def number(value: float) -> str:
    """As status has it."""
    return format_decimal(round(value, 6)).removesuffix(".0")


def again(figures: Json, closed: Closed, windows: int, reason: str, text: str) -> Json:
    """The verdict of one more bad window; it takes so many `windows` in a row to fire, for `reason`."""
    streak = int(closed.entry.get("streak") or 0) + 1
    figures, text = figures | {"streak": streak}, f"{text}; {in_a_row(streak, windows)}"
    if streak < windows:
        return said(figures, "Wait", "Suspected", text)
    return said(figures, "Fire", reason, text)


def said(entry: Json, decision: str, reason: str, text: str) -> Json:
    """The fields of a verdict."""
    return entry | {"decision": decision, "reason": reason, "message": clip(text)}
