"""Evaluation: challenger and champion on the same held-out rows, and the gates that read it.

Comes in: a TrainingJob whose trainer handed over a model. Goes out: the evaluation Job to make, then its
figures in status, then the gates' verdicts. Invariants: the champion is chosen once, when the Job is made,
and stays with that Job: a promotion meanwhile does not change what the challenger is compared with; a model
is compared with nothing only where no version could be served in its place.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

from noria_operator.api.trainingjob import TrainingFailure, TrainingPhase
from noria_operator.domain.conditions import clip
from noria_operator.domain.gates import Scores, judge
from noria_operator.domain.gates_slices import sliced
from noria_operator.domain.job_shape import Bundle, partitions_of
from noria_operator.domain.results import ResultError, evaluation_result
from noria_operator.domain.training_jobs import CHAMPION_ANNOTATION, RESULT_ANNOTATION, evaluation_job
from noria_operator.domain.training_overlap import seen_by_champion, unknown
from noria_operator.domain.training_plan import Case, Plan, failed
from noria_operator.domain.training_runs import Run, State, ended, judge_run, last_word, refusal, terminated
from noria_operator.domain.training_status import progress
from noria_operator.domain.triggers_rollout import first_is_late, refused

Json = dict[str, Any]


def champion_name(deployment: Json | None) -> str:
    """Name of the stable version of a ModelDeployment; empty while nothing serves."""
    return str(((deployment or {}).get("status", {}).get("stable") or {}).get("version") or "")


def champion_of(deployment: Json | None, versions: Iterable[Json]) -> Bundle | None:
    """The stable version of a ModelDeployment, as far as it still exists."""
    name = champion_name(deployment)
    return next((_bundle(one) for one in versions if one["metadata"]["name"] == name), None)


def _bundle(version: Json) -> Bundle:
    artifact, name = version["spec"]["artifact"], version["metadata"]["name"]
    return Bundle(artifact["uri"], artifact["digest"], artifact.get("secretName"), name)


def _compared_with(case: Case) -> Bundle | None:
    """The champion; while nothing serves, as when a ModelDeployment is made anew, the version that will: the
    pinned one, or the newest approved one. Else one that nobody compared with it would take its place.
    """
    spec, seen = case.job.spec, case.seen
    if seen.champion is not None or seen.champion_name or spec.deployment is None:
        return seen.champion
    named = (one for one in seen.deployments if one["metadata"]["name"] == spec.deployment)
    deployment: Json = next(named, {"spec": {}})
    experiment = (deployment["spec"].get("strategy") or {}).get("experiment") or {}
    passed_over = {arm["version"] for arm in experiment.get("arms") or ()}
    status = deployment.get("status", {})
    if first_is_late(status):
        passed_over.add((status.get("candidate") or {}).get("version"))
    may = [one for one in seen.versions if _may_serve(one, spec.model, deployment, passed_over)]
    pinned = deployment["spec"].get("version")
    first = max(
        may, key=lambda one: (one["metadata"]["name"] == pinned, one["spec"]["version"]), default=None
    )
    return _bundle(first) if first else None


def _may_serve(version: Json, model: str, deployment: Json, passed_over: Container[str]) -> bool:
    name, phase = version["metadata"]["name"], version.get("status", {}).get("phase")
    good = phase == "Approved" and version["spec"]["model"] == model
    return good and name not in passed_over and not refused(name, deployment)


def evaluate(case: Case) -> Plan | None:
    """Until the evaluation's figures are in status; nothing to do for a TrainingJob without evaluation."""
    if case.job.spec.evaluation is None or case.status.get("evaluation"):
        return None
    run = case.seen.evaluate
    if run is None:
        lost = _champion_lost(case)
        if lost is not None:
            return lost
        champion = _compared_with(case)
        against = f" against {champion.version}" if champion else ""
        status = progress(case.obj, TrainingPhase.EVALUATING, f"scoring the model{against}", case.now)
        return Plan(status, create=_job(case, champion))
    verdict = judge_run(run, pending=case.job.spec.deadlines.pending, now=case.now)
    if verdict.state is State.COMPLETE:
        return _figures(case, run)
    if verdict.state is State.FAILED:
        text = f"the evaluation failed: {refusal(run, verdict)}"
        return failed(case, TrainingFailure.EVALUATION_FAILED, text)
    usual = "scoring the model" if verdict.state is State.RUNNING else "the evaluation's pod is starting"
    message = verdict.problem.message if verdict.problem else usual
    return Plan(progress(case.obj, TrainingPhase.EVALUATING, message, case.now), due=verdict.due)


