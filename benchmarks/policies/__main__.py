"""`python -m benchmarks.policies [--quick] [--only NAME] [--labels N] [--into FOLDER]`: what each retraining
policy costs and is worth, on streams with known changes and on a year of flights; prints the tables and keeps
them as build/bench/policies-figures.{md,json} and policies.svg.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from benchmarks.policies import picture, table
from benchmarks.policies.rules import POLICIES, Policy
from benchmarks.policies.streams import Stream, flights, synthetic
from benchmarks.policies.trial import Outcome, Trial
from benchmarks.report import RESULTS


def main() -> None:
    """Every figure is a function of the seeds: two machines print the same, but for the last digits."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, and no flights: two minutes")
    parser.add_argument("--seeds", type=int, default=3, help="of the synthetic streams")
    parser.add_argument(
        "--only",
        default="",
        help="policies whose names begin so; the others' figures stay as --into has them",
    )
    parser.add_argument("--labels", type=int, help="minLabels of performance triggers; default: the API's")
    parser.add_argument("--into", type=Path, default=RESULTS, help="where the results are kept")
    options = parser.parse_args()
    seeds = range(1, 2 if options.quick else options.seeds + 1)
    streams = [stream for seed in seeds for stream in synthetic(seed)]
    chosen = [policy for policy in POLICIES if policy.name.startswith(options.only)]
    if options.labels:
        chosen = [policy.with_labels(options.labels) for policy in chosen]
    found = measure(streams if options.quick else [*streams, flights()], chosen)
    kept = options.into / "policies-figures.json"
    if options.only and kept.exists():
        found = with_kept(found, json.loads(kept.read_text()))
    text = f"Means of {len(seeds)} seeds for the synthetic streams.\n\n{table.markdown(found)}"
    sys.stdout.write(text)
    options.into.mkdir(parents=True, exist_ok=True)
    plain = {stream: {name: asdict(one) for name, one in rows.items()} for stream, rows in found.items()}
    (options.into / "policies-figures.json").write_text(json.dumps(plain, indent=1) + "\n")
    (options.into / "policies-figures.md").write_text(f"# Retraining policies: figures\n\n{text}")
    picture.draw(found, options.into / "policies.svg")


def measure(streams: Sequence[Stream], policies: Sequence[Policy]) -> table.Found:
    """These policies on every stream; streams of the same name are one, with the means of its seeds."""
    found: dict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for stream in streams:
        sys.stderr.write(f"{stream.name}\n")
        for policy in policies:
            found[stream.name][policy.name].append(Trial(stream, policy).outcome())
    return {name: {policy: _mean(each) for policy, each in rows.items()} for name, rows in found.items()}


def with_kept(found: table.Found, kept: Mapping[str, Mapping[str, Mapping[str, float]]]) -> table.Found:
    """The figures, and those of other policies on these streams as they were kept, in the usual order."""
    order = {policy.name: place for place, policy in enumerate(POLICIES)}
    merged = {
        stream: {name: Outcome(**one) for name, one in kept.get(stream, {}).items() if name in order}
        | dict(rows)
        for stream, rows in found.items()
    }
    return {
        stream: dict(sorted(rows.items(), key=lambda row: order[row[0]])) for stream, rows in merged.items()
    }


def _mean(each: Sequence[Outcome]) -> Outcome:
    return Outcome(*(fmean(values) for values in zip(*(asdict(one).values() for one in each), strict=True)))


if __name__ == "__main__":
    main()
