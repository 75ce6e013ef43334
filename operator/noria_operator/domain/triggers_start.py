"""How a run starts: recorded in status first, made after.

Comes in: the request that was chosen. Goes out: the status that records the run, later the TrainingJob.
Invariants: a run is written into `status.runs`, with its name, before its TrainingJob is made, so each
request makes one run whatever happens in between; one run answers all that it answers in the same write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from noria_operator.api import names
from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.domain.budget import Block
from noria_operator.domain.commands import earlier
from noria_operator.domain.training_jobs import queue_labels
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers import FOLLOW_UP, IN_THE_QUEUE, MANUAL, Request, kind_named, loss_since
from noria_operator.domain.triggers_hold import OF_THE_LOOP, reason_of
from noria_operator.domain.triggers_unanswered import kept

Json = dict[str, Any]

ALARMS: Final = frozenset({"Performance", "EstimatedPerformance", "ConceptDrift", "Drift"})
"""Kinds of triggers after which the training window holds data from before the alarm."""


def training_name(name: str, uid: str, request: Request, at: datetime) -> str:
    """The TrainingJob of one run; people may ask by the same id again, so the request alone does not tell."""
    key = "\0".join((uid, request.name, request.key, stamp(at)))
    return f"{names.fit(name, 40)}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"


def intended(obj: Json) -> Json | None:
    """The run that status speaks of and that is not known to be made: recorded, then the process ended."""
    status = obj.get("status", {})
    runs = status.get("runs") or []
    if runs and runs[-1]["trainingJob"] != (status.get("lastTrigger") or {}).get("trainingJob"):
        return dict(runs[-1])
    return None


def started(
    obj: Json,
    training: ContinuousTraining,
    chosen: Request,
    requests: Sequence[Request],
    *,
    runs: Sequence[Json],
    now: datetime,
) -> Json:
    """The parts of status that record the run before it is made."""
    meta, before = obj["metadata"], obj.get("status", {})
    name = training_name(meta["name"], meta["uid"], chosen, now)
    run: Json = {"at": stamp(now), "trigger": chosen.name, "reason": chosen.reason, "trainingJob": name}
    planned = before.get("followUp")
    follow_up = _follow_up(obj, training, chosen, requests, name=name, now=now)
    answers = kept(before, requests, chosen) | ({FOLLOW_UP: [planned]} if planned and not follow_up else {})
    if answers:
        run["answers"] = answers
    status: Json = {
        "triggers": [_out_of_the_queue(answered(request, chosen), chosen) for request in requests],
        "runs": [*runs, run],
        "lastEvaluation": stamp(now),
        "blockedBy": Block.CONCURRENCY.value,
        "followUp": follow_up,
        "queued": None,
    }
    if chosen.reason == MANUAL and any(one is chosen for one in requests):
        status |= acknowledged(before, chosen.key)
    return status


def acknowledged(status: Json, given: str) -> Json:
    """The parts of status that say that a person's request is answered; none where none is `given`."""
    if not given:
        return {}
    commands, before = status.get("commands", {}), status.get("earlierCommands", {})
    found: Json = {"commands": {**commands, "retrain": given}}
    if ids := earlier(commands.get("retrain"), before.get("retrain", ()), given):
        found["earlierCommands"] = {**before, "retrain": [*ids]}
    return found


def asked_again(obj: Json) -> str:
    """The id of a request that was answered before the last one, and is here again; empty where it is not."""
    said = names.command_id(obj["metadata"].get("annotations"), "retrain")
    return said if said in obj.get("status", {}).get("earlierCommands", {}).get("retrain", ()) else ""


def own(obj: Json, now: datetime) -> list[Request]:
    """What the loop itself asks for: the request that waits, the run that is to follow."""
    status: Json = obj.get("status", {})
    found = []
    if queued := status.get("queued"):
        entry = {"name": queued["trigger"], "message": queued.get("message", "")}
        key, of_the_loop = f"queued {queued['at']}", not OF_THE_LOOP.isdisjoint(_waited(obj))
        found.append(Request(entry, queued["reason"], wanted=True, key=key, own_affair=of_the_loop))
    planned = status.get("followUp")
    if planned and moment(planned["at"]) <= now:
        says = f"follows the run {planned['of']}, with data from after the alarm only"
        entry = {"name": FOLLOW_UP}
        at = moment(planned["at"])
        found.append(Request(entry, FOLLOW_UP, wanted=True, key=planned["of"], says=says, fell_due=at))
    return found


