"""What a ContinuousTraining does next: finish what it began, weigh the triggers, start at most one run.

Comes in: the object, its triggers' requests, its TrainingJobs, the registry and the deployment. Goes out:
a `RetrainPlan`. Invariants: a run is written into `status.runs`, with its name, before its TrainingJob
is made, so each request makes one run whatever happens in between; never two live runs; never more runs
than the budget; what stops a run is said in `blockedBy` and on the trigger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from noria_operator.api import names
from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.domain.budget import Block, Limits, blocked, next_eligible
from noria_operator.domain.training_plan import Notice
from noria_operator.domain.training_status import is_finished
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers import MANUAL, Request
from noria_operator.domain.triggers_rollout import rolling_out
from noria_operator.domain.triggers_status import mismatch, ready

Json = dict[str, Any]


@dataclass(frozen=True)
class Watched:
    """Everything that the decision looks at besides the triggers: own TrainingJobs, the deployment, its
    versions.
    """

    jobs: Sequence[Json] = ()
    deployment: Json | None = None
    versions: Sequence[Json] = ()


@dataclass(frozen=True)
class RetrainPlan:
    """What to do, in this order: create a TrainingJob, write the status, delete old TrainingJobs."""

    status: Json
    create: Json | None = None
    delete: tuple[str, ...] = ()
    again: bool = False
    due: datetime | None = None
    notices: tuple[Notice, ...] = ()


def decide(
    obj: Json, training: ContinuousTraining, requests: Sequence[Request], seen: Watched, now: datetime
) -> RetrainPlan:
    """One decision. `requests` are the triggers' answers of this very pass, the manual one first."""
    intended = _intended(obj)
    if intended is not None:
        return _make(obj, training, intended, now)
    before = dict(obj.get("status", {}))
    runs = list(before.get("runs", []))
    times = [moment(run["at"]) for run in runs]
    limits = _limits(training)
    held, why = _held(obj, training, seen)
    stops = [held or _limit(limits, times, one, now) for one in requests]
    chosen = next((one for one, stop in zip(requests, stops, strict=True) if one.wanted and not stop), None)
    block, eligible = held or blocked(limits, times, now), next_eligible(limits, times, now)
    entries = [
        _told(one, stop, why or f"until {stamp(eligible)}") for one, stop in zip(requests, stops, strict=True)
    ]
    status = before | {
        "triggers": entries,
        "active": _active(seen, before),
        "blockedBy": block.value if block else "",
        "nextEligibleTime": stamp(eligible) if eligible > now else None,
    }
    if entries != before.get("triggers"):
        status["lastEvaluation"] = stamp(now)
    if chosen is not None:
        status |= _started(obj, chosen, requests, runs=runs, limits=limits, now=now)
        return RetrainPlan(ready(obj, status, seen.deployment, why, now), again=True)
    return RetrainPlan(
        ready(obj, status, seen.deployment, why, now),
        delete=_old(training, seen),
        due=_due(requests, status, now),
    )


def training_name(name: str, uid: str, request: Request, at: datetime) -> str:
    """The TrainingJob of one run; people may ask by the same id again, so the request alone does not tell."""
    key = "\0".join((uid, str(request.entry.get("name", "")), request.key, stamp(at)))
    return f"{names.fit(name, 40)}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"


def _intended(obj: Json) -> Json | None:
    """The run that status speaks of and that is not known to be made: recorded, then the process ended."""
    status = obj.get("status", {})
    runs = status.get("runs") or []
    if runs and runs[-1]["trainingJob"] != (status.get("lastTrigger") or {}).get("trainingJob"):
        return dict(runs[-1])
    return None


def _make(obj: Json, training: ContinuousTraining, run: Json, now: datetime) -> RetrainPlan:
    """Make the intended TrainingJob, and write down that it is made."""
    status = dict(obj.get("status", {}))
    entry: Json = next((one for one in status.get("triggers", []) if one["name"] == run["trigger"]), {})
    reason = _reason(training, run["trigger"])
    why = {"reason": reason, "name": run["trigger"], "at": run["at"]}
    if reason == "Performance":
        why |= {
            name: entry[name] for name in ("value", "threshold", "samples") if entry.get(name) is not None
        }
    status |= {
        "active": run["trainingJob"],
        "lastTrigger": {
            "name": run["trigger"],
            "reason": reason,
            "at": run["at"],
            "trainingJob": run["trainingJob"],
        },
    }
    text = f"TrainingJob {run['trainingJob']} was started: {entry.get('message') or reason}"
    return RetrainPlan(
        status,
        create=_training_job(obj, run["trainingJob"], why),
        again=True,
        notices=(Notice("Normal", "TrainingStarted", text),),
    )


