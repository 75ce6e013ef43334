"""Who is woken by what a pass writes, and what time it is, in the operator as it is put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.unit.controllers.test_wakeup import CONTROLLERS, NORIA, labels, reconciling
from tests.unit.kube.api_server import LoopClock, Scripted, obj, refusal

from noria_operator import app
from noria_operator.controllers.context import Config
from noria_operator.controllers.worker import PASSING
from noria_operator.domain.rollout_observed import InForce
from noria_operator.evidence.answer import Answer
from noria_operator.evidence.connections import Connections, Place
from noria_operator.evidence.fetch import AT_ONCE, Fetcher
from noria_operator.kube.client import Answer as Reply
from noria_operator.kube.kinds import MODELDEPLOYMENT, Json, Key
from noria_operator.kube.login import Endpoint
from noria_operator.kube.requests import Request
from noria_operator.kube.store import Store
from noria_operator.kube.stream import State
from noria_operator.process import Operator, Parts
from noria_operator.tasks import cancelled
from noria_serving.contract import COUNTERS_PORT

KEY = Key(MODELDEPLOYMENT, "ns", "md")


def child(version: int, **rest: Any) -> Json:
    return obj("w", version=version, labels=labels("ModelDeployment", "md", "uid-md"), **rest)


def newer(made: Json, version: int) -> Json:
    return {**made, "metadata": {**made["metadata"], "resourceVersion": str(version)}}


async def test_a_pass_does_not_come_again_for_what_it_wrote_but_for_what_others_do() -> None:
    client = Scripted(lambda _: refusal(500))
    parts = Parts(
        Config("ns"), Endpoint("http://none"), client, CONTROLLERS, app.context(Fetcher(), Fetcher())
    )
    operator = Operator(parts)
    store, queue = operator.store, operator.queue
    store.observe("ADDED", obj("md", api=(NORIA, "ModelDeployment")))
    assert await queue.get() == KEY
    passing = PASSING.set(KEY)
    store.observe("ADDED", child(2))
    store.observe("MODIFIED", newer(reconciling("False"), 3))
    queue.done(KEY)
    assert len(queue) == 0
    store.observe("MODIFIED", newer(reconciling("True"), 4))
    assert await queue.get() == KEY, "a weight is on its way"
    queue.done(KEY)
    PASSING.reset(passing)
    store.observe("MODIFIED", child(5, spec={"replicas": 9}))
    assert len(queue) == 1


async def test_the_operator_does_not_believe_a_clock_that_is_ahead_of_the_api_servers() -> None:
    client = Scripted(lambda _: refusal(500))
    operator = Operator(
        Parts(Config("ns"), Endpoint("http://none"), client, CONTROLLERS, app.context(Fetcher(), Fetcher()))
    )
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    client.time.heard(an_hour_ago)
    assert an_hour_ago <= operator.context.clock.now() < an_hour_ago + timedelta(minutes=1)


async def test_what_fell_due_before_the_operator_was_there_waits_for_its_turn() -> None:
    client, spread = Scripted(lambda _: refusal(500)), timedelta(minutes=3)
    make = app.context(Fetcher(), Fetcher())
    parts = Parts(Config("ns"), Endpoint("http://none"), client, CONTROLLERS, make, spread=spread)
    operator = Operator(parts)
    followed = operator.context.gap()
    holding, stop = asyncio.create_task(asyncio.sleep(60)), asyncio.Event()
    stop.set()
    await operator._work(stop, holding)
    led = operator.context.gap()
    await cancelled(holding)
    assert followed is not None
    assert led is not None
    assert (led.gone, led.spread) == (led.back, spread)
    assert followed.back < led.back <= datetime.now(UTC) < led.back + timedelta(minutes=1)


async def test_routers_and_probes_are_told_whether_anything_is_heard_of_the_lease() -> None:
    told: list[Callable[[], bool]] = []

    def xds(_: Store, __: Config, blind: Callable[[], bool]) -> web.Application:
        told.append(blind)
        return web.Application()

    def answered(request: Request) -> Reply:
        return refusal(404) if request.verb == "get" else Reply(201, request.body)

    config, make = Config("ns", http_port=0, xds_port=0), app.context(Fetcher(), Fetcher())
    operator = Operator(Parts(config, Endpoint("http://none"), Scripted(answered), CONTROLLERS, make, xds))
    async with operator._served(), aiohttp.ClientSession() as http:
        url, why = f"http://127.0.0.1:{operator.ports['http']}/readyz", "nothing of the lease"

        async def unready() -> str:
            async with http.get(url) as response:
                return await response.text()

        assert told[0]()
        assert why in await unready()
        await operator.lease.acquire()
        assert not told[0]()
        assert why not in await unready()


async def test_routers_are_heard_while_thousands_of_pods_give_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A network policy that leaves the operator out makes every question to a pod last its whole second."""

    async def get(self: Connections, place: Place, question: bytes) -> Answer:
        if place[1] == COUNTERS_PORT:
            await asyncio.sleep(60)
        return Answer(200, b'{"version": 7, "weights": {"a-1": 100}}', kept=True)

    monkeypatch.setattr(Connections, "get", get)
    make = app.context(Fetcher(), Fetcher())
    made = make(Scripted(lambda _: refusal(500)), Store(), Config("ns"), LoopClock())
    shut_off = [obj(f"p-{number}", status={"podIP": "10.0.0.1"}) for number in range(AT_ONCE)]
    reading = asyncio.create_task(made.servers.answered(shut_off))
    await asyncio.sleep(0)
    async with asyncio.timeout(0.5):
        told = await made.router.in_force("ns", "a", [obj("router", status={"podIP": "10.0.0.2"})])
    assert told == [InForce(7, {"a-1": 100})]
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await made.close()


async def test_the_operator_begins_anew_when_the_cluster_went_back() -> None:
    """As after etcd was restored: what it knows is newer than all that comes, and would stay."""
    make, client = app.context(Fetcher(), Fetcher()), Scripted(lambda _: refusal(500))
    operator = Operator(Parts(Config("ns"), Endpoint("http://none"), client, CONTROLLERS, make))
    stop = asyncio.Event()
    ending = asyncio.create_task(operator._begin_anew(stop))
    for position in (50_000, 50_010):
        operator._told(State((MODELDEPLOYMENT, None), set(), position))
    await asyncio.sleep(0)
    assert not stop.is_set()
    operator._told(State((MODELDEPLOYMENT, None), set(), 42_000))
    async with asyncio.timeout(1):
        await ending
    assert stop.is_set()
