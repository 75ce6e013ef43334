"""Triggers: whether a reason to retrain is there, written down also when it is not.

Comes in: one trigger of the spec, its entry in status, and the evidence. Goes out: the new entry and
whether it asks for a run. Invariants: a trigger only asks, cooldown, budget and `Forbid` decide
elsewhere; an open window changes nothing in status, so scraping costs no writes; the baseline is the best
value ever reached and never gets worse, so a bad promotion cannot hide the loss (monitoring lesson: never
"error after the last deploy"). The best of many noisy windows is a lucky one: a window counts as best with
one standard error less than it shows, and a loss against it has to be larger than its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from noria_operator.api.triggers import Performance, TriggerSpec
from noria_operator.api.types import format_decimal, format_duration
from noria_operator.domain.performance import Costs, Joined, Measured, measure
from noria_operator.domain.quality import DIRECTIONS, Direction
from noria_operator.domain.schedule import due
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers_cost import weighed

Json = dict[str, Any]

MANUAL: Final = "Manual"
"""Name of the entry for the annotation; no DNS label, so no trigger of a spec can have it."""


@dataclass(frozen=True)
class Request:
    """What one trigger says. `key` tells this request from every other one of the same trigger; `says` is why
    it asks, where the entry's message does not say it. A run merges `answer` into the entry: any run, any run
    while it asks (`Wanted`), or its own; the run of a combination is that of its `members`, too. Once the
    entry is in status, `job` is made, the Job named `drop` is removed, and with `again` all is asked anew.
    """

    entry: Json
    reason: str
    wanted: bool = False
    key: str = ""
    due: datetime | None = None
    says: str = ""
    answer: Json = field(default_factory=dict)
    answered_by: Literal["Any", "Wanted", "Own"] = "Own"
    members: tuple[str, ...] = ()
    job: Json | None = None
    drop: str = ""
    again: bool = False

    @property
    def name(self) -> str:
        """The trigger's name."""
        return str(self.entry.get("name", ""))


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a window its labels tell: rows predicted in it, and the median delay of its labels."""

    rows: int = 0
    delay: timedelta | None = None

    def shown(self, labels: int) -> Json:
        """Fields of an entry; a label may come later than the window of its prediction."""
        found = {"coverage": _text(min(1.0, labels / self.rows))} if self.rows else {}
        return found | ({"labelDelay": format_duration(self.delay)} if self.delay else {})


@dataclass(frozen=True)
class Champion:
    """The stable version, the metrics with which it was accepted, and when it was registered."""

    name: str
    metrics: dict[str, str]
    made: datetime | None = None


def opened_at(entry: Json, champion: Champion | None) -> datetime | None:
    """Since when what is counted of the champion goes into the open window; None when one has yet to be
    opened.
    """
    if champion is None or entry.get("version") != champion.name or not entry.get("windowStartedAt"):
        return None
    return moment(entry["windowStartedAt"])


def window_key(entry: Json) -> str:
    """Tells what one window asks for from what every other one does."""
    return f"{entry.get('version', '')} {entry.get('windowStartedAt', '')}"


def answered_by(trigger: TriggerSpec) -> Literal["Wanted", "Own"]:
    """Any run answers what asks for one; a warning stands whoever starts a run."""
    return "Wanted" if trigger.effect == "Retrain" else "Own"


def window_start(entry: Json, rule: Performance, champion: Champion | None) -> datetime | None:
    """Since when labels count for the open window; another metric (the spec was edited) begins a new one."""
    same = (entry.get("state") or {}).get("metric") == rule.metric
    return opened_at(entry, champion) if same else None


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
) -> Request:
    """Judge a closed window; leave an open one alone. `labels` are those joined since the window started; a
    new champion's first window starts after `warmup`. `counted`: what they are called.
    """
    if champion is None:
        return _same(trigger.name, entry, "Wait", "nothing is served yet, so there is no quality to watch")
    begun = window_start(entry, rule, champion)
    if begun is None:
        opened = _opened(trigger.name, rule, entry, champion, begin=now + warmup, counted=counted)
        return Request(opened, "Performance", due=now + warmup if warmup else None)
    if now < begun:
        return Request(entry, "Performance", due=begun)
    closed = _closed(rule, labels, begun, now)
    measured = measure(rule.metric, labels, costs(rule)) if closed and labels else None
    if labels is None or measured is None:
        return _standing(entry, rule, begun)
    told = entry | (seen or Coverage()).shown(labels.samples)
    return _judged(
        told, rule, measured, counted=f"{labels.samples} {counted}", samples=labels.samples, now=now
    )


def costs(rule: Performance) -> Costs:
    """The rule's cost matrix in numbers."""
    told = rule.cost_matrix
    return Costs(*map(float, told.model_dump().values())) if told else Costs()


