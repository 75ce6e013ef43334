"""The last step of a TrainingJob: exactly one ModelVersion for it, under a number that nothing else has.

Comes in: a TrainingJob that passed its gates, and the registry. Goes out: first the number in status,
then the ModelVersion, then the end. Invariants: the number is written down before it is used; a version
that names this TrainingJob's uid is found again whatever happened in between; a number that turns out to
be taken is left behind.
"""

from __future__ import annotations

from typing import Any

from noria_operator.api import names
from noria_operator.api.trainingjob import TrainingPhase
from noria_operator.domain.job_shape import partitions_of
from noria_operator.domain.registry import made_by, next_number
from noria_operator.domain.results import ResultError, TrainingResult, training_result
from noria_operator.domain.retention import KEEP_ANNOTATION
from noria_operator.domain.training_jobs import RESULT_ANNOTATION, output_of
from noria_operator.domain.training_plan import Case, Notice, Plan
from noria_operator.domain.training_runs import ended, terminated
from noria_operator.domain.training_status import progress, succeed, trigger_of

Json = dict[str, Any]


def register(case: Case) -> Plan:
    """Reserve a number, make the ModelVersion, finish: one step each time."""
    made = made_by(case.job.metadata.uid, case.seen.versions)
    if made is not None:
        status = succeed(case.obj, made["metadata"]["name"], case.now)
        return Plan(status, again=True, notices=(Notice("Normal", "Registered", status["message"]),))
    number = case.status.get("reservedVersion")
    taken = {version["metadata"]["name"] for version in case.seen.versions}
    if not number or names.model_version_name(case.job.spec.model, number) in taken:
        return _reserve(case)
    name = names.model_version_name(case.job.spec.model, number)
    status = progress(case.obj, TrainingPhase.EVALUATING, f"making ModelVersion {name}", case.now)
    return Plan(status, create=model_version(case, number), again=True)


def _reserve(case: Case) -> Plan:
    seen = case.seen
    number = next_number(
        case.job.spec.model, versions=seen.versions, jobs=seen.jobs, deployments=seen.deployments
    )
    number = max(number, int(case.status.get("reservedVersion") or 0) + 1)
    status = progress(case.obj, TrainingPhase.EVALUATING, f"version {number} is reserved", case.now)
    return Plan(status | {"reservedVersion": number}, again=True)


def model_version(case: Case, number: int) -> Json:
    """The ModelVersion of this run. It has no owner: it outlives the TrainingJob."""
    spec, meta = case.job.spec, case.job.metadata
    said = _result(case)
    body: Json = {
        "model": spec.model,
        "version": number,
        "artifact": _present(case.status["artifact"] | {"secretName": spec.output.secret_name}),
        "lineage": _lineage(case, said),
    }
    optional = {
        "evaluation": _evaluation(case),
        "signature": said.signature.model_dump() if said and said.signature else None,
        "reference": said.reference.model_dump() if said and said.reference else None,
        "speed": said.speed.model_dump(exclude_none=True) if said and said.speed else None,
        "card": said.card if said else None,
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.MODEL_VERSION,
        "metadata": {
            "name": names.model_version_name(spec.model, number),
            "namespace": meta.namespace,
            "labels": {names.MANAGED_BY_LABEL: names.MANAGED_BY},
            "annotations": {KEEP_ANNOTATION: str(spec.output.keep)},
        },
        "spec": body | {name: value for name, value in optional.items() if value},
    }


def _lineage(case: Case, said: TrainingResult | None) -> Json:
    spec, meta, resolved = case.job.spec, case.job.metadata, case.status.get("resolved", {})
    digests = {entry["name"]: entry.get("digest") for entry in resolved.get("data", [])}
    data = [
        _present(
            {
                "name": source.name,
                "uri": source.uri,
                "digest": digests.get(source.name) or source.digest,
                "partitions": partitions_of(case.obj, source.name) or None,
                "heldOut": True if spec.evaluation and spec.evaluation.data == source.name else None,
            }
        )
        for source in spec.data
    ]
    parent = (case.status.get("evaluation") or {}).get("championVersion")
    if not spec.evaluation or not case.seen.champion:
        parent = parent or case.seen.champion_name or None
    trigger = {name: value for name, value in trigger_of(case.obj).items() if value is not None}
    return _present(
        {
            "trainingJob": {"name": meta.name, "uid": meta.uid},
            "image": resolved.get("image") or spec.image,
            "git": said.git if said and said.git else None,
            "data": data,
            "params": spec.params,
            "seed": spec.seed,
            "parent": parent,
            "trigger": trigger or None,
        }
    )


def _evaluation(case: Case) -> Json | None:
    figures = case.status.get("evaluation")
    if not figures:
        return None
    record: Json = {"metrics": figures["challenger"], "rows": figures["rows"], "digest": figures["digest"]}
    if figures.get("championVersion"):
        versus = {"version": figures["championVersion"], "metrics": figures.get("champion", {})}
        record["versus"] = _present(versus | {"errors": figures.get("errors")})
    if figures.get("slices"):
        record["slices"] = figures["slices"]
    return record


def _result(case: Case) -> TrainingResult | None:
    """What the trainer said: from its pod, or from the evaluation Job should the pod be gone."""
    messages = []
    if case.seen.train:
        messages.append(terminated(ended(case.seen.train, "Succeeded")).get("message", ""))
    if case.seen.evaluate:
        messages.append(case.seen.evaluate.job["metadata"].get("annotations", {}).get(RESULT_ANNOTATION, ""))
    for message in messages:
        try:
            return training_result(message, output_of(case.obj, case.job.spec).uri)
        except ResultError:
            continue
    return None


def _present(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value is not None}
