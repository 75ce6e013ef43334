"""`python -m benchmarks [operator|rollout|aborts|gateway]`: run one benchmark, or all, and print tables."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

from benchmarks import gateway_steps, operator_scale, report, rollout_aborts, rollout_latency

BENCHMARKS: dict[str, tuple[str, Callable[[int], Awaitable[Sequence[report.Row]]]]] = {
    "operator": ("The operator on an API server with simulated nodes", operator_scale.measure),
    "rollout": ("A weight change on the local cluster", rollout_latency.measure),
    "aborts": ("A bad challenger on a local cluster of its own", rollout_aborts.measure),
    "gateway": ("Steps of a rollout behind a gateway", gateway_steps.measure),
}


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], help="default: all")
    parser.add_argument("--objects", type=int, default=1000, help="objects of each kind (default: 1000)")
    options = parser.parse_args()
    for name in options.names or BENCHMARKS:
        title, measure = BENCHMARKS[name]
        rows = asyncio.run(measure(options.objects))
        sys.stdout.write(f"{report.show(title, rows)}\n  -> {report.write(name, rows)}\n")


if __name__ == "__main__":
    main()
