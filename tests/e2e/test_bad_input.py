"""Bad input of each kind ends in a condition that names cause and fix; the operator never crashes over it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.kube import Kube, condition, namespace
from tests.e2e.manifests import SAY, claim, model_deployment, training_job

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


@pytest.fixture(scope="module")
def kube(noria: Path) -> Iterator[Kube]:
    with namespace(noria, "e2e-bad") as kube:
        kube.apply(claim())
        yield kube


def failed(kube: Kube, name: str) -> dict[str, str]:
    """The Failed condition of a TrainingJob, once it is true."""
    done = kube.until(
        "TrainingJob", name, lambda tj: condition(tj, "Failed").get("status") == "True", timeout=120
    )
    return condition(done, "Failed")


@pytest.mark.parametrize(
    ("name", "code", "reason", "says"),
    [
        ("silent", "pass", "ResultMissing", "publish"),
        ("garbage", SAY.format(text="hello"), "ResultInvalid", "JSON"),
        ("huge", HUGE, "ResultInvalid", "4096"),
        (
            "not-a-number",
            NAN,
            "ResultInvalid",
            "auc",
        ),
        ("broken", "raise SystemExit(1)", "TrainingFailed", "logs"),
        ("gives-up", "raise SystemExit(42)", "DoNotRetry", "42"),
    ],
)
def test_a_bad_result_fails_the_run_with_its_reason(
    kube: Kube, images: dict[str, str], *, name: str, code: str, reason: str, says: str
) -> None:
    kube.apply(training_job(name, images["example-flights"], code=code, model=name))
    found = failed(kube, name)
    assert found["reason"] == reason
    assert says in found["message"]
    assert kube.get("ModelVersion", f"{name}-1") is None


@pytest.mark.parametrize(
    ("name", "spec", "reason", "says"),
    [
        ("no-claim", {"output": {"uri": "pvc://nowhere/x"}}, "VolumeUnavailable", "nowhere"),
        ("no-image", {"image": "127.0.0.1:5000/noria/missing@sha256:" + "0" * 64}, "ImagePull", "missing"),
        (
            "no-room",
            {"resources": {"requests": {"cpu": "1000"}}},
            "Unschedulable",
            "cpu",
        ),
    ],
)
def test_a_pod_that_cannot_start_is_explained_while_pending_and_fails_at_the_deadline(
    kube: Kube, images: dict[str, str], *, name: str, spec: dict[str, object], reason: str, says: str
) -> None:
    kube.apply(
        training_job(name, images["example-flights"], model=name, deadlines={"pending": "15s"}, **spec)
        if "image" not in spec
        else {
            **(job := training_job(name, str(spec["image"]), model=name)),
            "spec": {**job["spec"], "deadlines": {"pending": "15s"}},
        }
    )
    pending = kube.until(
        "TrainingJob", name, lambda tj: says in tj.get("status", {}).get("message", ""), timeout=60
    )
    assert condition(pending, "Ready")["status"] == "False"
    assert failed(kube, name)["reason"] == reason


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


def test_the_operator_survived_all_of_it(kube: Kube) -> None:
    pods = kube.at("noria-system").list("Pod", "app.kubernetes.io/component=operator")
    assert pods
    assert all(status["restartCount"] == 0 for pod in pods for status in pod["status"]["containerStatuses"])
