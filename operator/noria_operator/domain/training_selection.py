"""Which partitions a run reads: chosen once, by a Job of ours, before anything is trained.

Comes in: a TrainingJob whose data sets select partitions. Goes out: the selection Job to make, then the
ranges in status. Invariant: every attempt of the trainer and the evaluation are given the same range, so a
partition that lands meanwhile moves neither training days nor held-out days; what was chosen is never chosen
again; nothing is trained on what is held out. The operator itself opens no location.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noria_operator.api.trainingjob import TrainingFailure, TrainingPhase
from noria_operator.domain.results import ResultError, selection_result
from noria_operator.domain.training_jobs import selection_job
from noria_operator.domain.training_overlap import shared
from noria_operator.domain.training_plan import Case, Plan, failed
from noria_operator.domain.training_runs import Run, State, judge_run, last_word, refusal
from noria_operator.domain.training_status import progress

Json = dict[str, Any]


def selects(spec: Mapping[str, Any]) -> bool:
    """Whether a TrainingJob's spec, as on the wire, has partitions to choose."""
    return any(source.get("select") for source in spec.get("data") or [])


def chosen(status: Mapping[str, Any]) -> bool:
    """Whether the choice is made."""
    data = (status.get("resolved") or {}).get("data", [])
    return any(entry.get("partitions") for entry in data)


def choose(case: Case) -> Plan | None:
    """Until the ranges are in status; nothing to do where no data set selects anything."""
    if chosen(case.status):
        return None
    if not selects(case.obj["spec"]):
        overlap = shared(case.job.spec, {})
        return failed(case, TrainingFailure.SELECTION_FAILED, overlap) if overlap else None
    run = case.seen.select
    if run is None:
        text = "choosing the partitions of the data"
        status = progress(case.obj, TrainingPhase.PENDING, text, case.now)
        return Plan(status, create=selection_job(case.obj, case.job.spec, case.images))
    verdict = judge_run(run, pending=case.job.spec.deadlines.pending, now=case.now)
    if verdict.state is State.COMPLETE:
        return _ranges(case, run)
    if verdict.state is State.FAILED:
        text = f"the partitions could not be chosen: {refusal(run, verdict)}"
        return failed(case, TrainingFailure.SELECTION_FAILED, text)
    usual = "choosing the partitions of the data"
    message = f"{usual}: {verdict.problem.message}" if verdict.problem else usual
    return Plan(progress(case.obj, TrainingPhase.PENDING, message, case.now), due=verdict.due)


def _ranges(case: Case, run: Run) -> Plan:
    try:
        result = selection_result(last_word(run))
    except ResultError as error:
        return failed(case, TrainingFailure.SELECTION_FAILED, error.message)
    found = {one.name: one.model_dump(exclude={"name"}) for one in result.data}
    missing = [source.name for source in case.job.spec.data if source.select and source.name not in found]
    if missing:
        text = (
            f"the selection Job says nothing of {', '.join(missing)}; is its image older than the operator?"
        )
        return failed(case, TrainingFailure.SELECTION_FAILED, text)
    if overlap := shared(case.job.spec, found):
        return failed(case, TrainingFailure.SELECTION_FAILED, overlap)
    data = [{"name": name, "partitions": partitions} for name, partitions in found.items()]
    status = progress(case.obj, TrainingPhase.PENDING, "the partitions of the data are chosen", case.now)
    return Plan(status | {"resolved": {"data": data}}, again=True)
