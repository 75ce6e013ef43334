"""A whole life of rollouts under at least 200 requests a second, while all that can be replaced is replaced.

One deployment lives through canary, abort, retry, a version that supersedes another, promotion and undo,
behind Noria's own router and behind a real gateway. Traffic begins before the first canary and ends after the
last step, and not one request may fail; every status that the API server shows meanwhile is looked at. What
routers do not try again (by what they declare) is not killed but told to end. The numbers are those of
docs/rollout-cases.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.disturbances import ROUTERS, kill_operators
from tests.e2e.kube import Json, Kube, namespace, phase
from tests.e2e.load import CONNECTIONS
from tests.e2e.models import approve
from tests.e2e.rollouts import LEAST, RATE, every_status
from tests.e2e.routed import Routed, behind

pytestmark = pytest.mark.extended

STEPS: list[Json] = [{"weight": 20}, {"pause": True}, {"weight": 60, "duration": "5s"}]
VERSIONS = (1, 2, 3)


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    """A namespace with three approved versions."""
    with namespace(noria, "e2e-cycle") as kube:
        approve(kube, images["example-flights"], len(VERSIONS))
        yield kube


@pytest.fixture(scope="module", params=["Envoy", "Gateway"])
def routed(request: pytest.FixtureRequest, kube: Kube) -> Iterator[Routed]:
    """The first of them serves behind a router of each kind; an undo has to make its pods again."""
    with behind(request.param, kube, request.getfixturevalue, replicas=2) as routed:
        yield routed


def test_a_whole_life_of_rollouts_fails_no_request(routed: Routed) -> None:
    """Cases 1-6, 19-22, 36, 47, 48 and 55."""
    with every_status(routed.kube, routed.name) as statuses, routed.load(rate=RATE) as load:
        load.until_sent(400)

        load.phase = "canary"
        routed.deploy(2, *STEPS)
        routed.until(tiny_1=80, tiny_2=20)
        load.until_sent(400)
        load.phase = "all operators killed"
        kill_operators(routed.kube)
        load.phase = "abort beside a champion that has just lost a pod"  # 20, 47, 48
        routed.lose(routed.pods(1)[:1])
        routed.say("abort")
        routed.until(tiny_1=100)
        before = load.versions["2"]
        load.until_sent(400)
        came = load.versions["2"] - before
        assert came <= CONNECTIONS, "weight 0 is sent: only what was in flight came back"

        load.phase = "retry"
        routed.say("retry")
        routed.until(tiny_1=80, tiny_2=20)
        if routed.able.falls_back:
            load.phase = "all challenger pods killed"  # 3, 19, 55
            routed.kill(routed.pods(2))
            load.until_sent(400)
            assert routed.ready(1) == 2
        load.phase = "replicas raised in a canary"  # 22
        routed.replicas = 3
        routed.deploy(2, *STEPS)
        routed.wait(lambda md: md["status"]["replicas"] == 3)
        routed.until(tiny_1=80, tiny_2=20)
        load.phase = "routers replaced"
        routed.replace_routers()

        load.phase = "a third version supersedes the second"  # 2-5
        routed.deploy(3, *STEPS)
        routed.until(tiny_1=80, tiny_3=20)
        load.phase = "promotion"  # 36
        routed.say("promote")
        routed.until(tiny_3=100)
        assert routed.ready(3) == 3
        routed.wait(phase("Healthy"))

        load.phase = "server pods replaced"
        old = routed.pods(3)
        routed.say("restart")
        for pod in old:
            routed.kube.until_gone("Pod", pod["metadata"]["name"], timeout=120)
        load.phase = "undo"  # 1, 6
        routed.say("undo")
        routed.until(tiny_1=100)
        assert routed.ready(1) == 3, "all of its pods, before it has all traffic"
        load.until_sent(400)

    print(f"{routed.kind}: {load.sent} requests, {load.achieved:.0f}/s, {len(load.failures)} failed")
    assert not load.failures, load.summary
    assert load.achieved >= LEAST, f"{load.achieved:.0f} requests a second"
    assert min(load.versions[str(number)] for number in VERSIONS) > 0
    sums = {sum(each["weight"] for each in one.get("traffic", ())) for one in statuses if one.get("traffic")}
    assert sums == {100}, "every write (21)"


def test_a_router_that_is_killed_fails_only_what_was_in_flight_on_it(routed: Routed) -> None:
    with routed.load(rate=RATE) as load:
        load.until_sent(400)
        routed.kill_router()
        load.until_sent(1000)
    print(f"{routed.kind}: a router killed: {len(load.failures)} of {load.sent} requests failed")
    assert len(load.failures) <= CONNECTIONS, load.summary


def test_a_deployment_that_is_deleted_in_a_rollout_leaves_nothing_behind(routed: Routed) -> None:
    """Case 54."""
    kube = routed.kube
    with routed.load(rate=RATE) as load:
        routed.deploy(2, *STEPS)
        routed.until(tiny_1=80, tiny_2=20)
        load.until_sent(400)
    assert not load.failures, load.summary
    kube.delete("ModelDeployment", routed.name)
    for pod in [*kube.list("Pod", f"noria.dev/deployment={routed.name}"), *kube.list("Pod", ROUTERS)]:
        kube.until_gone("Pod", pod["metadata"]["name"], timeout=120)
    for kind in ("Deployment", "Service", "ControllerRevision"):
        assert kube.list(kind, "app.kubernetes.io/managed-by=noria") == []
