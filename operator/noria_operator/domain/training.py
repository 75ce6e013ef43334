"""What should happen to a TrainingJob next: choose, train, evaluate, judge, register, rest.

Comes in: the object, its Jobs and pods, the registry and the champion. Goes out: a `Plan`. Invariants:
finished is final (a child of a finished TrainingJob is never made again); a version number is in status
before the ModelVersion is made; gates read the evaluation and nothing else; the same inputs give the same
plan, so that after a crash at any point the next pass goes on where the last write left off.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from noria_operator.api.trainingjob import TrainingFailure, TrainingPhase
from noria_operator.api.types import format_duration
from noria_operator.domain.conditions import of_type, since
from noria_operator.domain.evaluation import evaluate, judge_gates
from noria_operator.domain.job_shape import partitions_of
from noria_operator.domain.registry import made_by
from noria_operator.domain.results import DataUsed, ResultError, training_result
from noria_operator.domain.training_check import check
from noria_operator.domain.training_jobs import output_of, training_job
from noria_operator.domain.training_plan import Case, Notice, Observed, Plan, failed
from noria_operator.domain.training_registration import register
from noria_operator.domain.training_runs import (
    Run,
    State,
    attempts,
    begun,
    ended,
    ended_at,
    image_of,
    judge_run,
    last_word,
)
from noria_operator.domain.training_selection import choose
from noria_operator.domain.training_status import HELD, fail, is_finished, progress, timed
from noria_operator.domain.training_times import moment
from noria_serving.contract import CODE_FORMATS

Json = dict[str, Any]


def decide(case: Case) -> Plan:
    """The next step of a TrainingJob whose spec is valid."""
    if is_finished(case.status):
        return rest(case.obj, case.job.spec.ttl_seconds_after_finished, case.seen, case.now)
    return _train(case) or _hold(case) or evaluate(case) or judge_gates(case) or register(case)


def has_begun(obj: Json, seen: Observed) -> bool:
    """Whether anything of it runs or has run: an operator that found its spec in order has led before."""
    return any((seen.select, seen.check, seen.train, seen.evaluate, obj.get("status", {}).get("artifact")))


def refuse(obj: Json, message: str, now: datetime) -> Plan:
    """A TrainingJob whose spec cannot be used, before anything began. It cannot be changed either, so this is
    the end of it.
    """
    status = fail(obj, TrainingFailure.INVALID_SPEC, f"{message}; make a new TrainingJob", now)
    return Plan(status, notices=(Notice("Warning", TrainingFailure.INVALID_SPEC.value, status["message"]),))


def rest(obj: Json, ttl: int | None, seen: Observed, now: datetime) -> Plan:
    """A finished TrainingJob: stop what still runs, delete it when its time has come, make nothing."""
    status = dict(obj.get("status", {}))
    runs = (seen.select, seen.check, seen.train, seen.evaluate)
    stop = tuple(run.name for run in runs if run is not None and not run.finished)
    if ttl is None or not status.get("completionTime"):
        return Plan(status, stop=stop)
    due = moment(status["completionTime"]) + timedelta(seconds=ttl)
    return Plan(status, stop=stop, delete=now >= due, due=due)


def _train(case: Case) -> Plan | None:
    """Until the trainer's result is in status."""
    if case.status.get("artifact"):
        return None
    run = case.seen.train
    if run is None and case.status.get("runningSince"):
        # Counted before there is another, which may be refused.
        text = "the training Job was deleted while its pod ran"
        status = progress(case.obj, TrainingPhase.PENDING, text, case.now)
        return Plan(timed(case.status, status, begun=None, ended=False, until=case.now), again=True)
    plan = _trained(case, run)
    if run is None:
        return plan
    until = ended_at(run) or case.now
    status = timed(
        case.status, plan.status, begun=begun(run), ended=run.finished and not _told(case, run), until=until
    )
    return replace(plan, status=status)


def _told(case: Case, run: Run) -> bool:
    """Whether status has had the last pod of a Job that failed: what it held is counted."""
    return ended(run, "Succeeded") is None and attempts(run) <= int(case.status.get("attempts") or 0)


