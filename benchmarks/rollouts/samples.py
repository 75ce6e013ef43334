"""`python -m benchmarks.rollouts.samples`: from a bad answer of a Prometheus to weight 0, Noria and Argo.

Twenty rollouts stand at half, each judged by what a Prometheus answers every five seconds. It says of one
after another that its challenger fails: how long after that answer has the challenger weight 0? For Noria
that is read back from a real Envoy; for Argo it is what an Ingress says, or the number of pods asked for.
Needs root, for a network of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

from aiohttp import web

from benchmarks.harness import eventually
from benchmarks.report import high, middle
from benchmarks.rollouts.argo import Access, argo
from benchmarks.rollouts.contender import Contender, keys_of, until_all
from benchmarks.rollouts.ground import enter_network, ground
from benchmarks.rollouts.noria import noria
from benchmarks.rollouts.watching import Watched, watching

ROLLOUTS = 20
CONTENDERS: dict[str, Callable[..., AbstractAsyncContextManager[Contender]]] = {
    "noria": noria,
    "argo-tuned": partial(argo, tuned=True),
    "argo-routed": partial(argo, tuned=True, access=Access.INGRESS),
}


class Prometheus:
    """Knows the errors of rollouts, by namespace/name: none, or all of those in `bad`."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self.bad: set[str] = set()
        self.told: dict[str, float] = {}
        """When the first bad answer about one was given."""

    async def answer(self, request: web.Request) -> web.Response:
        """`/api/v1/query`."""
        name = re.findall(r'rollout="([^"]+)"', str((await request.post())["query"]))[0]
        self.asked.add(name)
        value = "1" if name in self.bad else "0"
        sample = {"metric": {}, "value": [time.time(), value]}
        if name in self.bad:
            self.told.setdefault(name, time.monotonic())
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": [sample]}})

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Gives its address."""
        application = web.Application()
        application.router.add_post("/api/v1/query", self.answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def measure(contender: Contender, watched: Watched, prometheus: Prometheus) -> list[float]:
    """Seconds from the first bad answer to weight 0, of each rollout."""
    keys = keys_of(ROLLOUTS)
    await contender.prepare(keys)
    await until_all(watched, [partial(contender.create, key) for key in keys], contender.healthy)
    await until_all(watched, [partial(contender.change, key) for key in keys], contender.at_first_step)

    async def all_judged() -> bool:
        return len(prometheus.asked) == ROLLOUTS

    prometheus.asked.clear()
    await eventually(all_judged)
    found = []
    for key in keys:
        async with contender.weightless(key, watched) as seen:
            prometheus.bad.add("/".join(key))
            end = await seen
        found.append(end - prometheus.told["/".join(key)])
    return found


async def run(name: str) -> str:
    """A row of the table."""
    folder, prometheus = Path(tempfile.mkdtemp(prefix="noria-bench-")), Prometheus()
    try:
        async with (
            prometheus.listening() as source,
            ground(folder) as place,
            CONTENDERS[name](place, source=source) as contender,
            watching(place.kubeconfig, contender.kind) as watched,
        ):
            found = await measure(contender, watched, prometheus)
            return f"| {contender.name} | {middle(found) * 1e3:.0f} | {high(found) * 1e3:.0f} |"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollouts.samples", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and leave nothing behind
    enter_network("argo-rollouts")
    sys.stdout.write("| from a bad sample to weight 0, ms | p50 | slowest of 20 |\n|---|---|---|\n")
    for name in options.only:
        sys.stdout.write(f"{asyncio.run(run(name))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
