"""A ModelDeployment behind one kind of router, and clients that say who answered them.

Comes in: a namespace of the cluster and a kind of router. Goes out: answers by version, in the order asked.
Invariant: a request that fails is an answer too, with its text for a version, and never asked again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import aiohttp
import httpx
from scipy.stats import chisquare
from tests.e2e import disturbances
from tests.e2e.kube import Json, Kube, condition, phase
from tests.e2e.load import CONNECTIONS, REQUEST, Load
from tests.e2e.manifests import model_deployment
from tests.e2e.others_route import ROUTE, others_route
from tests.public_gateway import PublicGateway

from noria_operator.api.routers import CAPABILITIES, Capabilities
from noria_serving.contract import COUNTERS_PATH, COUNTERS_PORT

NONE: Mapping[str, str] = MappingProxyType({})
ABLE: Mapping[str, Capabilities] = {
    **CAPABILITIES,
    # Only weights are written into a route of the user's, and of those nobody is asked.
    "Route": replace(
        CAPABILITIES["Gateway"], read_back=False, mirror=False, match=False, hosts=False, timeout=False
    ),
    # Another implementation, whose class is annotated: it says of itself that it copies parts, but not there.
    "EnvoyGateway": replace(CAPABILITIES["Gateway"], mirror=True, read_back=False),
}
"""What each of the routers here can do: a route of the user's is of type Gateway, with less."""
GATEWAYS = {"Gateway": "public", "Route": "public", "EnvoyGateway": "envoy_gateway"}
"""Those behind a gateway, and the fixture that gives it."""
SETTLE = {"Route": "1s", "Gateway": "1m", "EnvoyGateway": "1m"}
"""How long weights of a gateway take to be in force on this machine, at most; nobody waits so long where its
proxies are asked.
"""
CANARY: Json = {"weight": 20, "pause": True}
RARE = 1e-9
"""A sample that right shares give more rarely than this is taken to have wrong ones."""
PODS = 4
"""So that a fifth of them, beside all of the champion's, is one."""


def able(capability: str) -> list[str]:
    """The kinds that can do this."""
    return [kind for kind, each in ABLE.items() if getattr(each, capability)]


