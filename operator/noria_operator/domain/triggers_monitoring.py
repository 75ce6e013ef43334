"""Triggers on what a model sees and says: drift, broken data, unfairness, written down also when there is
none.

Comes in: one trigger, its entry in status, the champion, and what its pods counted since the open window
began. Goes out: the new entry, and whether it asks for a run or blocks the others. Invariants: an open
window changes nothing in status but the mark of requests led aside, or copied; a window, its marks and its
findings belong to one version and one wording of the rule, so a new champion and an edited rule start anew; a
finding stands until a later window takes it back or a run answers it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from noria_operator.api.monitoring import DataQuality, Drift, Fairness
from noria_operator.api.triggers import TriggerSpec
from noria_operator.api.types import format_duration
from noria_operator.domain.drift import flow
from noria_operator.domain.drift.flow import Came
from noria_operator.domain.schedule import zone_named
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers import Champion, Request, answered_by, opened_at, window_key
from noria_operator.domain.triggers_aside import ASIDE, noted
from noria_operator.domain.triggers_copies import COPIED, sure_rows
from noria_operator.domain.triggers_fairness import can_be_judged, fairness
from noria_operator.domain.triggers_findings import FOUND, Closed, Traffic, drift
from noria_operator.domain.triggers_quality import data_quality, flow_policy

Json = dict[str, Any]

Rule = Drift | DataQuality | Fairness
ANSWERED: Final = "Answered"


def window_start(trigger: TriggerSpec, entry: Json, champion: Champion | None) -> datetime | None:
    """Since when counts go into the open window; another wording of the rule begins a new one."""
    rule = _rule(trigger)
    same = (entry.get("state") or {}).get("rule") in (rule.wording, rule.full_wording)
    return opened_at(entry, champion) if same else None


def watch(
    trigger: TriggerSpec,
    entry: Json,
    *,
    champion: Champion | None,
    traffic: Traffic | None,
    now: datetime,
    warmup: timedelta = timedelta(),
    aside: bool = False,
    copied: bool = False,
) -> Request:
    """Judge a closed window; leave an open one alone. A new champion's first one begins after `warmup`.
    `aside`: a header leads requests past the champion now, which a comparison of distributions notes;
    `copied`: a revision of its version gets copies now, which a count of rows notes. Raises `ScheduleError`
    for a time zone that is not known.
    """
    zone = zone_named(trigger.time_zone)
    if champion is None:
        text = "nothing is served yet, so there is nothing to watch"
        return _request(trigger, _said(trigger, entry, "Wait", "NothingServed", text))
    begun = window_start(trigger, entry, champion)
    if begun is None:
        return _request(trigger, _opened(trigger, entry, champion, now + warmup))
    rule = _rule(trigger)
    mark = _mark(rule, aside=aside, copied=copied) if now >= begun else ""
    entry = noted(entry, mark) if mark else entry
    over = now >= begun + rule.window
    if traffic is None or not over or not _enough(rule, traffic):
        return _request(trigger, entry, due=None if over else begun + rule.window)
    if traffic.reference is None and entry.get("reason") in FOUND:
        return _request(trigger, entry)  # perhaps no server answers just now
    if traffic.reference is None:
        text = f"servers of {champion.name} do not tell what it was trained on; the next version's will"
        return _request(trigger, _said(trigger, entry, "Wait", "NoReference", text))
    # An earlier release wrote another digest, which a later one may not know any more.
    entry = entry | {"state": entry["state"] | {"rule": rule.wording}}
    came = Came(
        *(begun, moment(stamp(now)), traffic.rows + traffic.others, traffic.labels, traffic.whole),
        sure_rows(entry, traffic.rows, traffic.others),
    )
    closed = Closed(entry, traffic, traffic.reference, came, zone)
    times = {"windowStartedAt": stamp(now), "windowEndedAt": stamp(now)}
    figures = {"windowLength": format_duration(closed.length), "samples": traffic.rows}
    found = _found(rule, closed)
    said = {name: value for name, value in (entry | times | figures | found).items() if value is not None}
    return _request(trigger, noted(said, mark) if mark else said)


def _mark(rule: Rule, *, aside: bool, copied: bool) -> str:
    """What the rule has to know of a window when it is judged; empty: nothing."""
    if isinstance(rule, Drift):
        return ASIDE if aside else ""
    return COPIED if copied and isinstance(rule, DataQuality) else ""


def _request(trigger: TriggerSpec, entry: Json, due: datetime | None = None) -> Request:
    stands, state = entry.get("reason") in FOUND, dict(entry.get("state") or {})
    state.pop("marks", None)
    return Request(
        entry,
        trigger.reason,
        wanted=stands,
        key=window_key(entry),
        due=due,
        # What a run answers must be found anew.
        answer={"reason": ANSWERED, "state": state, "streak": 0} if stands else {},
        answered_by=answered_by(trigger),
    )


def _found(rule: Rule, closed: Closed) -> Json:
    if isinstance(rule, Fairness):
        return fairness(rule, closed)
    return drift(rule, closed) if isinstance(rule, Drift) else data_quality(rule, closed)


def rule_of(trigger: TriggerSpec) -> Rule | None:
    """The rule of a trigger that looks at what a model sees; None of any other."""
    return trigger.drift or trigger.data_quality or trigger.fairness


def _rule(trigger: TriggerSpec) -> Rule:
    rule = rule_of(trigger)
    assert rule is not None
    return rule


def _enough(rule: Rule, traffic: Traffic) -> bool:
    if isinstance(rule, Fairness):
        return can_be_judged(rule, traffic.groups, traffic.task)
    if isinstance(rule, DataQuality):
        silence = flow_policy(rule, UTC).silence_counts
        if silence or traffic.asked.requests >= rule.min_samples:
            return True
    return traffic.rows >= rule.min_samples


def _said(trigger: TriggerSpec, entry: Json, decision: str, reason: str, text: str) -> Json:
    return entry | {"name": trigger.name, "decision": decision, "reason": reason, "message": text}


def _opened(trigger: TriggerSpec, entry: Json, champion: Champion, begin: datetime) -> Json:
    """A new window: of what was known, when rows and labels came is of no version."""
    rule = _rule(trigger)
    state = {name: value for name, value in (entry.get("state") or {}).items() if name in flow.KEPT}
    text = (
        f"a window on {champion.name} is open; it closes after {format_duration(rule.window)} with "
        f"{rule.min_samples} rows{' in two groups' if isinstance(rule, Fairness) else ''}"
    )
    opened = {
        "version": champion.name,
        "windowStartedAt": stamp(begin),
        "state": state | {"rule": rule.wording},
    }
    return _said(trigger, opened, "Wait", "WindowOpen", text)
