"""Windows that follow each other count each label once: with one operator, and over a restart of it.

The server is the real one but for its clock, which may differ from the operator's.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria_operator.evidence.fetch import Fetcher
from noria_operator.evidence.server import CounterReader
from noria_operator.evidence.totals import Totals
from noria_serving.counters.ring import INTERVAL_SECONDS, KEPT, Ring
from noria_serving.model.loaded import Loaded
from noria_serving.server.counters_app import CountersApp
from noria_serving.server.http import Call
from noria_serving.server.models import Models
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings

POD = {"metadata": {"uid": "a", "name": "a", "namespace": "shop"}, "status": {"podIP": "10.0.0.1"}}
DAY = 48
"""Readings, one each half hour."""


class World:
    """A server that hears ten labels a second, and the operator that reads it."""

    def __init__(self, loaded: Loaded, skew: float, *, kept: int = KEPT) -> None:
        settings = ModelSettings(bundle="m", deployment="late", model="late", version="late-4", number="4")
        models, self._service = Models(Settings(models=(settings,))), Service(settings, loaded)
        models.serve(self._service)
        self.app, self.skew, self.time, self.labels = (
            CountersApp(models, clock=self.server_time),
            skew,
            1000.3,
            0,
        )
        self._service.loaded_at = self.server_time()
        self._service.ring = Ring(self._service.recorder.state.vector, self.server_time(), kept=kept)
        self.restart()

    def server_time(self) -> float:
        return self.time + self.skew

    def restart(self) -> None:
        """Another operator."""
        self.reader = CounterReader(
            cast(Fetcher, self),
            clock=lambda: self.time,
            fresh=1.0,
            now=lambda: datetime.fromtimestamp(self.time, UTC),
        )

    def wait(self, seconds: float) -> None:
        for _ in range(round(10 * seconds)):
            self.time += 0.1
            self.labels += 1
            self._service.recorder.state.add_score("late-4", 7, positive=True)
            if math.floor(self.time / INTERVAL_SECONDS) > math.floor((self.time - 0.1) / INTERVAL_SECONDS):
                self._service.ring.take(self._service.recorder.state.vector, self.server_time())

    def wait_long(self, seconds: float) -> None:
        """The same in one step, at the end of which a label comes."""
        self.time += seconds
        self.labels += 1
        self._service.recorder.state.add_score("late-4", 7, positive=True)
        self._service.ring.take(self._service.recorder.state.vector, self.server_time())

    async def json(self, url: str, *, read: Callable[[Any], Any], **_: Any) -> Any:
        path, _, query = url.partition("?")
        path = path.partition(":8081")[2]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": []}
        status, body, _ = self.app._answer(Call(scope, cast(Any, None)))
        assert status == 200
        return read(orjson.loads(body))

    async def read(self, since: datetime) -> Totals:
        found = await self.reader.complete("shop", "late", [POD], since=since)
        assert found is not None
        assert found.until is not None
        return found


@pytest.mark.parametrize("skew", [0.0, 3.7, -40.2])
@pytest.mark.parametrize("restarts", [False, True], ids=["one operator", "a new operator each time"])
async def test_a_label_counts_in_one_window_and_in_no_other(
    loaded: Loaded, restarts: bool, skew: float
) -> None:
    world = World(loaded, skew)
    since, counted, windows = datetime.fromtimestamp(1001, UTC), 0, 0
    for pause in (7.0, 63.2, 18.9, 61.1, 60.0, 75.7, 64.4) * 3:
        if restarts:
            world.restart()
        world.wait(pause)
        found = await world.read(since)
        counted, since, windows = counted + found.labels("late-4").samples, found.until, windows + 1
        world.wait(15)
    found = await world.read(since)
    counted += found.labels("late-4").samples
    assert counted <= world.labels, "none counts twice"
    assert counted >= world.labels - 10 * windows, "a second of each window may be left out, not more"


async def two_days(loaded: Loaded, restarts: set[int], *, skew: float) -> list[tuple[int, bool]]:
    """Labels of two windows of 24 hours that follow each other, and whether they are whole. A server that has
    room for little more than an hour is read every half hour; `restarts`: before which readings another
    operator takes over.
    """
    world, found = World(loaded, skew, kept=8), list[tuple[int, bool]]()
    world.wait_long(1800.0)
    since = (await world.read(datetime.fromtimestamp(1100, UTC))).until
    assert since is not None
    for reading in range(2 * DAY):
        world.wait_long(1800.0)
        if reading in restarts:
            world.restart()
        totals = await world.read(since)
        if totals.until is not None and reading % DAY == DAY - 1:
            found.append((totals.labels("late-4").samples, totals.whole))
            since = totals.until
    return found


@settings(deadline=None, max_examples=12)
@given(
    restarts=st.sets(st.integers(0, 2 * DAY - 1), max_size=6) | st.just({*range(2 * DAY)}),
    skew=st.sampled_from([0.0, 3.7, -40.2]),
)
def test_an_operator_that_restarts_counts_in_a_window_of_a_day_what_one_that_does_not_counts(
    loaded: Loaded, restarts: set[int], skew: float
) -> None:
    assert asyncio.run(two_days(loaded, restarts, skew=skew)) == [(DAY, True), (DAY, True)]
