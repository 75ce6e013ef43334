"""The trigger `performance`: the quality that labels show is lost.

Comes in: the rule, its entry in status, the champion, and the labels that were joined since the open window
began. Goes out: a request. Invariants: an open window changes nothing; the baseline is the best value ever
reached and never gets worse, so a bad promotion cannot hide the loss (monitoring lesson: never "error after
the last deploy"). The best of many noisy windows is a lucky one, so the best is a level that a version surely
held (`lost`), and a rule without `cost` asks only when it is sure that quality is worse than the best, or
than the bound of `min` or `max`, however many windows there are.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.api.triggers import Performance, TriggerSpec
from noria_operator.api.types import parse_duration
from noria_operator.domain.costs import Costs
from noria_operator.domain.figures import LARGEST, said, written
from noria_operator.domain.lost import (
    Asked,
    Stretch,
    a_window,
    continued,
    false_alarms,
    level,
    surely_lost,
)
from noria_operator.domain.performance import Joined, Measured, measure, placed, unsuitable, widened
from noria_operator.domain.quality import DIRECTIONS, Direction
from noria_operator.domain.training_times import moment
from noria_operator.domain.triggers import Champion, Request, answered_by, in_a_row, window_key
from noria_operator.domain.triggers_cost import weighed, worth_of_noise
from noria_operator.domain.triggers_gap import Gap
from noria_operator.domain.triggers_labels import (
    Coverage,
    closing,
    opening,
    same_wording,
    unopened,
    window_start,
    wording,
)

Json = dict[str, Any]

LOST: Final = "QualityLost"
UNSUITABLE: Final = "MetricUnsuitable"
"""Reason of a trigger whose metric the model has not."""


def performance(
    trigger: TriggerSpec,
    rule: Performance,
    entry: Json,
    *,
    champion: Champion | None,
    labels: Joined | None,
    now: datetime,
    seen: Coverage | None = None,
    counted: str = "labels",
    warmup: timedelta = timedelta(),
    gap: Gap | None = None,
    wider: float = 1.0,
) -> Request:
    """Judge a closed window; leave an open one alone. `labels` are those joined since the window started; a
    new champion's first window starts after `warmup`. `counted`: what they are called; `wider`: how many
    times as much as by their number chance moves what they tell.
    """
    kept = _kept(rule, entry, champion)
    if wait := unopened(trigger, rule, entry, champion, now=now, warmup=warmup, kept=kept, counted=counted):
        return wait
    begun = window_start(entry, rule, champion)
    assert champion is not None and begun is not None
    closed = closes(rule, labels, begun, now)
    costs = Costs.of(rule.cost_matrix)
    if labels is not None and (wrong := unsuitable(rule.metric, labels, costs, closed=closed)):
        return refused(trigger, entry, f"{wrong} ({champion.name})")
    if labels is not None and labels.samples and entry.get("reason") == UNSUITABLE:
        entry = entry | opening(entry, rule, counted)
    measured = measure(rule.metric, labels, costs) if closed and labels else None
    if labels is None or measured is None:
        return replace(_standing(entry, rule, begun), answered_by=answered_by(trigger))
    measured = widened(rule.metric, measured, wider) if wider > 1 else measured
    if max(-measured.low, measured.high) > LARGEST:
        text = f"{rule.metric} {measured.value:.3g} of {champion.name} has more than 15 digits"
        return refused(trigger, entry, f"{text}: scale its target, or costMatrix")
    told, known = entry | (seen or Coverage()).shown(labels.samples), placed(rule.metric, labels)
    counted = f"{f'{known} of ' if known < labels.samples else ''}{labels.samples} {counted}"
    found = _judged(told, rule, measured, counted=counted, samples=labels.samples, now=now, gap=gap)
    return replace(found, answered_by=answered_by(trigger))


def refused(trigger: TriggerSpec, entry: Json, text: str) -> Request:
    """The trigger asks what such a model cannot tell: a person has to change it."""
    error = {"name": trigger.name, "decision": "Error", "reason": UNSUITABLE, "message": text}
    return Request(entry | error, trigger.reason)


def closes(rule: Performance, labels: Joined | None, begun: datetime, now: datetime) -> bool:
    """Whether a window that began then has enough labels, and its time."""
    return (
        labels is not None
        and labels.samples >= rule.min_labels
        and now >= begun + (rule.window or timedelta())
    )


def _standing(entry: Json, rule: Performance, begun: datetime) -> Request:
    """The window is open: the last verdict stands, and so does what it asked for."""
    wanted = _wanted(entry, rule)
    due = begun + rule.window if rule.window else None
    return _asking(entry, wanted=wanted, due=due)


def _kept(rule: Performance, entry: Json, champion: Champion | None) -> Json:
    """The best value stays with a new stable version. The first one's is what it was accepted with, until
    production is better.
    """
    state = entry.get("state") or {}
    same = entry.get("best") and same_wording(state, rule) and not state.get("bySlice")
    best = entry["best"] if same else (champion.metrics if champion else {}).get(rule.metric)
    return {"state": {"metric": wording(rule)}, **({"best": best} if best else {})}


def _judged(
    entry: Json,
    rule: Performance,
    measured: Measured,
    *,
    counted: str,
    samples: int,
    now: datetime,
    gap: Gap | None,
) -> Request:
    direction, value = DIRECTIONS[rule.metric], measured.value
    known, state = entry.get("best"), entry["state"]
    held = Stretch.of(state.get("held")).plus(value, measured.error, samples)
    best = _best(rule, known, level(held, direction))
    closed: Json = {
        "value": written(value),
        "interval": f"{written(measured.low)} to {written(measured.high)}",
        "samples": samples,
        "best": best,
        **closing(entry, now),
    }
    if rule.cost is not None:
        judged = weighed(
            entry, rule, rule.cost, measured=measured, labels=samples, best=best, now=now, gap=gap
        )
        closed |= worth_of_noise(rule.cost, measured.error)
        judged |= closed | {"threshold": best, "state": judged["state"] | {"held": held.state}}
        return _asking(judged, wanted=bool(judged["streak"]))
    length = now - moment(entry["windowStartedAt"])
    errs = a_window(rule.false_alarms_per_month, length)
    closed["expectedFalseAlarms"] = written(false_alarms(length, errs))
    bound = threshold(rule, None if known is None else float(known))
    worse = bound is not None and direction.better(bound, at_best(direction, measured))
    marks: Json = {"metric": wording(rule), "held": held.state}
    if bound is not None:
        asked = Asked(direction, against(rule, known), bound, alone=rule.for_ == 1)
        marks["lost"] = continued(Stretch.of(state.get("lost")), measured, samples, asked).state
    judged = entry | closed | {"streak": int(entry.get("streak") or 0) + 1 if worse else 0, "state": marks}
    wanted = _wanted(judged, rule)
    shown = f"{rule.metric} {said(value)}{measured.blur} on {counted} of {entry['version']}"
    judged |= {
        "decision": "Fire" if wanted else "Wait" if worse else "No",
        "reason": _reason(bound, worse=worse, lost=wanted),
        "message": _said(judged, rule, shown, bound=bound, worse=worse),
    }
    for name in ("threshold", "regret", "forecast"):
        judged.pop(name, None)
    if bound is not None:
        judged["threshold"] = written(bound)
    return _asking(judged, wanted=wanted)


def at_best(direction: Direction, measured: Measured) -> float:
    """The value, were all that bins of scores hide in its favour."""
    return direction.worsened(measured.value, -measured.hidden)


def _wanted(entry: Json, rule: Performance) -> bool:
    """Whether enough windows in a row are worse, and the loss is sure; or that it has cost enough."""
    streak = int(entry.get("streak") or 0)
    return streak > 0 if rule.cost else streak >= rule.for_ and _surely(entry, rule) > 0


def _surely(entry: Json, rule: Performance) -> float:
    stretch = Stretch.of((entry.get("state") or {}).get("lost"))
    direction, best = DIRECTIONS[rule.metric], against(rule, entry.get("best"))
    return surely_lost(stretch, direction, best, alpha=alpha(rule, entry))


def alpha(rule: Performance, entry: Json) -> float:
    """With which probability the window that closed last may err."""
    length = parse_duration(entry["windowLength"]) if entry.get("windowLength") else timedelta()
    return a_window(rule.false_alarms_per_month, length)


def against(rule: Performance, best: str | float | None) -> float:
    """What a loss is a loss against: the bound, or the best value."""
    bound = rule.min if rule.min is not None else rule.max
    return float((best or 0.0) if bound is None else bound)


def _reason(bound: float | None, *, worse: bool, lost: bool) -> str:
    if bound is None:
        return "FirstWindow"
    return LOST if lost else "MayBeChance" if worse else "NotWorse"


def _said(entry: Json, rule: Performance, shown: str, *, bound: float | None, worse: bool) -> str:
    if bound is None:
        return f"{shown}; the first window sets the best value"
    if not worse:
        return f"{shown} is not worse than the threshold {said(bound)}"
    told = f"{shown} is worse than the threshold {said(bound)}, {in_a_row(entry['streak'], rule.for_)}"
    windows, surely = entry["state"]["lost"]["windows"], _surely(entry, rule)
    if surely > 0:
        what = "worse" if rule.relative_drop is None else "lost"
        return f"{told}; surely {what} by at least {said(surely)} since {_counted(windows)}"
    return f"{told}; in {_counted(windows)} that may be chance, so it waits"


def _counted(windows: int) -> str:
    return f"{windows} window" + "s" * (windows != 1)


def threshold(rule: Performance, best: float | None) -> float | None:
    """The value from which on quality counts as lost; None while there is nothing to compare with."""
    if rule.min is not None:
        return float(rule.min)
    if rule.max is not None:
        return float(rule.max)
    if best is None or rule.relative_drop is None:
        return None
    return DIRECTIONS[rule.metric].worsened(best, float(rule.relative_drop) * abs(best))


def _best(rule: Performance, known: str | None, held: float) -> str:
    """The better of what was known and what is held now."""
    return written(held if known is None else DIRECTIONS[rule.metric].best(float(known), held))


def _asking(entry: Json, *, wanted: bool, due: datetime | None = None) -> Request:
    """One run answers every loss of quality: streaks start anew, and so does what the loss has cost."""
    paid = "regret" in (entry.get("state") or {})
    return Request(
        entry,
        "Performance",
        wanted=wanted,
        key=window_key(entry),
        due=due,
        answer={"streak": 0} | ({"regret": "0", "state": entry["state"] | {"regret": 0}} if paid else {}),
    )
