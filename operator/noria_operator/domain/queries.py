"""Custom queries as a measure: when to ask, what an answer counts as, what follows from all of them.

Comes in: what the spec asks for, what was measured before, the latest answer. Goes out: the next
measurements and a judgement. The limits mean what Argo Rollouts' mean; not copied are that Inconclusive
overwrites Failed, that no measurement at all is a success (case 28 of docs/rollout-cases.md), that no data
fails (case 30), and that an error of the source aborts. Invariants: an answer counts once; one with a value
that is no number may fail, and is never a success.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from math import isfinite
from typing import Final

from noria_operator.domain import query_conditions
from noria_operator.domain.conditions import clip
from noria_operator.domain.query_conditions import InvalidCondition, NoNumber, Result, holds
from noria_operator.domain.verdict import Judgement, Verdict

AFTER_ERROR: Final = timedelta(seconds=10)
"""When to ask again after an error or no data, unless `interval` is shorter: as Argo does."""

TOLD: Final = 256
"""Letters of a query that are told with what is decided by it; status has them all."""


class Outcome(StrEnum):
    """What one answer counts as."""

    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    """Neither condition holds."""
    ERROR = "Error"
    """The source did not answer, or with something that the conditions cannot be asked about."""
    NO_DATA = "NoData"
    """An empty vector, or NaN or an infinity where nothing else fails: no evidence, asked again."""


@dataclass(frozen=True, slots=True)
class QueryPolicy:
    """What the spec asks of one query; `interval` None: it is measured once."""

    name: str
    template: str
    args: Mapping[str, str] = field(default_factory=dict)
    success: str | None = None
    failure: str | None = None
    interval: timedelta | None = None
    count: int | None = None
    initial_delay: timedelta = timedelta()
    failure_limit: int = 0
    inconclusive_limit: int = 0
    error_limit: int = 4

    @property
    def wanted(self) -> int | None:
        """How many measurements are enough; None: it goes on as long as the rollout does."""
        return 1 if self.interval is None else self.count


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source answered to a question of `at`: a result, or an error."""

    at: datetime
    result: Result = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The query of now, with the latest answer; `problem` says why it cannot be asked at all."""

    query: str = ""
    answer: Answer | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """All that one query gave since `since` (None: since the analysis began); `errors` are those in a row."""

    successful: int = 0
    failed: int = 0
    inconclusive: int = 0
    errors: int = 0
    last: Outcome | None = None
    last_at: datetime | None = None
    shown: str = ""
    """The last result or error, for people."""
    since: datetime | None = None
    earlier: int = 0
    """The failed and inconclusive ones of a ramp's lower weights, which count for the limits alone."""

    @property
    def taken(self) -> int:
        """Measurements, as Argo counts them: without errors, and without data none."""
        return self.successful + self.failed + self.inconclusive - self.earlier


def problem(policy: QueryPolicy) -> str:
    """Why a condition is none; empty when all is well."""
    return next(
        filter(None, map(query_conditions.problem, filter(None, (policy.success, policy.failure)))), ""
    )


def due(policy: QueryPolicy, measured: Measured, since: datetime) -> datetime | None:
    """When to ask; None when nothing more is to be learnt."""
    if _decided(policy, measured) is not None:
        return None
    if measured.last_at is None:
        return (measured.since or since) + policy.initial_delay
    interval = policy.interval or AFTER_ERROR
    again = measured.last in (Outcome.ERROR, Outcome.NO_DATA)
    return measured.last_at + (min(interval, AFTER_ERROR) if again else interval)


def measure(policy: QueryPolicy, measured: Measured, asked: Asked, since: datetime) -> Measured:
    """What is known after the latest answer; one of before the analysis, or counted, adds nothing."""
    answer = asked.answer
    if answer is None or answer.at < since or _decided(policy, measured) is not None:
        return measured
    before = max(filter(None, (measured.since, measured.last_at)), default=None)
    if before is not None and answer.at <= before:
        return measured
    outcome, shown = _outcome(policy, answer)
    return replace(
        measured,
        successful=measured.successful + (outcome is Outcome.SUCCESSFUL),
        failed=measured.failed + (outcome is Outcome.FAILED),
        inconclusive=measured.inconclusive + (outcome is Outcome.INCONCLUSIVE),
        errors=measured.errors + 1 if outcome is Outcome.ERROR else 0,
        last=outcome,
        last_at=answer.at,
        shown=clip(shown, 256),
    )


