"""`noria-server`: told by its arguments what to do, or, without any, by the environment what to serve.

Who serves is supervised (supervisor.py): this process stays behind, and must have imported next to nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from noria_serving.supervisor import Parent, supervise


def main(arguments: Sequence[str] | None = None) -> None:
    """With arguments that a program gives, nothing is supervised: its process is not ours to fork or end."""
    given = sys.argv[1:] if arguments is None else arguments
    serves = not given or given[0] == "serve"
    parent = supervise() if serves and arguments is None else Parent()
    from noria_serving.cli import commands  # noqa: PLC0415  in the server, not in the supervisor

    if arguments is None:
        commands.end(given, parent)
    sys.exit(commands.run(given, parent))


if __name__ == "__main__":
    main()
