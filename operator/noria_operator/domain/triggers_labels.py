"""Windows of labels: when one is open, and what is said until it is.

Comes in: a rule on quality, its entry in status and the champion. Goes out: when the open window began, or a
request. Invariant: a window belongs to one version and one wording of the metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.api.triggers import Performance, TriggerSpec
from noria_operator.api.types import format_decimal, format_duration
from noria_operator.domain.costs import Costs
from noria_operator.domain.performance import EXPECTED_COST
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers import Champion, Request, opened_at

Json = dict[str, Any]
_LABELLED: Final = "labelled"


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a window its labels tell: rows predicted in it, and the median delay of its labels."""

    rows: int = 0
    delay: timedelta | None = None

    def shown(self, labels: int) -> Json:
        """Fields of an entry; a label may come later than the window of its prediction."""
        found = {"coverage": format_decimal(round(min(1.0, labels / self.rows), 6))} if self.rows else {}
        return found | ({"labelDelay": format_duration(self.delay)} if self.delay else {})


class Estimate(Performance):
    """The rule of a trigger that no labels are behind."""


def wording(rule: Performance) -> str:
    """The metric, whether labels show it or scores, and what labels cost where it goes by that: values of
    another wording are no better and no worse.
    """
    prices = (Costs.of(rule.cost_matrix).wording,) if rule.metric == EXPECTED_COST else ()
    how = "estimated" if isinstance(rule, Estimate) else _LABELLED
    return " ".join((rule.metric, how, *prices))


def same_wording(state: Json, rule: Performance) -> bool:
    """Whether what is remembered is of this wording. Earlier releases wrote the metric alone of each, or not
    that labels show it.
    """
    told = wording(rule)
    return state.get("metric") in (told, told.replace(f" {_LABELLED}", ""), rule.metric)


def window_start(entry: Json, rule: Performance, champion: Champion | None) -> datetime | None:
    """Since when labels count for the open window; another metric (the spec was edited) begins a new one."""
    state = entry.get("state") or {}
    same = same_wording(state, rule) and bool(state.get("bySlice")) == rule.by_slice
    return opened_at(entry, champion) if same else None


def closing(entry: Json, now: datetime) -> Json:
    """Fields of an entry whose window closes now: when it did, how long it was, and where the next begins."""
    ended = stamp(now)
    return {
        "windowStartedAt": ended,
        "windowEndedAt": ended,
        "windowLength": format_duration(moment(ended) - moment(entry["windowStartedAt"])),
    }


def unopened(
    trigger: TriggerSpec,
    rule: Performance,
    entry: Json,
    champion: Champion | None,
    *,
    now: datetime,
    warmup: timedelta,
    kept: Json,
    counted: str = "labels",
) -> Request | None:
    """What is said while no window can be judged; `kept`: fields of the entry that a new one keeps."""
    if champion is None:
        text = "nothing is served yet, so there is no quality to watch"
        said = {"name": trigger.name, "decision": "Wait", "reason": "NothingServed", "message": text}
        return Request(entry | said, "Performance")
    begun = window_start(entry, rule, champion)
    if begun is None:
        opened = _opened(trigger.name, rule, champion, begin=now + warmup, counted=counted)
        return Request(opened | kept, "Performance", due=now + warmup if warmup else None)
    return Request(entry, "Performance", due=begun) if now < begun else None


def _opened(name: str, rule: Performance, champion: Champion, *, begin: datetime, counted: str) -> Json:
    """A new window and a new streak for a new stable version."""
    entry: Json = {"name": name, "version": champion.name, "windowStartedAt": stamp(begin), "streak": 0}
    return entry | opening(entry, rule, counted)


def opening(entry: Json, rule: Performance, counted: str) -> Json:
    """What is said of an open window of which nothing else is known."""
    return {
        "decision": "Wait",
        "reason": "WindowOpen",
        "message": f"a window on {entry['version']} opens at {entry['windowStartedAt']}; it closes with "
        f"{rule.min_labels} {counted}{' of a slice' if rule.by_slice else ''}",
    }
