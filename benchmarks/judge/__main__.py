"""`python -m benchmarks.judge [--quick] [--into FOLDER]`: simulate rollouts under Noria's judge and its
peers' rules, print the tables, and keep them as build/bench/judge-figures.{md,json} and judge.svg. A judge.md
in the folder gets its tables, and those of other measures: `--into docs/benchmarks` publishes them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.judge import measures, page, picture, table
from benchmarks.judge.grid import (
    BURST_GRID,
    BURST_RULES,
    GRID,
    PROMOTION_GRID,
    RULES,
    Figures,
    measured,
)
from benchmarks.judge.rules import NORIA, Rule
from benchmarks.judge.traffic import Case
from benchmarks.report import RESULTS

PROMISED = 0.005
"""The share of healthy versions that the judge aborts at most."""
MORE = 4
"""Times the runs of a case in which it stays open whether that is kept."""
MEASURED = 1000
"""Runs of each case of measures other than errors, at most."""


def main() -> None:
    """Every figure is a function of the seed: two machines print the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judge", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="40 runs of each case, none more")
    parser.add_argument("--runs", type=int, help="runs of each case (default: 2000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one a core")
    parser.add_argument("--into", type=Path, default=RESULTS, help="where the results are kept")
    options = parser.parse_args()
    options.runs = options.runs or (40 if options.quick else 2000)
    grid = _measured(GRID, RULES, options)
    bursts = _measured(BURST_GRID, BURST_RULES, options)
    promotions = _measured(PROMOTION_GRID, BURST_RULES, options)
    text = "\n".join(
        [
            _said(options),
            "",
            "## Independent errors",
            "",
            table.markdown(grid, options.runs),
            "## Bursts and clusters",
            "",
            table.markdown(bursts, options.runs),
            "## Promotions where errors come together",
            "",
            table.markdown(promotions, options.runs),
        ]
    )
    sys.stdout.write(text)
    _keep(options.into, text, grid, {**bursts, **promotions})
    others = "\n".join(measures.tables(min(options.runs, MEASURED), options.seed))
    page.write(options.into / "judge.md", page.tables(grid, bursts, promotions) | {"measures": others})


def _said(options: argparse.Namespace) -> str:
    runs = f"{options.runs} simulated rollouts of 30 minutes for each case, seed {options.seed}"
    open_ = f"whether Noria aborts more than {PROMISED:.1%} of healthy versions"
    more = "" if options.quick else f"; {MORE} times as many where these leave open {open_}"
    return f"{runs}{more}. *Surely* is the 95 % interval of what is aborted, by Wilson."


def _measured(cases: Sequence[Case], rules: Sequence[Rule], options: argparse.Namespace) -> table.Found:
    """Once, and those with more runs that need them."""
    found = _run(cases, rules, options.runs, options)
    if options.quick:
        return found
    return found | _run([case for case in cases if _open(case, found)], rules, MORE * options.runs, options)


def _open(case: Case, found: table.Found) -> bool:
    low, high = found[case][NORIA.name].sure
    return page.healthy(case) and low <= PROMISED < high


def _run(
    cases: Sequence[Case], rules: Sequence[Rule], runs: int, options: argparse.Namespace
) -> dict[Case, Mapping[str, Figures]]:
    found: dict[Case, Mapping[str, Figures]] = {}
    asked = [(case, rules, runs) for case in cases]
    for case, figures in zip(cases, measured(asked, options.seed, processes=options.processes), strict=True):
        sys.stderr.write(f"{case.truth.name}, {case.schedule.name}, {case.rate} requests/s: {runs} runs\n")
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
