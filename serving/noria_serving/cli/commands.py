"""The commands of `noria-server`, and what it does without one: the environment that the operator sets
(contract.py) says which bundle to serve and under which names.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from noria_serving import contract, log, result, settings
from noria_serving.cli import history, inspect, predict, reference, serve
from noria_serving.errors import NoriaError
from noria_serving.leaving import leave
from noria_serving.supervisor import Parent

_ABOUT = (
    "Serve, inspect and use bundles, which noria_serving.bundle.save writes. Without a command it serves "
    "what the environment says, as Noria's operator sets it."
)


def run(given: Sequence[str], parent: Parent) -> int:
    """Exit codes: 0 after a drain, 2 for bad arguments or environment, 3 for unreachable storage, 1 for a
    refused bundle.
    """
    return _command(given, parent) if given else _from_environment(parent)


def end(given: Sequence[str], parent: Parent) -> NoReturn:
    """The same, and this process with it."""
    leave(run(given, parent))


def _command(arguments: Sequence[str], parent: Parent) -> int:
    chosen = _parser().parse_args(arguments, argparse.Namespace(parent=parent))
    log.configure(text=sys.stderr.isatty())
    try:
        code = int(chosen.run(chosen))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads it has enough, as `head` has; what is left goes nowhere
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return 0
    except NoriaError as error:
        sys.stderr.write(f"noria-server: {error.reason}: {error.message}\n")
        return result.exit_code(error.reason)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("noria-server", description=_ABOUT)
    parser.add_argument("--version", action="version", version=f"noria-server {contract.VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (serve, inspect, predict, reference, history):
        command.add(commands)
    return parser


def _from_environment(parent: Parent) -> int:
    log.configure()
    try:
        chosen = settings.read(os.environ)
    except NoriaError as error:
        logging.getLogger(__name__).error("%s", error.message, extra={"reason": str(error.reason)})  # noqa: TRY400
        result.write_error(contract.VERIFICATION_SCHEMA, error)
        return result.exit_code(error.reason)
    return serve.listen(chosen, parent)
