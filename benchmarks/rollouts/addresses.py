"""`python -m benchmarks.rollouts.addresses [--thousands N] [--bitmap]`: how fast Services get addresses.

Comes in: how many thousand Services. Goes out: a line for each thousand. It explains why very many rollouts
take longer each than few; no operator runs.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.harness import cluster_cpu, in_parallel
from benchmarks.rollouts.ground import BITMAP_HELP, enter_network, ground
from benchmarks.rollouts.writes import SPACE, service
from noria_operator.kube import kinds

THOUSAND = 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollouts.addresses", description=__doc__)
    parser.add_argument("--thousands", type=int, default=4)
    parser.add_argument("--bitmap", action="store_true", help=BITMAP_HELP)
    asked = parser.parse_args()
    enter_network()
    with tempfile.TemporaryDirectory(prefix="noria-bench-", ignore_cleanup_errors=True) as folder:
        asyncio.run(run(Path(folder), asked.thousands, bitmap=asked.bitmap))


async def run(folder: Path, thousands: int, *, bitmap: bool) -> None:
    """Services of a fresh API server, sixteen at a time."""
    async with ground(folder, bitmap=bitmap) as place:
        await place.client.create(kinds.NAMESPACE, "", {"metadata": {"name": SPACE}})
        for number in range(thousands):
            made = range(number * THOUSAND, (number + 1) * THOUSAND)
            start, used = time.monotonic(), cluster_cpu()
            await in_parallel(
                [partial(place.client.create, kinds.SERVICE, SPACE, service(one)) for one in made]
            )
            seconds, cpu = time.monotonic() - start, cluster_cpu() - used
            sys.stdout.write(
                f"{made.stop} Services: {THOUSAND / seconds:.0f} a second, {cpu:.0f} ms of CPU each\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
