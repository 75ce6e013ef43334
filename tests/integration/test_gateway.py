"""Copies of a part of the requests behind a gateway, on a real API server with the Gateway API's own kinds.

The gateway's controller is played by the test: it accepts every route, and its class says what it can do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import yaml
from tests.integration.conftest import CRD, install
from tests.integration.deployments import NAME, approve, deploy, kubelet, say, until
from tests.integration.running import Cluster, alongside, operator
from tools.cluster import binaries
from tools.cluster.layout import binary

from noria_operator.api.routers import PART_OF_COPIES
from noria_operator.controllers import modeldeployment
from noria_operator.controllers.context import Config
from noria_operator.kube.client import Client
from noria_operator.kube.errors import ApiError
from noria_operator.kube.kinds import GATEWAY, GATEWAYCLASS, HTTPROUTE, Json, Kind

PLAYER = "example.com/played"


async def install_gateways(client: Client) -> None:
    """The kinds of the Gateway API, as Contour ships them."""
    binaries.ensure("contour")
    documents = yaml.safe_load_all(binary("gateway-api.yaml").read_text())
    crds = [document for document in documents if document and document["kind"] == CRD.kind]
    await install(client, crds, [_kind(crd["spec"], version) for crd in crds for version in served(crd)])


def served(crd: Json) -> list[str]:
    """Contour begins only where it finds all of its kinds, in each version."""
    return [version["name"] for version in crd["spec"]["versions"] if version["served"]]


def _kind(spec: Json, version: str) -> Kind:
    named = spec["names"]
    return Kind(spec["group"], version, named["plural"], named["kind"], spec["scope"] == "Namespaced")


async def say_features(cluster: Cluster, *features: str) -> None:
    """What the class of the gateway says that it can do."""
    told = {"supportedFeatures": [{"name": name} for name in sorted(features)]}
    await cluster.client.apply_status(GATEWAYCLASS, "", f"class-{cluster.namespace}", told)


@asynccontextmanager
async def gateway(cluster: Cluster) -> AsyncIterator[None]:
    """The Gateway `public`, which takes every route as it is."""
    name, client = f"class-{cluster.namespace}", cluster.client
    await client.create(GATEWAYCLASS, "", {"metadata": {"name": name}, "spec": {"controllerName": PLAYER}})
    listeners = [{"name": "http", "protocol": "HTTP", "port": 80}]
    spec = {"gatewayClassName": name, "listeners": listeners}
    await client.create(GATEWAY, cluster.namespace, {"metadata": {"name": "public"}, "spec": spec})

    async def work() -> None:
        while True:
            for route in await client.list(HTTPROUTE, cluster.namespace):
                await accept(cluster, route)
            await asyncio.sleep(0.05)

    try:
        async with alongside(work()):
            yield
    finally:
        await client.delete(GATEWAYCLASS, "", name)


async def accept(cluster: Cluster, route: Json) -> None:
    """Say so of its present generation, once."""
    meta = route["metadata"]
    said = {
        "status": "True",
        "reason": "Accepted",
        "message": "",
        "observedGeneration": meta["generation"],
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    conditions = [{"type": kind, **said} for kind in ("Accepted", "ResolvedRefs")]
    (parent,) = route["spec"]["parentRefs"]
    parents = [{"parentRef": parent, "controllerName": PLAYER, "conditions": conditions}]
    if route.get("status", {}).get("parents") != parents:
        with contextlib.suppress(ApiError):
            await cluster.client.apply_status(
                HTTPROUTE, cluster.namespace, meta["name"], {"parents": parents}
            )


async def test_a_part_is_copied_once_the_class_says_that_it_can_and_not_before(
    cluster: Cluster, config: Config
) -> None:
    await install_gateways(cluster.client)
    router = {"type": "Gateway", "gateway": {"name": "public", "settle": "0s"}}
    steps = [{"mirror": 30, "pause": True}, {"mirror": 100, "pause": True}]
    config = replace(config, gateway=True)
    async with gateway(cluster), kubelet(cluster):
        await approve(cluster, 1)
        await deploy(cluster, router=router, strategy={"steps": steps})
        async with operator(cluster, [modeldeployment], config=config):
            await until(cluster, lambda it: it["phase"] == "Healthy" and stalled(it) == "CopiesUnsupported")
            await approve(cluster, 2)
            await until(cluster, lambda it: mirrors(it) == [0, 30])
            assert await copies(cluster) == []
        await say_features(cluster, "HTTPRoute", PART_OF_COPIES)
        async with operator(cluster, [modeldeployment], config=config):
            await until(cluster, lambda it: it["phase"] == "Paused" and stalled(it) == "")
            assert [each.get("percent") for each in await copies(cluster)] == [30]
            await say(cluster, "promote", "1")
            await until(cluster, lambda it: it["phase"] == "Paused" and mirrors(it) == [0, 100])
            assert [each.get("percent") for each in await copies(cluster)] == [None], "all of them"


def stalled(status: Json) -> str:
    """Why; empty where it is not."""
    found = [one for one in status.get("conditions", ()) if one["type"] == "Stalled"]
    return str(found[0]["reason"]) if found and found[0]["status"] == "True" else ""


def mirrors(status: Json) -> list[int]:
    return [one.get("mirror", 0) for one in status.get("traffic", ())]


async def copies(cluster: Cluster) -> list[Json]:
    """All that the deployment's route asks for."""
    route = await cluster.client.get(HTTPROUTE, cluster.namespace, NAME)
    return [one["requestMirror"] for rule in route["spec"]["rules"] for one in rule.get("filters", ())]