@dataclass
class Routed:
    """A deployment called after the kind of its router, reached at `url` with `headers`."""

    kube: Kube
    kind: str
    router: Json
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    hosts: Sequence[str] = ()
    replicas: int = PODS
    gateway: PublicGateway | None = None
    """Where the router is one of a gateway's."""
    trusts: ssl.SSLContext | None = None
    """Whose certificates clients take, where `url` asks for one."""
    _ids: Iterable[int] = field(default_factory=itertools.count)

    @property
    def able(self) -> Capabilities:
        return ABLE[self.kind]

    @property
    def name(self) -> str:
        return f"tiny-{self.kind.lower()}"

    # -- what a person does ------------------------------------------------------------------

    def deploy(self, number: int, *steps: Json, server: Json | None = None, **strategy: object) -> None:
        """Ask for a version, by these steps."""
        analysis = {"interval": "2s", "errors": {"tolerated": "0.05"}}
        spec = {"replicas": self.replicas, "router": self.router, "hosts": list(self.hosts)}
        rollout = {"steps": list(steps), "analysis": analysis, "keepPrevious": "0s", **strategy}
        spec |= {"server": server} if server else {}
        self.kube.apply(model_deployment(self.name, version=f"tiny-{number}", strategy=rollout, **spec))

    def say(self, command: str) -> None:
        """Annotate it with a command."""
        id_ = f"{command}-{next(iter(self._ids))}"
        self.kube.annotate("ModelDeployment", self.name, {f"noria.dev/{command}": id_})

    # -- what the cluster says -----------------------------------------------------------------

    def until(self, **weights: int) -> Json:
        """The deployment once these weights (`tiny_2=20`) are in force, as far as anybody can tell."""
        wanted = {name.replace("_", "-"): weight for name, weight in weights.items() if weight}

        def holds(md: Json) -> bool:
            shares = md.get("status", {}).get("traffic", [])
            told = all(one["verified"] if self.able.read_back else one.get("assumed") for one in shares)
            return told and {one["version"]: one["weight"] for one in shares if one["weight"]} == wanted

        return self.wait(holds)

    def paused(self) -> Json:
        """The deployment once all that a step with a pause asks for is in force."""
        return self.wait(phase("Paused"))

    def back(self) -> None:
        """Give the challenger up and wait until nothing of it is left."""
        self.deploy(1)
        self.until(tiny_1=100)
        self.wait(lambda md: phase("Healthy")(md) and len(md["status"]["traffic"]) == 1)

    def wait(self, holds: Callable[[Json], bool]) -> Json:
        return self.kube.until("ModelDeployment", self.name, holds, timeout=180)

    def pods(self, number: int) -> list[Json]:
        """The pods of a version that are not going."""
        md = self.kube.get("ModelDeployment", self.name)
        assert md is not None
        places = [md["status"].get("stable"), md["status"].get("candidate"), *md["status"]["traffic"]]
        revisions = {one["revision"] for one in places if one and one["version"] == f"tiny-{number}"}
        labels = f"noria.dev/deployment={self.name},noria.dev/revision in ({','.join(revisions)})"
        return [pod for pod in self.kube.list("Pod", labels) if "deletionTimestamp" not in pod["metadata"]]

    def ready(self, number: int) -> int:
        """How many of those are ready."""
        return sum(condition(pod, "Ready").get("status") == "True" for pod in self.pods(number))

    def kill(self, pods: Iterable[Json]) -> None:
        """Without any grace."""
        for pod in pods:
            self.kube.delete("Pod", pod["metadata"]["name"], grace=0)

    def lose(self, pods: Iterable[Json]) -> None:
        """Kill them where routers try again what they had; else they may finish it."""
        for pod in pods:
            self.kube.delete("Pod", pod["metadata"]["name"], grace=0 if self.able.retries else None)

    def replace_routers(self) -> None:
        """One by one, each when all are ready again; with a gateway, its controller as well."""
        if self.gateway is not None:
            self.gateway.restart_controller()
            self.gateway.replace_routers()
        elif self.kind == "Service":
            disturbances.restart_proxy()
        else:
            disturbances.replace_routers(self.kube)

    def kill_router(self) -> None:
        """One of them, without any grace; another one takes its place."""
        if self.gateway is not None:
            self.gateway.kill_router()
        else:
            self.kill(self.kube.list("Pod", disturbances.ROUTERS)[:1])

    def counted(self, number: int) -> int:
        """Requests that the pods of a version answered, as they count themselves."""
        total = 0
        for pod in self.pods(number):
            address = f"http://{pod['status']['podIP']}:{COUNTERS_PORT}{COUNTERS_PATH}"
            total += sum(httpx.get(address).json()["requests"].values())
        return total

    # -- what clients see ----------------------------------------------------------------------

    def address(self) -> str:
        """Host and port of the Service of the deployment's name."""
        return f"{self.kube.cluster_ip(self.name)}:80"

    def own_url(self) -> str:
        """Where that Service answers requests."""
        return f"http://{self.address()}/v2/models/tiny/infer"

    def load(self, rate: float = 100.0) -> Load:
        """Steady traffic at the address of the router."""
        witness = self.gateway.waiting if self.gateway is not None else str
        return Load(self.url, rate=rate, headers=self.headers, witness=witness)

    def answers(self, count: int, headers: Mapping[str, str] = NONE) -> Counter[str]:
        """Which versions answered so many requests, each on a connection of its own where those are
        divided.
        """
        return Counter(self.ask([headers] * count, alone=not self.able.by_request))

    def named(self, version: str, count: int) -> Counter[str]:
        """Which versions answered so many requests whose path names one of them."""
        url = self.url.replace("/infer", f"/versions/{version}/infer")
        return Counter(asyncio.run(self._ask([NONE] * count, url=url, alone=False, clients=CONNECTIONS)))

    def ask(
        self, requests: Sequence[Mapping[str, str]], *, alone: bool = False, clients: int = CONNECTIONS
    ) -> list[str]:
        """Who answered each of some requests that differ in headers."""
        return asyncio.run(self._ask(requests, url=self.url, alone=alone, clients=clients))

    async def _ask(
        self, requests: Sequence[Mapping[str, str]], *, url: str, alone: bool, clients: int
    ) -> list[str]:
        found = [""] * len(requests)
        waiting = iter(enumerate(requests))

        async def client(session: aiohttp.ClientSession) -> None:
            for index, headers in waiting:
                async with session.post(
                    url,
                    json=REQUEST,
                    headers={**self.headers, **headers},
                    ssl=self.trusts or True,
                    server_hostname=self.headers["Host"] if self.trusts else None,
                ) as answer:
                    text = await answer.text()
                    found[index] = json.loads(text)["model_version"] if answer.status == 200 else text

        connector = aiohttp.TCPConnector(limit=clients, force_close=alone)
        timeout = aiohttp.ClientTimeout(total=15)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(client(session) for _ in range(clients)))
        return found


def chance(found: Mapping[str, int], wanted: Mapping[str, int]) -> float:
    """The probability (χ²) that shares `wanted` give counts as far from them as `found`; 0 when somebody
    answered who has no share.
    """
    sent, whole = sum(found.values()), sum(wanted.values())
    if not {name for name, count in found.items() if count} <= {name for name in wanted if wanted[name]}:
        return 0.0
    names = sorted(name for name, share in wanted.items() if share)
    if len(names) == 1:
        return 1.0
    expected = [sent * wanted[name] / whole for name in names]
    return float(chisquare([found.get(name, 0) for name in names], expected).pvalue)


def host_of(kind: str) -> str:
    """By which clients of a gateway ask for what is behind it."""
    return f"{kind.lower()}.example"


@contextmanager
def behind(kind: str, kube: Kube, fixture: Callable[[str], Any], **more: int) -> Iterator[Routed]:
    """Version 1 serves behind this kind of router; nothing is left of it afterwards.

    `fixture` gives the gateway to those that need one, by its name.
    """
    routed = Routed(kube, kind, {"type": kind}, headers={"Host": f"tiny-{kind.lower()}"}, **more)
    with ExitStack() as stack:
        if kind in GATEWAYS:
            host = host_of(kind)
            gateway: PublicGateway = fixture(GATEWAYS[kind])
            routed.gateway = gateway
            routed.url, routed.headers = f"{gateway.url}/v2/models/tiny/infer", {"Host": host}
            routed.router = {"type": "Gateway", "gateway": {"settle": SETTLE[kind]}}
            namespace, name = gateway.where
            if kind == "Route":
                routed.router["gateway"] |= {"route": ROUTE}
                stack.enter_context(others_route(kube, routed.name, host, gateway.where))
            else:
                routed.hosts = (host,)
                routed.router["gateway"] |= {"name": name, "namespace": namespace}
        routed.deploy(1)
        kube.until("ModelDeployment", routed.name, phase("Healthy"), timeout=180)
        routed.url = routed.url or routed.own_url()
        yield routed
        kube.delete("ModelDeployment", routed.name)
        kube.until_gone("ModelDeployment", routed.name)