def _trained(case: Case, run: Run | None) -> Plan:
    spec = case.job.spec
    held = bool(run and run.job["spec"].get("suspend"))
    if spec.suspend and not (run and run.finished):
        status = _suspended(case, elsewhere=held and not _ours(case))
        return Plan(status, suspend=True if run and not held else None)
    if run is None:
        return choose(case) or check(case) or _begin(case)
    # Only our own suspension is undone: a queueing controller may hold the Job for reasons of its own.
    resume = False if held and _ours(case) else None
    resumed = since(case.status.get("conditions", ()), "Suspended")
    verdict = judge_run(run, pending=spec.deadlines.pending, since=resumed, now=case.now)
    if verdict.state is State.COMPLETE:
        return _hand_over(case, run)
    if verdict.state is State.FAILED and verdict.problem:
        return failed(case, verdict.problem.reason, verdict.problem.message, attempts=attempts(run))
    running, due = verdict.state is State.RUNNING, verdict.due
    if running and ended(run, "Succeeded") is None and (left := _left(case, run)) is not None:
        if left <= timedelta():
            text = (
                f"Job {run.name} trained longer than {format_duration(spec.deadlines.active)}, over all "
                "attempts; raise spec.deadlines.active, or give the run less data"
            )
            return failed(case, TrainingFailure.ACTIVE_DEADLINE, text, attempts=attempts(run))
        due = min(due or case.now + left, case.now + left)
    usual = "training" if running else "the pod is starting"
    phase = TrainingPhase.RUNNING if running else TrainingPhase.PENDING
    message = verdict.problem.message if verdict.problem else usual
    status = progress(case.obj, phase, message, case.now) | {"attempts": attempts(run)}
    return Plan(status, suspend=resume, due=due)


def _hold(case: Case) -> Plan | None:
    """The model of a run that is suspended is not scored, and makes no version that would be rolled out. How
    an evaluation ended that ran already is read: its pod alone knows, and may be gone when the run goes on.
    """
    made, run = made_by(case.job.metadata.uid, case.seen.versions), case.seen.evaluate
    if not case.job.spec.suspend or made is not None:
        return None
    plan = evaluate(case) if run and run.finished else None
    if plan is None:
        return Plan(_suspended(case))
    if is_finished(plan.status):
        return plan
    return Plan(_suspended(case) | {"evaluation": plan.status["evaluation"]})


def _ours(case: Case) -> bool:
    """Whether it is us who suspended the training Job: status says so before that is done."""
    why = of_type(case.status.get("conditions", ()), "Suspended").get("reason")
    return bool(case.status.get("phase") == TrainingPhase.SUSPENDED and why != HELD)


def _suspended(case: Case, *, elsewhere: bool = False) -> Json:
    seen, text = case.seen, "spec.suspend is true: set it to false to go on"
    reading = [run.name for run in (seen.select, seen.check, seen.evaluate) if run and not run.finished]
    text += f"; Job {reading[-1]} only reads, and goes on to its end" if reading else ""
    return progress(case.obj, TrainingPhase.SUSPENDED, text, case.now, elsewhere=elsewhere)


def _left(case: Case, run: Run) -> timedelta | None:
    """How much longer pods may run; None where it is not known since when the newest one does."""
    seen = case.status.get("runningSince")
    since_ = moment(seen) if seen else begun(run)
    ran = timedelta(seconds=int(case.status.get("ranSeconds") or 0))
    return case.job.spec.deadlines.active - ran - (case.now - since_) if since_ else None


def _begin(case: Case) -> Plan:
    text = "the training Job was made; its pod is not there yet"
    status = progress(case.obj, TrainingPhase.PENDING, text, case.now)
    return Plan(status, create=training_job(case.obj, case.job.spec))


def _hand_over(case: Case, run: Run) -> Plan:
    """The trainer ended well: take its result, or say what is wrong with it."""
    tried = attempts(run)
    try:
        result = training_result(last_word(run), output_of(case.obj, case.job.spec).uri)
    except ResultError as error:
        return failed(case, TrainingFailure(error.reason), error.message, attempts=tried)
    if result.artifact.format in CODE_FORMATS and not case.images.allow_code:
        message = (
            f"the model's format {result.artifact.format} runs code of its own, which namespace "
            f"{case.job.metadata.namespace} does not allow; save it as onnx or skops, or let the "
            "administrator add the namespace to allowCodeNamespaces of the chart"
        )
        return failed(case, TrainingFailure.RESULT_INVALID, message, attempts=tried)
    stated = {used.name: used for used in result.data}
    data = [
        _resolved(source.name, source.digest, stated.get(source.name))
        | ({"partitions": partitions} if (partitions := partitions_of(case.obj, source.name)) else {})
        for source in case.job.spec.data
    ]
    status = progress(case.obj, TrainingPhase.EVALUATING, "the trainer handed over a model", case.now) | {
        "attempts": tried,
        "artifact": result.artifact.model_dump(),
        "claims": result.metrics,
        "resolved": {"image": image_of(ended(run, "Succeeded")) or case.job.spec.image, "data": data},
    }
    return Plan(status, again=True)


def _resolved(name: str, expected: str | None, used: DataUsed | None) -> Json:
    """A data set as the trainer says it read it; the digest from the spec where the trainer says nothing."""
    entry = {
        "name": name,
        "digest": (used.digest if used else None) or expected,
        "rows": used.rows if used else None,
    }
    return {key: value for key, value in entry.items() if value is not None}
