"""What ModelDeployments say: phase, conditions, weights, what happened last, how old the champion is. Pure.

In: a ModelDeployment and its champion's ModelVersion. Out: samples. Invariant: what status does not say is
absent, never zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from noria_operator.domain.training_times import moment
from noria_operator.domain.triggers_aside import leads_aside
from noria_operator.state_metrics import families
from noria_operator.state_metrics.families import Family

Json = dict[str, Any]
Sample = tuple[Family, tuple[str, ...], float]


def deployment(obj: Json, champion: Json | None) -> Iterator[Sample]:
    """All samples of one; `champion` is the ModelVersion that is called as `served` says."""
    place, status = where(obj), obj.get("status", {})
    if phase := status.get("phase"):
        yield families.PHASE, (*place, phase), 1
    for one in status.get("conditions", ()):
        if one["status"] != "Unknown":
            labels = (one["type"], one.get("reason", ""))
            yield families.CONDITION, (*place, *labels), float(one["status"] == "True")
    traffic = status.get("traffic", ())
    for share in traffic:
        whose = (share["version"], _role(share, status), share["name"])
        yield families.WEIGHT, (*place, *whose), share["weight"] / 100
        yield families.ASKED, (*place, *whose), float(bool(share["weight"] or share.get("match")))
    if traffic:
        yield families.ASIDE, place, float(leads_aside(obj))
    latest = {one["event"]: one for one in status.get("history", ())}
    for event, one in latest.items():
        yield families.HAPPENED, (*place, event, one.get("version", "")), seconds(one["at"])
    if champion is not None:
        yield from _age(place, champion, status)


def served(obj: Json) -> str:
    """The name of the champion's ModelVersion; empty without one."""
    stable = obj.get("status", {}).get("stable") or {}
    return str(stable.get("version", ""))


def where(obj: Json) -> tuple[str, str, str]:
    """Values of the labels `families.DEPLOYMENT`, of a ModelDeployment."""
    return obj["metadata"]["namespace"], obj["metadata"]["name"], obj["spec"]["model"]


@lru_cache(maxsize=100_000)
def seconds(text: str) -> float:
    """RFC 3339 as seconds since the epoch; the same ones are asked for at every scrape."""
    return moment(text).timestamp()


def promoted(status: Json, version: str) -> float | None:
    """When a version was last promoted; None where history does not reach back so far."""
    times = [
        seconds(one["at"])
        for one in status.get("history", ())
        if one["event"] == "Promoted" and one.get("version") == version
    ]
    return max(times, default=None)


def _role(share: Json, status: Json) -> str:
    for role, place in (("champion", "stable"), ("challenger", "candidate")):
        if (status.get(place) or {}).get("name") == share["name"]:
            return role
    others = {one["name"] for one in status.get("others") or ()}
    return "challenger" if share["name"] in others else "previous"


def _age(place: tuple[str, ...], champion: Json, status: Json) -> Iterator[Sample]:
    name, lineage = champion["metadata"]["name"], champion["spec"].get("lineage", {})
    labels = (*place, name)
    yield families.MODEL_TIME, labels, seconds(champion["metadata"]["creationTimestamp"])
    newest = [_day(one.get("partitions")) for one in lineage.get("data", ()) if not one.get("heldOut")]
    if known := [time for time in newest if time is not None]:
        yield families.DATA_TIME, labels, max(known)
    lost, at = (lineage.get("trigger") or {}).get("since"), promoted(status, name)
    if lost and at is not None:
        yield families.FIX_SECONDS, labels, max(0.0, at - seconds(lost))


def _day(partitions: Json | None) -> float | None:
    """Where a partition is called after a date or a time (in UTC unless it says otherwise): when it began."""
    try:
        found = datetime.fromisoformat((partitions or {}).get("newest", ""))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
