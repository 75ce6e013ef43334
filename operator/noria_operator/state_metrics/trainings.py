"""What TrainingJobs and ModelVersions say about each model: how runs end, how long ago, how long they took.
Pure.

In: the TrainingJobs, ModelVersions and ContinuousTrainings of one model in one namespace. Out: samples.
Invariants: a run counts as failed until a version is newer than it, also once its TrainingJob is deleted, and
once however many tell of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from noria_operator.domain.training_status import is_finished
from noria_operator.state_metrics import families
from noria_operator.state_metrics.deployments import Sample, seconds

Json = dict[str, Any]
_FAILED: Final = frozenset({"Failed", "Refused"})
"""Results of runs that made no version; one that verification refused is younger than its run."""


def model(
    place: tuple[str, str], jobs: Sequence[Json], versions: Sequence[Json], loops: Sequence[Json]
) -> Iterator[Sample]:
    """All samples of one model; `place` is its namespace and name, `loops` the ContinuousTrainings of it."""
    for family, objects in ((families.JOBS, jobs), (families.VERSIONS, versions)):
        phases = Counter(one.get("status", {}).get("phase") or "Pending" for one in objects)
        for phase, count in phases.items():
            yield family, (*place, phase), count
    made = max((seconds(one["metadata"]["creationTimestamp"]) for one in versions), default=None)
    if made is not None:
        yield families.SUCCEEDED, place, made
    yield from _failures(place, jobs, loops, made or 0.0)
    yield from _ends(place, jobs)


def _failures(
    place: tuple[str, str], jobs: Sequence[Json], loops: Sequence[Json], made: float
) -> Iterator[Sample]:
    kept = {job["metadata"]["name"] for job in jobs}
    runs = [run for loop in loops for run in loop.get("status", {}).get("runs", ())]
    gone = [run for run in runs if run.get("result") and run["trainingJob"] not in kept]
    done = [job for job in jobs if is_finished(job.get("status", {}))]
    failed = [_ended(job) for job in done if job["status"]["phase"] == "Failed"]
    failed += [seconds(run["at"]) for run in gone if run["result"] in _FAILED]
    if done or gone:
        yield families.FAILURES, place, sum(at > made for at in failed)


def _ends(place: tuple[str, str], jobs: Sequence[Json]) -> Iterator[Sample]:
    done = sorted((job for job in jobs if is_finished(job.get("status", {}))), key=_ended)
    failed = [job for job in done if job["status"]["phase"] == "Failed"]
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
