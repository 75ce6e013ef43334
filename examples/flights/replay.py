"""Replays March to December 2013 against the deployed model: `python -m examples.flights.replay`, inside the
cluster.

In (environment): FLIGHTS_URL, FLIGHTS_MODEL, FLIGHTS_BASELINE (directory of the first version's bundle),
LAKE, CONTROL_PORT. Out: requests, feedback, new days in the lake, and the report at /report. It drives a
simulated clock: a flight is asked about at its time, its outcome is posted once the clock has passed the
moment at which it is known, and a day is added to the lake when all its outcomes are known. Invariant:
nothing is posted or written before its simulated time.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd
from aiohttp import web
from examples.flights import plan
from examples.flights.client import OK, Client, Truth
from examples.flights.control import application
from examples.flights.data import load as load_flights
from examples.flights.features import FEATURES
from examples.flights.lake import write_day
from examples.flights.ledger import Ledger
from examples.flights.pace import Pace

from noria_serving import conversion
from noria_serving.contract import FEEDBACK_MAX_ROWS
from noria_serving.model.loaded import load as load_bundle

CONCURRENT: Final = 64
PUMP_SECONDS: Final = 0.1
BATCH: Final = FEEDBACK_MAX_ROWS
END_OF_TIME: Final = float("inf")
log = logging.getLogger("flights.replay")


@dataclass(order=True, slots=True)
class Due:
    """An outcome that will be known at minute `known`."""

    known: float
    number: int
    truth: Truth = field(compare=False)


class Replay:
    """One year's traffic."""

    def __init__(
        self, client: Client, pace: Pace, flights: Sequence[plan.Flight], baseline: Sequence[float]
    ) -> None:
        self.ledger = Ledger()
        self.clock = flights[0].asked
        self.done = False
        self._client, self._pace = client, pace
        self._flights, self._baseline = flights, baseline
        self._due: list[Due] = []
        self._room = asyncio.Semaphore(CONCURRENT)
        self._sent = 0

    def stats(self) -> dict[str, Any]:
        """How far it is."""
        return {
            "date": plan.date_of(min(self.clock, self._flights[-1].asked)),
            "sent": self._sent,
            "of": len(self._flights),
            "rate": self._pace.rate,
            "done": self.done,
            "waiting_outcomes": len(self._due),
            **self.ledger.stats(),
        }

    def report(self) -> dict[str, Any]:
        """Everything."""
        return {**self.stats(), **self.ledger.report()}

    async def send(self) -> None:
        """Ask about every flight, in order, as fast as the pace says."""
        async with asyncio.TaskGroup() as tasks:
            for number, flight in enumerate(self._flights):
                await self._pace.turn(flight.date)
                await self._room.acquire()
                self.clock = flight.asked
                self._sent += 1
                tasks.create_task(self._ask(number, flight))
        self.clock = END_OF_TIME

    async def post_outcomes(self) -> None:
        """Post what has become known, until everything has been sent and posted."""
        while not (self.clock == END_OF_TIME and not self._due):
            batch = [
                heapq.heappop(self._due)
                for _ in range(BATCH)
                if self._due and self._due[0].known <= self.clock
            ]
            if batch:
                await self._post(batch)
            if len(batch) < BATCH:
                await asyncio.sleep(PUMP_SECONDS)

    async def fill_lake(self, root: Path, days: Sequence[plan.Day]) -> None:
        """Add each day once its last outcome is known."""
        for day in days:
            await self._reach(day.known)
            await asyncio.to_thread(write_day, root, day.date, day.rows)

    async def _reach(self, minute: float) -> None:
        while self.clock < minute:  # noqa: ASYNC110  the clock moves with every request; a look now and then is cheaper
            await asyncio.sleep(PUMP_SECONDS)

    async def _ask(self, number: int, flight: plan.Flight) -> None:
        try:
            answer = await self._client.ask(flight.body)
        finally:
            self._room.release()
        at = time.time()
        if answer.status != OK:
            self.ledger.failure(
                version=answer.version, date=flight.date, at=at, status=answer.status, detail=answer.detail
            )
            return
        self.ledger.success(version=answer.version, date=flight.date, at=at, milliseconds=answer.milliseconds)
        if flight.known is not None and flight.late is not None:
            self.ledger.outcome(
                month=flight.month, late=flight.late, served=answer.score, baseline=self._baseline[number]
            )
            heapq.heappush(self._due, Due(flight.known, number, Truth(answer.token, flight.late)))

    async def _post(self, batch: Sequence[Due]) -> None:
        self.ledger.feedback.update(await self._client.report([due.truth for due in batch]))


def scores(bundle: str, rows: pd.DataFrame) -> list[float]:
    """What the never-retrained model says about the flights."""
    model = load_bundle(bundle)
    arrays, _ = conversion.table(rows[list(FEATURES)])
    inputs = conversion.cast(arrays, model.backend.signature)
    return [float(score) for score in model.scoring.read(model.backend.predict(inputs))[0]]


async def run(environment: Mapping[str, str]) -> None:
    """Load, replay, stay until told to leave."""
    rows = load_flights()
    sampled = plan.sample(rows)
    flights, days = plan.flights(sampled), plan.days(rows)
    baseline = scores(environment["FLIGHTS_BASELINE"], sampled)
    pace, leave = Pace(), asyncio.Event()
    async with Client(
        environment["FLIGHTS_URL"], environment["FLIGHTS_MODEL"], connections=CONCURRENT
    ) as client:
        replay = Replay(client, pace, flights, baseline)
        runner = web.AppRunner(
            application(pace, stats=replay.stats, report=replay.report, leave=leave), access_log=None
        )
        await runner.setup()
        await web.TCPSite(runner, port=int(environment["CONTROL_PORT"])).start()
        log.info("%d flights are ready", len(sampled))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(replay.send())
            tasks.create_task(replay.post_outcomes())
            tasks.create_task(replay.fill_lake(Path(environment["LAKE"]), days))
        replay.done = True
        log.info("replayed: %s", replay.stats())
        await leave.wait()
        await runner.cleanup()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(run(os.environ))
