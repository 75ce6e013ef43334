"""How the runs of a ContinuousTraining ended, and what they used.

Comes in: the runs in status, the TrainingJobs, the registry and the deployment. Goes out: the runs with
their results, and how many in a row came to nothing. Invariants: a result that is known is never worked out
again, so TrainingJobs may be deleted, but for the last run's whose version was rolled back and serves after
all; a version that somebody may still approve, that is on its way, or that may be tried yet has no result;
status holds a few runs and sums of others, whatever the budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.api.trainingjob import REFUSALS, TrainingPhase
from noria_operator.api.types import format_decimal
from noria_operator.domain.accelerators import accelerators
from noria_operator.domain.budget import Past
from noria_operator.domain.quantities import amount
from noria_operator.domain.training_status import is_finished
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers_rollout import blameless, made_by, may_be_tried, passed_over, refused

Json = dict[str, Any]

BAD: Final = frozenset({"Failed", "Refused", "RolledBack", "Gone"})
"""Results of runs that came to nothing."""
NOTHING: Final = BAD | {"Replaced"}
"""Results after which what was asked for stands again; the run in the place of a replaced one answers it."""
GOOD: Final = frozenset({"Promoted", "Kept"})
KEPT: Final = 20
"""Runs that stay in status whatever their age, so that people see how the last ones went."""
_PARTS: Final = 32
"""Into so many parts the time of a budget is cut; of each, the runs that are not kept are summed up."""


def settled(
    runs: Sequence[Json],
    failures: int,
    *,
    jobs: Sequence[Json],
    versions: Sequence[Json],
    deployment: Json | None,
) -> tuple[list[Json], int]:
    """The runs, oldest first, with every result that can be told now, and the failures in a row."""
    named = {job["metadata"]["name"]: job for job in jobs}
    found = []
    for run in runs:
        last = run is runs[-1]
        if run.get("result") and not (last and _redeemed(run, versions, deployment)):
            found.append(run)
            continue
        job = named.get(run["trainingJob"])
        made = next((one for one in versions if made_by(one, run["trainingJob"])), None)
        result = _result(job, made, deployment, last=last)
        used = _used(job) if job is not None and is_finished(job.get("status", {})) else {}
        found.append(run | ({"result": result} if result else {}) | used)
        failures = failures + 1 if result in BAD else 0 if result in GOOD else failures
    return found, failures


def pasts(
    runs: Sequence[Json], jobs: Sequence[Json], now: datetime, older: Sequence[Json] = ()
) -> list[Past]:
    """The runs as the budget counts them; one that is not finished has used what it used so far."""
    named = {job["metadata"]["name"]: job for job in jobs}
    return [*map(_sum, older), *(_past(run, named.get(run["trainingJob"]), now) for run in runs)]


def ended_early(runs: Sequence[Json], replaced: Sequence[Json], now: datetime) -> list[Json]:
    """The runs, those of these TrainingJobs replaced by another; what they used, they used."""
    named = {job["metadata"]["name"]: job for job in replaced}
    return [
        run | {"result": "Replaced"} | _used(named[run["trainingJob"]], now)
        if run["trainingJob"] in named
        else run
        for run in runs
    ]


def shortened(
    runs: Sequence[Json], older: Sequence[Json], per: timedelta | None, now: datetime
) -> tuple[list[Json], list[Json]]:
    """The last few runs, and sums of those before that a budget of so much time still counts."""
    if per is None:
        return [*runs[-KEPT:]], []
    sums: dict[int, Past] = {}
    for one in (*map(_sum, older), *(_past(run, None, now) for run in runs[:-KEPT])):
        part = int(one.at.timestamp() / (per.total_seconds() / _PARTS))
        known = sums.get(part, replace(one, cpu=0.0, gpu=0.0, runs=0))
        sums[part] = Past(
            max(known.at, one.at), known.cpu + one.cpu, known.gpu + one.gpu, known.runs + one.runs
        )
    return [*runs[-KEPT:]], [_as_json(one) for _, one in sorted(sums.items()) if one.at > now - per]


def _result(job: Json | None, made: Json | None, deployment: Json | None, *, last: bool) -> str:
    """How a run ended, in one word; empty while it is not known."""
    status = (job or {}).get("status", {})
    if job is not None and not is_finished(status):
        return ""
    if status.get("phase") == TrainingPhase.FAILED:
        failed = [one for one in status.get("conditions", []) if one["type"] == "Failed"]
        refused = any(one.get("reason") in REFUSALS for one in failed)
        return "Refused" if refused else "Failed"
    if made is None:
        # Its ModelVersion may not have been seen yet; the next run says that it was waited for long enough.
        return "" if job is not None and last else "Gone"
    return _fate(made, deployment, last=last) or ("" if last else "Kept")


def _redeemed(run: Json, versions: Sequence[Json], deployment: Json | None) -> bool:
    """Whether the version serves that was rolled back: a person tried it again."""
    if run["result"] != "RolledBack" or deployment is None:
        return False
    return any(_serves(deployment, one) and made_by(one, run["trainingJob"]) for one in versions)


def _serves(deployment: Json, version: Json) -> bool:
    stable: Json = deployment.get("status", {}).get("stable") or {}
    return bool(stable.get("version") == version["metadata"]["name"])


def _fate(made: Json, deployment: Json | None, *, last: bool) -> str:
    """What became of a run's version; empty while that is open."""
    if made.get("status", {}).get("phase") == "Rejected":
        return "Refused"
    if deployment is None:
        return ""
    name = made["metadata"]["name"]
    if _serves(deployment, made):
        return "Promoted"
    if last and may_be_tried(name, deployment):
        return ""
    if refused(name, deployment):
        return "Kept" if blameless(name, deployment) else "RolledBack"
    approved = made.get("status", {}).get("phase") == "Approved"
    return "Kept" if approved and passed_over(made, deployment) else ""


def _used(job: Json, now: datetime | None = None) -> Json:
    """Hours of CPUs and GPUs of a TrainingJob up to now; nothing for one that asks for none."""
    return _told(*_hours(job, now))


def _sum(one: Json) -> Past:
    return replace(_past(one, None, moment(one["at"])), runs=int(one["runs"]))


def _as_json(one: Past) -> Json:
    return {"at": stamp(one.at), "runs": one.runs} | _told(one.cpu, one.gpu)


def _told(cpu: float, gpu: float) -> Json:
    found = {"cpuHours": cpu, "gpuHours": gpu}
    return {name: format_decimal(round(hours, 6)) for name, hours in found.items() if hours}


def _past(run: Json, job: Json | None, now: datetime) -> Past:
    at = moment(run["at"])
    if job is not None and not is_finished(job.get("status", {})):
        return Past(at, *_hours(job, now))
    return Past(at, float(run.get("cpuHours") or 0), float(run.get("gpuHours") or 0))


def _hours(job: Json, now: datetime | None) -> tuple[float, float]:
    status = job.get("status", {})
    seconds, since = float(status.get("ranSeconds") or 0), status.get("runningSince")
    if since and now is not None:
        seconds += max(0.0, (now - moment(since)).total_seconds())
    cpu, gpu = held(job["spec"])
    return seconds / 3600 * cpu, seconds / 3600 * gpu


def held(spec: Mapping[str, Any]) -> tuple[float, float]:
    """CPUs and accelerators that the pods of a TrainingJob ask for together; limits where there is no
    request, as in Kubernetes.
    """
    resources = spec.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    nodes = int(spec.get("nodes") or 1)
    gpus = sum(accelerators(name, value) for name, value in asked.items())
    return nodes * amount(asked.get("cpu", "0")), nodes * gpus