def _champion_lost(case: Case) -> Plan | None:
    """There is a champion and nothing to compare with: a gate that asks for the comparison has not been met.

    It fails rather than waits: only a person can bring the version back, and a run that waits for people
    would keep every later one from starting.
    """
    gates = [gate for gate in case.job.spec.gates if gate.versus is not None]
    if case.seen.champion is not None or not case.seen.champion_name or not gates:
        return None
    detail = (
        f"ModelVersion {case.seen.champion_name}, the champion of ModelDeployment "
        f"{case.job.spec.deployment}, was deleted, so the model cannot be compared with it; make it again "
        "from a backup or roll out another version, then start a new run"
    )
    failing = [{"metric": gate.metric, "result": "Fail", "detail": clip(detail)} for gate in gates]
    return failed(case, TrainingFailure.GATE_FAILED, f"{gates[0].metric}: {detail}", gates=failing)


def judge_gates(case: Case) -> Plan | None:
    """Refuse the model if a gate fails; record the verdicts either way."""
    figures = case.status.get("evaluation")
    if not case.job.spec.gates or case.status.get("gates"):
        return None
    if not figures:
        return failed(
            case, TrainingFailure.INVALID_SPEC, "gates read the evaluation, and spec.evaluation is not set"
        )
    champion = figures.get("champion"), figures.get("championVersion", "")
    by_slice = tuple(map(sliced, figures.get("slices", []))), figures.get("slicesLeftOut", 0)
    held = {source.name: partitions_of(case.obj, source.name) for source in case.job.spec.data}
    seen = _seen_by_champion(case, held, str(figures.get("championVersion", "")))
    scores = Scores(figures["challenger"], *champion, *by_slice, seen, unknown(case.job.spec, held))
    verdicts = judge(case.job.spec.gates, scores)
    gates = [
        {"metric": one.metric, "result": "Pass" if one.passed else "Fail", "detail": clip(one.detail)}
        for one in verdicts
    ]
    refused = [f"{one.metric}: {one.detail}" for one in verdicts if not one.passed]
    if refused:
        return failed(case, TrainingFailure.GATE_FAILED, "; ".join(refused), gates=gates)
    status = progress(case.obj, TrainingPhase.EVALUATING, "every gate passed", case.now)
    return Plan(status | {"gates": gates}, again=True)


def _seen_by_champion(case: Case, held: Mapping[str, Json], name: str) -> str:
    """What of the held-out rows the champion was trained on."""
    champion = next((one for one in case.seen.versions if one["metadata"]["name"] == name), None)
    return seen_by_champion(case.job.spec, held, champion)


def _job(case: Case, champion: Bundle | None) -> Json:
    artifact = case.status["artifact"]
    challenger = Bundle(artifact["uri"], artifact["digest"], case.job.spec.output.secret_name)
    job = evaluation_job(
        case.obj, case.job.spec, challenger=challenger, champion=champion, images=case.images
    )
    said = terminated(ended(case.seen.train, "Succeeded")).get("message") if case.seen.train else None
    if said:
        job["metadata"]["annotations"][RESULT_ANNOTATION] = said
    return job


def _figures(case: Case, run: Run) -> Plan:
    champion = run.job["metadata"].get("annotations", {}).get(CHAMPION_ANNOTATION, "")
    try:
        result = evaluation_result(last_word(run), champion=bool(champion))
    except ResultError as error:
        return failed(case, TrainingFailure.EVALUATION_FAILED, error.message)
    figures: Json = {"rows": result.rows, "digest": result.digest, "challenger": result.metrics.challenger}
    if champion and result.metrics.champion is not None:
        figures |= {"champion": result.metrics.champion, "championVersion": champion}
    if champion and result.errors:
        figures["errors"] = result.errors
    if result.slices:
        names = ("feature", "group", "rows", "metric", "challenger", "champion", "error")
        told = [zip(names, one, strict=True) for one in result.slices]
        figures["slices"] = [{name: value for name, value in one if value is not None} for one in told]
    if result.slices_left_out:
        figures["slicesLeftOut"] = result.slices_left_out
    status = progress(case.obj, TrainingPhase.EVALUATING, "the model is scored", case.now)
    return Plan(status | {"evaluation": figures}, again=True)
