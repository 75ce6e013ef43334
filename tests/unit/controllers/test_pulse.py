"""Which rollouts are woken by what their routers counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.unit.controllers.serving_api import KEY, Routers, ServingApi, started
from tests.unit.controllers.test_modeldeployment import canary, serving

from noria_operator.controllers.pulse import Pulse
from noria_operator.domain.verdict import Counts
from noria_operator.kube.queue import Queue


class Waking(Queue):
    """Only notes what is woken."""

    def __init__(self) -> None:
        super().__init__()
        self.woken: list[object] = []
        self.woke = asyncio.Event()

    def add(self, key: object, *, urgent: bool = False) -> None:
        self.woken.append(key)
        self.woke.set()


def pulse(api: ServingApi, routers: Routers, folder: Path) -> tuple[Pulse, Waking]:
    queue = Waking()
    return Pulse(started(api, routers, folder), queue), queue


async def test_a_rollout_is_woken_when_its_router_counted_something_and_only_then(tmp_path: Path) -> None:
    api, routers = await canary(tmp_path)
    beating, queue = pulse(api, routers, tmp_path)
    await beating.beat()
    assert queue.woken == [KEY], "the first look shows whether anything was missed"
    await beating.beat()
    assert queue.woken == [KEY]
    name = api.status["candidate"]["name"]
    routers.counted[name] = Counts(1, 1)
    await beating.beat()
    assert queue.woken == [KEY, KEY]


async def test_a_rollout_whose_router_cannot_be_read_is_woken_each_time(tmp_path: Path) -> None:
    class Silent(Routers):
        async def counts(self, *_: object) -> dict[str, dict[str, Counts]]:  # type: ignore[override]
            return {}

    api, _ = await canary(tmp_path)
    beating, queue = pulse(api, Silent(api), tmp_path)
    await beating.beat()
    await beating.beat()
    assert queue.woken == [KEY, KEY]


async def test_rollouts_look_by_themselves_where_the_pulse_fails(tmp_path: Path) -> None:
    class Broken(Routers):
        async def counts(self, *_: object) -> dict[str, dict[str, Counts]]:  # type: ignore[override]
            raise RuntimeError("a bug")

    api, _ = await canary(tmp_path)
    ctx, queue = started(api, Broken(api), tmp_path, evidence_interval=timedelta(0)), Waking()
    beating = Pulse(ctx, queue)
    running = asyncio.create_task(beating.run())
    await asyncio.wait_for(queue.woke.wait(), 5)
    running.cancel()
    assert queue.woken[0] == KEY


async def test_a_namespace_whose_routers_hang_holds_up_no_other_one(tmp_path: Path) -> None:
    asked, often = Counter[str](), asyncio.Event()

    class Hanging(Routers):
        async def counts(self, namespace: str, *_: object) -> dict[str, dict[str, Counts]]:  # type: ignore[override]
            asked[namespace] += 1
            if namespace == "other":
                await asyncio.sleep(60)
            if asked[namespace] == 5:
                often.set()
            return {}

    api, _ = await canary(tmp_path)
    ctx = started(api, Hanging(api), tmp_path, evidence_interval=timedelta(milliseconds=10))
    meta = {**api.deployment["metadata"], "namespace": "other", "uid": "other"}
    ctx.store.observe("ADDED", {**api.deployment, "metadata": meta})
    running = asyncio.create_task(Pulse(ctx, Waking()).run())
    await asyncio.wait_for(often.wait(), 5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert asked["other"] == 1


async def test_without_a_challenger_nobody_is_asked(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    beating, queue = pulse(api, replace(routers, counted={}), tmp_path)
    await beating.beat()
    assert queue.woken == []
