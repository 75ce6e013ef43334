"""`python -m benchmarks.judge [--quick] [--into FOLDER]`: simulate rollouts under Noria's judge and its
peers' rules, print the tables, and keep them as build/bench/judge-figures.{md,json} and judge.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.judge import picture, table
from benchmarks.judge.grid import BURST_GRID, BURST_RULES, GRID, RULES, measured
from benchmarks.judge.rules import Rule
from benchmarks.judge.traffic import Case
from benchmarks.report import RESULTS


def main() -> None:
    """Every figure is a function of the seed: two machines print the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judge", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="40 runs of each case, under half a minute")
    parser.add_argument("--runs", type=int, default=2000, help="runs of each case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one a core")
    parser.add_argument("--into", type=Path, default=RESULTS, help="where the results are kept")
    options = parser.parse_args()
    options.runs = 40 if options.quick else options.runs
    grid = _measured(GRID, RULES, options)
    bursts = _measured(BURST_GRID, BURST_RULES, options)
    text = "\n".join(
        [
            f"{options.runs} simulated rollouts of 30 minutes for each case, seed {options.seed}.",
            "",
            "## Independent errors",
            "",
            table.markdown(grid),
            "## Bursts and clusters",
            "",
            table.markdown(bursts),
        ]
    )
    sys.stdout.write(text)
    _keep(options.into, text, grid, bursts)


def _measured(cases: Sequence[Case], rules: Sequence[Rule], options: argparse.Namespace) -> table.Found:
    asked = [(case, rules, options.runs) for case in cases]
    found = {}
    for case, figures in zip(cases, measured(asked, options.seed, processes=options.processes), strict=True):
        sys.stderr.write(f"{case.truth.name}, {case.schedule.name}, {case.rate} requests/s\n")
        found[case] = figures
    return found


def _keep(folder: Path, text: str, grid: table.Found, bursts: table.Found) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    plain = [
        {"case": asdict(case), "rules": {name: asdict(figures) for name, figures in rules.items()}}
        for case, rules in (*grid.items(), *bursts.items())
    ]
    (folder / "judge-figures.json").write_text(json.dumps(plain, indent=1) + "\n")
    (folder / "judge-figures.md").write_text(f"# Rules that judge rollouts: figures\n\n{text}")
    picture.draw(grid, folder / "judge.svg")


if __name__ == "__main__":
    main()
