"""A class of the user's own, from trainer to answer, where the administrator allows code, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.e2e.conftest import Program, install
from tests.e2e.kube import Kube, condition, namespace, phase
from tests.e2e.load import REQUEST
from tests.e2e.manifests import claim, model_deployment, training_job

pytestmark = pytest.mark.extended

MODEL = """
import numpy as np
from noria_serving import PythonModel

class Own(PythonModel):
    def load(self, directory):
        self.slope = float((directory / "slope").read_text())

    def predict(self, inputs):
        positive = 1 / (1 + np.exp(-self.slope * inputs["input-0"][:, 0]))
        return {"probabilities": np.stack([1 - positive, positive], axis=1)}
"""
TRAIN = f"""
import sys
from pathlib import Path
import numpy as np
from noria_serving import bundle

Path("/tmp/own.py").write_text({MODEL!r})
Path("/tmp/slope").write_text("2.5")
sys.path.insert(0, "/tmp")
from own import Own

X = np.random.default_rng(1).normal(size=(400, 3))
bundle.save(Own, X, (X[:, 0] > 0).astype(int), name="own", task="binary", files=["/tmp/slope"]).publish()
"""


@pytest.fixture(scope="module")
def kube(noria: Path, helm: Program, images: dict[str, str]) -> Iterator[Kube]:
    """A namespace that the administrator lists."""
    with namespace(noria, "e2e-code") as kube:
        install(helm, images, "--reuse-values", "--set", f"allowCodeNamespaces={{{kube.namespace}}}")
        kube.apply(claim())
        yield kube


def test_it_is_served_where_code_is_allowed(kube: Kube, images: dict[str, str]) -> None:
    kube.apply(training_job("own", images["example-flights"], code=TRAIN, model="own"))
    trained = kube.until("TrainingJob", "own", phase("Succeeded"), timeout=180)
    assert trained["status"]["artifact"]["format"] == "python"
    kube.apply(model_deployment("own", model="own", replicas=1))
    kube.until("ModelDeployment", "own", phase("Healthy"), timeout=180)
    address = f"http://{kube.cluster_ip('own')}/v2/models/own"
    answer = httpx.post(f"{address}/infer", json=REQUEST, timeout=15)
    assert answer.status_code == 200, answer.text
    assert httpx.get(address, timeout=15).json()["platform"] == "noria_python"


def test_it_is_refused_elsewhere_with_what_to_do(kube: Kube, noria: Path, images: dict[str, str]) -> None:
    with namespace(noria, "e2e-data") as other:
        other.apply(claim())
        other.apply(training_job("own", images["example-flights"], code=TRAIN, model="own"))
        done = other.until(
            "TrainingJob", "own", lambda tj: condition(tj, "Failed").get("status") == "True", timeout=180
        )
        assert condition(done, "Failed")["reason"] == "ResultInvalid"
        assert "allowCodeNamespaces" in condition(done, "Failed")["message"]
        assert other.get("ModelVersion", "own-1") is None
