"""`python -m benchmarks.server [--quick] [--into FOLDER]`: measure all servers in turn, print the tables, and
keep them with the figures, a picture and a page that compares them as build/bench/server-figures.{md,json},
server-cpu.svg and server.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.peers import models, servers
from benchmarks.peers.process import ServerFailed
from benchmarks.report import RESULTS, machine
from benchmarks.server import counting, page, picture, table
from benchmarks.server.measure import Cell, Figures, WrongAnswer, visit

LANES = (
    servers.NORIA,
    servers.NORIA_LABELS,
    servers.NORIA_UNCOUNTED,
    servers.NORIA_LOGGED,
    servers.MLSERVER,
    servers.KSERVE,
    servers.KSERVE_BOTH,
    servers.LITSERVE,
    servers.FLOOR,
    servers.FLOOR_GRPC,
)
COUNTING_ROUNDS = 100
"""Each takes 15 ms."""
Medians = dict[str, dict[Cell, Figures]]


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
    parser.add_argument("--into", type=Path, default=RESULTS, help="where the results are kept")
    options = parser.parse_args()
    rounds, seconds = (1, 0.8) if options.quick else (options.rounds, 2.0)
    lanes = [lane for lane in LANES if not options.only or lane.name in options.only]
    began = time.monotonic()
    medians, left_out = _rounds(lanes, rounds, seconds)
    counted = {what: median(samples) for what, samples in counting.measured(COUNTING_ROUNDS).items()}
    minutes = (time.monotonic() - began) / 60
    text = "\n".join(
        [
            f"Medians of {rounds} rounds in {minutes:.0f} minutes on {machine()}.",
            "",
            table.markdown(medians, lanes),
            "Left out, as it gave errors or wrong answers, at least in one round:",
            *(f"- {what}" for what in left_out or ["nothing"]),
            "",
        ]
    )
    sys.stdout.write(text)
    _keep(options.into, text, medians, lanes, counted)
    day = datetime.now(UTC).date()
    compared = page.markdown(medians, lanes, counted, left_out, rounds=rounds, day=day)
    (options.into / "server.md").write_text(compared)


def _rounds(lanes: Sequence[servers.Server], rounds: int, seconds: float) -> tuple[Medians, list[str]]:
    """The median of each figure, and what gave none."""
    samples: dict[str, dict[Cell, list[Figures]]] = defaultdict(lambda: defaultdict(list))
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="noria-bench-") as name:
        folder = Path(name)
        shapes = {"small": models.small(folder), "large": models.large(folder)}
        for number in range(rounds):
            for shape, served in shapes.items():
                for backend in models.BACKENDS:
                    for lane in [one for one in lanes if shape in one.shapes and backend in one.backends]:
                        sys.stderr.write(f"round {number + 1}: {lane.title}, {backend}, {shape}\n")
                        try:
                            found, without = visit(
                                lane, served, backend, shape=shape, seconds=seconds, folder=folder
                            )
                        except (ServerFailed, WrongAnswer) as failed:
                            found, without = {}, [str(failed)]
                        for what in without:
                            about, _, why = f"{backend}, {shape}: {what}".rpartition(": ")
                            left_out[about] = why
                        for cell, figures in found.items():
                            samples[lane.name][cell].append(figures)
    # What failed in one round is no figure to compare with, however it did in the others.
    medians = {
        lane: {cell: _median(runs) for cell, runs in cells.items() if len(runs) == rounds}
        for lane, cells in samples.items()
    }
    return medians, [f"{about}: {why}" for about, why in left_out.items()]


def _median(runs: list[Figures]) -> Figures:
    return {name: median(run[name] for run in runs) for name in runs[0]}


def _keep(
    folder: Path,
    text: str,
    medians: Medians,
    lanes: Sequence[servers.Server],
    counted: Mapping[str, float],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    plain = {
        lane: {f"{c.shape} {c.backend} {c.protocol}": figures for c, figures in cells.items()}
        for lane, cells in medians.items()
    }
    figures = {**plain, "counting, µs a prediction": counted}
    (folder / "server-figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    (folder / "server-figures.md").write_text(f"# The model server beside its peers: figures\n\n{text}")
    picture.draw(medians, lanes, folder / "server-cpu.svg")


if __name__ == "__main__":
    main()
