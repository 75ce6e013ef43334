"""`kubectl noria report NAME`: find what a report reads, and write it.

In: a name as a person typed it. Out: a file. Invariant: nothing is overwritten that this command
did not write.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any, Final

from noria_operator.api import names
from noria_operator.cli.cluster import CommandError, Objects, find
from noria_operator.cli.report.decisions import deployment_report, training_report
from noria_operator.cli.report.run import run_report
from noria_operator.cli.report.version import Found, report

Json = dict[str, Any]
FIRST: Final = "<!doctype html>"


def run(options: Namespace, objects: Objects) -> list[str]:
    """Make the report that the options ask for; its file is the line to print."""
    name, page = made(objects, options.name)
    file = options.output or Path(f"{name}.html")
    write(page, file)
    return [f"{file}"]


def made(objects: Objects, name: str) -> tuple[str, str]:
    """(name of the object, its page)."""
    obj = find(objects, name)
    pages = {
        names.MODEL_DEPLOYMENT: deployment_report,
        names.CONTINUOUS_TRAINING: training_report,
        names.TRAINING_JOB: run_report,
    }
    page = pages.get(obj["kind"])
    return obj["metadata"]["name"], page(obj) if page else report(_found(objects, obj))


def write(page: str, file: Path) -> None:
    """Write the page; CommandError where something else is there."""
    try:
        if file.exists() and not file.read_text(encoding="utf-8", errors="replace").startswith(FIRST):
            raise CommandError(f"{file} is no report; choose another name with --output")
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}") from error


def _found(objects: Objects, version: Json) -> Found:
    lineage = version["spec"].get("lineage", {})
    parent, made_by = lineage.get("parent"), lineage.get("trainingJob") or {}
    run = objects.get(names.TRAINING_JOB, made_by["name"]) if made_by else None
    if run and run["metadata"]["uid"] != made_by.get("uid"):
        run = None  # another one, of the same name
    model = version["spec"]["model"]
    return Found(
        version,
        objects.get(names.MODEL_VERSION, parent) if parent else None,
        run,
        [one for one in objects.list(names.MODEL_DEPLOYMENT) if one["spec"]["model"] == model],
    )
