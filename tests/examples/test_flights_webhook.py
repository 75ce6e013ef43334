"""The webhook of the demo keeps what it was told."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import TestClient, TestServer
from examples.flights.monitoring.webhook import app


async def test_what_alertmanager_sends_is_said_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    alert = {"status": "firing", "labels": {"alertname": "A"}, "annotations": {"summary": "it burns"}}
    async with TestClient(TestServer(app())) as client:
        assert (
            await client.post("/", json={"alerts": [alert, {**alert, "status": "resolved"}]})
        ).status == 200
        told = await (await client.get("/alerts")).json()
    assert [one["status"] for one in told] == ["firing", "resolved"]
    assert told[0]["labels"] == {"alertname": "A"}
    assert capsys.readouterr().out == "firing: A: it burns\nresolved: A: it burns\n"
