"""When staying costs more than retraining: the `cost` of a performance trigger.

Comes in: a closed window's metric, the best value ever reached, what a lost point costs a day and what a run
costs. Goes out: the new entry; it asks once the loss since the last run has cost more than a run. Source: the
cumulative policy of CARA (Mahadevan & Mathioudakis, arXiv 2310.04216): staleness is paid as it arises, and a
run is worth it when it is cheaper than what was paid. Invariants: a loss within one standard error of the
window, and what chance adds to the metric, cost nothing; of what is left, noise alone adds up to 0.083
standard errors a window on average (the mean of a standard normal variable beyond 1), so that it asks for as
many runs as that is worth at most; a window better than the best costs nothing and gives nothing back; time
over which the clock leapt costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import erfc, exp, pi, sqrt
from typing import Any, Final

from noria_operator.api.triggers import Cost, Performance
from noria_operator.domain.drift.alarms import MONTH
from noria_operator.domain.figures import said, written
from noria_operator.domain.performance import Measured
from noria_operator.domain.quality import DIRECTIONS
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers_gap import Gap
from noria_operator.domain.triggers_labels import wording

Json = dict[str, Any]

NOISE: Final = exp(-0.5) / sqrt(2 * pi) - erfc(1 / sqrt(2)) / 2
"""Mean of a standard normal variable beyond 1: standard errors that noise costs a window on average."""
_LONGEST: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Regret:
    """What the loss has cost since the last run, and what it costs a day now."""

    total: float
    per_day: float


def paid(cost: Cost, before: float, *, lost: float, error: float, lasted: timedelta) -> Regret:
    """`lost`: how much worse the metric is than the best, in its own unit; `error`: its standard error."""
    points = max(0.0, lost - error) * 100
    per_day = points * float(cost.point_day)
    return Regret(before + per_day * (lasted / timedelta(days=1)), per_day)


def worth_of_noise(cost: Cost, error: float) -> Json:
    """Field of an entry: runs a month that noise alone asks for on average, at most; none where a run costs
    nothing. `error`: the standard error of a window.
    """
    if not cost.run:
        return {}
    a_month = NOISE * error * 100 * float(cost.point_day) * (MONTH / timedelta(days=1))
    return {"expectedFalseAlarms": written(a_month / float(cost.run))}


def weighed(
    entry: Json,
    rule: Performance,
    cost: Cost,
    *,
    measured: Measured,
    labels: int,
    best: str,
    now: datetime,
    gap: Gap | None = None,
) -> Json:
    """The entry after a window closed; `streak` is 1 while a run is worth its cost."""
    value = measured.value
    lost = DIRECTIONS[rule.metric].gain(float(best), value)
    before = float((entry.get("state") or {}).get("regret") or 0)
    begun = moment(entry["windowStartedAt"])
    lasted = now - begun - (gap.within(begun, now) if gap else timedelta())
    error = measured.error + measured.excess
    regret = paid(cost, before, lost=lost, error=error, lasted=lasted)
    run = float(cost.run)
    worth = regret.total > run
    told = f"{rule.metric} {said(value)}{measured.blur}"
    shown = f"{told} on {labels} labels of {entry['version']}, best {said(float(best))}"
    message = f"{shown}: the loss has cost {regret.total:.2f} since the last run, a run costs {run:.2f}"
    again = _when(regret, run, now)
    if not worth:
        message += f"; as things are it pays from {stamp(again)} on" if again else "; it costs nothing now"
    found: Json = entry | {
        "decision": "Fire" if worth else "No",
        "reason": "WorthARun" if worth else "NotWorthIt" if regret.per_day else "NothingLost",
        "message": message,
        "streak": int(worth),
        "regret": written(regret.total),
        "state": {"metric": wording(rule), "regret": float(written(regret.total))},
    }
    found.pop("forecast", None)
    return found | ({"forecast": stamp(again)} if again and not worth else {})


def _when(regret: Regret, run: float, now: datetime) -> datetime | None:
    if regret.per_day <= 0:
        return None
    days = max(0.0, run - regret.total) / regret.per_day
    return now + min(timedelta(days=min(days, _LONGEST.days)), _LONGEST)
