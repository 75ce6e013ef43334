"""`python -m benchmarks.rollouts.idle [N …]`: what the operator holds for N ModelDeployments at rest.

They have no approved version, so nothing is served and nothing moves; each has its address, its status, and a
place in the router of its namespace. Comes in: numbers, each larger than the one before. Goes out: `Idle`
figures, over a whole life of the watches: all are renewed at the same time, so that half a minute shows
none of these requests or ten times as many. Needs root, for a network of its own.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.harness import eventually, in_parallel
from benchmarks.objects import Json, model_deployment
from benchmarks.rollouts.contender import Contender, Key, Meter
from benchmarks.rollouts.ground import enter_network, ground
from benchmarks.rollouts.noria import noria
from benchmarks.rollouts.watching import Watched, watching
from noria_operator.kube import kinds
from noria_operator.kube.watch import WATCH_SECONDS

PER_NAMESPACE = 1000
SETTLE_SECONDS = 1800.0
REST_SECONDS = 15.0


@dataclass(frozen=True)
class Idle:
    """Memory in MiB, requests a minute, CPU in percent of a core."""

    deployments: int
    memory: float
    requests: float
    cpu: float


async def measure(counts: list[int]) -> list[Idle]:
    """One after another, in the same cluster."""
    folder, found = Path(tempfile.mkdtemp(prefix="noria-bench-")), []
    try:
        async with (
            ground(folder) as place,
            noria(place) as running,
            watching(place.kubeconfig, running.kind) as watched,
        ):
            for count in counts:
                await _fill(running, watched, count)
                found.append(await _rest(running, count))
                sys.stdout.write(f"{json.dumps(asdict(found[-1]))}\n")
                sys.stdout.flush()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


async def _fill(running: Contender, watched: Watched, count: int) -> None:
    keys: list[Key] = [(f"team-{number // PER_NAMESPACE}", f"model-{number}") for number in range(count)]
    new = [key for key in keys if key not in watched.objects]
    client, known = running.ground.client, {space for space, _ in watched.objects}
    for space in dict.fromkeys(space for space, _ in new):
        if space not in known:
            await client.create(kinds.NAMESPACE, "", {"metadata": {"name": space}})
    await in_parallel(
        [partial(client.create, running.kind, space, model_deployment(name)) for space, name in new]
    )

    async def told() -> bool:
        return all(key in watched.objects and _is_told(watched.objects[key]) for key in keys)

    await eventually(told, seconds=SETTLE_SECONDS, every=1.0)


def _is_told(obj: Json) -> bool:
    """Whether its status is that of its spec; the API server gives every object one to begin with."""
    generation = obj["metadata"]["generation"]
    return bool(obj.get("status", {}).get("observedGeneration") == generation)


async def _rest(running: Contender, count: int) -> Idle:
    await asyncio.sleep(REST_SECONDS)
    before = Meter.of(running)
    await asyncio.sleep(WATCH_SECONDS)
    used = Meter.of(running).since(before)
    memory = running.process.memory_info().rss / 2**20
    return Idle(count, memory, used.requests / WATCH_SECONDS * 60, used.cpu / WATCH_SECONDS * 100)


if __name__ == "__main__":
    enter_network()
    asyncio.run(measure([int(text) for text in sys.argv[1:]] or [1000]))
