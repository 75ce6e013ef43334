"""The report on a version: what it is made of, what changed, how good it is, what was decided about it. Pure.

In: the ModelVersion, its parent, the TrainingJob that made it, the ModelDeployments of its model. Out: the
page. Invariant: figures are those that stand in the objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from noria_operator.cli.report.decisions import decided
from noria_operator.cli.report.page import Html, page, second, section, table, text
from noria_operator.cli.report.trained import gates, partitions, quality, why

Json = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """Everything that a report on a version reads."""

    version: Json
    parent: Json | None = None
    run: Json | None = None
    deployments: Sequence[Json] = ()


def report(found: Found) -> str:
    """The page."""
    version, spec = found.version, found.version["spec"]
    name, status = version["metadata"]["name"], version.get("status", {})
    made = version["metadata"].get("creationTimestamp", "")
    said = f"ModelVersion of {spec['model']}, {status.get('phase', 'no status yet')}, made {made}"
    parts = [
        text(status.get("message", "")),
        *section("Why it was trained", *why(spec.get("lineage", {}).get("trigger"))),
        *section("What changed", _changed(spec, (found.parent or {}).get("spec"), found.parent)),
        *section(
            "How good it is on held-out rows",
            *quality(spec.get("evaluation")),
            gates((found.run or {}).get("status", {}).get("gates", ())),
        ),
        *(part for one in found.deployments for part in decided(one, name)),
        *section("What became of it", _history(status)),
        *section("Card", text(spec.get("card", ""))),
    ]
    return page(name, said, parts)


def _changed(spec: Json, before: Json | None, parent: Json | None) -> Html:
    """The version beside its parent, row by row."""
    rows = dict(_facts(spec))
    if before is None or parent is None:
        return table(["", "this version"], list(rows.items()))
    old = dict(_facts(before))
    names = [*rows, *(name for name in old if name not in rows)]
    compared = [[name, old.get(name, "–"), rows.get(name, "–")] for name in names]
    return table(["", parent["metadata"]["name"], "this version"], compared, compared=True)


def _facts(spec: Json) -> Iterator[tuple[str, str]]:
    artifact, lineage = spec["artifact"], spec.get("lineage", {})
    yield "artifact", f"{artifact['format']}, {artifact['digest']}"
    for key in ("image", "git", "seed"):
        if lineage.get(key) not in (None, ""):
            yield key, str(lineage[key])
    for key, value in sorted(lineage.get("params", {}).items()):
        yield f"parameter {key}", str(value)
    for one in lineage.get("data", ()):
        parts = one.get("partitions")
        told = partitions(parts) if parts else one.get("digest", "")
        yield f"data {one['name']}", told or one.get("uri", "")
    yield "inputs", str(len(spec.get("signature", {}).get("inputs", ())))


def _history(status: Json) -> Html:
    rows = [
        [second(one["at"]), f"{one.get('from') or 'new'} → {one['to']}", one.get("reason", "")]
        for one in status.get("history", ())
    ]
    return table(["at", "phase", "because"], rows)
