"""The decisions that a ModelDeployment or a ContinuousTraining took, with their evidence. Pure.

In: the object. Out: parts of a page, or a page. Invariant: a verdict stands beside the counts and
figures that it was made from; what is not known is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from noria_operator.cli.report.page import Html, page, second, section, table, text
from noria_operator.cli.report.pictures import CHAMPION, Bar, bars, number, timeline
from noria_operator.cli.text import figures as told
from noria_operator.domain.proportions import wilson

Json = dict[str, Any]
COLOURS: Final = {"Promoted": "#1a7f37", "RolledBack": "#cf222e", "RolloutCancelled": "#cf222e"}
OTHER: Final = "#0969da"


def decided(deployment: Json, version: str) -> list[Html]:
    """What a ModelDeployment decided about a version, and on what evidence; nothing where it never met it."""
    status, name = deployment.get("status", {}), deployment["metadata"]["name"]
    events = [one for one in status.get("history", ()) if one.get("version") == version]
    rejected = [
        text(f"Rejected at {second(one.get('at', ''))}: {one.get('reason', '')}")
        for one in status.get("rejected", ())
        if one["version"] == version
    ]
    evidence = [
        part
        for one in status.get("decisions", ())
        if one["version"] == version
        for part in (text(_decision(one)), *_evidence(one.get("evidence", {})))
    ]
    judged = [part for one, analysis in _judged(status) if one == version for part in _evidence(analysis)]
    found = [*rejected, *evidence, *judged]
    story = _story(events) if events else ()
    return section(f"Decisions of ModelDeployment {name}", *found, *story)


def deployment_report(deployment: Json) -> str:
    """The page on a ModelDeployment: what it does now, on what evidence, and all that it remembers."""
    status, name = deployment.get("status", {}), deployment["metadata"]["name"]
    shares = [
        Bar(one["version"], one["weight"] / 100, colour=CHAMPION if _stable(one, status) else OTHER)
        for one in status.get("traffic", ())
    ]
    rejected = [
        [one["version"], second(one.get("at", "")), one.get("reason", "")]
        for one in status.get("rejected", ())
    ]
    judged = (
        part
        for version, analysis in _judged(status)
        for part in section(f"The judgement on {version or 'the last one'}", *_evidence(analysis))
    )
    decisions = (
        part
        for one in reversed(status.get("decisions", ()))
        for part in section(f"{one['version']}: {_decision(one)}", *_evidence(one.get("evidence", {})))
    )
    parts = [
        text(status.get("message", "")),
        *section("Share of requests", bars(shares, percent=True)),
        *judged,
        *decisions,
        *section("Rejected versions", table(["version", "at", "because"], rejected)),
        *section("What happened", *_story(status.get("history", ()))),
    ]
    return page(
        name,
        f"ModelDeployment of {deployment['spec']['model']}, {status.get('phase', 'no status yet')}",
        parts,
    )


def _judged(status: Json) -> Iterator[tuple[str, Json]]:
    """(version, what was said of it last) of each challenger, or of the last one; an earlier release did not
    tell of whom that is, once there is none.
    """
    last, trial = status.get("analysis") or {}, status.get("candidate")
    version = (trial or {}).get("version") or last.get("version", "")
    if trial or not any(one["version"] == version for one in status.get("decisions", ())):
        yield version, last
    for one in status.get("others", ()):
        yield one["version"], one.get("analysis") or {}


def _decision(one: Json) -> str:
    return f"{one['decision']} at {second(one['at'])}; the evidence by then"


def training_report(training: Json) -> str:
    """The page on a ContinuousTraining: each trigger's last decision, also "no", and the runs it led to."""
    status, name = training.get("status", {}), training["metadata"]["name"]
    runs = [
        [run["at"], run.get("trigger", ""), run.get("trainingJob", ""), run.get("result") or "not known yet"]
        for run in status.get("runs", ())
    ]
    times = [(_seconds(run["at"]), run.get("trigger", ""), OTHER) for run in status.get("runs", ())]
    parts = [
        text(status.get("message", "")),
        *(part for one in status.get("triggers", ()) for part in _trigger(one)),
        *section("Runs", timeline(times), table(["at", "trigger", "TrainingJob", "how it ended"], runs)),
    ]
    return page(name, f"ContinuousTraining of {training['spec']['deployment']}", parts)


def _trigger(entry: Json) -> list[Html]:
    figures: list[Bar] = []
    value, limit = number(entry.get("value")), number(entry.get("threshold"))
    if value is not None:
        rows = f" ({entry['samples']} rows)" if entry.get("samples") else ""
        low, _, high = str(entry.get("interval") or "").partition(" to ")
        figures.append(Bar(f"value{rows}", value, low=number(low), high=number(high), mark=limit))
    if (best := number(entry.get("best"))) is not None:
        figures.append(Bar("best ever", best, colour=CHAMPION))
    head = f"Trigger {entry['name']}: {entry.get('decision', 'not decided yet')}"
    return section(
        head,
        text(entry.get("message", "")),
        text(f"This stands, as {entry['problem']}" if entry.get("problem") else ""),
        bars(figures),
        text(told(entry)),
        *_columns(entry.get("columns", ())),
    )


def _columns(columns: Any) -> Iterator[Html]:
    """The columns that stand out most, each beside what it is compared with."""
    if not columns:
        return
    yield text("The columns that stand out most; the red line is the threshold:")
    yield bars(
        [
            Bar(f"{one['name']} {one.get('check', '')}".strip(), value, mark=number(one.get("threshold")))
            for one in columns
            if (value := number(one.get("value"))) is not None
        ]
    )
    heads = ("name", "check", "value", "threshold", "floor", "samples", "drifted")
    used = [head for head in heads if any(one.get(head) is not None for one in columns)]
    yield table(used, [[str(one.get(head, "")) for head in used] for one in columns])


def _evidence(analysis: Json) -> Iterator[Html]:
    if not analysis.get("verdict"):
        return
    yield text(f"{analysis['verdict']}: {analysis.get('message', '')}")
    shares = [
        bar
        for role, colour in (("challenger", OTHER), ("champion", CHAMPION))
        if (bar := _errors(role, analysis.get(role) or {}, colour)) is not None
    ]
    if shares:
        yield text("Share of requests that failed, as routers counted them, with Wilson's bounds at 95 %:")
        yield bars(shares, percent=True)
    rows = [[one["name"], one["verdict"], one.get("message", "")] for one in analysis.get("measures", ())]
    yield table(["measure", "verdict", "because"], rows)
    figures = [
        [one["name"], name, str(value)]
        for one in analysis.get("measures", ())
        for name, value in sorted(one.get("figures", {}).items())
    ]
    yield table(["measure", "figure", "value"], figures)


def _errors(role: str, counts: Json, colour: str) -> Bar | None:
    requests, errors = int(counts.get("requests", 0)), int(counts.get("errors", 0))
    if not requests:
        return None
    low, high = wilson(errors, requests)
    name = f"{role}: {errors} of {requests}"
    return Bar(name, errors / requests, colour=colour, low=low, high=high)


def _story(events: Any) -> Iterator[Html]:
    yield timeline([(_seconds(one["at"]), one["event"], COLOURS.get(one["event"], OTHER)) for one in events])
    rows = [
        [second(one["at"]), one["event"], one.get("version", ""), one.get("message", "")] for one in events
    ]
    yield table(["at", "event", "version", "because"], rows)


def _stable(share: Json, status: Json) -> bool:
    return (status.get("stable") or {}).get("name") == share.get("name")


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
