"""Whether rows are fit to be trained on: checked by a Job of ours before anything is trained.

Comes in: a TrainingJob with `dataQuality`, what the champion was asked, and what its check Job counted. Goes
out: the Job to make, then the verdict in status. Invariants: the Job counts in the champion's frozen bins,
everything is decided here; a share counts where its lower confidence bound is over what is tolerated, so that
few rows refuse nothing; what was checked once is not checked again; rows that could not be checked are
refused, unless the rule only warns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import Any, Final

from noria_operator.api.monitoring import THRESHOLDS
from noria_operator.api.training_data import TrainingData
from noria_operator.api.trainingjob import TrainingFailure, TrainingPhase
from noria_operator.api.types import format_decimal
from noria_operator.domain.conditions import clip
from noria_operator.domain.drift.dirt import Check
from noria_operator.domain.drift.policy import floor
from noria_operator.domain.proportions import wilson
from noria_operator.domain.results import CheckResult, DirtyColumn, ResultError, SkewedColumn, check_result
from noria_operator.domain.training_jobs import CHAMPION_ANNOTATION, check_job
from noria_operator.domain.training_plan import Case, Notice, Plan, failed
from noria_operator.domain.training_runs import Run, State, judge_run, last_word, refusal
from noria_operator.domain.training_status import progress
from noria_operator.domain.training_times import moment

Json = dict[str, Any]

FALSE_ALARM: Final = 0.01
"""Probability that rows of the same law as the champion's are refused, over all checks of a run."""
CHECKS: Final = 6
"""Of each feature."""
SUSPECT: Final = "DataSuspect"
"""Reason of the Event where the rule only warns."""
SHOWN: Final = 10
"""Violations in status, and features that are far from what is served."""
FEW: Final = 200
"""Values of a feature that were served: fewer say nothing."""
UNLIKE: Final = THRESHOLDS["psi"]
"""Distance from what is served that is told in words, as the trigger `drift` would."""
_PATIENCE: Final = timedelta(minutes=1)
"""How long after its creation a run waits for what the champion was asked."""
_AGAIN: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Violation:
    """`value` is over `threshold` (rows: under it); `name` is empty where it is of all rows."""

    name: str
    check: Check
    value: float
    threshold: float

    def as_json(self) -> Json:
        """As status has it."""
        return {
            "name": clip(self.name, 128),
            "check": self.check.value,
            "value": _text(self.value),
            "threshold": _text(self.threshold),
        }

    def __str__(self) -> str:
        return f"{self.name or 'rows'} {self.check.value} {_text(self.value)} ({_text(self.threshold)})"


def check(case: Case) -> Plan | None:
    """Until the verdict is in status; nothing to do where no check is asked for."""
    rule = case.job.spec.data_quality
    if rule is None or case.status.get("dataQuality"):
        return None
    usual, run = f"checking the rows of {rule.data}", case.seen.check
    if run is None:
        return _begun(case, progress(case.obj, TrainingPhase.PENDING, usual, case.now))
    verdict = judge_run(run, pending=case.job.spec.deadlines.pending, now=case.now)
    if verdict.state is State.FAILED:
        return _unchecked(case, rule, refusal(run, verdict))
    if verdict.state is not State.COMPLETE:
        message = f"{usual}: {verdict.problem.message}" if verdict.problem else usual
        return Plan(progress(case.obj, TrainingPhase.PENDING, message, case.now), due=verdict.due)
    try:
        found = check_result(last_word(run))
    except ResultError as error:
        return _unchecked(case, rule, error.message)
    return _verdict(case, rule, run, found)


def _begun(case: Case, status: Json) -> Plan:
    seen, created = case.seen, moment(case.obj["metadata"]["creationTimestamp"])
    if seen.served is None and case.now < created + _PATIENCE:
        return Plan(status, due=case.now + _AGAIN)
    job = check_job(case.obj, case.job.spec, seen.champion, case.images, served=seen.served)
    return Plan(status, create=job)


def violations(rule: TrainingData, found: CheckResult, now: datetime) -> list[Violation]:
    """What is broken; all rows first, then features by how far they are over what is tolerated."""
    whole = [*_of_all(rule, found, now)]
    z = -NormalDist().inv_cdf(_level(found))
    each = [one for column in found.dirty for one in _of_column(rule, column, z)]
    if rule.max_distance is not None:
        known = [one for one in found.skewed if one.rows and one.known]
        each += _too_far(Check.BASELINE_DRIFT, float(rule.max_distance), known, found)
    if rule.max_skew is not None:
        each += _too_far(Check.SKEW, float(rule.max_skew), _compared(found), found)
    return whole + sorted(each, key=lambda one: one.threshold - one.value)


def _level(found: CheckResult) -> float:
    """Of each check."""
    return FALSE_ALARM / max(1, CHECKS * found.features)


