"""The report on a run: why it was started, what it read, how its rows and its model were judged. Pure.

In: the TrainingJob. Out: the page. Invariant: a run that was refused shows the same figures as one that made
a version.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from noria_operator.cli.report.page import Html, page, section, table, text
from noria_operator.cli.report.trained import gates, partitions, quality, why

Json = dict[str, Any]


def run_report(run: Json) -> str:
    """The page."""
    spec, status, name = run["spec"], run.get("status", {}), run["metadata"]["name"]
    version = status.get("modelVersion")
    claims = [[metric, str(value)] for metric, value in sorted(status.get("claims", {}).items())]
    parts = [
        text(status.get("message", "")),
        text(f"Its page: kubectl noria report mv/{version}" if version else ""),
        *section("Why it was started", *why(status.get("trigger"))),
        *section("What it is made of", table(["", "this run"], list(_facts(spec, status)))),
        *section("How its rows looked before it", *_rows(status.get("dataQuality"))),
        *section("How good the model is on held-out rows", *_judged(status)),
        *section("What the trainer itself claims; no gate reads it", table(["figure", "value"], claims)),
    ]
    return page(name, f"TrainingJob of {spec['model']}, {_ended(status)}", parts)


def _ended(status: Json) -> str:
    """The phase, why it failed, and from when to when it ran."""
    failed = [one["reason"] for one in status.get("conditions", ()) if _is_failure(one)]
    words = [f"{status.get('phase', 'no status yet')}{''.join(f' ({reason})' for reason in failed)}"]
    words += [
        f"{word} {status[field]}"
        for word, field in (("started", "startTime"), ("ended", "completionTime"))
        if status.get(field)
    ]
    return ", ".join(words)


def _is_failure(condition: Json) -> bool:
    return (condition["type"], condition["status"]) == ("Failed", "True")


def _facts(spec: Json, status: Json) -> Iterator[list[str]]:
    resolved = status.get("resolved", {})
    if image := resolved.get("image") or spec.get("image"):
        yield ["image", image]
    if spec.get("seed"):
        yield ["seed", str(spec["seed"])]
    for key, value in sorted(spec.get("params", {}).items()):
        yield [f"parameter {key}", str(value)]
    read = {one["name"]: one for one in resolved.get("data", ())}
    for one in spec.get("data", ()):
        yield [f"data {one['name']}", _data(one, read.get(one["name"], {}))]
    if status.get("attempts"):
        yield ["attempts", str(status["attempts"])]


def _data(asked: Json, read: Json) -> str:
    chosen = read.get("partitions")
    told = partitions(chosen) if chosen else read.get("digest") or asked.get("uri", "")
    return f"{told}, {read['rows']} rows" if read.get("rows") is not None else told


def _rows(found: Json | None) -> Iterator[Html]:
    """What the check of the rows for training said."""
    if not found:
        return
    against = f"; compared with the rows of {found['against']}" if found.get("against") else ""
    yield text(f"{found['result']}: {found.get('message', '')}{against}")
    rows = [
        [one.get("name") or "all rows", one["check"], one["value"], one["threshold"]]
        for one in found.get("violations", ())
    ]
    yield table(["column", "check", "value", "tolerated"], rows)


def _judged(status: Json) -> Iterator[Html]:
    scored = status.get("evaluation")
    if scored:
        champion = {
            "version": scored.get("championVersion", ""),
            "metrics": scored.get("champion") or {},
            "errors": scored.get("errors"),
        }
        versus = champion if scored.get("champion") else None
        yield from quality({**scored, "metrics": scored.get("challenger", {}), "versus": versus})
    yield gates(status.get("gates", ()))
