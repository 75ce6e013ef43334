"""Counts for triggers from a Prometheus that the chart names: the operator sees what was labelled and nothing
else, also when the source was away for a while.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml
from tests.e2e.conftest import Program, install
from tests.e2e.kube import Json, Kube, condition, namespace
from tests.e2e.manifests import training_job
from tests.e2e.models import serve
from tests.integration.scraping import Prometheus
from tools.cluster import slots
from tools.cluster.layout import CHECKOUT

pytestmark = pytest.mark.extended

JOBS = CHECKOUT / "examples" / "flights" / "monitoring" / "prometheus.yml"
"""The jobs of docs/monitoring.md."""
REQUESTS, ROWS = 5, 40
LABELS = REQUESTS * ROWS


def job(kubeconfig: Path) -> Json:
    """Of the page: model servers, with all that they count; asked for from outside the cluster."""
    jobs = yaml.safe_load(JOBS.read_text(encoding="utf-8"))["scrape_configs"]
    found: Json = next(one for one in jobs if one["job_name"] == "noria-servers")
    (pods,) = found["kubernetes_sd_configs"]
    where = [{**pods, "kubeconfig_file": str(kubeconfig)}]
    return {**found, "metrics_path": "/metrics/counts", "kubernetes_sd_configs": where}


@pytest.fixture(scope="module")
def prometheus(
    noria: Path, helm: Program, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """One beside the cluster, from which an installation takes its counts."""
    slot = slots.mine()
    assert slot is not None, "it stands beside the local cluster; run without NORIA_KUBECONFIG"
    found = Prometheus(tmp_path_factory.mktemp("prometheus"), job(noria), host=slot.host_address)
    source = {"name": "prom", "address": found.url, "interval": "1s", "delay": "3s"}
    sources = f"metricSources={json.dumps([source])}"
    install(helm, images, "--reuse-values", "--set-json", sources, "--set", "countsFrom=prom")
    yield found
    install(helm, images, "--reuse-values", "--set-json", "metricSources=[]", "--set", "countsFrom=")


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str], prometheus: Prometheus) -> Iterator[Kube]:
    """A model that serves."""
    with namespace(noria, "e2e-counts") as kube:
        serve(kube, images["example-flights"])
        yield kube


def watching(image: str) -> Json:
    """By accuracy: a window closes with as many labels as `tell` reports."""
    rule = {"metric": "accuracy", "min": "0.7", "minLabels": LABELS, "for": 1}
    spec = {
        "deployment": "tiny",
        "triggers": [{"name": "quality", "performance": rule, "action": "Warn"}],
        "template": {"spec": training_job("tiny", image)["spec"]},
    }
    return {"kind": "ContinuousTraining", "metadata": {"name": "tiny"}, "spec": spec}


def tell(kube: Kube, *, wrong: int) -> None:
    """Ask for predictions, and report labels of which so many of each request's are others."""
    url, random = f"http://{kube.cluster_ip('tiny')}/v2/models/tiny", np.random.default_rng(7)
    for _ in range(REQUESTS):
        rows = random.normal(size=(ROWS, 3))
        tensor = {"name": "input-0", "shape": rows.shape, "datatype": "FP32", "data": rows.ravel().tolist()}
        answer = httpx.post(f"{url}/infer", json={"inputs": [tensor]}, timeout=15).json()
        scores = next(one["data"] for one in answer["outputs"] if one["name"] == "probabilities")
        labels = [int(score > 0.5) for score in scores[1::2]]
        labels[:wrong] = [1 - label for label in labels[:wrong]]
        feedback = {"token": answer["parameters"]["feedback_token"], "labels": labels}
        said = httpx.post(f"{url}/feedback", json=feedback, timeout=15)
        assert said.status_code == 200, said.text


def entry(ct: Json) -> Json:
    """What the trigger says; {} before it says anything."""
    return next(iter(ct.get("status", {}).get("triggers", ())), {})


def test_a_window_holds_the_labels_that_were_told_also_while_the_source_was_away(
    kube: Kube, images: dict[str, str], prometheus: Prometheus
) -> None:
    with prometheus.running():
        kube.apply(watching(images["example-flights"]))
        kube.until("ContinuousTraining", "tiny", lambda ct: "windowStartedAt" in entry(ct))
        tell(kube, wrong=4)
        first = entry(kube.until("ContinuousTraining", "tiny", lambda ct: "windowEndedAt" in entry(ct)))
        assert (first["samples"], float(first["value"]), first["decision"]) == (LABELS, 0.9, "No")

    tell(kube, wrong=20)
    ct = kube.until("ContinuousTraining", "tiny", lambda ct: "problem" in entry(ct))
    assert "counts cannot be read from prom" in entry(ct)["problem"]
    assert entry(ct)["windowEndedAt"] == first["windowEndedAt"], "pods are not read in its place"

    with prometheus.running():
        ct = kube.until(
            "ContinuousTraining", "tiny", lambda ct: entry(ct)["windowEndedAt"] != first["windowEndedAt"]
        )
        second = entry(ct)
        assert (second["samples"], float(second["value"])) == (LABELS, 0.5), "counted once, and all of them"
        assert "problem" not in second
        assert condition(ct, "Alarm")["status"] == "True"
