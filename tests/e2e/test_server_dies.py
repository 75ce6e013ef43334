"""One pod, and its server's process is killed under load: its successor takes the pod's ports before a router
has given a request up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Program
from tests.e2e.grpc_load import GrpcLoad
from tests.e2e.kube import Kube, namespace, phase
from tests.e2e.load import Load
from tests.e2e.models import serve
from tests.e2e.rollouts import address, champions

DEATHS = 3
"""Within a minute; a fourth one would be left to Kubernetes."""
KILL = "import os; os.kill(int(open('/proc/1/task/1/children').read().split()[0]), 9)"
"""The child of the container's first process, which is the supervisor."""
RESTARTS = (
    "import urllib.request as u; p = u.urlopen('http://localhost:8081/metrics', timeout=60).read().decode();"
    "print(*[line for line in p.splitlines() if line.startswith('model_server_restarts_total ')])"
)


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    """A namespace with a deployment of one pod, which is healthy."""
    with namespace(noria, "e2e-dies") as kube:
        serve(kube, images["example-flights"], replicas=1)
        yield kube


def test_a_server_process_that_is_killed_in_the_only_pod_fails_no_request(
    kube: Kube, kubectl: Program
) -> None:
    (pod,) = champions(kube, kube.until("ModelDeployment", "tiny", phase("Healthy")))
    within = ("exec", pod["metadata"]["name"], "--namespace", kube.namespace, "--", "python3", "-c")
    with (
        Load(address(kube), rate=50) as load,
        GrpcLoad(f"{kube.cluster_ip('tiny')}:80", "tiny") as calls,
    ):
        for death in range(1, DEATHS + 1):
            load.phase = f"death {death}"
            load.until_sent(100)
            kubectl(*within, KILL)
            # Asked on a port that is held, too: the answer is the successor's.
            assert kubectl(*within, RESTARTS).split()[-1] == f"{death}.0", load.summary
        load.until_sent(200)
    assert load.failures == [], load.summary
    assert load.versions["1"] > 0
    unary = [failure for failure in calls.failures if failure.startswith("call")]
    assert unary == [], "what no router can try again is a stream that is open"
    assert len(calls.failures) <= DEATHS
    (same,) = champions(kube, kube.until("ModelDeployment", "tiny", phase("Healthy")))
    assert same["metadata"]["uid"] == pod["metadata"]["uid"]
    assert [status["restartCount"] for status in same["status"]["containerStatuses"]] == [0]
