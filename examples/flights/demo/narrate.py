"""What a change of an object means, in a sentence. Pure.

In: the object before and after. Out: lines to tell, each with the kubectl command that shows the same.
Invariant: an object seen twice without a change tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]
_SHORT: Final = {
    "TrainingJob": "tj",
    "ModelVersion": "mv",
    "ModelDeployment": "md",
    "ContinuousTraining": "ct",
}


@dataclass(frozen=True)
class Line:
    """One thing to tell."""

    text: str
    command: str = ""


def changes(kind: str, before: Json | None, after: Json) -> list[Line]:
    """The lines for one event."""
    tellers = {
        "TrainingJob": _training,
        "ModelVersion": _version,
        "ModelDeployment": _deployment,
        "ContinuousTraining": _continuous,
    }
    teller = tellers.get(kind)
    if teller is None:
        return []
    return list(teller(_status(before), _status(after), after))


def _status(obj: Json | None) -> Json:
    return dict((obj or {}).get("status") or {})


def _show(kind: str, obj: Json, *, verb: str = "get") -> str:
    metadata = obj["metadata"]
    return f"kubectl -n {metadata['namespace']} {verb} {_SHORT[kind]} {metadata['name']}"


def _training(old: Json, new: Json, obj: Json) -> Iterator[Line]:
    if new.get("phase") == old.get("phase"):
        return
    name, phase = obj["metadata"]["name"], new.get("phase")
    if phase == "Succeeded":
        yield Line(f"{name} succeeded: {_scores(new)} → {new.get('modelVersion')}", _show("TrainingJob", obj))
    elif phase == "Failed":
        yield Line(f"{name} failed: {new.get('message', '')}", _show("TrainingJob", obj, verb="describe"))
    elif phase:
        yield Line(f"{name} is {phase}")


def _scores(status: Json) -> str:
    evaluation = status.get("evaluation") or {}
    mine = (evaluation.get("challenger") or {}).get("auc")
    other = (evaluation.get("champion") or {}).get("auc")
    against = f" against {other} of {evaluation.get('championVersion')}" if other else ""
    return f"auc {mine} on {evaluation.get('rows')} held-out rows{against}"


def _version(old: Json, new: Json, obj: Json) -> Iterator[Line]:
    if new.get("phase") != old.get("phase") and new.get("phase"):
        yield Line(f"{obj['metadata']['name']} is {new['phase']}", _show("ModelVersion", obj))


def _deployment(old: Json, new: Json, obj: Json) -> Iterator[Line]:
    known = [entry for entry in old.get("history") or []]
    for entry in new.get("history") or []:
        if entry not in known:
            yield Line(f"{entry['event']}: {entry.get('message', '')}", _show("ModelDeployment", obj))
    shares, verified = _traffic(new)
    if verified and (shares, verified) != _traffic(old):
        split = ", ".join(f"{version} {weight} %" for version, weight in shares.items())
        yield Line(f"in force, read back from every router: {split}")


def _traffic(status: Json) -> tuple[dict[str, int], bool]:
    traffic = status.get("traffic") or []
    return {t["version"]: t["weight"] for t in traffic}, bool(traffic) and all(t["verified"] for t in traffic)


def _continuous(old: Json, new: Json, obj: Json) -> Iterator[Line]:
    known = {entry["name"]: entry for entry in old.get("triggers") or []}
    for entry in new.get("triggers") or []:
        before = known.get(entry["name"], {})
        if entry.get("value") and any(entry.get(key) != before.get(key) for key in ("value", "samples")):
            yield Line(f"{entry['name']}: {entry.get('message', '')}", _show("ContinuousTraining", obj))
    last, former = new.get("lastTrigger") or {}, old.get("lastTrigger") or {}
    if last.get("trainingJob") and last.get("trainingJob") != former.get("trainingJob"):
        yield Line(
            f"retraining: trigger {last.get('name')} ({last.get('reason')}) started {last['trainingJob']}",
            _show("ContinuousTraining", obj, verb="describe"),
        )
