"""Three versions compared with the champion at once, by labels, on the cluster: the one that is worse is
dropped, the best takes over, no request fails.

Versions differ in how far they lean away from the truth, so that their accuracy is known beforehand: a model
trained on labels that are turned by an angle is right in 1 − angle/π of all cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.kube import Json, Kube, namespace, phase
from tests.e2e.labelled import Labelled
from tests.e2e.manifests import claim, model_deployment, training_job
from tests.e2e.routed import RARE, Routed, behind, chance

pytestmark = pytest.mark.extended

TRAIN = """
import math, os
import numpy as np
from sklearn.linear_model import LogisticRegression
from noria_serving import bundle

angle = math.radians(float(os.environ["PARAM_ANGLE"]))
X = np.random.default_rng(7).normal(size=(2000, 3)).astype("float32")
y = (math.cos(angle) * X[:, 0] + math.sin(angle) * X[:, 1] > 0).astype("int64")
bundle.save(LogisticRegression().fit(X, y), X, y, name="tiny").publish()
"""
CHAMPION, ARMS = "60", {"better": "30", "worse": "150", "best": "0"}
"""Angles: accuracies of about 0.67, and 0.83, 0.17 and 1."""
SHARE = 20
USERS = [f"user-{number}" for number in range(800)]
BY_USER = [{"x-user": user} for user in USERS]


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    with namespace(noria, "e2e-experiment") as kube:
        kube.apply(claim())
        train(kube, images["example-flights"], {"champion": CHAMPION})
        yield kube


@pytest.fixture(scope="module")
def arms(kube: Kube, images: dict[str, str]) -> dict[str, str]:
    """Their versions, by what they are."""
    return train(kube, images["example-flights"], ARMS)


def train(kube: Kube, image: str, angles: dict[str, str]) -> dict[str, str]:
    """Approved versions by name of the angle."""
    for name, angle in angles.items():
        kube.apply(training_job(name, image, code=TRAIN, params={"angle": angle}))
    done = {name: kube.until("TrainingJob", name, phase("Succeeded"), timeout=180) for name in angles}
    versions = {name: str(job["status"]["modelVersion"]) for name, job in done.items()}
    for version in versions.values():
        kube.until("ModelVersion", version, phase("Approved"), timeout=60)
    return versions


@pytest.fixture(scope="module", params=["Envoy", "Gateway"])
def routed(request: pytest.FixtureRequest, kube: Kube, arms: dict[str, str]) -> Iterator[Routed]:
    """The champion serves behind a router that takes several challengers."""
    with behind(request.param, kube, request.getfixturevalue, replicas=2) as routed:
        yield routed


def compare(routed: Routed, arms: dict[str, str]) -> None:
    """Ask for the experiment."""
    experiment = {
        "arms": [{"version": version, "weight": SHARE} for version in arms.values()],
        "duration": "100s",
        "minRequests": 300,
        "metric": "quality",
    }
    analysis = {"interval": "2s", "errors": {"tolerated": "0.05"}, "quality": {"metric": "accuracy"}}
    strategy: Json = {"experiment": experiment, "analysis": analysis, "keepPrevious": "0s"}
    if routed.able.sticky:
        strategy["sticky"] = {"header": "x-user"}
    spec = {"replicas": routed.replicas, "router": routed.router, "hosts": list(routed.hosts)}
    routed.kube.apply(model_deployment(routed.name, strategy=strategy, **spec))


def number(version: str) -> str:
    return version.rpartition("-")[2]


def refusal(md: Json, version: str) -> Json:
    """Why the deployment gave this version up; {} while it did not."""
    return next((one for one in md["status"].get("rejected", []) if one["version"] == version), {})


def test_of_three_challengers_the_worst_is_dropped_and_the_best_takes_over(
    routed: Routed, arms: dict[str, str]
) -> None:
    """Case 46 with several: users move between the champion and an arm only."""
    weights = {"1": 100 - 3 * SHARE, **{number(version): SHARE for version in arms.values()}}
    with Labelled(routed.url, routed.headers, USERS) as load:
        compare(routed, arms)
        routed.until(**{f"tiny_{name}": weight for name, weight in weights.items()})
        before = routed.ask(BY_USER)
        p = chance(Counter(before), weights)
        print(f"{routed.kind}: {dict(Counter(before))} of {weights}, p = {p:.3f}")
        assert p > RARE
        if routed.able.sticky:
            assert routed.ask(BY_USER) == before, "nobody moves while weights stay"

        load.telling = True
        md = routed.wait(lambda md: bool(refusal(md, arms["worse"])))
        assert "accuracy" in refusal(md, arms["worse"])["reason"]
        rest = {**weights, number(arms["worse"]): 0, "1": weights["1"] + SHARE}
        routed.until(**{f"tiny_{name}": weight for name, weight in rest.items()})
        after = routed.ask(BY_USER)
        assert number(arms["worse"]) not in after
        if routed.able.sticky:
            moved = {(old, new) for old, new in zip(before, after, strict=True) if old != new}
            assert moved == {(number(arms["worse"]), "1")}

        best = arms["best"]
        routed.until(**{f"tiny_{number(best)}": 100})
        md = routed.wait(phase("Healthy"))
        assert md["status"]["stable"]["version"] == best
        assert set(routed.ask(BY_USER)) == {number(best)}
    print(f"{routed.kind}: {dict(load.versions)}, {load.labelled} labels, {len(load.failures)} failed")
    assert not load.failures, load.failures[:3]
    assert refusal(md, arms["better"])["reason"].startswith(f"{best} won")
    assert load.labelled > 1_000
