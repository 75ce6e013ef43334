"""Where a command writes what it found: a file, or stdout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from noria_serving.errors import NoriaError, Reason


def add(parser: argparse.ArgumentParser) -> None:
    """The argument that says where."""
    parser.add_argument("--output", metavar="FILE", type=Path, help="default: stdout")


@contextmanager
def opened(file: Path | None) -> Iterator[IO[str]]:
    """The file anew, or stdout; NoriaError for a place that cannot be written to."""
    if file is None:
        yield sys.stdout
        return
    try:
        with file.open("w", newline="", encoding="utf-8") as stream:
            yield stream
    except OSError as error:
        raise NoriaError(Reason.CONFIGURATION, f"{file} cannot be written: {error.strerror}") from error
