"""The operator stopped after every single write of a whole turn of the wheel, one write after the other, or
after every second one where there is less time.

Whatever was written last, the next operator ends in the same world: one TrainingJob a request, one Job a
step, one version, the same traffic, nothing left over and nothing twice.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.faults import CrashAfter, Faults
from tests.integration.running import Cluster, run_to_end
from tests.integration.wheel import NAME, World

from noria_operator.controllers.registry import CONTROLLERS
from noria_operator.domain.keys import periods_wanted
from noria_operator.domain.rollout_state import CHAMPIONS
from noria_operator.kube.kinds import CONTINUOUSTRAINING, MODELDEPLOYMENT, Json
from noria_operator.kube.lease import Timing

LANES = 6
"""Worlds that turn at the same time, each in its own namespace."""
LONGEST_TURN = 60.0


def expected(version: int, periods: Iterable[int]) -> Json:
    """The world after `version` turns, whatever happened on the way, with feedback keys of these periods."""
    versions = range(1, version + 1)
    return {
        "trainingjobs": ["flight-delay-# Succeeded"] * version,
        "modelversions": sorted(f"flight-delay-{n} Approved" for n in versions),
        "jobs": [
            *["flight-delay-#-evaluate complete"] * version,
            *["flight-delay-#-train complete"] * version,
            *sorted(f"flight-delay-{n}-verify complete" for n in versions),
        ],
        "deployments": [f"flight-delay-{version}-# 1", "noria-router 2"],
        "services": ["flight-delay", "noria-router"],
        "controllerrevisions": [
            *sorted(f"flight-delay-{n}-#" for n in versions[-CHAMPIONS:]),
            "noria-router-#",
        ],
        "poddisruptionbudgets": ["flight-delay", "noria-router"],
        "secrets": [*(f"flight-delay-feedback-#-{n}" for n in periods), "noria-router-#"],
        "traffic": [(f"flight-delay-{version}", 100, True)],
        "phase": "Healthy",
        "rejected": [],
        "runs": version,
        "commands": {"retrain": str(version)},
        "orphans": [],
    }


class Lane:
    """One world that turns again and again under operators that crash."""

    def __init__(self, cluster: Cluster, master_key: Path) -> None:
        self.world = World(cluster)
        self.config = cluster.config(
            master_key_file=master_key, evidence_interval=timedelta(milliseconds=100)
        )
        self.version = 0
        self.periods = {*periods_wanted(datetime.now(UTC))}
        """Of feedback keys: one may begin while the lane turns."""

    async def turn(self, crash: CrashAfter) -> Json | None:
        """One more version, with a crash where `crash` says; the differences, or None."""
        self.version += 1
        await self.world.retrain(self.version)
        try:
            await self._run(crash.faults())
            if crash.crashed:
                await self._run(Faults())
        except TimeoutError:
            return {"last write": crash.written[-1:], **await self._different(), **await self._story()}
        return None

    async def _different(self) -> Json:
        found = {**await self.world.state(), "orphans": await self.world.orphans()}
        self.periods |= {*periods_wanted(datetime.now(UTC))}
        wanted = expected(self.version, sorted(self.periods))
        return {name: found[name] for name in wanted if found[name] != wanted[name]}

    async def _story(self) -> Json:
        """What a person would look at first."""
        deployment = await self.world.cluster.client.get(MODELDEPLOYMENT, self.world.cluster.namespace, NAME)
        training = await self.world.cluster.client.get(CONTINUOUSTRAINING, self.world.cluster.namespace, NAME)
        return {"deployment": deployment["status"], "training": training["status"]}

    async def _done(self) -> bool:
        return await self.world.turned(self.version) and not await self._different()

    async def _run(self, faults: Faults) -> None:
        await run_to_end(
            self.world.cluster,
            CONTROLLERS,
            faults=faults,
            until=self._done,
            router=self.world,
            config=self.config,
            timing=Timing(),
            seconds=LONGEST_TURN,
            poll=0.2,
        )


@pytest.fixture
async def lanes(cluster: Cluster, tmp_path: Path) -> list[Lane]:
    key = tmp_path / "master-key"
    key.write_text("k" * 44)
    made = [Lane(await cluster.another(), key) for _ in range(LANES)]
    for lane in made:
        await lane.world.prepare()
    return made


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.extended), 2])
async def test_a_turn_ends_well_whatever_write_was_the_last(lanes: list[Lane], stride: int) -> None:
    """Each lane takes every sixth of these writes, one a turn, until a turn ends before its write."""
    wrong: dict[int, Json] = {}
    writes: list[int] = []

    async def drive(lane: Lane, first: int) -> None:
        for write in itertools.chain([None], itertools.count(first, LANES * stride)):
            crash = CrashAfter(write)
            different = await lane.turn(crash)
            if different:
                wrong[write or 0] = different
                return
            if write is not None and not crash.crashed:
                return
            writes.append(len(crash.written))

    async with asyncio.TaskGroup() as tasks:
        for number, lane in enumerate(lanes):
            tasks.create_task(drive(lane, 1 + number * stride))
    assert not wrong, json.dumps(wrong, indent=1)
    assert max(writes) >= 40, "the turns wrote less than a whole turn of the wheel does"


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.extended), 7])
async def test_the_first_version_is_served_whatever_write_was_the_last(
    lanes: list[Lane], cluster: Cluster, stride: int
) -> None:
    """The first turn also makes the router and everything around it; a world of its own for each write."""
    count = CrashAfter()
    assert await lanes[0].turn(count) is None
    gate, wrong = asyncio.Semaphore(LANES), {}

    async def crashing(write: int) -> None:
        async with gate:
            lane = Lane(await cluster.another(), lanes[0].config.master_key_file)
            await lane.world.prepare()
            different = await lane.turn(CrashAfter(write))
            if different:
                wrong[write] = different

    async with asyncio.TaskGroup() as tasks:
        for write in range(1, len(count.written) + 1, stride):
            tasks.create_task(crashing(write))
    assert not wrong, json.dumps(wrong, indent=1)
