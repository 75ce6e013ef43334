"""Notifications by a real operator on a real API server, to a receiver that fails at first."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web
from tests.integration.deployments import Routers, approve, deploy, kubelet, serves, until
from tests.integration.running import Cluster, eventually, operator

from noria_operator.controllers import modeldeployment
from noria_operator.domain.notification_messages import key_of, signature
from noria_operator.domain.notification_targets import Format, Target
from noria_operator.kube.kinds import Json

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Receiver:
    """Takes what is signed as it should be; `down` makes it answer 503."""

    down: bool = True
    refused: int = 0
    taken: list[Json] = field(default_factory=list)
    port: int = 0

    async def take(self, request: web.Request) -> web.Response:
        if self.down:
            self.refused += 1
            return web.Response(status=503)
        body = await request.read()
        at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
        wanted = signature(key_of(KEY), request.headers["webhook-id"], at, body)
        assert request.headers["webhook-signature"] == wanted["webhook-signature"]
        self.taken.append(json.loads(body))
        return web.Response()

    @property
    def ids(self) -> list[str]:
        return [one["id"] for one in self.taken]

    @property
    def types(self) -> list[str]:
        return [one["type"] for one in self.taken]


@asynccontextmanager
async def listening() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.add_routes([web.post("/hook", receiver.take)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.port = runner.addresses[0][1]
        yield receiver
    finally:
        await runner.cleanup()


async def test_a_receiver_that_was_away_over_a_restart_is_told_once_and_only_by_the_leader(
    cluster: Cluster, tmp_path: Path
) -> None:
    for name, text in (("master-key", "k" * 32), ("url", "http://127.0.0.1:1/hook"), ("key", KEY)):
        (tmp_path / name).write_text(text)
    secret = Target("ops", url_file=tmp_path / "url", key_file=tmp_path / "key")
    config = cluster.config(master_key_file=tmp_path / "master-key", notifications=(secret,))
    controllers, routers = [modeldeployment], Routers(cluster)

    async with listening() as receiver, kubelet(cluster):
        async with operator(cluster, controllers, config=config, router=routers):
            await deploy(cluster)
            await approve(cluster, 1)
            await until(cluster, serves(1))  # though nobody answers where notifications go
        (tmp_path / "url").write_text(f"http://127.0.0.1:{receiver.port}/hook\n")  # the Secret was corrected
        async with operator(cluster, controllers, config=config, router=routers):

            async def refused() -> bool:
                return receiver.refused > 1

            await eventually(refused)
            receiver.down = False

            async def told() -> bool:
                return "dev.noria.rollout.promoted" in receiver.types

            await eventually(told)
            async with operator(cluster, controllers, config=config, router=routers, identity="follower"):
                await approve(cluster, 2)
                await until(cluster, serves(2))
                await eventually(lambda: _told(receiver, 4))
        async with operator(cluster, controllers, config=config, router=routers):
            await approve(cluster, 3)
            await until(cluster, serves(3))
            await eventually(lambda: _told(receiver, 6))
    assert receiver.types == ["dev.noria.rollout.started", "dev.noria.rollout.promoted"] * 3
    assert len(set(receiver.ids)) == 6
    assert [one["subject"] for one in receiver.taken[1::2]] == ["flights-1", "flights-2", "flights-3"]
    assert receiver.taken[0]["source"].endswith(f"/namespaces/{cluster.namespace}/modeldeployments/flights")


async def test_a_chat_is_told_in_words_and_of_its_namespaces_alone(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "master-key").write_text("k" * 32)
    texts: list[str] = []

    async def post(request: web.Request) -> web.Response:
        texts.append((await request.json())["text"])
        return web.Response(text="ok")

    app = web.Application()
    app.add_routes([web.post("/services/T0/B0/x", post)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/services/T0/B0/x"
        mine = Target(
            "mine",
            url,
            format=Format.SLACK,
            events=frozenset({"rollout.promoted"}),
            namespaces=frozenset({cluster.namespace}),
        )
        others = replace(mine, name="others", namespaces=frozenset({"elsewhere"}))
        config = cluster.config(master_key_file=tmp_path / "master-key", notifications=(mine, others))
        async with (
            kubelet(cluster),
            operator(cluster, [modeldeployment], config=config, router=Routers(cluster)),
        ):
            await deploy(cluster)
            await approve(cluster, 1)
            await until(cluster, serves(1))

            async def told() -> bool:
                return bool(texts)

            await eventually(told)
    finally:
        await runner.cleanup()
    place = f"ModelDeployment {cluster.namespace}/flights"
    assert texts == [f":information_source: *rollout.promoted* {place}: flights-1 has all traffic"]


async def _told(receiver: Receiver, number: int) -> bool:
    return len(receiver.taken) >= number
