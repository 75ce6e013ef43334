"""The demo's report: from the objects, the timeline and the replayer's figures to one document. Pure.

In: what World, Steps and the replayer kept. Out: the content of build/demo/report.json. Invariant: nothing is
in the report that was not read from the cluster or counted by the replayer.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from examples.flights.names import ONE_IN

Json = dict[str, Any]
AUTUMN: Final = ("9", "10", "11", "12")


def versions(objects: Sequence[Json], deployment: Json) -> list[Json]:
    """Each ModelVersion with where it comes from and what became of it."""
    status = deployment.get("status") or {}
    history = status.get("history") or []
    rejected = {one["version"]: one.get("reason", "") for one in status.get("rejected") or []}
    result = []
    for obj in objects:
        name, spec = obj["metadata"]["name"], obj["spec"]
        lineage = spec.get("lineage") or {}
        result.append(
            {
                "name": name,
                "digest": spec["artifact"]["digest"],
                "training_job": (lineage.get("trainingJob") or {}).get("name"),
                "trigger": lineage.get("trigger"),
                "metrics": (spec.get("evaluation") or {}).get("metrics"),
                "phase": (obj.get("status") or {}).get("phase"),
                "rejected": rejected.get(name),
                "promoted_at": _first(history, "Promoted", name),
            }
        )
    return result


def trainings(objects: Sequence[Json]) -> list[Json]:
    """Each TrainingJob with its reason, its evaluation and its gates."""
    result = []
    for obj in objects:
        status = obj.get("status") or {}
        result.append(
            {
                "name": obj["metadata"]["name"],
                "trigger": status.get("trigger"),
                "phase": status.get("phase"),
                "reason": condition(obj, "Failed").get("reason", "")
                if status.get("phase") == "Failed"
                else "",
                "message": status.get("message", ""),
                "evaluation": status.get("evaluation"),
                "gates": status.get("gates", []),
                "model_version": status.get("modelVersion"),
            }
        )
    return result


def settings(deployment: Json, continuous: Json) -> Json:
    """How the year was shortened: what production chooses longer, as the objects themselves say it."""
    strategy, watched = deployment["spec"]["strategy"], continuous["spec"]
    return {
        "note": "a year in minutes: steps, windows and cooldown are far shorter than in production",
        "sample": f"one flight in {ONE_IN}",
        "steps": strategy["steps"],
        "window": strategy["analysis"]["interval"],
        "keep_previous": strategy["keepPrevious"],
        "triggers": watched["triggers"],
        "cooldown": watched["cooldown"],
        "budget": watched["budget"],
    }


def condition(obj: Json, name: str) -> Json:
    """One condition of an object; empty when it has none."""
    found = (one for one in (obj.get("status") or {}).get("conditions") or [] if one.get("type") == name)
    return next(found, {})


def abort(timeline: Sequence[Mapping[str, Any]], deployment: Json, version: str, answers: Json) -> Json:
    """How long it took from the decision to weight 0, read back from every router.

    The decision's time is the operator's own; the read-back's is when the demo's watch delivered the status
    that says so, so the figure is an upper bound.
    """
    rejected = next(
        (one for one in (deployment.get("status") or {}).get("rejected") or [] if one["version"] == version),
        None,
    )
    if rejected is None:
        return {"version": version, "aborted": False}
    decided = datetime.fromisoformat(rejected["at"].replace("Z", "+00:00")).timestamp()
    back = next(
        (
            entry["wall"]
            for entry in timeline
            if entry["wall"] >= decided and entry["verified"] and not entry["weights"].get(version)
        ),
        None,
    )
    last = (answers.get(version.rsplit("-", 1)[1]) or {}).get("last")
    return {
        "version": version,
        "aborted": True,
        "reason": rejected.get("reason", ""),
        "decided_at": rejected["at"],
        "seconds_to_weight_0": round(back - decided, 3) if back is not None else None,
        "seconds_to_last_answer": round(last - decided, 3) if last else None,
    }


def autumn(quality: Mapping[str, Mapping[str, Any]]) -> Json:
    """Mean AUC of September to December, served and never retrained."""
    months = [quality[month] for month in AUTUMN if month in quality]
    result: Json = {"months": len(months)}
    for key in ("served", "never_retrained"):
        values = [float(month[key]) for month in months if month.get(key) is not None]
        result[key] = round(statistics.fmean(values), 5) if values else None
    return result


def requests(replay: Json) -> Json:
    """What was sent, answered and failed, by version."""
    return {
        "sent": replay["sent"],
        "answered": replay["answered"],
        "failed": replay["failed"],
        "by_version": {
            name: {"answered": seen["answered"], "failed": seen["failed"]}
            for name, seen in sorted(replay["versions"].items())
        },
        "feedback": replay["feedback"],
        "latency_ms": replay["latency_ms"],
        "failures": replay["failures"],
    }


def _first(history: Sequence[Json], event: str, version: str) -> str | None:
    return next((e["at"] for e in history if e["event"] == event and e.get("version") == version), None)
