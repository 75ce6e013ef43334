"""A TrainingJob, its Jobs and its pods as the API server would show them, for tests of decisions."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from noria_operator.api.parsing import parse_as
from noria_operator.api.trainingjob import TrainingJob, TrainingJobStatus
from noria_operator.domain.job_shape import Bundle, Images
from noria_operator.domain.training import decide
from noria_operator.domain.training_jobs import output_of
from noria_operator.domain.training_plan import Case, Observed, Plan
from noria_operator.domain.training_runs import Run
from noria_operator.domain.training_times import stamp

Json = dict[str, Any]

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
UID = "0f7ac08d-1111-2222-3333-444455556666"
DIGEST = "sha256:" + "a" * 64
IMAGES = Images("noria/server@sha256:" + "b" * 64, "IfNotPresent")


SELECTING: list[Json] = [
    {"name": "train", "uri": "pvc://lake/flights", "select": {"by": "day", "last": 60, "skip": 7}},
    {"name": "holdout", "uri": "pvc://lake/flights", "select": {"by": "day", "last": 7}},
]
"""Data sets of which a run reads some partitions; the default ones are read whole."""


def training_job(name: str = "flights-1", uid: str = UID, **spec: Any) -> Json:
    """A TrainingJob with an evaluation and two gates, unless `spec` says else (None removes a field)."""
    full: Json = {
        "model": "flights",
        "image": "noria/train@sha256:" + "c" * 64,
        "params": {"max_depth": "6"},
        "data": [
            {"name": "train", "uri": "pvc://lake/flights"},
            {"name": "holdout", "uri": "pvc://lake/days"},
        ],
        "output": {"uri": "pvc://models/flights"},
        "deployment": "flights",
        "evaluation": {"data": "holdout", "label": "late"},
        "gates": [
            {"metric": "auc", "min": "0.65"},
            {"metric": "auc", "versus": "champion", "maxDrop": "0.01"},
        ],
    } | spec
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {
            "name": name,
            "namespace": "demo",
            "uid": uid,
            "generation": 1,
            "creationTimestamp": stamp(NOW),
        },
        "spec": {field: value for field, value in full.items() if value is not None},
    }


def case(obj: Json, seen: Observed | None = None, now: datetime = NOW) -> Case:
    return Case(obj, parse_as(TrainingJob, obj), seen or Observed(), IMAGES, now)


def after(obj: Json, plan: Plan) -> Json:
    """The object once the plan's status is written."""
    return copy.deepcopy(obj) | {"status": {k: v for k, v in plan.status.items() if v is not None}}


def job(body: Json, *conditions: str, at: datetime = NOW, suspend: bool = False, reason: str = "") -> Json:
    """A created Job; `conditions` are those that are True."""
    made = copy.deepcopy(body)
    made["metadata"] |= {"uid": f"job-{body['metadata']['name']}", "creationTimestamp": stamp(at)}
    made["spec"]["suspend"] = suspend
    made["status"] = {
        "conditions": [{"type": name, "status": "True", "reason": reason} for name in conditions]
    }
    return made


def pod(name: str = "pod-1", phase: str = "Pending", *, at: datetime = NOW, **status: Any) -> Json:
    return {
        "metadata": {"name": name, "namespace": "demo", "creationTimestamp": stamp(at)},
        "spec": {"volumes": [{"name": "claim-0", "persistentVolumeClaim": {"claimName": "lake"}}]},
        "status": {"phase": phase} | status,
    }


def ended_pod(message: str, *, code: int = 0, name: str = "pod-1", reason: str = "Completed") -> Json:
    """A pod whose container ended and left `message`."""
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    container = {"name": "main", "state": state, "imageID": "docker.io/noria/train@sha256:" + "d" * 64}
    return pod(name, "Succeeded" if code == 0 else "Failed", containerStatuses=[container])


def step(obj: Json, seen: Observed | None = None, minutes: float = 0) -> tuple[Json, Plan]:
    plan = decide(case(obj, seen, NOW + timedelta(minutes=minutes)))
    TrainingJobStatus.model_validate(plan.status)
    return after(obj, plan), plan


def condition(obj: Json, name: str) -> Json:
    return next(one for one in obj["status"]["conditions"] if one["type"] == name)


def result(obj: Json, **changes: Any) -> str:
    """What a trainer says that published its bundle where it was told to."""
    body: Json = {
        "schema": "noria.result/v1",
        "artifact": {"uri": output_of(obj, case(obj).job.spec).uri, "digest": DIGEST, "format": "onnx"},
        "metrics": {"auc": "0.99"},
        "signature": {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}], "outputs": []},
        "reference": {"digest": DIGEST, "features": 3, "samples": 1000},
        "data": [{"name": "train", "rows": 1000, "digest": DIGEST}],
        "git": "0123abc",
    }
    return json.dumps(body | changes)


def selection(**newest: str) -> str:
    """What our selection Job says: ranges by name of the data set."""
    oldest = {"holdout": "2026-02-22"}
    data = [
        {"name": name, "by": "day", "oldest": oldest.get(name, "2026-01-01"), "newest": value, "count": 60}
        for name, value in newest.items()
    ]
    return json.dumps({"schema": "noria.selection/v1", "data": data})


def evaluation(challenger: str = "0.72", champion: str | None = "0.71") -> str:
    """What our evaluation Job says."""
    scores: Json = {"challenger": {"auc": challenger}, "champion": {"auc": champion} if champion else None}
    return json.dumps({"schema": "noria.evaluation/v1", "rows": 500, "digest": DIGEST, "metrics": scores})


def complete(body: Json, message: str) -> Run:
    """A Job that ended well with this last word."""
    return Run(job(body, "Complete"), (ended_pod(message),))


def version(number: int = 1, *, phase: str = "Approved", model: str = "flights", **spec: Any) -> Json:
    """A ModelVersion as stored."""
    body: Json = {
        "model": model,
        "version": number,
        "artifact": {"uri": f"pvc://models/flights/{number}", "digest": DIGEST, "format": "onnx"},
    }
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {
            "name": f"{model}-{number}",
            "namespace": "demo",
            "uid": f"version-{number}",
            "generation": 1,
            "creationTimestamp": stamp(NOW - timedelta(days=1)),
        },
        "spec": body | spec,
        "status": {"phase": phase},
    }


def deployment(
    stable: int | None = 1, *, name: str = "flights", pinned: str | None = None, **status: Any
) -> Json:
    """A ModelDeployment as stored."""
    spec: Json = {"model": "flights"} | ({"version": pinned} if pinned else {})
    roles = {"stable": served(stable)} if stable else {}
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": "demo", "uid": f"deployment-{name}", "generation": 1},
        "spec": spec,
        "status": {**roles, **status},
    }


def served(number: int) -> Json:
    return {"version": f"flights-{number}", "revision": "abc123", "name": f"flights-{number}-abc123"}


CHAMPION = Bundle("pvc://models/flights/1", DIGEST, None, "flights-1")
