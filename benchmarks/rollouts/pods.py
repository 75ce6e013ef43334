"""The pods that both controllers run: those of Noria's own model server.

Comes in: a model. Goes out: its pod template. What it says is written into ReplicaSets and pods, and gone
through by the API server with each of their status: who is asked for smaller pods would look faster.
"""

from __future__ import annotations

from benchmarks.objects import IMAGE, Json, model_deployment
from noria_operator.api.modeldeployment import ModelDeployment
from noria_operator.api.modelversion import ModelVersion
from noria_operator.api.parsing import parse_as
from noria_operator.domain.revisions import revision_of
from noria_operator.domain.serving import Serving, pod_template
from noria_operator.domain.serving_children import pod_labels, revision_selector

_UID = "0" * 8 + "-0000-0000-0000-" + "0" * 12


def artifact(model: str, number: int) -> Json:
    """That of a version; nobody fetches it."""
    return {"uri": f"s3://bench/{model}", "digest": "sha256:" + str(number) * 64, "format": "onnx"}


def template(namespace: str, model: str, number: int) -> Json:
    """The template of a version's pods."""
    place = {"namespace": namespace, "uid": _UID}
    raw = model_deployment(model)
    deployment = parse_as(ModelDeployment, {**raw, "metadata": {**raw["metadata"], **place}})
    spec = {"model": model, "version": number, "artifact": artifact(model, number)}
    meta = {"name": f"{model}-{number}", **place}
    kind = {"apiVersion": raw["apiVersion"], "kind": "ModelVersion"}
    version = parse_as(ModelVersion, {**kind, "metadata": meta, "spec": spec})
    target = revision_of(model, version, deployment.spec.server)
    serving = Serving(
        namespace=namespace,
        deployment=model,
        version=version,
        server=deployment.spec.server,
        labels=pod_labels(model, _UID, target),
        selector=revision_selector(model, _UID, target),
        image=IMAGE,
        pull_policy="IfNotPresent",
        uid=_UID,
        key_period=1,
        fetching={"NORIA_PRIVATE_HOSTS": "", "NORIA_TRUSTED_KEYS": "", "NORIA_REQUIRE_SIGNATURE": "0"},
    )
    return pod_template(serving)
