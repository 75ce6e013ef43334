"""The report on a version: what it is made of, what changed, how good it is, what was decided about it. Pure.

In: the ModelVersion, its parent, the TrainingJob that made it, the ModelDeployments of its model. Out: the
page. Invariant: figures are those that stand in the objects; bounds are computed from counts and named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from noria_operator.cli.report.decisions import decided
from noria_operator.cli.report.page import Html, page, second, section, table, text
from noria_operator.cli.report.pictures import CHALLENGER, CHAMPION, Bar, bars
from noria_operator.domain.proportions import wilson

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
        *section("Why it was trained", *_why(spec.get("lineage", {}))),
        *section("What changed", _changed(spec, (found.parent or {}).get("spec"), found.parent)),
        *section("How good it is on held-out rows", *_quality(spec.get("evaluation"), found.run)),
        *(part for one in found.deployments for part in decided(one, name)),
        *section("What became of it", _history(status)),
        *section("Card", text(spec.get("card", ""))),
    ]
    return page(name, said, parts)


def _why(lineage: Json) -> Iterator[Html]:
    trigger = lineage.get("trigger")
    if not trigger:
        yield text("A person, or a program of theirs, started the run.")
        return
    yield text(f"{trigger.get('reason', '')} ({trigger.get('name', '')}), decided {trigger.get('at', '')}.")
    if trigger.get("value") is not None:
        rows = f", on {trigger['samples']} rows" if trigger.get("samples") else ""
        limit = trigger.get("threshold")
        yield text(f"Measured {trigger['value']}, compared with {limit or 'nothing'}{rows} (red line).")
        yield bars([Bar("measured", float(trigger["value"]), mark=None if limit is None else float(limit))])


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
        told = (
            f"{parts['oldest']} to {parts['newest']} ({parts['count']})" if parts else one.get("digest", "")
        )
        yield f"data {one['name']}", told or one.get("uri", "")
    yield "inputs", str(len(spec.get("signature", {}).get("inputs", ())))


def _quality(evaluation: Json | None, run: Json | None) -> Iterator[Html]:
    if not evaluation:
        yield text("It was not evaluated: nothing compares it with the champion of its time.")
        return
    versus = evaluation.get("versus") or {}
    rows = f" on {evaluation['rows']} rows" if evaluation.get("rows") else ""
    against = f", beside {versus['version']} on the same rows (grey)" if versus else ""
    yield text(f"Measured{rows}{against}.")
    for metric, value in sorted(evaluation["metrics"].items()):
        pair = [_bar(metric, metric, float(value), evaluation.get("rows"), CHALLENGER)]
        if metric in versus.get("metrics", {}):
            other = float(versus["metrics"][metric])
            pair.append(_bar(versus["version"], metric, other, evaluation.get("rows"), CHAMPION))
        yield bars(pair)
    if "accuracy" in evaluation["metrics"] and evaluation.get("rows"):
        yield text("The bounds of accuracy are Wilson's, at 95 %.")
    if slices := evaluation.get("slices"):
        yield text("By slice; the error is that of the difference, on the same rows:")
        heads = ["feature", "group", "rows", "metric", "challenger", "champion", "error"]
        yield table(heads, [[str(one.get(head, "")) for head in heads] for one in slices])
    gates = ((run or {}).get("status", {})).get("gates", ())
    yield table(
        ["gate", "result", "in figures"], [[g["metric"], g["result"], g.get("detail", "")] for g in gates]
    )


def _bar(name: str, metric: str, value: float, rows: int | None, colour: str) -> Bar:
    """The value of a metric, with bounds where it is a share of rows."""
    if metric != "accuracy" or not rows:
        return Bar(name, value, colour=colour)
    low, high = wilson(round(value * rows), rows)
    return Bar(name, value, colour=colour, low=low, high=high)


def _history(status: Json) -> Html:
    rows = [
        [second(one["at"]), f"{one.get('from') or 'new'} → {one['to']}", one.get("reason", "")]
        for one in status.get("history", ())
    ]
    return table(["at", "phase", "because"], rows)
