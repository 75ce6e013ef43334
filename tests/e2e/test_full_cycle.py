"""A whole life of rollouts under 200 requests a second, while everything that can be replaced is replaced.

One deployment lives through canary, abort, retry, a version that supersedes another, promotion and undo.
Traffic begins before the first canary and ends after the last step, and not one request may fail; every
status that the API server shows meanwhile is looked at. The numbers are those of docs/rollout-cases.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.kube import Json, Kube, namespace, phase
from tests.e2e.load import CONNECTIONS, Load
from tests.e2e.manifests import claim, model_deployment, training_job
from tests.e2e.rollouts import RATE, ROUTERS, address, at, every_status, replace_routers, say

pytestmark = pytest.mark.extended

STRATEGY = {
    "steps": [{"weight": 20}, {"pause": True}, {"weight": 60, "duration": "5s"}],
    "analysis": {"interval": "2s", "errors": {"tolerated": "0.05"}},
    "keepPrevious": "0s",  # an undo has to make its pods again
}
VERSIONS = (1, 2, 3)


@pytest.fixture(scope="module", params=["Envoy"])
def kube(request: pytest.FixtureRequest, noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    """A namespace with three approved versions, the first of which serves behind a router of each type."""
    with namespace(noria, f"e2e-cycle-{request.param.lower()}") as kube:
        kube.apply(claim())
        for number in VERSIONS:
            kube.apply(training_job(f"tiny-run-{number}", images["example-flights"], seed=number))
            kube.until("TrainingJob", f"tiny-run-{number}", phase("Succeeded"), timeout=180)
            kube.until("ModelVersion", f"tiny-{number}", phase("Approved"))
        pin(kube, 1)
        kube.until("ModelDeployment", "tiny", phase("Healthy"))
        yield kube


def pin(kube: Kube, number: int, replicas: int = 2) -> None:
    """Ask for one version, as a commit would."""
    spec = {"version": f"tiny-{number}", "replicas": replicas, "strategy": STRATEGY}
    kube.apply(model_deployment(**spec))


def pods(kube: Kube, version: int) -> list[Json]:
    """The pods of one version that are not going."""
    md = kube.get("ModelDeployment", "tiny")
    assert md is not None
    found = [each["revision"] for each in md["status"]["traffic"] if each["version"] == f"tiny-{version}"]
    listed = kube.list("Pod", f"noria.dev/revision={found[0]}")
    return [pod for pod in listed if "deletionTimestamp" not in pod["metadata"]]


def kill(kube: Kube, found: list[Json]) -> None:
    for pod in found:
        kube.delete("Pod", pod["metadata"]["name"], grace=0)


def kill_operators(kube: Kube) -> None:
    """All of them at once and without any grace; their successors take the lease over."""
    system = kube.at("noria-system")
    old = system.list("Pod", "app.kubernetes.io/name=noria")
    kill(system, old)
    for pod in old:
        system.until_gone("Pod", pod["metadata"]["name"])
    system.until("Deployment", "noria-operator", lambda it: it["status"].get("readyReplicas") == len(old))


def test_a_whole_life_of_rollouts_fails_no_request(kube: Kube) -> None:
    """Cases 1-6, 19-22, 36, 47, 48 and 55."""
    with every_status(kube) as statuses, Load(address(kube), rate=RATE, seconds=600) as load:
        load.until_sent(400)

        load.phase = "canary"
        pin(kube, 2)
        at(kube, tiny_1=80, tiny_2=20)
        load.until_sent(400)
        load.phase = "all operators killed"
        kill_operators(kube)
        load.phase = "abort beside a champion that has just lost a pod"  # 20, 47, 48
        kill(kube, pods(kube, 1)[:1])
        say(kube, "abort", "one")
        at(kube, tiny_1=100)
        before = load.versions["2"]
        load.until_sent(400)
        assert load.versions["2"] - before <= CONNECTIONS, (
            "weight 0 is sent: only what was in flight came back"
        )

        load.phase = "retry"
        say(kube, "retry", "one")
        at(kube, tiny_1=80, tiny_2=20)
        load.phase = "all challenger pods killed"  # 3, 19, 55
        kill(kube, pods(kube, 2))
        load.until_sent(400)
        load.phase = "replicas raised in a canary"  # 22
        pin(kube, 2, replicas=3)
        kube.until("ModelDeployment", "tiny", lambda md: md["status"]["replicas"] == 3)
        at(kube, tiny_1=80, tiny_2=20)
        load.phase = "routers replaced"
        replace_routers(kube)

        load.phase = "a third version supersedes the second"  # 2-5
        pin(kube, 3, replicas=3)
        at(kube, tiny_1=80, tiny_3=20)
        load.phase = "promotion"  # 36
        say(kube, "promote", "one")
        at(kube, tiny_3=100)
        kube.until("ModelDeployment", "tiny", phase("Healthy"))

        load.phase = "server pods replaced"
        old = pods(kube, 3)
        say(kube, "restart", "one")
        for pod in old:
            kube.until_gone("Pod", pod["metadata"]["name"], timeout=120)
        load.phase = "undo"  # 1, 6
        say(kube, "undo", "one")
        at(kube, tiny_1=100)
        load.until_sent(400)

    assert not load.failures, load.summary
    assert load.achieved >= 0.98 * RATE, f"{load.achieved:.0f} requests a second"
    assert min(load.versions[str(number)] for number in VERSIONS) > 0
    sums = {sum(each["weight"] for each in one.get("traffic", ())) for one in statuses if one.get("traffic")}
    assert sums == {100}, "every write (21)"


def test_a_router_that_is_killed_fails_only_what_was_in_flight_on_it(kube: Kube) -> None:
    with Load(address(kube), rate=RATE) as load:
        load.until_sent(400)
        kill(kube, kube.list("Pod", ROUTERS)[:1])
        load.until_sent(1000)
    assert len(load.failures) <= CONNECTIONS, load.summary


def test_a_deployment_that_is_deleted_in_a_rollout_leaves_nothing_behind(kube: Kube) -> None:
    """Case 54."""
    with Load(address(kube), rate=RATE) as load:
        pin(kube, 2)
        at(kube, tiny_1=80, tiny_2=20)
        load.until_sent(400)
    assert not load.failures, load.summary
    kube.delete("ModelDeployment", "tiny")
    for pod in [*kube.list("Pod", "noria.dev/deployment=tiny"), *kube.list("Pod", ROUTERS)]:
        kube.until_gone("Pod", pod["metadata"]["name"], timeout=120)
    for kind in ("Deployment", "Service", "ControllerRevision"):
        assert kube.list(kind, "app.kubernetes.io/managed-by=noria") == []