def queued(status: Json, first: Request, requests: Sequence[Request], now: datetime) -> Json:
    """The parts of status with which one request waits for the active run to end, answered like one that
    started a run; nothing when one waits already, or the follow-up does, which needs no place. `answers`
    names alarms of which nothing is kept, too, so that the run is followed, and what the loop does of itself,
    so that the run waits for no other loop's cooldown.
    """
    if status.get("queued") or first.name == FOLLOW_UP:
        return {}
    waiting: Json = {
        "trigger": first.name,
        "reason": first.reason,
        "at": stamp(now),
        "message": reason_of(first),
    }
    entries = [
        in_line(answered(one, first), one.reason) if one is first else answered(one, first)
        for one in requests
    ]
    named: Json = {
        one.name: []
        for one in requests
        if one.wanted and one.reason in ALARMS | OF_THE_LOOP and one.answered_with(first)
    }
    if answers := named | kept(status, requests, first):
        waiting["answers"] = answers
    found: Json = {"queued": waiting, "triggers": entries}
    if first.reason == MANUAL:
        found |= acknowledged(status, first.key)
    return found


def in_line(entry: Json, kind: str) -> Json:
    """An entry whose request waits in the queue; a schedule is overdue for as long as it does."""
    late = {"nextRun": entry["lastScheduled"]} if kind == "Schedule" else {}
    return entry | {"decision": "Wait", "message": IN_THE_QUEUE} | late


def answered(request: Request, chosen: Request) -> Json:
    """An entry after a run was started."""
    if request is chosen:
        return request.entry | {"decision": "Fire", "message": reason_of(request)} | request.answer
    if request.name in chosen.members or (request.answered_by == "Wanted" and request.wanted):
        told = {"decision": "Wait", "message": _answered_by(chosen)}
        return request.entry | told | request.answer
    return request.entry | (request.answer if request.answered_with(chosen) else {})


def _out_of_the_queue(entry: Json, chosen: Request) -> Json:
    """An entry that says that it waits in the queue, which any run that starts empties."""
    if not entry.get("message", "").startswith(IN_THE_QUEUE):
        return entry
    if entry["name"] == chosen.name:
        return entry | {"decision": "Fire", "message": reason_of(chosen)}
    return entry | {"decision": "Wait", "message": _answered_by(chosen)}


def _answered_by(chosen: Request) -> str:
    return f"answered by the run of {chosen.name}"


def training_job(obj: Json, run: Json, entry: Json) -> Json:
    """The TrainingJob of a recorded run; `entry` is what the trigger says now. Whoever asked for it, it
    answers the losses that stand: it is told since when the oldest does.
    """
    spec, why = obj["spec"], {"reason": run["reason"], "name": run["trigger"], "at": run["at"]}
    figures = ("value", "interval", "threshold", "samples", "windowEndedAt", "windowLength")
    why |= {name: entry[name] for name in figures if entry.get(name) is not None}
    known = (loss_since(one, spec.get("triggers", ())) for one in obj.get("status", {}).get("triggers", ()))
    if lost := [since for since in known if since]:
        why["since"] = min(lost)
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.TRAINING_JOB,
        "metadata": {
            "name": run["trainingJob"],
            "namespace": obj["metadata"]["namespace"],
            "labels": queue_labels(obj),
            "annotations": {names.TRIGGER_ANNOTATION: json.dumps(why, sort_keys=True)},
        },
        "spec": {**spec["template"]["spec"], "deployment": spec["deployment"]},
    }


def _follow_up(
    obj: Json,
    training: ContinuousTraining,
    chosen: Request,
    requests: Sequence[Request],
    *,
    name: str,
    now: datetime,
) -> Json | None:
    """A run that answers an alarm, whoever asked for it, is followed by one more; one that is late enough
    needs none after it.
    """
    if chosen.reason == FOLLOW_UP:
        return None
    planned, after = obj.get("status", {}).get("followUp"), training.spec.follow_up
    answers = (one.reason for one in requests if one.wanted and one.answered_with(chosen))
    if after is not None and not ALARMS.isdisjoint((chosen.reason, *answers, *_waited(obj))):
        return {"at": stamp(now + after), "of": name}
    return planned if planned and stamp(now) < planned["at"] else None


def _waited(obj: Json) -> list[str]:
    """Kinds of the triggers that were answered by a place in the queue; any run that starts empties it."""
    queued = obj.get("status", {}).get("queued") or {}
    triggers = obj["spec"].get("triggers", ())
    return [queued.get("reason", ""), *(kind_named(name, triggers) for name in queued.get("answers", {}))]
