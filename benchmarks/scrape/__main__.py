"""`python -m benchmarks.scrape [--models 1000]`: CPU of the operator that reads all models every 15 s, beside
a process that fetches the same documents and throws them away. The two run one after the other, against the
same pods, which are a process of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from benchmarks import report
from benchmarks.scrape.page import Figures, page
from benchmarks.scrape.world import EVERY, PODS

SETTLE = 40.0
"""Seconds before anything is measured: connections are made, and windows filled with what servers remember,
for which each pod is read three times."""


@contextmanager
def pods(features: int) -> Iterator[tuple[int, int]]:
    """The pods; gives the size of their documents and their port."""
    command = [sys.executable, "-m", "benchmarks.scrape.pods", str(features)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            size, port = process.stdout.readline().split()
            yield int(size), int(port)
        finally:
            process.terminate()


def asked(
    who: str, port: int, models: int, seconds: float, *, settle: float = SETTLE, every: float = EVERY
) -> dict[str, float]:
    """What one process used, whose metrics are scraped so often."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.scrape.asker",
        who,
        *map(str, (port, models, seconds, settle)),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        metrics, page = int(process.stdout.readline()), 0
        while metrics and process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(every)
                break
            with suppress(OSError, HTTPException), urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:
                page = len(answer.read())  # unless it ends meanwhile
        found: dict[str, float] = json.loads(process.stdout.readline())
    found["metrics"] = page
    return found


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scrape", description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--into", type=Path, help="also write the page scrape.md there")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with pods(options.features) as (size, port):
        floor = asked("floor", port, options.models, options.seconds)
        ours = asked("operator", port, options.models, options.seconds)
    what = f"{options.models} models x {PODS} pods every 15 s, {size} bytes each"
    rows = [
        report.Row(
            f"CPU of one core: {what}", ours["core"] * 100, "%", floor["core"] * 100, "fetching alone"
        ),
        report.Row("status writes", ours["wrote"], "1/s"),
        report.Row("documents", ours["read"], "1/s", floor["read"], "fetching"),
        report.Row("event loop stood still", ours["still"] * 1e3, "ms", floor["still"] * 1e3, "fetching"),
        report.Row("memory", ours["memory"], "MiB", floor["memory"], "fetching"),
    ]
    title = "Reading the counts of all models"
    sys.stdout.write(f"{report.show(title, rows)}\n  -> {report.write('scrape', rows)}\n")
    if options.into:
        options.into.mkdir(parents=True, exist_ok=True)
        told = options.models, PODS, options.features, size, options.seconds, report.machine(), load
        (options.into / "scrape.md").write_text(page(Figures(*told, operator=ours, floor=floor)))


if __name__ == "__main__":
    main()
