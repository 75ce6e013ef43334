"""Weights that are read back from real proxies: Contour and two of its Envoys on a real API server.

Pods are played; what each Envoy acts on is told by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from tests.integration.deployments import NAME, approve, deploy, say, until
from tests.integration.edge import HOST, Edge, ask, marks, standing
from tests.integration.running import Cluster, eventually, operator

from noria_operator.controllers import modeldeployment
from noria_operator.controllers.context import Config
from noria_operator.domain.gateway_probes import host_of, path_of
from noria_operator.kube.kinds import HTTPROUTE, Json

CALM = "10m"
"""`settle`, so that nothing is believed but what was read."""


@pytest.fixture
async def edge(cluster: Cluster, config: Config, kubeconfig: Path, tmp_path: Path) -> AsyncIterator[Edge]:
    """A gateway of the test's own."""
    async with standing(cluster, config, kubeconfig, tmp_path) as edge:
        yield edge


async def serve(edge: Edge, *steps: Json, settle: str = CALM) -> None:
    """Version 1, and then version 2 by these steps."""
    router = {"type": "Gateway", "gateway": {"name": edge.cluster.namespace, "settle": settle}}
    await approve(edge.cluster, 1)
    await deploy(edge.cluster, router=router, hosts=[HOST], strategy={"steps": list(steps)})


def verified(status: Json) -> bool:
    return all(one["verified"] for one in status["traffic"])


def shares(status: Json) -> list[tuple[int, bool, bool]]:
    return [(one["weight"], one["verified"], one.get("assumed", False)) for one in status.get("traffic", ())]


async def test_steps_go_on_as_soon_as_every_envoy_acts_on_their_weights(edge: Edge) -> None:
    steps = [{"weight": weight, "pause": True} for weight in (10, 50)]
    await serve(edge, *steps)
    async with operator(edge.cluster, [modeldeployment], config=edge.naming(*edge.gateway.own_urls)):
        await until(edge.cluster, lambda it: it["phase"] == "Healthy" and shares(it) == [(100, True, False)])
        first = marks(edge)
        await approve(edge.cluster, 2)
        for number, weight in enumerate((10, 50)):
            wanted = [(100 - weight, True, False), (weight, True, False)]
            await until(
                edge.cluster, lambda it, wanted=wanted: it["phase"] == "Paused" and shares(it) == wanted
            )
            found = marks(edge)
            assert found[0] == found[1] != first[0]
            await say(edge.cluster, "promote", str(number))
        await say(edge.cluster, "promote-full", "at last")
        await until(edge.cluster, lambda it: it["stable"]["version"] == f"{NAME}-2" and verified(it))

        async def all_act_on_a_third() -> bool:
            last = {*marks(edge)}
            return len(last) == 1 and not last & {*first, *found}

        # The route is written once more when the former champion leaves it.
        await eventually(all_act_on_a_third)


@asynccontextmanager
async def lagging(url: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A proxy that answers as the one at `url` did at first, until it is told to follow."""
    known: dict[str, str] = {}
    follows = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        async with httpx.AsyncClient() as client:
            said = await client.head(f"{url}{request.path}", headers={"Host": request.host})
        now = said.headers.get("Location", "")
        if follows.is_set() or not known.get(request.path):
            known[request.path] = now
        if not known[request.path]:
            raise web.HTTPNotFound
        return web.Response(status=302, headers={"Location": known[request.path]})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", follows
    finally:
        await runner.cleanup()


async def test_one_proxy_that_lags_holds_what_the_others_do(edge: Edge) -> None:
    await serve(edge, {"weight": 10, "pause": True}, settle="1s")
    async with lagging(edge.gateway.own_urls[0]) as (slow, follows):
        config = edge.naming(*edge.gateway.own_urls, slow)
        async with operator(edge.cluster, [modeldeployment], config=config):
            await until(edge.cluster, lambda it: shares(it) == [(100, True, False)])
            (old, _) = marks(edge)
            await approve(edge.cluster, 2)
            behind = f"1 of 3 proxies are behind: {HOST} at {slow.removeprefix('http://')} acts on {old}"
            found = await until(edge.cluster, lambda it: behind in verifiable(it))
            assert shares(found) == [(90, False, False), (10, False, False)]
            assert marks(edge) == [marks(edge)[0]] * 2
            follows.set()
            found = await until(edge.cluster, lambda it: it["phase"] == "Paused")
            assert shares(found) == [(90, True, False), (10, True, False)]
            assert verifiable(found) == ""


async def test_proxies_that_cannot_be_asked_leave_weights_assumed(edge: Edge) -> None:
    await serve(edge, {"weight": 10, "pause": True}, settle="1s")
    config = edge.naming(edge.gateway.own_urls[0], "http://127.0.0.1:1")
    async with operator(edge.cluster, [modeldeployment], config=config):
        await until(edge.cluster, lambda it: shares(it) == [(100, False, True)])
        await approve(edge.cluster, 2)
        found = await until(edge.cluster, lambda it: it.get("phase") == "Paused")
        assert shares(found) == [(90, False, True), (10, False, True)]
        assert "1 of 2 proxies could not be asked" in verifiable(found)


async def test_an_envoy_answers_the_rule_itself_and_for_the_hosts_of_the_route_alone(edge: Edge) -> None:
    await serve(edge)
    async with operator(edge.cluster, [modeldeployment], config=edge.naming(*edge.gateway.own_urls)):
        await until(edge.cluster, lambda it: shares(it) == [(100, True, False)])
    route = await edge.cluster.client.get(HTTPROUTE, edge.cluster.namespace, NAME)
    (url, _), path = edge.gateway.own_urls, path_of(edge.cluster.namespace, NAME)
    assert ask(f"{url}{path}").headers["Location"].startswith(f"http://{host_of(marks(edge)[0])}")
    assert ask(f"{url}{path}", "other.example").status_code == 404
    assert len(route["spec"]["rules"]) == 2


def verifiable(status: Json) -> str:
    """Why not; empty where there is nothing to say."""
    found = [one for one in status.get("conditions", ()) if one["type"] == "Verifiable"]
    return str(found[0]["message"]) if found else ""
