"""Many loops, an operator that is away while their schedules are due, and a clock that jumps: each request
for a run makes one, on a real API server.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.integration.faults import CrashAfter, Faults
from tests.integration.running import Cluster, eventually, operator, run_to_end
from tests.unit.domain.training_world import DIGEST, training_job

from noria_operator.controllers import continuoustraining
from noria_operator.domain.training_times import moment
from noria_operator.kube.clock import rfc3339
from noria_operator.kube.kinds import (
    CONTINUOUSTRAINING,
    MODELDEPLOYMENT,
    MODELVERSION,
    TRAININGJOB,
    Json,
)
from noria_operator.kube.metrics import RECONCILES

CONTROLLERS: tuple[Any, ...] = (continuoustraining,)
LOOPS = 20
OFTEN, DAILY, AGEING = "often", "daily", "ageing"
EVERY = timedelta(minutes=5)
OUTAGE = timedelta(minutes=47)
"""Nine times at least at which the frequent schedules were due."""


class Clock:
    """The machine's clock, set to another time: at first a second after the frequent schedules were due, so
    that they are not due again while a test goes on.
    """

    def __init__(self) -> None:
        since = datetime.now(UTC).timestamp() % EVERY.total_seconds()
        self.ahead = timedelta(seconds=1 - since)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


async def create(cluster: Cluster, clock: Clock) -> None:
    """Half of the loops are due every five minutes, half once a day, two hours before the clock's time; each
    trains a model of its own, since those of one wait for each other.
    """
    daily = f"{clock.now() - timedelta(hours=2):%M %H} * * *"
    for number in range(LOOPS):
        kind, cron = (OFTEN, "*/5 * * * *") if number % 2 else (DAILY, daily)
        name = f"{kind}-{number}"
        spec = {
            "deployment": name,
            "triggers": [{"name": "clock", "schedule": cron}],
            "cooldown": "0s",
            "template": {"spec": training_job(deployment=None, model=name)["spec"]},
        }
        body = {"metadata": {"name": name}, "spec": spec}
        await cluster.client.create(CONTINUOUSTRAINING, cluster.namespace, body)


async def runs(cluster: Cluster) -> Counter[str]:
    """TrainingJobs by the loop that made them."""
    made = await cluster.client.list(TRAININGJOB, cluster.namespace)
    return Counter(one["metadata"]["ownerReferences"][0]["name"] for one in made)


async def finish(cluster: Cluster) -> None:
    """Let every run that goes on succeed, so that nothing but what was decided before holds the next one."""
    for job in await cluster.client.list(TRAININGJOB, cluster.namespace):
        if job.get("status", {}).get("phase") != "Succeeded":
            name, ended = job["metadata"]["name"], rfc3339(datetime.now(UTC))
            status = {"phase": "Succeeded", "completionTime": ended}
            await cluster.client.apply_status(TRAININGJOB, cluster.namespace, name, status)


async def loops(cluster: Cluster) -> dict[str, Json]:
    """The status of each loop."""
    found = await cluster.client.list(CONTINUOUSTRAINING, cluster.namespace)
    return {one["metadata"]["name"]: one.get("status", {}) for one in found}


async def looked_at(rounds: int = 2) -> None:
    """Every loop was looked at so many times more."""
    before = _passes()

    async def done() -> bool:
        return _passes() - before >= rounds * LOOPS

    await eventually(done)


def _passes() -> float:
    outcomes = ("success", "requeue_after")
    return sum(RECONCILES.labels("ContinuousTraining", one)._value.get() for one in outcomes)


def parts(clock: Clock) -> Json:
    """All loops are looked at every 0.3 s, whatever they wait for."""
    return {"clock": clock, "resync_period": 0.3}


async def test_each_missed_schedule_makes_one_run_whatever_the_operator_and_its_clock_do(
    cluster: Cluster,
) -> None:
    clock = Clock()
    await create(cluster, clock)

    async def seen() -> bool:
        return all(one.get("triggers") for one in (await loops(cluster)).values())

    async with operator(cluster, CONTROLLERS, **parts(clock)):
        await eventually(seen)
    assert await runs(cluster) == {}

    once = Counter({name: 1 for name in await loops(cluster) if name.startswith(OFTEN)})

    async def made() -> bool:
        return set(await runs(cluster)) == set(once)

    clock.ahead += OUTAGE
    for write in (3, 17, 31):  # between a run's word in status and its TrainingJob, and elsewhere
        crash = CrashAfter(write)
        await run_to_end(cluster, CONTROLLERS, faults=crash.faults(), until=made, **parts(clock))
    await run_to_end(cluster, CONTROLLERS, faults=Faults(), until=made, **parts(clock))
    assert await runs(cluster) == once

    await finish(cluster)
    for _ in range(3):  # again and again, with nothing left that holds a run
        async with operator(cluster, CONTROLLERS, **parts(clock)):
            await looked_at()
        assert await runs(cluster) == once

    async with operator(cluster, CONTROLLERS, **parts(clock)):
        for jump in (-timedelta(hours=2), timedelta(hours=2), -timedelta(days=400), timedelta(days=400)):
            clock.ahead += jump
            await looked_at()
            await finish(cluster)
            assert await runs(cluster) == once, jump

        clock.ahead += timedelta(days=3)  # 864 times that were due, and three of the daily ones

        async def told() -> bool:
            entries = {name: one["triggers"][0] for name, one in (await loops(cluster)).items()}
            skipped = [name for name, one in entries.items() if one["decision"] == "Skipped"]
            return len(skipped) == LOOPS // 2 and sum((await runs(cluster)).values()) >= LOOPS

        await eventually(told)
        await finish(cluster)
        await looked_at()
    assert await runs(cluster) == Counter({name: 2 for name in once})
    written = {name: len(one.get("runs", ())) for name, one in (await loops(cluster)).items()}
    assert written == {name: 2 if name in once else 0 for name in written}


async def serve(cluster: Cluster, model: str) -> None:
    """A champion that was registered now, for a loop that looks at its age."""
    artifact = {"uri": f"pvc://models/{model}/1", "digest": DIGEST, "format": "onnx"}
    version = {"spec": {"model": model, "version": 1, "artifact": artifact}}
    named = version | {"metadata": {"name": f"{model}-1"}}
    await cluster.client.create(MODELVERSION, cluster.namespace, named)
    served = {"metadata": {"name": model}, "spec": {"model": model}}
    await cluster.client.create(MODELDEPLOYMENT, cluster.namespace, served)
    stable = {"stable": {"version": f"{model}-1", "revision": "abc", "name": f"{model}-1-abc"}}
    await cluster.client.apply_status(MODELDEPLOYMENT, cluster.namespace, model, stable)


async def test_a_clock_that_nobody_checks_starts_one_run_a_loop_and_silences_none_when_it_is_put_right(
    cluster: Cluster,
) -> None:
    clock = Clock()
    await create(cluster, clock)
    for number in range(3):
        name = f"{AGEING}-{number}"
        await serve(cluster, name)
        spec = {
            "deployment": name,
            "triggers": [
                {"name": "old", "maxAge": "720h"},
                {"name": "errors", "conceptDrift": {}},
                {"name": "rows", "drift": {}},
            ],
            "cooldown": "6h",
            "template": {"spec": training_job(deployment=None, model=name)["spec"]},
        }
        body = {"metadata": {"name": name}, "spec": spec}
        await cluster.client.create(CONTINUOUSTRAINING, cluster.namespace, body)

    async with operator(cluster, CONTROLLERS, **parts(clock)):

        async def seen() -> bool:
            return all(one.get("triggers") for one in (await loops(cluster)).values())

        await eventually(seen)
        clock.ahead += timedelta(days=400)

        async def started() -> bool:
            made = await runs(cluster)
            return all(made[name] for name in await loops(cluster) if not name.startswith(DAILY))

        await eventually(started)
        await finish(cluster)
        await looked_at()
        ahead = await runs(cluster)
        assert set(ahead.values()) == {1}, "each loop on its own, once"

        clock.ahead -= timedelta(days=400)

        async def put_right() -> bool:
            limit = clock.now() + timedelta(minutes=6)
            entries = [entry for one in (await loops(cluster)).values() for entry in one["triggers"]]
            names = ("lastScheduled", "windowStartedAt")
            times = [moment(entry[name]) for entry in entries for name in names if name in entry]
            return all(time < limit for time in times)

        await eventually(put_right)
        assert await runs(cluster) == ahead
        clock.ahead += EVERY

        async def again() -> bool:
            made = await runs(cluster)
            return all(made[name] == 2 for name in made if name.startswith(OFTEN))

        await eventually(again)
        await finish(cluster)
        await looked_at()
    made = await runs(cluster)
    assert {name: made[name] for name in made if name.startswith(AGEING)} == {
        f"{AGEING}-{number}": 1 for number in range(3)
    }
    assert all(made[name] == 2 for name in made if name.startswith(OFTEN))
