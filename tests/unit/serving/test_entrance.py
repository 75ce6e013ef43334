"""The line for the event loop over gRPC, by a clock that only work moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from noria_serving.server.grpc import entrance as module
from noria_serving.server.grpc.entrance import Entrance

PREDICTION = 0.001
"""Seconds."""


@dataclass
class Loop:
    """The event loop's time, and who had how much of it."""

    now: float = 1000.0
    until: float = 1000.0
    predictions: Counter[str] = field(default_factory=Counter)

    def monotonic(self) -> float:
        return self.now

    @property
    def runs(self) -> bool:
        return self.now < self.until

    async def run(self, seconds: float, *clients: Coroutine[Any, Any, None]) -> None:
        self.until = self.now + seconds
        await asyncio.gather(*clients)

    def predict(self, whose: str) -> None:
        self.now += PREDICTION
        self.predictions[whose] += 1


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    made = Loop()
    monkeypatch.setattr(module, "time", made)
    return made


async def http(loop: Loop) -> None:
    """A client that asks again as soon as it is answered."""
    while loop.runs:
        loop.predict("http")
        await asyncio.sleep(0)


async def stream(loop: Loop, entrance: Entrance) -> None:
    """The same over a stream of gRPC, whose next request takes some rounds to come."""
    while loop.runs:
        assert await entrance.turn()
        loop.predict("grpc")
        for _ in range(3):
            await asyncio.sleep(0)


async def test_streams_have_their_turns_beside_a_loop_that_http_keeps_busy(loop: Loop) -> None:
    """Of which every round takes longer than the time between two looks."""
    entrance = Entrance(256)
    await loop.run(10, *(http(loop) for _ in range(32)), *(stream(loop, entrance) for _ in range(16)))
    assert 400 < loop.predictions["grpc"] < loop.predictions["http"]


async def test_streams_alone_have_the_whole_loop(loop: Loop) -> None:
    entrance = Entrance(256)
    await loop.run(1, *(stream(loop, entrance) for _ in range(16)))
    assert loop.predictions["grpc"] >= 1000


async def test_many_streams_hold_nobody_else_up_for_long(loop: Loop) -> None:
    entrance, waited = Entrance(256), [0.0]

    async def other() -> None:
        while loop.runs:
            before = loop.now
            await asyncio.sleep(0)
            waited.append(loop.now - before)

    await loop.run(1, other(), *(stream(loop, entrance) for _ in range(200)))
    assert 0 < max(waited) < 0.03
