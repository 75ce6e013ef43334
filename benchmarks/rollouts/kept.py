"""A program that is started again when it ends, as a Deployment does it.

An operator that cannot renew its lease for ten seconds ends by design; with thousands of rollouts on a small
machine an API server may stand still for as long. Comes in: a command. Goes out: its process of now, and what
all of its processes used.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.harness import cpu_seconds
from benchmarks.rollouts.contender import say
from benchmarks.rollouts.ground import spawn

LOOK_SECONDS = 1.0
LONGEST_END = 40.0


@dataclass
class Kept:
    """Runs from `start` to `stop`, if it was started."""

    command: Sequence[str]
    folder: Path
    settings: Mapping[str, str]
    restarts: int = 0
    process: psutil.Process = field(init=False)
    _ended_cpu: float = 0.0
    _running: subprocess.Popen[bytes] = field(init=False)
    _keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Needs a running loop."""
        self._run()
        self._keeping = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End it, for good."""
        if self._keeping is None:
            return
        self._keeping.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeping
        self._running.terminate()
        self._running.wait(LONGEST_END)

    def cpu(self) -> float:
        """CPU seconds of all its processes."""
        return self._ended_cpu + cpu_seconds(self.process)

    def _run(self) -> None:
        log = self.folder / f"kept-{self.restarts}.log"
        self._running = spawn(self.command, log, **self.settings)
        self.process = psutil.Process(self._running.pid)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.process.status() == psutil.STATUS_ZOMBIE:  # which still tells what it used
                self._ended_cpu += cpu_seconds(self.process)
                say(f"  {self.command[-1]} ended with {self._running.wait()}: started again")
                self.restarts += 1
                self._run()
