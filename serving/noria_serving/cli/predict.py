"""`noria-server predict BUNDLE ROWS`: predictions for the rows of a CSV or Parquet file, as CSV.

In: a file, or `-` for CSV on stdin; columns are found by the names in the signature. Out: one line a row, a
column each output; one of several columns (probabilities) is spread as NAME_CLASS.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from noria_serving import signing
from noria_serving.cli import output
from noria_serving.errors import NoriaError, Reason

if TYPE_CHECKING:
    from noria_serving.model.base import Backend
    from noria_serving.model.loaded import Loaded
    from noria_serving.rows import Rows
    from noria_serving.signature import Tensor

CHUNK: Final = 4096
"""Rows predicted at a time."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser(
        "predict", help="predict the rows of a file", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("bundle", metavar="BUNDLE", help="a directory, or a URI: s3, gs, az, https or oci")
    parser.add_argument("rows", metavar="ROWS", help="a .csv or .parquet file, or - for CSV on stdin")
    output.add(parser)
    parser.add_argument("--allow-code", action="store_true", help="load a model that runs code of its own")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the predictions."""
    from noria_serving.model.loaded import load  # noqa: PLC0415  a server without this command stays light

    trust = signing.read(os.environ)
    loaded = load(arguments.bundle, trust=trust, allow_code=arguments.allow_code)
    table = _read(arguments.rows, loaded.backend.signature.texts)
    with output.opened(arguments.output) as stream:
        _write(stream, loaded, table)
    return 0


def _read(place: str, texts: Sequence[str]) -> Rows:
    from noria_serving import rows  # noqa: PLC0415

    if place != "-":
        if not Path(place).exists():
            raise NoriaError(Reason.NOT_FOUND, f"no rows at {place}: there is no such file")
        return rows.read(place, texts=texts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stdin.csv"
        with path.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        return rows.read(str(path), texts=texts)


def _write(stream: IO[str], loaded: Loaded, table: Rows) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    backend, classes = loaded.backend, loaded.manifest.classes
    tensors = backend.signature.outputs
    if not table.count:
        widths = [abs(prod(tensor.shape[1:])) for tensor in tensors]
        writer.writerow(_header(tensors, widths, classes))
    for start in range(0, table.count, CHUNK):
        outputs = _predicted(backend, table, start, min(start + CHUNK, table.count))
        _refuse_by_batch(tensors, outputs, min(CHUNK, table.count - start))
        flat = [array.reshape(len(array), -1) for array in outputs]
        if not start:
            writer.writerow(_header(tensors, [one.shape[1] for one in flat], classes))
        columns = [column.tolist() for one in flat for column in one.T]
        writer.writerows(zip(*columns, strict=True))


def _predicted(backend: Backend, table: Rows, start: int, end: int) -> list[Any]:
    inputs = table.inputs(backend.signature, start, end)
    try:
        return backend.predict(inputs)
    except NoriaError:
        raise
    except Exception as error:
        raise NoriaError(
            Reason.MODEL_INVALID,
            f"the model fails on rows {start + 1} to {end}: {type(error).__name__}: {error!s:.300}",
        ) from error


def _refuse_by_batch(tensors: Sequence[Tensor], outputs: Sequence[Any], rows: int) -> None:
    odd = [t.name for t, output in zip(tensors, outputs, strict=True) if len(output) != rows]
    if odd:
        raise NoriaError(
            Reason.MODEL_INVALID,
            f"the outputs {odd[:9]} have not a value for each row, and so no line in a CSV",
        )


def _header(tensors: Sequence[Tensor], widths: Sequence[int], classes: Sequence[Any]) -> list[str]:
    names: list[str] = []
    for tensor, width in zip(tensors, widths, strict=True):
        labels = classes if len(classes) == width else range(width)
        names += [tensor.name] if width == 1 else [f"{tensor.name}_{label}" for label in labels]
    return names