def _training_job(obj: Json, name: str, why: Json) -> Json:
    spec = obj["spec"]
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.TRAINING_JOB,
        "metadata": {
            "name": name,
            "namespace": obj["metadata"]["namespace"],
            "annotations": {names.TRIGGER_ANNOTATION: json.dumps(why, sort_keys=True)},
        },
        "spec": {**spec["template"]["spec"], "deployment": spec["deployment"]},
    }


def _reason(training: ContinuousTraining, name: str) -> str:
    if name == MANUAL:
        return MANUAL
    watched = {trigger.name for trigger in training.spec.triggers if trigger.performance}
    return "Performance" if name in watched else "Schedule"


def _limits(training: ContinuousTraining) -> Limits:
    budget = training.spec.budget
    if budget is None:
        return Limits(training.spec.cooldown)
    return Limits(training.spec.cooldown, budget.max_runs, budget.per)


def _limit(limits: Limits, times: list[datetime], request: Request, now: datetime) -> Block | None:
    """Cooldown is for triggers; a person who asks does not wait for it. The budget is for all."""
    return blocked(limits, times, now, cooldown=request.reason != MANUAL)


def _held(obj: Json, training: ContinuousTraining, seen: Watched) -> tuple[Block | None, str]:
    """What holds every run whatever asks for it, and the sentence for it."""
    if wrong := mismatch(obj, seen.deployment):
        return Block.INVALID, wrong
    if training.spec.suspend:
        return Block.SUSPENDED, "spec.suspend is true"
    live = [job["metadata"]["name"] for job in seen.jobs if not is_finished(job.get("status", {}))]
    if live:
        return Block.CONCURRENCY, f"TrainingJob {live[0]} is not finished"
    last = (obj.get("status", {}).get("lastTrigger") or {}).get("trainingJob", "")
    text = rolling_out(last, seen.deployment, seen.versions)
    return (Block.CONCURRENCY, text) if text else (None, "")


def _told(request: Request, block: Block | None, why: str) -> Json:
    """The trigger's entry, saying what holds the run it asks for."""
    if not request.wanted:
        return request.entry
    asked = {"Performance": "quality is lost", "Schedule": f"the run of {request.key} is due"}
    text = request.entry.get("message") if request.reason == "Performance" else None
    message = text.partition("; held by")[0] if text else asked.get(request.reason, "a run was asked for")
    if block is not None:
        return request.entry | {"decision": "Blocked", "message": f"{message}; held by {block.value}: {why}"}
    return request.entry | {"decision": "Fire", "message": message}


def _active(seen: Watched, before: Json) -> str | None:
    name = before.get("active")
    live = [job["metadata"]["name"] for job in seen.jobs if not is_finished(job.get("status", {}))]
    return name if name in live else live[0] if live else None


def _started(
    obj: Json,
    chosen: Request,
    requests: Sequence[Request],
    *,
    runs: list[Json],
    limits: Limits,
    now: datetime,
) -> Json:
    """The status that records the run before it is made. It answers every performance trigger: streaks start
    anew.
    """
    meta = obj["metadata"]
    name = training_name(meta["name"], meta["uid"], chosen, now)
    kept = [run for run in runs if moment(run["at"]) > now - max(limits.per, limits.cooldown)]
    entries = [_answered(request, chosen) for request in requests]
    status: Json = {
        "triggers": entries,
        "runs": [*kept, {"at": stamp(now), "trigger": chosen.entry["name"], "trainingJob": name}],
        "lastEvaluation": stamp(now),
        "blockedBy": Block.CONCURRENCY.value,
    }
    if chosen.reason == MANUAL:
        status["commands"] = {**obj.get("status", {}).get("commands", {}), "retrain": chosen.key}
    return status


def _answered(request: Request, chosen: Request) -> Json:
    """An entry after a run was started: one run answers every loss of quality."""
    if request is not chosen:
        if request.reason != "Performance" or not request.wanted:
            return request.entry
        text = f"answered by the run of {chosen.entry['name']}"
        return request.entry | {"streak": 0, "decision": "Wait", "message": text}
    entry = _told(request, None, "")
    if request.reason == "Performance":
        return entry | {"streak": 0}
    return entry | {"lastScheduled": chosen.key} if request.reason == "Schedule" else entry


def _old(training: ContinuousTraining, seen: Watched) -> tuple[str, ...]:
    """Finished TrainingJobs beyond the history limit, oldest first."""
    done = [job for job in seen.jobs if is_finished(job.get("status", {}))]
    done.sort(key=lambda job: (job["metadata"]["creationTimestamp"], job["metadata"]["name"]))
    surplus = len(done) - training.spec.history_limit
    return tuple(job["metadata"]["name"] for job in done[: max(0, surplus)])


def _due(requests: Sequence[Request], status: Mapping[str, Any], now: datetime) -> datetime | None:
    times = [request.due for request in requests if request.due is not None]
    if status.get("nextEligibleTime"):
        times.append(moment(status["nextEligibleTime"]))
    future = [time for time in times if time > now]
    return min(future, default=None)
