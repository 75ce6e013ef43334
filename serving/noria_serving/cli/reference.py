"""`noria-server reference BUNDLE|ROWS`: frozen bins of a bundle, or made of rows that stand for training.

In: a bundle, every byte checked, or a CSV or Parquet file with the columns of a recorded history: `score` or
`prediction`, perhaps `label`, and features. Out: reference.json, for `kubectl noria simulate --reference`.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from noria_serving import contract, reference, signing, slices
from noria_serving.artifact import Artifact, open_source
from noria_serving.cli import output
from noria_serving.errors import NoriaError, Reason


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser(
        "reference", help="frozen bins of a bundle, or of rows that stand for training", description=__doc__
    )
    parser.add_argument("place", metavar="BUNDLE|ROWS", help="a bundle, or a .csv, .csv.gz or .parquet file")
    parser.add_argument("--slices", default="", help="of rows: columns, by commas, that tell groups apart")
    output.add(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the bins."""
    from noria_serving.rows import SUFFIXES  # noqa: PLC0415  a server without this command stays light

    if arguments.place.endswith(SUFFIXES):
        made = of_rows(arguments.place, [name for name in arguments.slices.split(",") if name])
    elif arguments.slices:
        raise NoriaError(
            Reason.CONFIGURATION, "--slices goes with rows; a bundle has those it was saved with"
        )
    else:
        artifact = Artifact(open_source(arguments.place), trust=signing.read(os.environ))
        artifact.verify()
        made = artifact.document(contract.REFERENCE)
    with output.opened(arguments.output) as stream:
        stream.write(json.dumps(made) + "\n")
    return 0


def of_rows(place: str, apart: list[str]) -> dict[str, Any]:
    """The bins of a file's rows."""
    from noria_serving import rows  # noqa: PLC0415

    columns = rows.read(place).columns
    told = [name for name in contract.HISTORY_PREDICTIONS if name in columns]
    if not told:
        raise NoriaError(
            Reason.DATA_INVALID,
            f"{place} needs a column score (of two classes), prediction (of a regression), or both (of "
            "several classes)",
        )
    errors = [*told, "label"] if "score" not in told and "label" in columns else []
    if texts := [name for name in ["score", *errors] if name in columns and columns[name].dtype.kind == "O"]:
        raise NoriaError(
            Reason.DATA_INVALID,
            f"{place}: column {texts[0]!r} holds text, and must be numbers: so are scores, and predictions "
            "and labels without scores, which are of a regression",
        )
    features = {name: values for name, values in columns.items() if name not in contract.HISTORY_COLUMNS}
    if strange := [name for name in apart if name not in features]:
        raise NoriaError(Reason.DATA_INVALID, f"--slices: {place} has no column {', '.join(strange)}")
    called = columns["prediction"] if len(told) > 1 else None
    return reference.of_columns(
        features, columns[told[0]], apart=slices.wanted(apart), labels=columns.get("label"), called=called,
        scored="score" in told,
    )  # fmt: skip
