"""`python -m benchmarks.judge.first [--runs N] [--into FOLDER]`: how long the requests of a bad version fail,
from the first of them to the verdict Fail, over the harmful cases of the grid; two minutes.

A rollout that was aborted began to fail when its first request did, by chance or for its fault: nobody can
tell. A judge.md in the folder gets the table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, quantiles

from benchmarks.judge import page
from benchmarks.judge.grid import GRID
from benchmarks.judge.rollout import Rollout
from benchmarks.judge.rules import NORIA, Rule
from benchmarks.judge.traffic import ERRORS, Case, Traffic, rollouts
from benchmarks.judge.troubles import CHALLENGER

HARMFUL = tuple(case for case in GRID if not page.healthy(case))
HEAD = ("truth", "weights", "requests/s", "aborted", "mean", "median", "95 % within")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judge.first", description=__doc__)
    parser.add_argument("--runs", type=int, default=300, help="rollouts of each case (default: 300)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--into", type=Path, help="a folder with a judge.md")
    options = parser.parse_args()
    text = "\n".join(table(options.runs, options.seed))
    sys.stdout.write(f"{text}\n")
    if options.into is not None:
        page.write(options.into / "judge.md", {"first": text})


def table(runs: int, seed: int) -> Iterator[str]:
    """Markdown, line by line; minutes."""
    yield f"| {' | '.join(HEAD)} |"
    yield "|---" * len(HEAD) + "|"
    for case in HARMFUL:
        found = [seconds / 60 for seconds in failing(NORIA, case, runs, seed)]
        label = f"| {case.truth.name} | {case.schedule.name} | {case.rate} | {len(found) / runs:.0%} "
        late = quantiles(found, n=20, method="inclusive")[-1] if len(found) > 1 else None
        middle = quantiles(found, n=2, method="inclusive")[0] if len(found) > 1 else None
        figures = (fmean(found) if found else None, middle, late)
        shown = (f"{one:.1f} min" if one is not None else "–" for one in figures)
        yield f"{label}| {' | '.join(shown)} |"


def failing(rule: Rule, case: Case, runs: int, seed: int) -> list[int]:
    """Seconds from the first failed request of the challenger to the abort, of those that were aborted."""
    found = []
    for traffic in rollouts(case, runs, seed):
        aborted = rule.judge(Rollout(traffic)).aborted
        if aborted is not None:
            found.append(aborted - first(traffic))
    return found


def first(traffic: Traffic) -> int:
    """The second in which the challenger's first request failed."""
    return int(traffic[:, CHALLENGER, ERRORS].nonzero()[0][0])


if __name__ == "__main__":
    main()
