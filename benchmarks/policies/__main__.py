"""`python -m benchmarks.policies [--quick] [--into FOLDER]`: what each retraining policy costs and is worth,
on streams with known changes and on a year of flights; prints the tables and keeps them as
build/bench/policies-figures.{md,json} and policies.svg.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from benchmarks.policies import picture, table
from benchmarks.policies.rules import POLICIES
from benchmarks.policies.streams import Stream, flights, synthetic
from benchmarks.policies.trial import Outcome, Trial
from benchmarks.report import RESULTS


def main() -> None:
    """Every figure is a function of the seeds: two machines print the same, but for the last digits."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, and no flights: two minutes")
    parser.add_argument("--seeds", type=int, default=3, help="of the synthetic streams")
    parser.add_argument("--into", type=Path, default=RESULTS, help="where the results are kept")
    options = parser.parse_args()
    seeds = range(1, 2 if options.quick else options.seeds + 1)
    streams = [stream for seed in seeds for stream in synthetic(seed)]
    found = measure(streams if options.quick else [*streams, flights()])
    text = f"Means of {len(seeds)} seeds for the synthetic streams.\n\n{table.markdown(found)}"
    sys.stdout.write(text)
    options.into.mkdir(parents=True, exist_ok=True)
    plain = {stream: {name: asdict(one) for name, one in rows.items()} for stream, rows in found.items()}
    (options.into / "policies-figures.json").write_text(json.dumps(plain, indent=1) + "\n")
    (options.into / "policies-figures.md").write_text(f"# Retraining policies: figures\n\n{text}")
    picture.draw(found, options.into / "policies.svg")


def measure(streams: Sequence[Stream]) -> table.Found:
    """Every policy on every stream; streams of the same name are one, with the means of its seeds."""
    found: dict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for stream in streams:
        sys.stderr.write(f"{stream.name}\n")
        for policy in POLICIES:
            if policy.psi and not stream.numeric:
                continue
            found[stream.name][policy.name].append(Trial(stream, policy).outcome())
    return {name: {policy: _mean(each) for policy, each in rows.items()} for name, rows in found.items()}


def _mean(each: Sequence[Outcome]) -> Outcome:
    return Outcome(*(fmean(values) for values in zip(*(asdict(one).values() for one in each), strict=True)))


if __name__ == "__main__":
    main()
