"""Virtual environments of the outside clients and peers of the model server and of its statistics, each from
its own lock file, and one that holds what the server's image holds, so that memory is measured as users see
it.

The pins of clients and peers exclude each other (protobuf, FastAPI, uvloop), so none shares an environment.
One that is damaged or half made is made again; two that ask at once wait for each other.

    python3 -m tools.clients [NAME...]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools import venv
from tools.cluster.errors import ClusterError
from tools.cluster.layout import CHECKOUT
from tools.cluster.progress import say

# Environment, and what it takes on disk.
SIZES = {
    "clients": "1 GB",
    "peer-mlserver": "1 GB",
    "peer-litserve": "500 MB",
    "peer-evidently": "700 MB",
    "peer-nannyml": "900 MB",
    "peer-river": "500 MB",
    "peer-fairlearn": "500 MB",
    "server": "600 MB",
}


def requirements(name: str) -> Path:
    """The lock file of one environment."""
    return CHECKOUT / "requirements" / f"{name}.txt"


def python(name: str) -> Path:
    """The interpreter of one environment, made first where it is missing; raises `ClusterError`."""
    return venv.ensure(requirements(name), size=SIZES[name]) / "bin" / "python"


def main() -> int:
    """Make the named environments, all by default, and print their interpreters."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.clients", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(SIZES)}; default: all")
    names = parser.parse_args().names or list(SIZES)
    if unknown := [name for name in names if name not in SIZES]:
        parser.error(f"unknown environment {unknown[0]!r}: choose from {', '.join(SIZES)}")
    try:
        for name in names:
            sys.stdout.write(f"{name} {python(name)}\n")
    except ClusterError as failed:
        say(f"error: {failed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
