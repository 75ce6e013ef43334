"""What a closed window says of broken data: values that no training row would have, rows and labels that do
not come as they use to.

Comes in: the rule, what was counted, the entry so far. Goes out: the fields of the entry that change.
Invariant: as of every finding, value, threshold, samples, reason and a sentence are there also for "no".
"""

from __future__ import annotations

from datetime import timedelta, tzinfo
from typing import Any, Final

from noria_operator.api.monitoring import DataQuality
from noria_operator.api.types import format_duration
from noria_operator.domain.conditions import clip
from noria_operator.domain.drift import dirt, flow
from noria_operator.domain.drift.columns import PREDICTION
from noria_operator.domain.drift.dirt import LABEL, Check, Dirt, DirtPolicy, Violation
from noria_operator.domain.drift.flow import Flow, FlowPolicy
from noria_operator.domain.triggers_copies import COPIED
from noria_operator.domain.triggers_findings import NAME_LIMIT, SHOWN, Closed, again, number, said, unknown

Json = dict[str, Any]

_CHANGES: Final = 2
"""Bounds that are taken where rows are compared with what is usual: surely fewer, and surely more."""


def dirt_policy(rule: DataQuality) -> DirtPolicy:
    """The rule in numbers, as far as it is of columns."""
    return DirtPolicy(
        missing=float(rule.max_missing),
        unseen=float(rule.max_unseen),
        out_of_range=float(rule.max_out_of_range),
        duplicates=float(rule.max_duplicates),
        features=frozenset(rule.features),
        min_samples=rule.min_samples,
        false_alarms=float(rule.false_alarms_per_month),
    )


def flow_policy(rule: DataQuality, zone: tzinfo) -> FlowPolicy:
    """The rule in numbers, as far as it is of what comes at all."""
    return FlowPolicy(
        window=rule.window,
        min_rows=rule.min_rows,
        max_rows=rule.max_rows,
        max_change=None if rule.max_volume_change is None else float(rule.max_volume_change),
        max_age=rule.max_age,
        max_label_age=rule.max_label_age,
        min_samples=rule.min_samples,
        zone=zone,
    )


def data_quality(rule: DataQuality, closed: Closed) -> Json:
    """Violations of all checks, those of all rows first."""
    if wrong := unknown(rule.features, closed.reference):
        return wrong
    asked, coming = dirt_policy(rule), flow_policy(rule, closed.zone)
    columns = dirt.watched(asked, (*closed.reference.columns, closed.reference.prediction))
    beside = _CHANGES if coming.max_change is not None else 0
    traffic = closed.traffic
    found = dirt.judge(
        asked, columns, traffic.seen, traffic.rows, closed.length, asked=traffic.asked, beside=beside
    )
    # What is no longer asked for is forgotten: it would be old when it is asked for again.
    past = (*flow.KEPT, COPIED)
    state = {name: value for name, value in closed.entry["state"].items() if name not in past}
    came = flow.judge(coming, closed.came, flow.parse(closed.entry["state"], coming.zone), found.z)
    violations = (*came.violations, *found.violations)
    worst = violations[0] if violations else None
    figures = {
        "value": number(worst.share if worst else 0.0),
        "threshold": number(worst.tolerated) if worst else None,
        "expectedFalseAlarms": number(found.expected),
        "columns": [_violation(one) for one in violations[:SHOWN]],
        "state": state | flow.as_json(coming, came.memory),
    }
    text = _in_words(violations, found, traffic.rows) + _usual_in_words(coming, came)
    if not violations:
        return said(figures | {"streak": 0}, "No", "Clean", text)
    return again(figures, closed, rule.for_, "Violated", text)


def _in_words(violations: tuple[Violation, ...], found: Dirt, rows: int) -> str:
    if not violations:
        return f"no column of {rows} rows is worse than tolerated ({found.checked} checks)"
    each = ", ".join(_words(one) for one in violations[:3])
    return f"{len(violations)} of {found.checked} checks failed on {rows} rows: {each}"


def _words(one: Violation) -> str:
    """For example: distance completeness 0.4 (tolerated 0.1), or no labels for 26h (freshness, tolerated
    24h).
    """
    if one.check is Check.FRESHNESS:
        age, most = (format_duration(timedelta(seconds=round(each))) for each in (one.share, one.tolerated))
        return f"no {'labels' if one.column == LABEL else 'rows'} for {age} (freshness, tolerated {most})"
    if one.check is Check.VOLUME:
        bound = f"{'least' if one.share < one.tolerated else 'most'} {one.tolerated:.6g}"
        return f"rows volume {one.share:.6g} (at {bound})"
    of = one.column or ("requests" if one.check is Check.DATA_TYPE else "rows")
    return f"{of} {one.check} {one.share:.3g} (tolerated {one.tolerated:.3g})"


def _usual_in_words(asked: FlowPolicy, came: Flow) -> str:
    if asked.max_change is None:
        return ""
    if came.usual is None:
        return "; of this hour of the week no earlier one is known yet, so its volume is not compared"
    return f"; {came.usual:.6g} rows are usual"


def _violation(found: Violation) -> Json:
    return {
        "name": clip(found.column or PREDICTION, NAME_LIMIT),
        "check": found.check.value,
        "value": number(found.share),
        "threshold": number(found.tolerated),
        "samples": found.samples,
    }
