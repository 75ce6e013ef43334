"""The objects that benchmarks create; their pods run on a simulated node, where any image does."""

from __future__ import annotations

from typing import Any

from noria_operator.kube import kinds
from noria_operator.kube.kinds import Kind

Json = dict[str, Any]
NAMESPACE = "bench"
IMAGE = "bench/none@sha256:" + "0" * 64


def training_job(name: str, *, suspend: bool) -> Json:
    """A TrainingJob, held before its start or not."""
    return _own(kinds.TRAININGJOB, name, {**_training(name), "suspend": suspend})


def model_version(name: str) -> Json:
    """A ModelVersion; the simulated pod of its check says nothing, so that it ends Rejected."""
    artifact = {"uri": f"s3://bench/{name}", "digest": "sha256:" + "0" * 64, "format": "onnx"}
    number = int(name.rsplit("-", 1)[1])
    spec = {"model": name.rsplit("-", 1)[0], "version": number, "artifact": artifact}
    return _own(kinds.MODELVERSION, name, spec)


def model_deployment(name: str) -> Json:
    """A ModelDeployment of a model that has no approved version yet."""
    return _own(kinds.MODELDEPLOYMENT, name, {"model": name})


def continuous_training(name: str) -> Json:
    """A ContinuousTraining that waits for the next first of January."""
    trigger = {"name": "yearly", "schedule": "0 0 1 1 *", "timeZone": "UTC"}
    spec = {"deployment": name, "triggers": [trigger], "template": {"spec": _training(name)}}
    return _own(kinds.CONTINUOUSTRAINING, name, spec)


def bare_job(name: str) -> Json:
    """What a user would write without Noria."""
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": IMAGE}]}}
    return _own(kinds.JOB, name, {"template": pod})


def _training(name: str) -> Json:
    return {"model": name, "image": IMAGE, "output": {"uri": "s3://bench/models"}}


def _own(kind: Kind, name: str, spec: Json) -> Json:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}
