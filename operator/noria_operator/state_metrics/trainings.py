"""What TrainingJobs and ModelVersions say about each model: how runs end, how long ago, how long they took.
Pure.

In: the TrainingJobs and ModelVersions of one model in one namespace. Out: samples. Invariant: a run counts as
failed until a version is newer than it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from noria_operator.domain.training_status import is_finished
from noria_operator.state_metrics import families
from noria_operator.state_metrics.deployments import Sample, seconds

Json = dict[str, Any]


def model(place: tuple[str, str], jobs: Sequence[Json], versions: Sequence[Json]) -> Iterator[Sample]:
    """All samples of one model; `place` is its namespace and name."""
    for family, objects in ((families.JOBS, jobs), (families.VERSIONS, versions)):
        phases = Counter(one.get("status", {}).get("phase") or "Pending" for one in objects)
        for phase, count in phases.items():
            yield family, (*place, phase), count
    made = max((seconds(one["metadata"]["creationTimestamp"]) for one in versions), default=None)
    if made is not None:
        yield families.SUCCEEDED, place, made
    yield from _ends(place, jobs, made or 0.0)


def _ends(place: tuple[str, str], jobs: Sequence[Json], made: float) -> Iterator[Sample]:
    done = sorted((job for job in jobs if is_finished(job.get("status", {}))), key=_ended)
    failed = [job for job in done if job["status"]["phase"] == "Failed"]
    if done:
        yield families.FAILURES, place, sum(_ended(job) > made for job in failed)
    if failed:
        yield families.FAILED, (*place, _reason(failed[-1])), _ended(failed[-1])
    begun = [job for job in jobs if job.get("status", {}).get("startTime")]
    if begun:
        last = max(begun, key=lambda job: seconds(job["status"]["startTime"]))
        trigger = (last["status"].get("trigger") or {}).get("reason", "")
        yield families.STARTED, (*place, trigger), seconds(last["status"]["startTime"])
    timed = [job for job in done if job["status"].get("startTime")]
    if timed:
        last, result = timed[-1], timed[-1]["status"]["phase"]
        yield families.LASTED, (*place, result), _ended(last) - seconds(last["status"]["startTime"])


def _ended(job: Json) -> float:
    return seconds(job["status"].get("completionTime") or job["metadata"]["creationTimestamp"])


def _reason(job: Json) -> str:
    conditions = job["status"].get("conditions", ())
    return next((str(one["reason"]) for one in conditions if one["type"] == "Failed"), "")
