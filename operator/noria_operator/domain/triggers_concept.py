"""The trigger `conceptDrift`: a classifier is wrong more often than it was.

Comes in: the trigger, its entry, and the champion's labels since the last step. Goes out: a request.
Invariants: a step takes in what came since the last one, so that status is written once a step, and no label
counts in two of them (evidence.server: where a window ends); what is remembered are a hundred
counts at most, in status, so that a restart goes on; after a finding only what came after the change is
remembered, and the finding stands until a run answers it or another version is served. It stands again when
that run comes to nothing: what is remembered then knows only the new rate, and would never ask. Until another
version is served, or the newest errors are not surely more frequent than before the change, the loss itself
stands, and so does a finding that asks for no run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from noria_operator.api.triggers import TriggerSpec
from noria_operator.api.types import format_decimal
from noria_operator.domain.classes import Classes
from noria_operator.domain.drift.alarms import windows_a_month
from noria_operator.domain.drift.change import (
    EVIDENCE,
    Bucket,
    Change,
    evidence_of,
    false_alarms,
    look,
    remember,
)
from noria_operator.domain.performance import Errors, Labelled
from noria_operator.domain.proportions import wilson
from noria_operator.domain.quality import Confusion, Labels, rows
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers import Champion, Request, answered_by, opened_at, window_key
from noria_operator.domain.triggers_labels import closing
from noria_operator.domain.triggers_performance import refused

Json = dict[str, Any]

CHANGED: Final = "Changed"
_ANSWERED: Final = "Answered"
_FINDING: Final = ("version", "message", "value", "threshold", "samples")


def concept_drift(
    trigger: TriggerSpec,
    entry: Json,
    *,
    champion: Champion | None,
    labels: Labelled | None,
    now: datetime,
    warmup: timedelta = timedelta(),
) -> Request:
    """Take in a step's labels; leave an open step alone. A new champion is watched after `warmup`."""
    rule = trigger.concept_drift
    if rule is None:
        raise ValueError(f"{trigger.name} has no conceptDrift")
    if champion is None:
        text = "nothing is served yet, so there is nothing to watch"
        return _request(trigger, entry | _said(trigger, "Wait", "NothingServed", text))
    begun = opened_at(entry, champion)
    if begun is None:
        begin = {"version": champion.name, "windowStartedAt": stamp(now + warmup), "state": {"memory": []}}
        text = f"no labels of {champion.name} yet"
        return _request(trigger, begin | _said(trigger, "Wait", "WindowOpen", text))
    if isinstance(labels, Errors):
        text = f"{champion.name} is a regression, not right or wrong: watch performance by rmse or mae"
        return refused(trigger, entry, text)
    due = begun + rule.every
    if labels is None or labels.samples < rule.min_labels or now < due:
        return _request(trigger, entry, due=due if now < due else None)
    return _request(trigger, entry | _stepped(trigger, entry, champion, labels, now))


def _stepped(
    trigger: TriggerSpec, entry: Json, champion: Champion, labels: Labels | Classes, now: datetime
) -> Json:
    wrong = _wrong(labels)
    state = entry.get("state") or {}
    memory = tuple(Bucket(*one) for one in state.get("memory", ()))
    times = closing(entry, now)
    looks, allowed = windows_a_month(now - moment(entry["windowStartedAt"])), _allowed(trigger)
    evidence = EVIDENCE if allowed is None else evidence_of(float(allowed) / looks)
    said, kept = look(remember(memory, labels.samples, wrong), evidence)
    known, errors = sum(one.labels for one in kept), sum(one.errors for one in kept)
    before = state.get("before", round(said.before, 6) if said.found else None)
    passed = _passed(kept, before, evidence)
    step = {
        **times,
        "expectedFalseAlarms": format_decimal(round(false_alarms(evidence) * looks, 6)),
        "samples": said.labels if said.found else known,
        "state": {"memory": [list(one) for one in kept]},
    }
    if before is not None:
        step["state"]["before"] = before
    if said.found:
        text = _in_words(said, champion, evidence)
        return step | _figures(said, evidence) | _said(trigger, "Fire", CHANGED, text)
    if entry.get("reason") == CHANGED and not (passed and trigger.effect != "Retrain"):
        return step | {"samples": entry["samples"]}
    if entry.get("reason") == _ANSWERED and before is not None and not passed:
        text = (
            f"{errors} of {known} labels of {champion.name} since the change were not as predicted, "
            f"{before:.3f} before; a run was started for it"
        )
        return step | _figures(said, evidence) | _said(trigger, "Wait", _ANSWERED, text)
    step["state"].pop("before", None)
    text = f"{errors} of {known} labels of {champion.name} were not as predicted, and never surely more often"
    if passed:
        text = f"the newest labels of {champion.name} are as predicted as often as before the change"
    return step | _figures(said, evidence) | _said(trigger, "No", "Steady", text)


def _passed(kept: Sequence[Bucket], before: float | None, evidence: float) -> bool:
    """Whether the change was one for a time: since errors fell again, they are not surely above `before`."""
    if before is None:
        return False
    newest = look(kept, evidence, falls=True)[1]
    errors, known = sum(one.errors for one in newest), sum(one.labels for one in newest)
    return wilson(errors, known)[0] <= before


def _allowed(trigger: TriggerSpec) -> Decimal | None:
    return trigger.concept_drift.false_alarms_per_month if trigger.concept_drift else None


def _wrong(labels: Labels | Classes) -> int:
    """How many were not as predicted."""
    if isinstance(labels, Classes):
        return labels.samples - labels.right
    seen = Confusion.of(rows(labels))
    return int(seen.fp + seen.fn)


def _in_words(said: Change, champion: Champion, evidence: float) -> str:
    return (
        f"{champion.name} was wrong in {said.before:.3f} of its labels before and is in {said.after:.3f} "
        f"of the last "
        f"{said.labels} (evidence {said.evidence:.1f}, {evidence:.3g} counts)"
    )


def _figures(said: Change, evidence: float) -> Json:
    return {"value": _text(said.evidence), "threshold": _text(evidence)}


def _said(trigger: TriggerSpec, decision: str, reason: str, text: str) -> Json:
    return {"name": trigger.name, "decision": decision, "reason": reason, "message": text}


def _request(trigger: TriggerSpec, entry: Json, due: datetime | None = None) -> Request:
    wanted = entry.get("reason") == CHANGED
    return Request(
        entry,
        trigger.reason,
        wanted=wanted,
        key=window_key(entry),
        due=due,
        answer={"reason": _ANSWERED} if wanted else {},
        answered_by=answered_by(trigger),
        back={name: entry[name] for name in _FINDING} if wanted else {},
    )


def changed_again(entry: Json, back: Json) -> Json:
    """The entry once the run that answered its finding came to nothing."""
    if entry.get("version") != back.get("version") or entry.get("reason") == CHANGED:
        return entry
    return entry | back | {"decision": "Fire", "reason": CHANGED}


def _text(value: float) -> str:
    return format_decimal(round(value, 3)).removesuffix(".0")
