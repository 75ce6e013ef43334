"""`python -m benchmarks.server [--quick]`: measure all servers in turn, print the tables, keep them as
build/bench/server.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import psutil

from benchmarks.peers import models, servers
from benchmarks.peers.process import ServerFailed
from benchmarks.report import RESULTS
from benchmarks.server import table
from benchmarks.server.measure import Cell, Figures, WrongAnswer, visit

LANES = (
    servers.NORIA,
    servers.MLSERVER,
    servers.KSERVE,
    servers.LITSERVE,
    servers.FLOOR,
    servers.FLOOR_GRPC,
)
Samples = dict[str, dict[Cell, list[Figures]]]


def main() -> None:
    """Rounds of A B C …, so that a neighbour's load falls on all alike."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one round of short measurements, about 2 minutes"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", nargs="*", choices=[lane.name for lane in LANES], help="these servers alone"
    )
    options = parser.parse_args()
    rounds, seconds = (1, 0.8) if options.quick else (options.rounds, 2.0)
    lanes = [lane for lane in LANES if not options.only or lane.name in options.only]
    samples: Samples = defaultdict(lambda: defaultdict(list))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="noria-bench-") as name:
        folder = Path(name)
        shapes = {"small": models.small(folder), "large": models.large(folder)}
        for number in range(rounds):
            for shape, served in shapes.items():
                for backend in models.BACKENDS:
                    for lane in lanes:
                        sys.stderr.write(f"round {number + 1}: {lane.title}, {backend}, {shape}\n")
                        try:
                            found = visit(lane, served, backend, shape=shape, seconds=seconds, folder=folder)
                        except (ServerFailed, WrongAnswer) as failed:
                            sys.stderr.write(f"  left out: {failed}\n")
                            continue
                        for cell, figures in found.items():
                            samples[lane.name][cell].append(figures)
    medians = {lane: {cell: _median(runs) for cell, runs in cells.items()} for lane, cells in samples.items()}
    _write(medians, lanes, rounds=rounds, minutes=(time.monotonic() - began) / 60)


def _median(runs: list[Figures]) -> Figures:
    return {name: median(run[name] for run in runs) for name in runs[0]}


def _write(
    medians: dict[str, dict[Cell, Figures]], lanes: list[servers.Server], *, rounds: int, minutes: float
) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    plain = {
        lane: {f"{c.shape} {c.backend} {c.protocol}": figures for c, figures in cells.items()}
        for lane, cells in medians.items()
    }
    (RESULTS / "server.json").write_text(json.dumps(plain, indent=1) + "\n")
    machine = f"{psutil.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    text = f"{rounds} rounds in {minutes:.0f} minutes on {machine}\n\n{table.markdown(medians, lanes)}"
    (RESULTS / "server.md").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
