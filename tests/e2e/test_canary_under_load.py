"""A canary under steady traffic while the control plane and the data plane are taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Program
from tests.e2e.disturbances import ROUTERS, kill_leader, replace_routers
from tests.e2e.kube import Json, Kube, condition, namespace, phase
from tests.e2e.load import CONNECTIONS, Load
from tests.e2e.manifests import autoscaler, claim, model_deployment, training_job
from tests.e2e.rollouts import address, champions
from tests.e2e.routed import RARE, behind, chance
from tools.cluster.process import wait_for

STRATEGY = {
    "steps": [{"weight": 10, "minRequests": 20}, {"weight": 50, "minRequests": 200}],
    "analysis": {"interval": "2s", "errors": {"tolerated": "0.05"}},
    "keepPrevious": "5m",
}


@pytest.fixture(scope="module")
def kube(noria: Path) -> Iterator[Kube]:
    with namespace(noria, "e2e-canary") as kube:
        kube.apply(claim())
        yield kube


@pytest.fixture(scope="module")
def served(kube: Kube, images: dict[str, str]) -> Json:
    """A deployment whose first version serves, without a canary."""
    kube.apply(training_job("tiny-first", images["example-flights"], seed=1))
    kube.apply(model_deployment(strategy=STRATEGY))
    done = kube.until("TrainingJob", "tiny-first", phase("Succeeded"), timeout=180)
    assert done["status"]["modelVersion"] == "tiny-1"
    return kube.until("ModelDeployment", "tiny", phase("Healthy"), timeout=120)


def test_a_first_version_serves_without_a_canary(served: Json) -> None:
    assert served["status"]["stable"]["version"] == "tiny-1"
    assert [(each["version"], each["weight"], each["verified"]) for each in served["status"]["traffic"]] == [
        ("tiny-1", 100, True)
    ]
    for wanted in ("Ready", "Servable", "UpToDate"):
        assert condition(served, wanted)["status"] == "True"


def test_a_canary_loses_no_request_while_operator_and_routers_are_replaced(
    kube: Kube, served: Json, images: dict[str, str]
) -> None:
    with Load(address(kube)) as load:
        load.until_sent(100)
        kube.apply(training_job("tiny-second", images["example-flights"], seed=2))
        kube.until("ModelDeployment", "tiny", lambda md: "candidate" in md["status"], timeout=180)
        kill_leader(kube)
        replace_routers(kube)
        after = kube.until(
            "ModelDeployment", "tiny", lambda md: md["status"]["stable"]["version"] == "tiny-2", timeout=240
        )
        load.until_sent(100)
    assert load.failures == []
    assert load.versions["1"] > 0
    assert load.versions["2"] > 0
    assert after["status"]["previous"]["version"] == "tiny-1"


def test_promotion_restarts_no_pod(kube: Kube, served: Json) -> None:
    md = kube.until("ModelDeployment", "tiny", phase("Healthy"))
    pods = kube.list("Pod", f"noria.dev/revision={md['status']['stable']['revision']}")
    assert pods
    assert all(status["restartCount"] == 0 for pod in pods for status in pod["status"]["containerStatuses"])


def test_replacing_every_serving_pod_loses_no_request(kube: Kube, served: Json) -> None:
    """A rolling restart is deletions one by one: SIGTERM, lame duck, successor."""
    md = kube.until("ModelDeployment", "tiny", phase("Healthy"))
    pods = champions(kube, md)
    assert len(pods) == 2
    workload = pods[0]["metadata"]["name"].rsplit("-", 2)[0]
    with Load(address(kube), rate=80) as load:
        load.until_sent(100)
        for pod in pods:
            kube.delete("Pod", pod["metadata"]["name"])
            kube.until_gone("Pod", pod["metadata"]["name"])
            kube.until("Deployment", workload, lambda it: it["status"].get("readyReplicas") == len(pods))
        load.until_sent(100)
    assert load.failures == []


def test_a_restart_replaces_the_champions_pods_and_loses_no_request(kube: Kube, served: Json) -> None:
    md = kube.until("ModelDeployment", "tiny", phase("Healthy"))
    stable = md["status"]["stable"]
    pods = champions(kube, md)
    with Load(address(kube), rate=80) as load:
        load.until_sent(100)
        kube.annotate("ModelDeployment", "tiny", {"noria.dev/restart": "e2e"})
        for pod in pods:
            kube.until_gone("Pod", pod["metadata"]["name"], timeout=120)
        load.until_sent(100)
    assert load.failures == []
    after = kube.until("ModelDeployment", "tiny", phase("Healthy"))
    assert after["status"]["stable"] == stable
    assert after["status"]["restarts"] == {stable["name"]: "e2e"}


def unready(kube: Kube, pods: list[Json]) -> None:
    """Write what the kubelet writes when a probe fails; it corrects that within ten seconds."""
    failing = [{"type": name, "status": "False"} for name in ("Ready", "ContainersReady")]
    for pod in pods:
        kube.core.patch_namespaced_pod_status(
            pod["metadata"]["name"], kube.namespace, {"status": {"conditions": failing}}
        )


def test_pods_that_serve_go_on_when_all_of_them_turn_unready(kube: Kube, served: Json) -> None:
    pods = champions(kube, kube.until("ModelDeployment", "tiny", phase("Healthy")))

    def told() -> bool:
        unready(kube, pods)  # each time: the kubelet may have been faster than the operator
        md = kube.get("ModelDeployment", "tiny")
        return md is not None and condition(md, "Ready")["status"] == "False"

    with Load(address(kube)) as load:
        load.until_sent(40)
        assert wait_for(told, 60)
        load.until_sent(80)
    assert load.failures == []
    kube.until("ModelDeployment", "tiny", phase("Healthy"))


def test_killing_one_router_fails_only_what_was_in_flight_on_it(kube: Kube, served: Json) -> None:
    with Load(address(kube)) as load:
        load.until_sent(100)
        kube.delete("Pod", kube.list("Pod", ROUTERS)[0]["metadata"]["name"], grace=0)
        load.until_sent(300)
    assert len(load.failures) <= CONNECTIONS, load.failures  # at most what was open
    kube.until("Deployment", "noria-router", lambda it: it["status"].get("readyReplicas") == 2)


def test_kubectl_scale_and_an_autoscaler_decide_on_the_champions_pods(
    kube: Kube, kubectl: Program, served: Json
) -> None:
    kubectl("scale", "md/tiny", "--replicas=3", "--namespace", kube.namespace)
    scaled = kube.until("ModelDeployment", "tiny", lambda md: md["status"]["replicas"] == 3)
    assert len(champions(kube, scaled)) == 3

    kube.apply(autoscaler("tiny", least=4))
    grown = kube.until("ModelDeployment", "tiny", lambda md: md["status"]["replicas"] == 4)
    assert len(champions(kube, grown)) == 4
    kube.delete("HorizontalPodAutoscaler", "tiny")


def test_an_undo_loses_no_request_and_is_not_rolled_forward_again(kube: Kube, served: Json) -> None:
    """Whether the former champion is still warm or has to be made again."""
    with Load(address(kube)) as load:
        load.until_sent(100)
        kube.annotate("ModelDeployment", "tiny", {"noria.dev/undo": "e2e"})
        after = kube.until(
            "ModelDeployment",
            "tiny",
            lambda md: md["status"]["stable"]["version"] == "tiny-1" and phase("RolledBack")(md),
            timeout=180,
        )
        load.until_sent(200)
    assert load.failures == []
    assert load.versions["1"] > 0
    assert after["status"]["undo"]["left"]["version"] == "tiny-2"
    assert [each["version"] for each in after["status"]["champions"]] == ["tiny-1"]


@pytest.mark.parametrize("kind", ["Gateway", "Service"])
def test_a_canary_behind_another_router_loses_no_request(
    kube: Kube, served: Json, images: dict[str, str], kind: str, request: pytest.FixtureRequest
) -> None:
    """All that each kind of router can do is tried in `test_routers.py`."""
    kube.apply(training_job("tiny-second", images["example-flights"], seed=2))
    kube.until("ModelVersion", "tiny-2", phase("Approved"), timeout=180)
    with (
        behind(kind, kube, request.getfixturevalue, replicas=1) as routed,
        routed.load(rate=40) as load,
    ):
        routed.deploy(2, {"weight": 50, "pause": True})
        routed.until(tiny_1=50, tiny_2=50)
        found = routed.answers(400)
        assert chance(found, {"1": 50, "2": 50}) > RARE, found
        routed.say("promote-full")
        routed.until(tiny_2=100)
        assert routed.answers(100) == {"2": 100}
        load.until_sent(40)
    assert not load.failures, load.summary
