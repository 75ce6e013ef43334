"""The trigger `performance` with `bySlice`: the quality of some is lost, whatever it is of all.

Comes in: the rule, its entry in status, the champion, and labels by slice since the open window began. Goes
out: a request. Invariants: a slice is judged once it has `minLabels`, whatever others have; a loss counts
where it is sure (`lost`), of `min` and `max` too; the level is shared by all slices of the version, judged or
not. That the sum of such evidence over slices, divided by their number, is an e-detector again makes the
share exact: at most one in `1 / A_WINDOW` windows asks though nothing is lost in any slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.api.triggers import Performance, TriggerSpec
from noria_operator.domain.conditions import clip
from noria_operator.domain.costs import Costs
from noria_operator.domain.figures import said, written
from noria_operator.domain.lost import Asked, Stretch, continued, false_alarms, level, surely_lost
from noria_operator.domain.performance import Labelled, Measured, measure
from noria_operator.domain.quality import DIRECTIONS
from noria_operator.domain.slice_quality import Slice, SliceLabels, outlives, unsuitable
from noria_operator.domain.slice_scores import SliceScores
from noria_operator.domain.tasks import REGRESSION
from noria_operator.domain.training_times import moment
from noria_operator.domain.triggers import Champion, Request, answered_by, in_a_row, window_key
from noria_operator.domain.triggers_findings import NAME_LIMIT, SHOWN
from noria_operator.domain.triggers_labels import (
    Coverage,
    closing,
    same_wording,
    unopened,
    window_start,
    wording,
)
from noria_operator.domain.triggers_performance import against, alpha, at_best, refused, threshold

Json = dict[str, Any]

LOST: Final = "LostInSlice"
UNKNOWN: Final = "UnknownSlices"


@dataclass(frozen=True, slots=True)
class _Judged:
    """One slice by the rule."""

    name: str
    slice: Slice
    threshold: float
    surely: float
    """How much is surely lost; zero or less: perhaps nothing."""
    fires: bool

    @property
    def rank(self) -> tuple[bool, int, float]:
        """The worst first."""
        return not self.fires, -self.slice.streak, -self.surely


def performance_by_slice(
    trigger: TriggerSpec,
    rule: Performance,
    entry: Json,
    *,
    champion: Champion | None,
    labels: SliceLabels | None,
    now: datetime,
    seen: Coverage | None = None,
    warmup: timedelta = timedelta(),
) -> Request:
    """Judge the slices that have enough labels; leave the window open while none has."""
    known = _known(entry, rule)
    kept = {"state": _state(rule, outlives(known))}
    if wait := unopened(trigger, rule, entry, champion, now=now, warmup=warmup, kept=kept):
        return wait
    begun = window_start(entry, rule, champion)
    assert champion is not None and begun is not None
    due = begun + (rule.window or timedelta())
    if labels is None or now < due:
        return _asking(trigger, rule, entry, known, due=due if now < due else None)
    if wrong := unsuitable(rule.metric, labels) or Costs.of(rule.cost_matrix).unfit_for_two():
        return refused(trigger, entry, f"{wrong} ({champion.name})")
    if text := _uncounted(rule, labels, champion.name):
        said = {"name": trigger.name, "decision": "Wait", "reason": UNKNOWN, "message": text}
        return Request(entry | said, trigger.reason)
    if (entry.get("state") or {}).get("unit", labels.unit) != labels.unit:
        known = {name: replace(one, waiting=()) for name, one in known.items()}
    found = _closed(rule, known, labels)
    if found is None:
        return _asking(trigger, rule, entry, known)
    told = entry | (seen or Coverage()).shown(labels.samples)
    return _asking(trigger, rule, _written(rule, told, found, labels, now), found)


def _uncounted(rule: Performance, labels: SliceLabels, version: str) -> str:
    """Why servers tell nothing of slices; empty where they do."""
    if not labels.counts:
        return (
            f"servers of {version} count no slices: name them in template.spec.slices; the next version has "
            "those of columns that the model takes"
        )
    if labels.rows(rule.metric):
        return ""
    return (
        f"servers of {version} are of a release that counts no scores by slice, which {rule.metric} needs: "
        "the next version's will, and so do these after noria.dev/restart"
    )


def _known(entry: Json, rule: Performance) -> dict[str, Slice]:
    """The memory of the same rule; another metric begins anew."""
    state = entry.get("state") or {}
    if not same_wording(state, rule):
        return {}
    return {name: Slice.of(one) for name, one in state.get("slices", {}).items()}


def _state(rule: Performance, slices: Mapping[str, Slice]) -> Json:
    told = {name: one.state for name, one in slices.items()}
    return {
        "metric": wording(rule),
        "bySlice": True,
        "slices": {name: one for name, one in told.items() if one},
    }


def _closed(rule: Performance, known: Mapping[str, Slice], labels: SliceLabels) -> dict[str, Slice] | None:
    """All slices with the labels of the window; None while none has enough to be judged."""
    found, any_closed = {}, False
    for name, counts in labels.rows(rule.metric).items():
        one = known.get(name, Slice()).with_labels(counts)
        joined = labels.joined(rule.metric, one.waiting)
        measured = _measured(rule, joined) if joined.samples >= rule.min_labels else None
        if measured is not None:
            one, any_closed = _with_window(rule, one, measured, joined.samples, len(labels.counts)), True
        found[name] = one
    return found if any_closed else None


def _measured(rule: Performance, joined: Labelled | SliceScores) -> Measured | None:
    if isinstance(joined, SliceScores):
        return joined.measured(rule.metric)
    return measure(rule.metric, joined, Costs.of(rule.cost_matrix))


def _with_window(rule: Performance, one: Slice, measured: Measured, samples: int, among: int) -> Slice:
    direction, bound = DIRECTIONS[rule.metric], threshold(rule, one.best)
    held = one.held.plus(measured.value, measured.error, samples)
    reached = level(held, direction, among)
    worse, lost = False, Stretch()
    if bound is not None:
        worse = direction.better(bound, at_best(direction, measured))
        asked = Asked(direction, against(rule, one.best), bound, alone=rule.for_ == 1)
        lost = continued(one.lost, measured, samples, asked)
    return replace(
        one,
        waiting=(),
        held=held,
        lost=lost,
        best=reached if one.best is None else direction.best(one.best, reached),
        streak=one.streak + 1 if worse else 0,
        last=(measured.value, measured.low, measured.high, samples, *filter(None, [measured.hidden])),
    )


def _judged(rule: Performance, slices: Mapping[str, Slice], among: int, entry: Json) -> list[_Judged]:
    """Those that have had a window, the worst first."""
    found = []
    for name, one in slices.items():
        bound = threshold(rule, one.best)
        if not one.last or bound is None:
            continue
        direction, best = DIRECTIONS[rule.metric], against(rule, one.best)
        surely = surely_lost(one.lost, direction, best, among, alpha=alpha(rule, entry))
        found.append(_Judged(name, one, bound, surely, one.streak >= rule.for_ and surely > 0))
    return sorted(found, key=lambda each: each.rank)


def _written(
    rule: Performance, entry: Json, slices: Mapping[str, Slice], labels: SliceLabels, now: datetime
) -> Json:
    times, among = closing(entry, now), len(labels.counts)
    judged = _judged(rule, slices, among, times)
    first, firing = judged[0], sum(one.fires for one in judged)
    value, low, high, samples, *_ = first.slice.last
    decision = "Fire" if firing else "Wait" if first.slice.streak else "No"
    told = entry | {
        "decision": decision,
        "message": clip(_said(rule, judged, firing, among, str(entry["version"]))),
        "value": _number(value),
        "interval": f"{_number(low)} to {_number(high)}",
        "samples": int(samples),
        "best": _number(first.slice.best or 0.0),
        "threshold": _number(first.threshold),
        "streak": first.slice.streak,
        "columns": [_column(rule, one) for one in judged[:SHOWN]],
        **times,
        "expectedFalseAlarms": _number(
            false_alarms(now - moment(entry["windowStartedAt"]), alpha(rule, times))
        ),
        "state": _state(rule, slices)
        | {"among": among}
        | ({"unit": labels.unit} if labels.task == REGRESSION else {}),
    }
    return told | {"reason": LOST if firing else "MayBeChance" if first.slice.streak else "NotWorse"}


def _column(rule: Performance, one: _Judged) -> Json:
    return {
        "name": clip(one.name, NAME_LIMIT),
        "check": rule.metric,
        "value": _number(one.slice.last[0]),
        "threshold": _number(one.threshold),
        "floor": _number(max(0.0, one.surely)),
        "samples": int(one.slice.last[3]),
        "drifted": one.fires,
    }


def _said(rule: Performance, judged: list[_Judged], firing: int, among: int, version: str) -> str:
    first = judged[0]
    value, low, high, samples, *hidden = first.slice.last
    blur = Measured(value, low, high, hidden=sum(hidden)).blur
    shown = f"{rule.metric} {said(value)}{blur} in {first.name} on {int(samples)} labels of {version}"
    few = f"; {among - len(judged)} of {among} slices have had fewer labels" if len(judged) < among else ""
    if not first.slice.streak:
        shown = f"{shown} against the threshold {said(first.threshold)}"
        return f"lost in none of {len(judged)} slices; {shown}{few}"
    told = f"{shown} is worse than the threshold {said(first.threshold)}, "
    told += in_a_row(first.slice.streak, rule.for_)
    if not first.fires:
        return f"{told}; that may be chance, so it waits{few}"
    also = ", ".join(one.name for one in judged[1:firing][:3])
    more = f"; lost as well in {also}" if also else ""
    return f"{told}; surely by at least {said(first.surely)}, in {firing} of {among} slices{more}{few}"


def _number(value: float) -> str:
    return written(value).removesuffix(".0")


def _asking(
    trigger: TriggerSpec,
    rule: Performance,
    entry: Json,
    slices: Mapping[str, Slice],
    due: datetime | None = None,
) -> Request:
    """One run answers the losses of all slices: their streaks start anew."""
    state = entry.get("state") or {}
    wanted = any(one.fires for one in _judged(rule, slices, int(state.get("among") or 1), entry))
    calm = {name: replace(one, streak=0) for name, one in slices.items()}
    return Request(
        entry,
        trigger.reason,
        wanted=wanted,
        key=window_key(entry),
        due=due,
        answer={"streak": 0, "state": state | _state(rule, calm)} if wanted else {"streak": 0},
        answered_by=answered_by(trigger),
    )
