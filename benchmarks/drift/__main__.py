"""`python -m benchmarks.drift [--quick] [--into FOLDER]`: streams with known changes and traffic without
any, under Noria's rules and its peers'; prints the tables and keeps them as
build/bench/drift-figures.{md,json} and drift.svg.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.drift import detectors, noise, picture, table
from benchmarks.drift.noise import DAY
from benchmarks.drift.streams import Stream, streams
from benchmarks.report import RESULTS

ROWS = (50, 100, 200, 500, 1000, 5000)
SHIFTS = (0.25, 0.5, 1.0)


def main() -> None:
    """Every figure is a function of the seeds: two machines print the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="two seeds of each stream, a month of each noise"
    )
    parser.add_argument("--into", type=Path, default=RESULTS, help="where the results are kept")
    options = parser.parse_args()
    seeds, months, repeats = (range(2), 1, 3) if options.quick else (range(10), 4, 9)
    with tempfile.TemporaryDirectory() as folder:
        say("streams of river, and a model for each")
        made = list(streams(Path(folder), seeds))
        say("detectors")
        labelled, rates = on_streams(made, Path(folder))
    say(f"{months} months without drift")
    calm = {rows: false_alarms(rows, months) for rows in ROWS}
    say("shifts")
    moved = {(rows, shift): until_found(rows, shift, repeats) for shift in SHIFTS for rows in ROWS}
    text = "\n".join(
        [
            "## Labelled streams",
            "",
            f"Median delay in items, then false alarms in 7,000 items before the change; {len(seeds)} seeds.",
            "",
            table.streams(labelled, rates),
            "## Traffic without drift",
            "",
            f"Alarms in a month of 730 windows, mean of {months} months.",
            "",
            table.noise(calm),
            "## Six of twenty features move",
            "",
            f"Windows until the first alarm, median of {repeats} runs; –: not within {DAY}.",
            "",
            table.power(moved),
        ]
    )
    sys.stdout.write(text)
    shifts = [{"rows": rows, "shift": shift, **found} for (rows, shift), found in moved.items()]
    tables = f"# Rules that find drift: figures\n\n{text}"
    keep(options.into / "drift-figures", tables, labelled, calm, shifts=shifts)
    picture.draw(labelled, calm, options.into / "drift.svg")


def say(text: str) -> None:
    """A line of progress."""
    sys.stderr.write(f"{text}\n")


def on_streams(made: Sequence[Stream], folder: Path) -> tuple[table.Streams, dict[str, tuple[float, float]]]:
    """Figures by stream and rule, and the mean error rates of the model."""
    alarms = detectors.alarms(made, folder)
    found, rates = {}, {}
    for name in dict.fromkeys(one.name for one in made):
        mine = [index for index, one in enumerate(made) if one.name == name]
        found[name] = {
            rule: detectors.figures([alarms[index][rule] for index in mine]) for rule in alarms[mine[0]]
        }
        both = [made[index].rates for index in mine]
        rates[name] = fmean(one[0] for one in both), fmean(one[1] for one in both)
    return found, rates


def false_alarms(rows: int, months: int) -> dict[str, float]:
    """Windows a month that alarm where nothing changes."""
    return noise.alarms([noise.month(rows, seed) for seed in range(months)])


def until_found(rows: int, shift: float, repeats: int) -> dict[str, float | None]:
    """Windows until the first alarm, at the median of all runs."""
    return noise.first_alarm([noise.month(rows, seed, shift, windows=DAY) for seed in range(repeats)])


def keep(
    place: Path,
    text: str,
    labelled: table.Streams,
    calm: table.Noise,
    **moved: list[dict[str, Any]],
) -> None:
    """Write the figures to `place` with .json, and the text with .md."""
    place.parent.mkdir(parents=True, exist_ok=True)
    plain = {
        "streams": {
            name: {rule: asdict(figures) for rule, figures in rules.items()}
            for name, rules in labelled.items()
        },
        "noise": calm,
        **moved,
    }
    place.with_suffix(".json").write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n")
    place.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
