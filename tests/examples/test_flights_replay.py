"""The replayer against a server of its own: what it sends, what it counts, when outcomes are posted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from examples.flights import plan
from examples.flights.client import Client, read_answer
from examples.flights.control import application
from examples.flights.features import table
from examples.flights.ledger import Ledger
from examples.flights.names import UNKNOWN
from examples.flights.pace import Pace
from examples.flights.replay import Replay


def version(number: int) -> dict[str, str]:
    return {"Noria-Version": f"flight-delay-{number}"}


class Model:
    """Answers flights of the carrier UA, fails on all others; keeps what it was told."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.labels: dict[str, Any] = {}

    async def infer(self, request: web.Request) -> web.Response:
        tensors = {tensor["name"]: tensor["data"][0] for tensor in (await request.json())["inputs"]}
        if tensors["carrier"] != "UA":
            return web.json_response({"error": "the model failed"}, status=500, headers=version(4))
        self.tokens.append(f"token-{len(self.tokens)}")
        return web.json_response(
            {
                "parameters": {"feedback_token": self.tokens[-1]},
                "outputs": [{"name": "label", "data": [1]}, {"name": "probabilities", "data": [0.3, 0.7]}],
            },
            headers=version(3),
        )

    async def feedback(self, request: web.Request) -> web.Response:
        items = (await request.json())["items"]
        self.labels.update({item["token"]: item["labels"] for item in items})
        return web.json_response({"results": [{"result": "matched", "rows": 1} for _ in items]})


@pytest.fixture
async def model() -> AsyncIterator[tuple[Model, str]]:
    model = Model()
    app = web.Application()
    app.router.add_post("/v2/models/m/infer", model.infer)
    app.router.add_post("/v2/models/m/feedback", model.feedback)
    async with TestServer(app) as server:
        yield model, str(server.make_url("")).rstrip("/")


async def test_a_year_is_replayed_to_its_end(
    model: tuple[Model, str], flights: pd.DataFrame, weather: pd.DataFrame, tmp_path: Path
) -> None:
    served, url = model
    rows = table(flights, weather)
    asked = plan.flights(plan.sample(rows, one_in=1))
    pace = Pace(1000)
    async with Client(url, "m", connections=4) as client:
        replay = Replay(client, pace, asked, [0.5] * len(asked))
        await asyncio.gather(
            replay.send(), replay.post_outcomes(), replay.fill_lake(tmp_path, plan.days(rows))
        )
    report = replay.report()
    assert (report["sent"], report["answered"], report["failed"]) == (32, 16, 16)
    assert report["versions"]["3"]["answered"] == 16
    assert report["versions"]["4"]["failed"] == 16
    assert report["feedback"] == {"matched": 16}
    assert set(served.labels) == set(served.tokens)
    assert sorted(os.listdir(tmp_path / "flights")) == ["day=2013-03-01", "day=2013-03-02"]


async def test_an_outcome_is_not_posted_before_its_time(
    model: tuple[Model, str], flights: pd.DataFrame, weather: pd.DataFrame
) -> None:
    served, url = model
    asked = plan.flights(plan.sample(table(flights, weather), one_in=1))
    pace = Pace(1000)
    pace.set(pause_at="2013-03-02")
    async with Client(url, "m", connections=4) as client:
        replay = Replay(client, pace, asked, [0.5] * len(asked))
        tasks = [asyncio.create_task(replay.send()), asyncio.create_task(replay.post_outcomes())]
        while len(served.tokens) < 8 or replay.clock < asked[15].asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

        def known() -> int:
            due = (f for f in asked[:16] if f.known is not None and f.known <= replay.clock)
            return sum(b"UA" in f.body for f in due)

        async with asyncio.timeout(5):
            while len(served.labels) < known() or not known():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.25)
        assert 0 < len(served.labels) == known() < 8
        for task in tasks:
            task.cancel()


async def test_no_answer_at_all_is_a_failure_with_status_zero() -> None:
    async with Client("http://127.0.0.1:9", "m", connections=1) as client:
        answer = await client.ask(b"{}")
    assert (answer.status, answer.version) == (0, UNKNOWN)


@pytest.mark.parametrize(
    ("status", "content", "header", "seen"),
    [
        (503, b"no healthy upstream", "", (503, UNKNOWN)),
        (500, b'{"error": "x"}', "flight-delay-4", (500, "4")),
        (200, b'{"outputs": []}', "flight-delay-4", (-200, "4")),
        (200, b"[]", "", (-200, UNKNOWN)),
        (200, b"\xff", "", (-200, UNKNOWN)),
    ],
)
def test_what_is_no_answer_counts_as_a_failure(
    status: int, content: bytes, header: str, seen: tuple[int, str]
) -> None:
    answer = read_answer(status, content, 1.0, header=header)
    assert (answer.status, answer.version) == seen


def test_quality_compares_both_models_on_the_same_flights() -> None:
    ledger = Ledger()
    for late, served, baseline in ((1, 0.9, 0.1), (0, 0.1, 0.9), (1, 0.8, 0.9), (0, 0.2, 0.1)):
        ledger.outcome(month=9, late=late, served=served, baseline=baseline)
    ledger.outcome(month=10, late=1, served=0.5, baseline=0.5)
    quality = ledger.report()["quality"]
    assert quality["9"] == {"flights": 4, "late": 0.5, "served": 1.0, "never_retrained": 0.5}
    assert quality["10"]["served"] is None, "one class has no AUC"


async def test_the_rate_can_be_changed_while_the_clock_is_held() -> None:
    pace = Pace(0)
    turn = asyncio.create_task(pace.turn("2013-03-01"))
    await asyncio.sleep(0.01)
    assert not turn.done()
    pace.set(rate=100)
    await asyncio.wait_for(turn, 1)


async def test_the_pace_keeps_its_rate() -> None:
    pace = Pace(200)
    loop = asyncio.get_running_loop()
    started = loop.time()
    for _ in range(40):
        await pace.turn("2013-03-01")
    assert 0.08 < loop.time() - started < 1.0


async def test_the_replayer_is_steered_over_http() -> None:
    pace, leave = Pace(), asyncio.Event()
    app = application(pace, stats=lambda: {"sent": 1}, report=lambda: {"sent": 2}, leave=leave)
    async with TestServer(app) as server:
        import aiohttp

        async with aiohttp.ClientSession() as session:
            async with session.post(server.make_url("/control?rate=60&pause_at=2013-12-01")) as response:
                assert await response.json() == {"rate": 60.0, "pause_at": "2013-12-01"}
            for query in ("rate=-1", "rate=nan", "rate=x", "pause_at=tomorrow"):
                async with session.post(server.make_url("/control?" + query)) as response:
                    assert response.status == 400
            async with session.post(server.make_url("/exit")) as response:
                assert response.status == 200
    assert leave.is_set()
    assert (pace.rate, pace.pause_at) == (60.0, "2013-12-01")
