"""A program that a benchmark keeps running."""

from __future__ import annotations

from pathlib import Path

import psutil
from benchmarks.harness import eventually
from benchmarks.rollouts.kept import Kept


async def test_a_program_that_ends_is_started_again_and_its_cpu_is_kept(tmp_path: Path) -> None:
    work = "if mkdir first; then i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exit 3; fi; exec sleep 60"
    kept = Kept(["sh", "-c", f'cd "{tmp_path}"; {work}'], tmp_path, {})
    kept.start()
    first = kept.process

    async def again() -> bool:
        return kept.process.pid != first.pid and kept.process.name() == "sleep"

    await eventually(again)
    assert kept.restarts == 1
    assert kept.cpu() > 0.05
    await kept.stop()
    assert not psutil.pid_exists(first.pid)
    assert not kept.process.is_running()


async def test_a_program_that_never_began_ends_as_well(tmp_path: Path) -> None:
    await Kept(["true"], tmp_path, {}).stop()
