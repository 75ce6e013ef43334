"""`python -m benchmarks.rollouts.idle [N …]`: what the operator holds for N ModelDeployments at rest.

They have no approved version, so nothing is served and nothing moves; each has its address, its status, and a
place in the router of its namespace. Comes in: numbers, each larger than the one before. Goes out: `Idle`
figures, from one comparison of the cache with all there is to the next, in which each watch is renewed
twice. Needs root, for a network of its own.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tools.cluster.components import audit_log

from benchmarks.harness import eventually, in_parallel
from benchmarks.objects import Json, model_deployment
from benchmarks.rollouts.contender import Contender, Key, Meter, say
from benchmarks.rollouts.ground import enter_network, ground
from benchmarks.rollouts.noria import noria
from benchmarks.rollouts.watching import Watched, watching
from noria_operator.kube import kinds
from noria_operator.kube.watch import PERIOD

PER_NAMESPACE = 1000
SETTLE_SECONDS = 1800.0
REST_SECONDS = 15.0


@dataclass(frozen=True)
class Idle:
    """Memory in MiB, requests a minute, CPU in percent of a core. `by_verb` is all that was asked for in
    `seconds`; the lease is written every two.
    """

    deployments: int
    memory: float
    requests: float
    cpu: float
    seconds: float
    by_verb: dict[str, int]


async def measure(counts: list[int]) -> list[Idle]:
    """One after another, in the same cluster."""
    folder, found = Path(tempfile.mkdtemp(prefix="noria-bench-")), []
    try:
        async with (
            ground(folder, audited=True) as place,
            noria(place) as running,
            watching(place.kubeconfig, running.kind) as watched,
        ):
            await running.prepare([])
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
    say(f"{count} at rest")
    log = audit_log(running.ground.folder / "cluster")
    before, read = Meter.of(running), reads(log)
    await asyncio.sleep(PERIOD)
    used, verbs = Meter.of(running).since(before), reads(log) - read
    verbs["write"] = round(used.requests) - verbs.total()
    memory = running.process.memory_info().rss / 2**20
    return Idle(
        count,
        memory,
        used.requests / PERIOD * 60,
        used.cpu / PERIOD * 100,
        PERIOD,
        dict(sorted(verbs.items())),
    )


def reads(log: Path) -> Counter[str]:
    """What the operator has asked for, by verb; the API server writes that down when a watch begins, and when
    anything else is over. All of it must fit into one file of the log.
    """
    events = map(json.loads, log.read_text().rpartition("\n")[0].splitlines())
    done = {"watch": "ResponseStarted"}
    return Counter(
        event["verb"] for event in events if event["stage"] == done.get(event["verb"], "ResponseComplete")
    )


if __name__ == "__main__":
    enter_network()
    asyncio.run(measure([int(text) for text in sys.argv[1:]] or [1000]))
