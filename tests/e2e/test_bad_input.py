"""Bad input of each kind ends in a condition that names cause and fix; the operator never crashes over it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.kube import Json, Kube, condition, namespace, phase
from tests.e2e.manifests import SAY, claim, model_deployment, tampering, training_job

NAN = SAY.format(
    text=json.dumps(
        {
            "schema": "noria.result/v1",
            "artifact": {"uri": "pvc://models/tiny/x", "digest": "sha256:" + "0" * 64, "format": "onnx"},
            "metrics": {"auc": "nan"},
        }
    )
)
HUGE = "import os; open(os.environ['NORIA_RESULT'], 'w').write('x' * 1_000_000)"


BAD_RESULTS = {
    "silent": ("pass", "ResultMissing", "publish"),
    "garbage": (SAY.format(text="hello"), "ResultInvalid", "JSON"),
    "huge": (HUGE, "ResultInvalid", "4096"),
    "not-a-number": (NAN, "ResultInvalid", "auc"),
    "broken": ("raise SystemExit(1)", "TrainingFailed", "logs"),
    "gives-up": ("raise SystemExit(42)", "DoNotRetry", "42"),
}
"""Name: what the trainer does, the reason of the failure, a word of its message."""

MISSING_IMAGE = "127.0.0.1:5000/noria/missing@sha256:" + "0" * 64
CANNOT_START: dict[str, tuple[Json, str, str]] = {
    "no-claim": ({"output": {"uri": "pvc://nowhere/x"}}, "VolumeUnavailable", "nowhere"),
    "no-image": ({"image": MISSING_IMAGE}, "ImagePull", "missing"),
    "no-room": ({"resources": {"requests": {"cpu": "1000"}}}, "Unschedulable", "cpu"),
}
"""Name: what is wrong in the spec, the reason of the failure, a word of its message."""


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    """A namespace in which all bad runs go their way at the same time."""
    with namespace(noria, "e2e-bad") as kube:
        kube.apply(claim())
        for name, (code, _, _) in BAD_RESULTS.items():
            kube.apply(training_job(name, images["example-flights"], code=code, model=name))
        for name, (wrong, _, _) in CANNOT_START.items():
            job = training_job(name, images["example-flights"], model=name, deadlines={"pending": "30s"})
            kube.apply({**job, "spec": {**job["spec"], **wrong}})
        kube.apply(training_job("kept", images["example-flights"], model="kept", seed=1))
        yield kube


def failed(kube: Kube, name: str) -> dict[str, str]:
    """The Failed condition of a TrainingJob, once it is true."""
    done = kube.until(
        "TrainingJob", name, lambda tj: condition(tj, "Failed").get("status") == "True", timeout=120
    )
    return condition(done, "Failed")


@pytest.mark.parametrize("name", CANNOT_START)
def test_a_pod_that_cannot_start_is_explained_while_pending_and_fails_at_the_deadline(
    kube: Kube, name: str
) -> None:
    _, reason, says = CANNOT_START[name]
    explained = kube.until("TrainingJob", name, lambda tj: says in tj["status"].get("message", ""))
    assert condition(explained, "Ready")["status"] == "False"
    assert failed(kube, name)["reason"] == reason


@pytest.mark.parametrize("name", BAD_RESULTS)
def test_a_bad_result_fails_the_run_with_its_reason(kube: Kube, name: str) -> None:
    _, reason, says = BAD_RESULTS[name]
    found = failed(kube, name)
    assert found["reason"] == reason
    assert says in found["message"]
    assert kube.get("ModelVersion", f"{name}-1") is None


def test_a_version_with_the_wrong_digest_is_rejected_and_never_served(kube: Kube) -> None:
    version = {
        "kind": "ModelVersion",
        "metadata": {"name": "forged-1"},
        "spec": {
            "model": "forged",
            "version": 1,
            "artifact": {"uri": "pvc://models/forged/1", "digest": "sha256:" + "0" * 64, "format": "onnx"},
        },
    }
    kube.apply(version)
    kube.apply(model_deployment("forged", model="forged"))
    rejected = kube.until("ModelVersion", "forged-1", lambda mv: mv["status"].get("phase") == "Rejected")
    assert condition(rejected, "ArtifactReady")["status"] == "False"
    assert "forged/1" in rejected["status"]["message"]
    md = kube.until("ModelDeployment", "forged", lambda it: it["status"].get("observedGeneration") == 1)
    assert condition(md, "Servable")["status"] == "False"
    assert md["status"]["phase"] == "Pending"


@pytest.fixture(scope="module")
def kept(kube: Kube) -> Json:
    """An approved version, good as it was made."""
    return kube.until("ModelVersion", "kept-1", phase("Approved"), timeout=120)


def test_a_claim_that_several_nodes_cannot_mount_is_named_before_anything_is_scheduled(
    kube: Kube, kept: Json
) -> None:
    kube.apply({"kind": "Node", "metadata": {"name": "another"}})
    try:
        kube.apply(model_deployment("several", model="kept"))
        stuck = kube.until(
            "ModelDeployment", "several", lambda md: "ReadWriteMany" in md["status"].get("message", "")
        )
        assert "models" in stuck["status"]["message"]
        assert condition(stuck, "Servable")["status"] == "False"
        assert kube.list("Pod", "noria.dev/deployment=several") == []
    finally:
        kube.core.delete_node("another")
        kube.delete("ModelDeployment", "several")


def test_an_artifact_that_changed_after_its_approval_is_not_served(
    kube: Kube, kept: Json, images: dict[str, str]
) -> None:
    where = kept["spec"]["artifact"]["uri"].removeprefix("pvc://models/")
    kube.apply(tampering("tamper", images["example-flights"], f"/models/{where}/model.onnx"))
    kube.until("Pod", "tamper", phase("Succeeded"))
    kube.apply(model_deployment("tampered", model="kept"))
    stuck = kube.until(
        "ModelDeployment", "tampered", lambda md: "digest" in md["status"].get("message", "").lower()
    )
    assert condition(stuck, "Servable")["status"] == "False"
    kube.delete("ModelDeployment", "tampered")


def test_the_operator_survived_all_of_it(kube: Kube) -> None:
    pods = kube.at("noria-system").list("Pod", "app.kubernetes.io/component=operator")
    assert pods
    assert all(status["restartCount"] == 0 for pod in pods for status in pod["status"]["containerStatuses"])
