"""One suite for every kind of router, with real pods and traffic, by what each declares that it can.

What a router does alone (retries, ejection, its own restart) is tested in `tests/integration/test_envoy*`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from types import MappingProxyType

import httpx
import pytest
from kubernetes.client.exceptions import ApiException
from tests.e2e.conftest import Program, install
from tests.e2e.gateway import NAME as GATEWAY
from tests.e2e.gateway import gateway
from tests.e2e.kube import Json, Kube, condition, namespace, phase
from tests.e2e.load import REQUEST, Load
from tests.e2e.manifests import claim, model_deployment, training_job
from tests.e2e.test_canary_under_load import kill_leader

from noria_operator.api.routers import CAPABILITIES, Capabilities
from noria_serving.contract import COUNTERS_PATH, COUNTERS_PORT

pytestmark = pytest.mark.extended

HOST = "models.example"
WEIGHT = 20
STEP: Json = {"weight": WEIGHT, "duration": "1h"}
PODS = 4
"""So that a fifth of them, beside all of the champion's, is one."""
SAMPLE = 10_000
NONE: Mapping[str, str] = MappingProxyType({})


@dataclass
class Routed:
    """A deployment behind one kind of router."""

    kube: Kube
    kind: str
    router: Json
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def able(self) -> Capabilities:
        return CAPABILITIES[self.kind]

    @property
    def name(self) -> str:
        return f"tiny-{self.kind.lower()}"

    def deploy(self, version: str, step: Json = STEP) -> None:
        strategy = {"steps": [step], "analysis": {"interval": "2s", "errors": {"tolerated": "0.05"}}}
        hosts = {"hosts": [HOST]} if self.kind == "Gateway" else {}
        body = {"version": version, "replicas": PODS, "strategy": strategy, "router": self.router, **hosts}
        self.kube.apply(model_deployment(self.name, **body))

    def until(self, **weights: int) -> Json:
        """The deployment once these weights are in force, as far as anybody can tell."""
        wanted = {name.replace("_", "-"): weight for name, weight in weights.items() if weight}

        def holds(md: Json) -> bool:
            shares = md.get("status", {}).get("traffic", [])
            told = all(one["verified"] if self.able.read_back else one.get("assumed") for one in shares)
            return told and {one["version"]: one["weight"] for one in shares if one["weight"]} == wanted

        return self.kube.until("ModelDeployment", self.name, holds, timeout=180)

    def say(self, command: str) -> None:
        self.kube.annotate("ModelDeployment", self.name, {f"noria.dev/{command}": command})

    def own_address(self) -> str:
        """The Service of the deployment's name."""
        service = self.kube.get("Service", self.name)
        assert service is not None
        return f"http://{service['spec']['clusterIP']}/v2/models/tiny/infer"

    def counted(self, revision: str) -> int:
        """Requests that the pods of a revision answered, as they count themselves."""
        total = 0
        for pod in self.kube.list("Pod", f"noria.dev/deployment={self.name},noria.dev/revision={revision}"):
            address = f"{pod['status']['podIP']}:{COUNTERS_PORT}"
            total += sum(httpx.get(f"http://{address}{COUNTERS_PATH}").json()["requests"].values())
        return total

    def answers(self, count: int, headers: Mapping[str, str] = NONE) -> Counter[str]:
        """Which versions answered so many requests, each on a connection of its own where those are
        divided."""
        alone = {} if self.able.by_request else {"Connection": "close"}
        return asyncio.run(self._answers(count, {**self.headers, **alone, **headers}))

    async def _answers(self, count: int, headers: Mapping[str, str]) -> Counter[str]:
        found: Counter[str] = Counter()

        async def client(session: httpx.AsyncClient, number: int) -> None:
            for _ in range(number):
                answer = await session.post(self.url, json=REQUEST, headers=headers)
                found[answer.json()["model_version"] if answer.status_code == 200 else answer.text] += 1

        limits = httpx.Limits(max_connections=16)
        async with httpx.AsyncClient(timeout=15, limits=limits) as session:
            await asyncio.gather(*(client(session, count // 16) for _ in range(16)))
        return found


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    """Two versions of a model, ready to be served."""
    with namespace(noria, "e2e-routers") as kube:
        kube.apply(claim())
        for seed in (1, 2):
            kube.apply(training_job(f"tiny-{seed}", images["example-flights"], seed=seed))
            kube.until("TrainingJob", f"tiny-{seed}", phase("Succeeded"), timeout=180)
            kube.until("ModelVersion", f"tiny-{seed}", phase("Approved"), timeout=60)
        yield kube


@pytest.fixture(scope="module")
def public(
    kube: Kube,
    kubectl: Program,
    helm: Program,
    images: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Where a gateway of the cluster answers, after Noria was told that there are gateways."""
    with gateway(kubectl, tmp_path_factory.mktemp("gateway"), kube.namespace) as url:
        install(helm, images, "--reuse-values", "--set", "routers.gateway.enabled=true")
        yield url


@pytest.fixture(scope="module", params=["Envoy", "Gateway"])
def routed(request: pytest.FixtureRequest, kube: Kube) -> Iterator[Routed]:
    """Version 1 serves, behind each kind of router in turn."""
    kind = request.param
    host = HOST if kind == "Gateway" else f"tiny-{kind.lower()}"
    found = Routed(kube, kind, {"type": kind}, headers={"Host": host})
    if kind == "Gateway":
        found.router["gateway"] = {"name": GATEWAY, "settle": "2s"}
        found.url = f"{request.getfixturevalue('public')}/v2/models/tiny/infer"
    found.deploy("tiny-1")
    kube.until("ModelDeployment", found.name, phase("Healthy"), timeout=180)
    found.url = found.url or found.own_address()
    yield found
    kube.delete("ModelDeployment", found.name)
    kube.until_gone("ModelDeployment", found.name)


def test_a_first_version_has_all_traffic(routed: Routed) -> None:
    md = routed.until(tiny_1=100)
    assert condition(md, "Ready")["status"] == "True"
    assert routed.answers(160) == {"1": 160}
    share = md["status"]["traffic"][0]
    assert (share["verified"], share.get("assumed", False)) == (
        routed.able.read_back,
        not routed.able.read_back,
    )


def test_headers_and_copies_reach_the_challenger_alone_or_are_refused(routed: Routed) -> None:
    step = {"mirror": 100, "match": [{"name": "x-canary", "value": "always"}], "duration": "1h"}
    if not routed.able.match:
        with pytest.raises(ApiException, match=r"has no .*match.* in steps"):
            routed.deploy("tiny-2", step)
        return
    routed.deploy("tiny-2", step)

    def reached(md: Json) -> bool:
        found = [one for one in md["status"].get("traffic", []) if one.get("mirror") and one.get("match")]
        return any(one["verified"] or one.get("assumed") for one in found)

    md = routed.kube.until("ModelDeployment", routed.name, reached, timeout=180)
    assert routed.answers(160, {"x-canary": "always"}) == {"2": 160}
    assert routed.answers(320) == {"1": 320}
    assert routed.counted(md["status"]["candidate"]["revision"]) == 480
    routed.deploy("tiny-1")
    routed.until(tiny_1=100)


def test_a_cycle_loses_no_request_and_every_share_is_exact(routed: Routed) -> None:
    """Canary, abort, retry, promote, undo, the operator killed meanwhile; at both of its addresses."""
    inside = Load(routed.own_address(), rate=20, seconds=600, headers={"Host": routed.name})
    with Load(routed.url, rate=40, seconds=600, headers=routed.headers) as load, inside:
        load.until_sent(50)
        routed.deploy("tiny-2")
        md = routed.until(tiny_1=100 - WEIGHT, tiny_2=WEIGHT)
        kill_leader(routed.kube)
        answers = routed.answers(SAMPLE)
        assert set(answers) == {"1", "2"}
        spread = sqrt(SAMPLE * 0.2 * 0.8)
        assert abs(answers["2"] - SAMPLE * 0.2) < 3.3 * spread, answers  # χ² with p = 0.001
        if not routed.able.any_weight:
            assert [one["realised"] for one in md["status"]["traffic"]] == [80, 20]

        routed.say("abort")
        routed.until(tiny_1=100)
        assert routed.answers(480) == {"1": 480}

        routed.say("retry")
        routed.until(tiny_1=100 - WEIGHT, tiny_2=WEIGHT)
        routed.say("promote-full")
        routed.until(tiny_2=100)
        assert routed.answers(480) == {"2": 480}

        routed.say("undo")
        routed.until(tiny_1=100)
        load.until_sent(100)
    assert load.failures == []
    assert inside.failures == []
    assert load.versions["2"] > 0
