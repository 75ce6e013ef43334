"""The command line: python3 -m tools.cluster COMMAND."""

from __future__ import annotations

import argparse
import sys

from tools.cluster import commands
from tools.cluster.errors import ClusterError
from tools.cluster.progress import say


def main() -> int:
    """Run one command; a `ClusterError` is one line for the user."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.cluster", description=__doc__)
    commands.define(parser)
    arguments = parser.parse_args()
    try:
        return int(arguments.run(arguments) or 0)
    except ClusterError as failed:
        say(f"error: {failed}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