def _floor(found: CheckResult, one: SkewedColumn) -> float:
    return floor(_level(found), one.bins, one.known, one.rows)


def _too_far(check_: Check, most: float, each: list[SkewedColumn], found: CheckResult) -> list[Violation]:
    return [
        Violation(one.name, check_, one.psi, most) for one in each if one.psi > max(most, _floor(found, one))
    ]


def _compared(found: CheckResult) -> list[SkewedColumn]:
    """Features of which enough was served."""
    return [one for one in found.served if one.rows and one.known >= FEW]


def _of_all(rule: TrainingData, found: CheckResult, now: datetime) -> Iterator[Violation]:
    if found.rows < rule.min_rows:
        yield Violation("", Check.VOLUME, found.rows, rule.min_rows)
    share = found.duplicates / max(1, found.rows)
    if share > float(rule.max_duplicates):
        yield Violation("", Check.DUPLICATES, share, float(rule.max_duplicates))
    for name in found.absent:
        yield Violation(name, Check.MISSING_COLUMN, 1.0, 0.0)
    if rule.max_age is not None and rule.time_column not in found.absent:
        since = timedelta(seconds=now.timestamp() - (found.newest or 0.0))
        if since > rule.max_age:
            yield Violation("", Check.FRESHNESS, since.total_seconds(), rule.max_age.total_seconds())


def _of_column(rule: TrainingData, column: DirtyColumn, z: float) -> Iterator[Violation]:
    missing, rows = column.known
    trained = max(1, missing + rows)
    for check_, hits, tolerated in (
        (Check.COMPLETENESS, column.missing, missing / trained + float(rule.max_missing)),
        (Check.CATEGORICAL_VALUES, column.unseen, float(rule.max_unseen)),
        (Check.RANGE, column.outside, column.beyond / trained + float(rule.max_out_of_range)),
        (Check.DATA_TYPE, column.wrong, float(rule.max_type_errors)),
    ):
        if wilson(hits, column.rows, z)[0] > tolerated:
            yield Violation(column.name, check_, hits / column.rows, tolerated)


def _verdict(case: Case, rule: TrainingData, run: Run, found: CheckResult) -> Plan:
    broken = violations(rule, found, case.now)
    against = run.job["metadata"].get("annotations", {}).get(CHAMPION_ANNOTATION, "")
    beside = f"{found.features} features beside {against}" if against else "no champion to compare with"
    entry: Json = {"rows": found.rows, "violations": [one.as_json() for one in broken[:SHOWN]]}
    if against:
        entry |= {"against": against} | _skew(found)
    skew = _skew_in_words(found, against) if against else ""
    if not broken:
        text = clip(f"{found.rows} rows of {rule.data} are as they should be ({beside}){skew}")
        return _went_on(case, entry | {"result": "Pass", "message": text})
    text = f"{len(broken)} checks failed on {found.rows} rows of {rule.data} ({beside}): "
    text = clip(text + ", ".join(str(one) for one in broken[:3]) + skew)
    if rule.action == "Warn":
        return _went_on(case, entry | {"result": "Warn", "message": text}, warn=True)
    entry |= {"result": "Refused", "message": text}
    return failed(case, TrainingFailure.DATA_REFUSED, text, dataQuality=entry)


def _skew(found: CheckResult) -> Json:
    """What status says of training beside serving."""
    each = [
        {
            "name": clip(one.name, 128),
            "value": _text(one.psi),
            "floor": _text(_floor(found, one)),
            "samples": one.known,
        }
        for one in _compared(found)[:SHOWN]
    ]
    return {"servedRows": max((one.known for one in found.served), default=0), "skew": each}


def _skew_in_words(found: CheckResult, against: str) -> str:
    each = _compared(found)
    if not each:
        return f"; too few rows were asked of {against} to compare with"
    far = _too_far(Check.SKEW, UNLIKE, each, found)
    worst = ", ".join(f"{one.name} psi {one.value:.3g}" for one in far[:3])
    rows = max(one.known for one in each)
    return (
        f"; {'un' if far else ''}like the {rows} rows that {against} was asked{f': {worst}' if far else ''}"
    )


def _unchecked(case: Case, rule: TrainingData, why: str) -> Plan:
    text = clip(f"the rows of {rule.data} could not be checked: {why}")
    entry = {"result": "Error", "message": text}
    if rule.action == "Warn":
        return _went_on(case, entry, warn=True)
    return failed(case, TrainingFailure.CHECK_FAILED, text, dataQuality=entry)


def _went_on(case: Case, entry: Json, *, warn: bool = False) -> Plan:
    status = progress(case.obj, TrainingPhase.PENDING, entry["message"], case.now) | {"dataQuality": entry}
    notices = (Notice("Warning", SUSPECT, entry["message"]),) if warn else ()
    return Plan(status, again=True, notices=notices)


def _text(value: float) -> str:
    return format_decimal(round(value, 6)).removesuffix(".0")
