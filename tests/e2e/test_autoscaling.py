"""An autoscaler with real metrics acts on a ModelDeployment while it is in the middle of a canary.

The autoscaler works on the `scale` subresource and measures the pods that `status.selector` names: champion
and challenger once that has weight, over all of Kubernetes' own way from the kubelet to the controller.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from tests.e2e.kube import Json, Kube, condition, namespace, phase
from tests.e2e.load import CONNECTIONS, Load
from tests.e2e.manifests import autoscaler, model_deployment
from tests.e2e.models import approve
from tests.e2e.resource_metrics import resource_metrics
from tests.e2e.rollouts import RATE, address, at, every_status, say

pytestmark = pytest.mark.extended

STRATEGY = {
    "steps": [{"weight": 20}, {"pause": True}],
    "analysis": {"interval": "2s", "errors": {"tolerated": "0.05"}},
    "keepPrevious": "0s",
}
MOST = 3
"""Pods that the autoscaler may ask for."""


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    """The first of two versions serves with as many pods as an autoscaler says."""
    with namespace(noria, "e2e-autoscaling") as kube, resource_metrics(kube):
        approve(kube, images["example-flights"], 2)
        pin(kube, 1)
        kube.until("ModelDeployment", "tiny", phase("Healthy"))
        kube.apply(autoscaler("tiny", least=1, most=MOST, cpu_percent=40))
        yield kube


def pin(kube: Kube, number: int) -> None:
    """Ask for one version and leave `replicas` to the autoscaler."""
    body = model_deployment(version=f"tiny-{number}", strategy=STRATEGY)
    del body["spec"]["replicas"]
    kube.apply(body)


def scaled(kube: Kube, replicas: int) -> Json:
    """Wait until the autoscaler has brought the champion to this many ready pods."""
    name = f"{replicas} replicas"
    md = kube.until("ModelDeployment", "tiny", lambda md: md["status"]["replicas"] == replicas, timeout=150)
    assert md["spec"]["replicas"] == replicas, name
    kube.until(
        "Deployment", workload(md), lambda it: it["status"].get("readyReplicas", 0) == replicas, timeout=120
    )
    return md


def workload(md: Json) -> str:
    return str(md["status"]["stable"]["name"])


def test_an_autoscaler_grows_and_shrinks_a_deployment_in_the_middle_of_a_canary(kube: Kube) -> None:
    """Cases 22, 26 and 27: no weight moves, nobody is too small, and an apply takes nothing back."""
    with every_status(kube) as statuses:
        with Load(address(kube), rate=RATE) as load:
            load.phase = "canary"
            pin(kube, 2)
            at(kube, tiny_1=80, tiny_2=20)
            began = len(statuses)
            load.phase = "grows"
            scaled(kube, MOST)
            load.phase = "applied again"  # 27
            pin(kube, 2)
            load.until_sent(400)
            seen = kube.get("HorizontalPodAutoscaler", "tiny")
        load.phase = "shrinks"
        shrunk = scaled(kube, 1)
        held = [{one["version"]: one["weight"] for one in each["traffic"]} for each in statuses[began:]]
        say(kube, "promote-full", "one")
        at(kube, tiny_2=100)
    assert not load.failures, load.summary
    assert all(one == {"tiny-1": 80, "tiny-2": 20} for one in held)
    assert shrunk["status"]["candidate"]["version"] == "tiny-2"
    assert seen is not None
    (measured,) = seen["status"]["currentMetrics"]
    assert measured["resource"]["current"]["averageUtilization"] > 0
    conditions = {one["type"]: one["reason"] for one in seen["status"]["conditions"]}
    assert conditions["ScalingActive"] == "ValidMetricFound"


def test_the_autoscaler_reads_the_pods_of_the_new_champion_after_a_promotion(kube: Kube) -> None:
    with Load(address(kube), rate=RATE) as load:
        grown = scaled(kube, MOST)
    assert grown["status"]["stable"]["version"] == "tiny-2"
    assert not load.failures, load.summary


def test_a_deployment_without_pods_answers_503_at_once_and_comes_back(kube: Kube) -> None:
    kube.delete("HorizontalPodAutoscaler", "tiny")
    kube.scale("ModelDeployment", "tiny", 0)
    asleep = kube.until(
        "ModelDeployment", "tiny", lambda md: condition(md, "Ready")["reason"] == "ScaledToZero"
    )
    assert asleep["status"]["stable"]["version"] == "tiny-2"
    for pod in kube.list("Pod", asleep["status"]["selector"]):
        kube.until_gone("Pod", pod["metadata"]["name"])
    with Load(address(kube), rate=RATE) as load:
        load.until_sent(400)
    assert len(load.failures) == load.sent
    assert all("503" in one for one in load.failures)
    kube.scale("ModelDeployment", "tiny", 1)
    began = monotonic()
    with Load(address(kube), rate=RATE) as load:
        while not load.versions["2"]:
            load.until_sent(1)
        print(f"first answer {monotonic() - began:.1f} s after replicas went from 0 to 1")
        failed = len(load.failures)
        load.until_sent(400)
    assert len(load.failures) <= failed + CONNECTIONS, load.summary