def anew(
    asked: Iterable[QueryPolicy], measured: Mapping[str, Measured], now: datetime
) -> dict[str, Measured]:
    """The measurements when a step with `analysis` begins: none of queries that end, which would else say for
    good what they said of less weight.
    """
    ending = {one.name: Measured(since=now) for one in asked if one.wanted is not None}
    return {**measured, **ending}


def further(asked: Iterable[QueryPolicy], measured: Mapping[str, Measured]) -> dict[str, Measured]:
    """The measurements when a ramp with `analysis` has climbed: queries that passed are asked again, since
    they said nothing of more weight, and no failure is forgotten; those under way go on.
    """
    passed = {
        one.name: replace(known, successful=0, earlier=known.failed + known.inconclusive)
        for one in asked
        if (known := measured.get(one.name)) and _has_passed(one, known)
    }
    return {**measured, **passed}


def _has_passed(policy: QueryPolicy, measured: Measured) -> bool:
    decided = _decided(policy, measured)
    return decided is not None and decided[0] is Verdict.PASS


def judge(policy: QueryPolicy, measured: Measured, asked: Asked) -> Judgement:
    """The verdict on everything that was measured."""
    verdict, why = _verdict(policy, measured, asked)
    if asked.query and _decided(policy, measured) is not None:
        why = f"{why}; asked: {clip(asked.query, TOLD)}"
    figures = {
        "successful": measured.successful,
        "failed": measured.failed,
        "inconclusive": measured.inconclusive,
        "errorsInARow": measured.errors,
    }
    return Judgement(verdict, why, f"query {policy.name}", figures=figures, query=asked.query, reached=None)


def _verdict(policy: QueryPolicy, measured: Measured, asked: Asked) -> tuple[Verdict, str]:
    decided = _decided(policy, measured)
    if decided is not None:
        return decided
    last = f"; last: {measured.shown}" if measured.shown else ""
    if asked.problem:
        return Verdict.ERROR, asked.problem
    if measured.errors > policy.error_limit:
        return (
            Verdict.ERROR,
            f"{measured.errors} errors in a row, consecutiveErrorLimit {policy.error_limit}{last}",
        )
    if policy.wanted is None and measured.last is Outcome.SUCCESSFUL:
        return Verdict.PASS, f"{measured.successful} of {measured.taken} measurements good{last}"
    wanted = f" of {policy.wanted}" if policy.wanted else ""
    return Verdict.HOLD, f"{measured.taken}{wanted} measurements{last}"


def _decided(policy: QueryPolicy, measured: Measured) -> tuple[Verdict, str] | None:
    """What no further answer changes."""
    last = f"; last: {measured.shown}"
    if measured.failed > policy.failure_limit:
        return (
            Verdict.FAIL,
            f"{measured.failed} measurements failed, failureLimit {policy.failure_limit}{last}",
        )
    if measured.inconclusive > policy.inconclusive_limit:
        limit = policy.inconclusive_limit
        return (
            Verdict.HOLD,
            f"{measured.inconclusive} measurements inconclusive, inconclusiveLimit {limit}{last}",
        )
    if policy.wanted is not None and measured.taken >= policy.wanted:
        return Verdict.PASS, f"{measured.successful} of {measured.taken} measurements good{last}"
    return None


def _outcome(policy: QueryPolicy, answer: Answer) -> tuple[Outcome, str]:
    if answer.error:
        return Outcome.ERROR, answer.error
    values = answer.result if isinstance(answer.result, tuple) else (answer.result,)
    shown = ", ".join(f"{value:g}" for value in values[:5]) + (" …" if len(values) > 5 else "")
    unknown = Outcome.NO_DATA, f"no data ({shown or 'empty'})"
    if not any(map(isfinite, values)):
        return unknown
    try:
        outcome = _of_values(policy, answer.result)
    except NoNumber:
        return unknown
    except InvalidCondition as error:
        return Outcome.ERROR, str(error)
    whole = all(map(isfinite, values))
    return (outcome, shown) if whole or outcome is Outcome.FAILED else unknown


def _of_values(policy: QueryPolicy, result: Result) -> Outcome:
    if policy.failure is not None and holds(policy.failure, result):
        return Outcome.FAILED
    if policy.success is None or holds(policy.success, result):
        return Outcome.SUCCESSFUL
    return Outcome.FAILED if policy.failure is None else Outcome.INCONCLUSIVE
