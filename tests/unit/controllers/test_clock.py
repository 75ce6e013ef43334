"""No run starts because a clock leapt, and none is lost: the operator's time is checked against the API
server's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from tests.unit.controllers.test_continuoustraining import ACCEPTED, KEY, jobs
from tests.unit.controllers.training_api import Api, Servers, operator
from tests.unit.domain.test_triggers import auc
from tests.unit.domain.test_triggers_plan import training
from tests.unit.domain.training_world import deployment, version

from noria_operator.controllers.continuoustraining import reconcile
from noria_operator.domain.training_times import stamp
from noria_operator.domain.triggers_gap import Gap
from noria_operator.kube.client import Client
from noria_operator.kube.clock import CheckedClock, Clock, ServerTime
from noria_operator.kube.kinds import CONTINUOUSTRAINING, MODELDEPLOYMENT, MODELVERSION, SERVICE
from noria_operator.kube.login import Endpoint

Json = dict[str, Any]
HOUR = timedelta(hours=1)
FAR = timedelta(days=400, hours=1.5)
"""A leap after which it is half past one."""
DATE = datetime(2026, 3, 1, 12, 0, 7, tzinfo=UTC)

OLD = {"triggers": [{"name": "old", "maxAge": "720h"}]}
COSTLY = {
    "triggers": [
        {"name": "costly", "performance": {"metric": "auc", "cost": {"pointDay": "10", "run": "40"}}},
    ]
}
DAILY = {"triggers": [{"name": "daily", "schedule": "0 13 * * *"}]}
FOLLOWED = {"triggers": [], "followUp": "72h"}


@dataclass
class World:
    """One loop, and a node whose clock is set by hand; the API server's is right."""

    api: Api
    ahead: timedelta = timedelta()
    server: ServerTime = field(init=False)

    def __post_init__(self) -> None:
        self.server = ServerTime(self.monotonic)

    def monotonic(self) -> float:
        return self.api.clock.time.timestamp()

    def now(self) -> datetime:
        """What the node's clock shows."""
        return self.api.clock.time + self.ahead

    async def look(self, clock: Clock) -> None:
        """One pass a minute, with lost quality in every window."""
        for _ in range(2):
            self.server.heard(self.api.clock.time.replace(microsecond=0))
            await reconcile(replace(operator(self.api, Servers(auc(0.6))), clock=clock), KEY)
            self.api.clock.time += timedelta(minutes=1)


def world(spec: Json) -> World:
    api = Api()
    obj = training(**spec | {"cooldown": "0s"})
    if "followUp" in spec:
        run = {"at": stamp(api.clock.time - HOUR), "trigger": "gone", "reason": "Drift", "trainingJob": "ran"}
        planned = {"at": stamp(api.clock.time + 71 * HOUR), "of": "ran"}
        obj["status"] = {"runs": [run], "lastTrigger": run | {"name": "gone"}, "followUp": planned}
    api.put(CONTINUOUSTRAINING, obj)
    api.put(MODELVERSION, version(1, evaluation=ACCEPTED))
    api.put(MODELDEPLOYMENT, deployment(1))
    return World(api)


@pytest.mark.parametrize(
    "spec", [OLD, COSTLY, DAILY, FOLLOWED], ids=["maxAge", "cost", "schedule", "followUp"]
)
@pytest.mark.parametrize("checked", [True, False])
async def test_no_run_starts_because_the_operators_clock_leapt(spec: Json, checked: bool) -> None:
    """Where nobody checks the clock, each of them starts one."""
    one = world(spec)
    clock: Clock = CheckedClock(one.server, one) if checked else one
    await one.look(clock)
    assert jobs(one.api) == []
    one.ahead = FAR
    await one.look(clock)
    assert len(jobs(one.api)) == (0 if checked else 1)
    if checked:
        one.ahead = timedelta()
        before = one.api.objects[KEY]["status"]
        await one.look(clock)
        after = one.api.objects[KEY]["status"]
        assert (jobs(one.api), after.get("followUp")) == ([], before.get("followUp"))
        assert float(after["triggers"][0].get("regret", 0) if after["triggers"] else 0) < 1


async def test_a_scheduled_run_starts_at_its_time_though_the_operators_clock_is_ahead() -> None:
    one = world(DAILY)
    clock = CheckedClock(one.server, one)
    one.ahead = FAR
    await one.look(clock)
    one.api.clock.time = one.api.clock.time.replace(minute=58)
    await one.look(clock)
    assert len(jobs(one.api)) == 0
    await one.look(clock)
    assert len(jobs(one.api)) == 1


async def test_a_scheduled_run_that_was_missed_for_almost_an_hour_starts_in_the_loops_turn() -> None:
    one = world(DAILY)
    await one.look(one)
    one.api.clock.time = one.api.clock.time.replace(hour=13, minute=58)
    gap = Gap(one.now(), one.now())
    turn = gap.turn(one.api.objects[KEY]["metadata"]["uid"], one.now())
    waits = replace(operator(one.api), gap=lambda: gap)
    assert (await reconcile(waits, KEY)).after == turn - one.now() > timedelta(minutes=2)
    assert jobs(one.api) == []
    one.api.clock.time = turn
    await reconcile(replace(operator(one.api), gap=lambda: gap), KEY)
    assert len(jobs(one.api)) == 1


async def test_a_loss_costs_nothing_for_a_leap_of_all_clocks() -> None:
    """As a machine's that slept, with its cluster: nobody asked the model meanwhile."""
    one = world(COSTLY)
    await one.look(one)
    gone = one.now()
    one.api.clock.time += FAR
    await reconcile(
        replace(operator(one.api, Servers(auc(0.6))), gap=lambda: Gap(gone, one.api.clock.time)), KEY
    )
    assert jobs(one.api) == []


@asynccontextmanager
async def api_server(date: str) -> AsyncIterator[str]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"kind": "Service"}, headers={"Date": date})

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("date", "told"),
    [("Sun, 01 Mar 2026 12:00:07 GMT", DATE), ("soon", None), ("Sun, 01 Mar 2026 12:00:07 -0000", None)],
)
async def test_the_client_reads_the_date_of_answers(date: str, told: datetime | None) -> None:
    async with api_server(date) as address, Client(Endpoint(address)) as client:
        await client.get(SERVICE, "ns", "a")
        found = client.time.now()
    if told is None:
        assert found is None
    else:
        assert found is not None
        assert told <= found < told + timedelta(minutes=1)
