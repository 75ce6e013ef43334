"""Answers to copies compared with the champion's: the rate is the one that the models really have.

Versions are a threshold on one feature, whose values are spread evenly over [0, 1]: the distance of
two thresholds is how often two versions differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.e2e.kube import Json, Kube, namespace, phase
from tests.e2e.load import CONNECTIONS, Load
from tests.e2e.manifests import claim, training_job
from tests.e2e.routed import Routed, behind

from noria_serving.contract import ANSWERS_PATH, COUNTERS_PORT

pytestmark = pytest.mark.extended

THRESHOLDS = {1: "0.5", 2: "0.5", 3: "0.65", 4: "0.85"}
TRAIN = """
import os
import numpy as np
from sklearn.tree import DecisionTreeClassifier
from noria_serving import bundle

X = np.linspace(0, 1, 2001).reshape(-1, 1).astype("float32")
y = (X[:, 0] > float(os.environ["PARAM_THRESHOLD"])).astype("int64")
bundle.save(DecisionTreeClassifier(max_depth=1).fit(X, y), X, y, name="tiny").publish()
"""
GOLDEN = 0.6180339887498949
COPIED: Json = {"mirror": 100, "pause": True}


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    with namespace(noria, "e2e-disagreement") as kube:
        kube.apply(claim())
        for number, threshold in THRESHOLDS.items():
            params = {"threshold": threshold}
            job = training_job(f"run-{number}", images["example-flights"], code=TRAIN, params=params)
            kube.apply(job)
            kube.until("TrainingJob", f"run-{number}", phase("Succeeded"), timeout=180)
            kube.until("ModelVersion", f"tiny-{number}", phase("Approved"), timeout=60)
        yield kube


@pytest.fixture
def routed(kube: Kube) -> Iterator[Routed]:
    """Version 1 serves with two pods."""
    with behind("Envoy", kube, lambda _: pytest.fail("no gateway"), replicas=2) as routed:
        yield routed


@dataclass
class Varied(Load):
    """Each request has a row of its own: multiples of the golden ratio, of which as many as fit lie between
    any two numbers, in any stretch of them.
    """

    value: float = 0.0

    def ask(self) -> dict[str, object]:
        self.value = (self.value + GOLDEN) % 1
        row = {"name": "input-0", "shape": [1, 1], "datatype": "FP32", "data": [self.value]}
        return {"inputs": [row]}


def load(routed: Routed) -> Varied:
    return Varied(routed.url, rate=80.0, headers=routed.headers)


def compare(routed: Routed, number: int, most: str, *steps: Json) -> None:
    analysis = {"interval": "2s", "errors": {"tolerated": "0.05"}, "disagreement": {"maxRate": most}}
    routed.deploy(number, *(steps or (COPIED,)), analysis=analysis)


def figures(md: Json) -> dict[str, float]:
    """Of the measure; empty before it says anything."""
    measures = md.get("status", {}).get("analysis", {}).get("measures", [])
    mine: Json = next((one for one in measures if one["name"] == "disagreement"), {})
    return {name: float(value) for name, value in mine.get("figures", {}).items()}


def after(routed: Routed, pairs: int) -> dict[str, float]:
    """The figures once they are of so many pairs."""
    return figures(routed.wait(lambda md: figures(md).get("pairs", 0) >= pairs))


def kept(routed: Routed, number: int) -> int:
    """How many answers a version's pods have kept so far, as they say; asking makes them begin."""
    pods = [f"http://{pod['status']['podIP']}:{COUNTERS_PORT}{ANSWERS_PATH}" for pod in routed.pods(number)]
    return sum(httpx.get(pod).json()["next"] for pod in pods)


def test_the_rate_is_that_of_the_models_and_decides(routed: Routed) -> None:
    with load(routed) as clients:
        clients.until_sent(100)
        clients.phase, begun = "an identical challenger", clients.sent
        compare(routed, 2, "0.1")
        routed.paused()
        before = clients.sent
        found = after(routed, 300)
        assert (found["rate"], found["meanAbsoluteDifference"]) == (0, 0)
        clients.until_sent(400)
        sent = clients.sent - before
        found = after(routed, sent - 400)
        assert found["rate"] == 0
        assert found["pairs"] <= clients.sent - begun + CONNECTIONS, "none counted twice"

        clients.phase = "one that differs in 15 %, of 50 % allowed"
        routed.back()
        compare(routed, 3, "0.5")
        routed.paused()
        found = after(routed, 600)
        differing = round(found["rate"] * found["pairs"])
        print(f"{routed.kind}: {differing} of {found['pairs']:.0f} pairs differ, 15 % expected")
        assert found["rate"] == pytest.approx(0.15, abs=0.01)
        assert found["meanAbsoluteDifference"] == pytest.approx(found["rate"], abs=1e-6)

        clients.phase = "one that differs in 35 %, of 10 % allowed"
        routed.back()
        compare(routed, 4, "0.1", {"mirror": 100, "duration": "1h"}, {"weight": 50, "duration": "1h"})
        md = routed.wait(phase("RolledBack"))
        assert "disagreement: they answer otherwise too often" in md["status"]["rejected"][0]["reason"]
        clients.until_sent(100)
    print(f"{routed.kind}: {clients.sent} requests, {len(clients.failures)} failed")
    assert set(clients.versions) <= {"1"}, "copies answer nobody"
    assert not clients.failures, clients.summary


def test_nothing_is_kept_where_nobody_compares(routed: Routed) -> None:
    with load(routed) as clients:
        routed.deploy(2, COPIED)
        routed.paused()
        clients.until_sent(200)
        assert (kept(routed, 1), kept(routed, 2)) == (0, 0)
        clients.until_sent(100)
        assert kept(routed, 1) > 0
