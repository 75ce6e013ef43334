"""`python -m benchmarks.comparison [N]`: what it takes to know N ModelDeployments, and to compare them again.

Two ways, each in a process of its own against the same API server: a watch that begins with all there is, and
lists, which are all that older API servers have (the floor of what was here before). Comes in: a number. Goes
out: a line of JSON for each way. Nothing is reconciled, so that only reading is measured.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import psutil
from tools.cluster.controlplane import control_plane

from benchmarks.harness import cpu_seconds, in_parallel, install
from benchmarks.objects import NAMESPACE, model_deployment
from noria_operator.kube import kinds, watch
from noria_operator.kube.client import Client
from noria_operator.kube.kinds import Kind
from noria_operator.kube.login import from_kubeconfig
from noria_operator.kube.resync import Resync
from noria_operator.kube.store import Store
from noria_operator.kube.stream import Pulse, State, Stream

WATCH_SECONDS = 20
STREAM: Stream = (kinds.MODELDEPLOYMENT, None)
WAYS = ("state", "list")


@dataclass(frozen=True)
class Reading:
    """Until everything was known, and for one comparison of it: time and CPU in seconds, and the most memory
    above that before, in MiB.
    """

    way: str
    objects: int
    known: float
    known_cpu: float
    known_api_cpu: float
    known_peak: float
    compared: float
    compared_cpu: float
    compared_api_cpu: float
    compared_peak: float


class Cost:
    """CPU of this process and of the API server since `begin`, and the most memory."""

    def __init__(self, api_server: int) -> None:
        self._ours, self._api = psutil.Process(), psutil.Process(api_server)
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        Path("/proc/self/clear_refs").write_text("5")  # forgets the most memory so far
        self._base = self._ours.memory_info().rss
        self._cpu, self._api_cpu = cpu_seconds(self._ours), cpu_seconds(self._api)

    def so_far(self) -> tuple[float, float, float]:
        """CPU seconds of ours and of the API server, and MiB above the memory at the beginning."""
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
        cpu, api = cpu_seconds(self._ours) - self._cpu, cpu_seconds(self._api) - self._api_cpu
        return cpu, api, (peak - self._base) / 2**20


async def read(way: str, kubeconfig: Path, api_server: int) -> Reading:
    """One way, in this process."""
    endpoint, store, cost = from_kubeconfig(kubeconfig), Store(), Cost(api_server)
    selectors: dict[Kind, str | None] = {STREAM[0]: None}
    async with Client(endpoint) as client:
        states: asyncio.Queue[float] = asyncio.Queue()

        def told(state: State) -> None:
            resync.told(state)
            states.put_nowait(time.monotonic())

        resync = Resync(client, store, selectors, [STREAM], done=lambda: None, restored=lambda: None)
        watcher = watch.Watcher(
            endpoint,
            selectors,
            seen=store.observe,
            relisted=resync.request,
            told=told,
            period=WATCH_SECONDS,
        )
        start = time.monotonic()
        running = [asyncio.create_task(each.run()) for each in (watcher, resync)]
        await resync.complete.wait()
        known = time.monotonic() - start, *cost.so_far()
        if way == "state":
            await states.get()
        await asyncio.sleep(WATCH_SECONDS / 2)
        compared = await (_told(states, cost) if way == "state" else _listed(resync, cost))
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return Reading(way, len(store.list(STREAM[0])), *known, *compared)


async def _told(states: asyncio.Queue[float], cost: Cost) -> tuple[float, float, float, float]:
    """The state with which the next watch begins."""
    begun: list[float] = []
    opened = Pulse.opened

    def noted(pulse: Pulse, stream: Stream, *, watch: bool, whole: bool) -> None:
        begun.append(time.monotonic())
        cost.begin()
        opened(pulse, stream, watch=watch, whole=whole)

    with patch.object(Pulse, "opened", noted):
        ended = await states.get()
    return ended - begun[-1], *cost.so_far()


async def _listed(resync: Resync, cost: Cost) -> tuple[float, float, float, float]:
    """What the operator does every ten minutes where watches do not begin with all there is."""
    cost.begin()
    start = time.monotonic()
    await resync._compare(STREAM)
    return time.monotonic() - start, *cost.so_far()


async def _never(*_: object) -> bool:
    return False


async def _fill(kubeconfig: Path, count: int) -> None:
    async with Client(from_kubeconfig(kubeconfig)) as client:
        await client.create(kinds.NAMESPACE, "", {"metadata": {"name": NAMESPACE}})
        made = [model_deployment(f"model-{number}") for number in range(count)]
        await in_parallel([partial(client.create, STREAM[0], NAMESPACE, each) for each in made])


def main(count: int) -> None:
    """Both ways, twice: the first ones warm up the API server."""
    with (
        tempfile.TemporaryDirectory(prefix="noria-bench-") as folder,
        control_plane(Path(folder)) as kubeconfig,
    ):
        install(kubeconfig)
        asyncio.run(_fill(kubeconfig, count))
        running = psutil.Process().children()
        api_server = next(each.pid for each in running if each.name() == "kube-apiserver")
        for way in (*WAYS, *WAYS):
            command = [sys.executable, "-m", __spec__.name, way, str(kubeconfig), str(api_server)]
            subprocess.run(command, check=True)


def one(way: str, kubeconfig: Path, api_server: int) -> None:
    """One way, told in a line of JSON."""
    listing = patch.object(watch, "tells_all", _never) if way == "list" else nullcontext()
    with patch.object(watch, "WATCH_SECONDS", WATCH_SECONDS), listing:
        found = asyncio.run(read(way, kubeconfig, api_server))
    sys.stdout.write(f"{json.dumps(asdict(found))}\n")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        one(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