def schedule(trigger: TriggerSpec, entry: Json, *, since: datetime, now: datetime) -> Request:
    """Ask for a run at each scheduled time after `since`, which is when the trigger (or its edit) was first
    seen.
    """
    plan = {"schedule": trigger.schedule, "timeZone": trigger.time_zone or "UTC"}
    known = entry.get("state") == plan and entry.get("lastScheduled")
    if not known:
        entry = {"lastScheduled": stamp(since)}
    handled = moment(entry["lastScheduled"])
    next_due = due(trigger.schedule or "", trigger.time_zone, since=handled, now=now)
    base = entry | {"name": trigger.name, "state": plan}
    base |= {"nextRun": stamp(next_due.next)} if next_due.next else {}
    if next_due.at is None:
        first = {"decision": "Wait", "message": f"waits for the schedule {trigger.schedule}"}
        return Request(first | base, "Schedule", due=next_due.next)
    if next_due.missed:
        text = f"the run of {stamp(next_due.at)} could not start in time and is skipped"
        base |= {"lastScheduled": stamp(next_due.at), "decision": "Skipped", "message": text}
        return Request(base, "Schedule", due=next_due.next)
    return Request(
        base,
        "Schedule",
        wanted=True,
        key=stamp(next_due.at),
        due=next_due.next,
        says=f"the run of {stamp(next_due.at)} is due",
        answer={"lastScheduled": stamp(next_due.at)},
    )


def manual(said: str, acknowledged: str | None, entry: Json | None) -> Request | None:
    """A run that a person asked for, unless this very request was carried out already."""
    if said in ("", acknowledged):
        return Request(entry, MANUAL) if entry else None
    return Request((entry or {}) | {"name": MANUAL}, MANUAL, wanted=True, key=said, says="a person asked")


def _closed(rule: Performance, labels: Joined | None, begun: datetime, now: datetime) -> bool:
    return (
        labels is not None
        and labels.samples >= rule.min_labels
        and now >= begun + (rule.window or timedelta())
    )


def _standing(entry: Json, rule: Performance, begun: datetime) -> Request:
    """The window is open: the last verdict stands, and so does what it asked for."""
    wanted = int(entry.get("streak") or 0) >= (1 if rule.cost else rule.for_)
    due = begun + rule.window if rule.window else None
    return _asking(entry, wanted=wanted, due=due)


def _opened(
    name: str, rule: Performance, entry: Json, champion: Champion, *, begin: datetime, counted: str
) -> Json:
    """A new window and a new streak for a new stable version; the best value stays. With which metric it was
    accepted counts only while production has shown none.
    """
    same = entry.get("best") and (entry.get("state") or {}).get("metric") == rule.metric
    best = entry["best"] if same else champion.metrics.get(rule.metric)
    return {
        "name": name,
        "decision": "Wait",
        "message": f"a window on {champion.name} opens at {stamp(begin)}; it closes with {rule.min_labels} "
        f"{counted}",
        "version": champion.name,
        "windowStartedAt": stamp(begin),
        "streak": 0,
        "state": {"metric": rule.metric},
        **({"best": best} if best else {}),
    }


def _judged(
    entry: Json, rule: Performance, measured: Measured, *, counted: str, samples: int, now: datetime
) -> Request:
    direction, value = DIRECTIONS[rule.metric], measured.value
    known = entry.get("best")
    closed: Json = {
        "value": _text(value),
        "interval": f"{_text(measured.low)} to {_text(measured.high)}",
        "samples": samples,
        "best": _best(rule, known, _text(measured.cautious(direction)), entry.get("state")),
        "windowStartedAt": stamp(now),
    }
    if rule.cost is not None:
        best = str(closed["best"])
        judged = (
            weighed(entry, rule, rule.cost, measured=measured, labels=samples, best=best, now=now) | closed
        )
        return _asking(judged | {"threshold": best}, wanted=bool(judged["streak"]))
    threshold = _threshold(rule, known)
    judged_by = value if rule.relative_drop is None else measured.generous(direction)
    lost = threshold is not None and direction.better(threshold, judged_by)
    streak = int(entry.get("streak") or 0) + 1 if lost else 0
    shown = f"{rule.metric} {value:.4f} on {counted} of {entry['version']}"
    if threshold is None:
        message = f"{shown}; the first window sets the best value"
    elif not lost:
        message = f"{shown} is not worse than the threshold {threshold:.4f}"
    else:
        message = (
            f"{shown} is worse than the threshold {threshold:.4f}, {streak} of {rule.for_} windows in a row"
        )
    wanted = streak >= rule.for_
    judged = entry | closed
    judged |= {
        "decision": "Fire" if wanted else "Wait" if lost else "No",
        "message": message,
        "streak": streak,
        "state": {"metric": rule.metric},
    }
    for name in ("threshold", "regret", "forecast"):
        judged.pop(name, None)
    if threshold is not None:
        judged["threshold"] = _text(threshold)
    return _asking(judged, wanted=wanted)


def _threshold(rule: Performance, best: str | None) -> float | None:
    """The value from which on quality counts as lost; None while there is nothing to compare with."""
    if rule.min is not None:
        return float(rule.min)
    if rule.max is not None:
        return float(rule.max)
    if best is None or rule.relative_drop is None:
        return None
    share = float(rule.relative_drop)
    higher = DIRECTIONS[rule.metric] is Direction.HIGHER
    return float(best) * (1 - share) if higher else float(best) * (1 + share)


def _best(rule: Performance, one: str | None, other: str | None, state: Json | None) -> str | None:
    """The better of two recorded values; a value of another metric (the spec was edited) does not count."""
    if state is not None and state.get("metric") != rule.metric:
        one = None
    values = [float(text) for text in (one, other) if text is not None]
    if not values:
        return None
    best = values[0] if len(values) == 1 else DIRECTIONS[rule.metric].best(values[0], values[1])
    return _text(best)


def _same(name: str, entry: Json, decision: str, message: str) -> Request:
    return Request(entry | {"name": name, "decision": decision, "message": message}, "Performance")


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
        answered_by="Wanted",
    )


def _text(value: float) -> str:
    return format_decimal(round(value, 6))
