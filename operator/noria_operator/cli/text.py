"""Objects as text for people: one line for what something does, a few for why.

In: objects as the API server gives them. Out: lines. Everything shown stands in status; nothing is worked
out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from noria_operator.api import names

Json = dict[str, Any]
_MANUAL = "Manual"
"""The entry among triggers that tells of what people ask for."""
_NOT_BY_HAND = frozenset({"Cooldown", "CircuitOpen", "Trigger"})
"""What holds the runs of triggers alone."""
NOTHING = "no ModelDeployment and no ContinuousTraining in this namespace; name another with -n"


def deployments(found: Iterable[Json]) -> list[str]:
    """A table of ModelDeployments."""
    rows = [("NAME", "PHASE", "STABLE", "CANDIDATE", "TRAFFIC", "MESSAGE")]
    for obj in found:
        status = obj.get("status", {})
        rows.append(
            (
                obj["metadata"]["name"],
                status.get("phase", "-"),
                status.get("stable", {}).get("version", "-"),
                ", ".join(one["version"] for one in _challengers(status)) or "-",
                traffic(status),
                status.get("message", ""),
            )
        )
    return table(rows)


def trainings(found: Iterable[Json]) -> list[str]:
    """A table of ContinuousTrainings."""
    rows = [("NAME", "DEPLOYMENT", "LAST", "BLOCKED BY", "NEXT", "MESSAGE")]
    for obj in found:
        status = obj.get("status", {})
        last = status.get("lastTrigger", {})
        rows.append(
            (
                obj["metadata"]["name"],
                obj.get("spec", {}).get("deployment", "-"),
                f"{last.get('name')} ({last.get('at')})" if last else "-",
                status.get("blockedBy") or "-",
                status.get("nextEligibleTime", "-"),
                status.get("message", ""),
            )
        )
    return table(rows)


def traffic(status: Json) -> str:
    """Weights, copies and headers in words, with a question mark where no router has confirmed them yet, `~`
    where none can, and what a weight comes to where pods divide the traffic.
    """
    shares = status.get("traffic") or []
    many = Counter(one["version"] for one in shares)
    return (
        ", ".join(_share(one, one["version" if many[one["version"]] == 1 else "name"]) for one in shares)
        or "-"
    )


def _share(share: Json, name: str) -> str:
    headers = ", ".join(f"{one['name']}: {one['value']}" for one in share.get("match") or ())
    more = [f"copies of {share['mirror']}%"] if share.get("mirror") else []
    more += [f"requests with {headers}"] if headers else []
    proof = "" if share.get("verified") else "~" if share.get("assumed") else "?"
    real = f" ({share['realised']}% of pods)" if "realised" in share else ""
    return " + ".join([f"{name} {share['weight']}%", *more]) + proof + real


def why(obj: Json) -> list[str]:
    """Why an object is as it is: its message, conditions, evidence, decisions and last events."""
    status = obj.get("status", {})
    head = f"{obj['kind']} {obj['metadata']['name']}: {_phase(status)}"
    lines = [head, *_message(status)]
    lines += _section("conditions", _conditions(status))
    details = {
        names.MODEL_DEPLOYMENT: _deployment,
        names.CONTINUOUS_TRAINING: _training,
        names.TRAINING_JOB: _run,
        names.MODEL_VERSION: _version,
    }
    return lines + details[obj["kind"]](status)


def refusal(before: Json, obj: Json, command: str) -> str:
    """What the operator said when it refused the command, an annotation with its id; empty where it did
    not. Whatever was in the history `before` is not about it: ids may come again.
    """
    past = before.get("status", {}).get("history", [])
    told = (
        one.get("message", "")
        for one in obj.get("status", {}).get("history", [])
        if one.get("event") == "CommandRefused" and one not in past
    )
    shown = " ".join(f"{command}:".split())  # as messages are
    return next((message for message in told if message.startswith(shown)), "")


def held(status: Json) -> str:
    """What holds a run that a person asks for, as a ContinuousTraining says; empty where nothing does."""
    manual: Json = next((one for one in status.get("triggers", []) if one["name"] == _MANUAL), {})
    if manual.get("decision") == "Blocked":
        by, _, why = manual.get("message", "").rpartition("; held by ")[2].partition(": ")
        return f"({by}): {why}"
    by = status.get("blockedBy")
    return "" if not by or by in _NOT_BY_HAND else f"({by}): {status.get('message', '')}"


def history(obj: Json) -> list[str]:
    """The champions that can be gone back to, and what happened to a ModelDeployment, oldest first."""
    status = obj.get("status", {})
    champions = [(one["version"], one["name"]) for one in status.get("champions", [])]
    events = [
        (_when(one), one["event"], one.get("version") or "-", one.get("message", ""))
        for one in status.get("history", [])
    ]
    return [
        *table([("CHAMPION", "REVISION"), *champions]),
        "",
        *table([("AT", "EVENT", "VERSION", "MESSAGE"), *events]),
    ]


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns aligned by spaces, as kubectl prints them."""
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    return [
        "   ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _deployment(status: Json) -> list[str]:
    lines = _section("traffic", [traffic(status)] if status.get("traffic") else [])
    arms = _challengers(status)
    told = [(one["version"], one.get("analysis") or {}) for one in arms]
    if len(told) < 2:
        last = status.get("analysis") or {}
        told = [("" if arms else last.get("version", ""), last)]
    evidence = [
        f"{version} {_evidence(analysis)}".lstrip() for version, analysis in told if analysis.get("verdict")
    ]
    lines += _section("evidence", evidence)
    rejected = [
        f"{one['version']}: {one.get('reason', '')} ({_when(one)})" for one in status.get("rejected", [])
    ]
    return lines + _section("rejected versions", rejected) + _history(status)


def _challengers(status: Json) -> list[Json]:
    """Those that are on trial, each with its judgement."""
    first = status.get("candidate")
    return [{**first, "analysis": status.get("analysis")}, *status.get("others", [])] if first else []


def _evidence(analysis: Json) -> str:
    """One paragraph: the verdict, then what was said of each measure."""
    measures = analysis.get("measures", [])
    if len(measures) < 2:
        return f"{analysis['verdict']}: {analysis.get('message', '')}"
    said = [f"{one['name']} {one['verdict']}, {one.get('message', '')}" for one in measures]
    return f"{analysis['verdict']}. {'. '.join(said)}."


def _training(status: Json) -> list[str]:
    decisions = []
    for trigger in status.get("triggers", []):
        detail = f" [{told}]" if (told := figures(trigger)) else ""
        decisions.append(
            f"{trigger['name']}: {trigger.get('decision', '-')}{detail} {trigger.get('message', '')}"
            + (f" ({trigger['problem']})" if trigger.get("problem") else "")
        )
    runs = [
        f"{run['at']} {run.get('trigger', '')} → {run.get('trainingJob', '')}, "
        f"{run.get('result') or 'not known yet how it ended'}"
        for run in status.get("runs", [])
    ]
    planned: Json = status.get("followUp") or {}
    follows = [f"{planned['at']}: follows the run {planned['of']}"] if planned else []
    return _section("triggers", decisions) + _section("runs", runs) + _section("planned run", follows)


def figures(trigger: Json) -> str:
    """What a trigger measured, against what, on what, in which window, and the reason in one word."""
    found = [
        f"{word} {trigger[field]}"
        for word, field in (
            *(("value", "value"), ("within", "interval"), ("threshold", "threshold"), ("best", "best")),
            *(("samples", "samples"), ("coverage", "coverage"), ("labels come within", "labelDelay")),
            *(("lost so far", "regret"), ("worth a run from", "forecast"), ("next run", "nextRun")),
            *(("window", "windowLength"), ("false alarms a month at most", "expectedFalseAlarms")),
            *(("until", "windowEndedAt"), ("since", "since"), ("reason", "reason")),
        )
        if trigger.get(field) is not None
    ]
    return ", ".join(found)


def _run(status: Json) -> list[str]:
    gates = [
        f"{gate['metric']}: {gate['result']} {gate.get('detail', '')}" for gate in status.get("gates", [])
    ]
    made = [status["modelVersion"]] if status.get("modelVersion") else []
    return _section("gates", gates) + _section("version made", made)


def _version(status: Json) -> list[str]:
    return _section("served by", status.get("servedBy", [])) + _history(status)


def _history(status: Json) -> list[str]:
    lines = []
    for entry in status.get("history", [])[-5:]:
        what = entry.get("event") or f"{entry.get('from') or 'new'} → {entry.get('to')}"
        lines.append(f"{_when(entry)} {what} {entry.get('message') or entry.get('reason') or ''}".rstrip())
    return _section("history", lines)


def _phase(status: Json) -> str:
    """The phase; the reason of Ready where a kind has none."""
    reasons = (one["reason"] for one in status.get("conditions", []) if one["type"] == "Ready")
    return str(status.get("phase") or next(reasons, "no status yet"))


def _message(status: Json) -> list[str]:
    return [f"  {status['message']}"] if status.get("message") else []


def _conditions(status: Json) -> Iterable[str]:
    """Each condition, with its message where the object as a whole says something else."""
    for one in status.get("conditions", []):
        message = one.get("message")
        told = f": {message}" if message and message != status.get("message") else ""
        yield f"{one['type']}={one['status']} {one['reason']}{told}"


def _when(entry: Json) -> str:
    """To the second; status has more, which tells apart what happened in one."""
    at: str = entry.get("at", "")
    return f"{at.partition('.')[0]}Z" if "." in at else at


def _section(title: str, lines: Iterable[str]) -> list[str]:
    found = [f"  {line.strip()}" for line in lines]
    return [f"{title}:", *found] if found else []
