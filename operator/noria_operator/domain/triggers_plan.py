"""What a ContinuousTraining does next: finish what it began, weigh the triggers, start at most one run.

Comes in: the object, its triggers' requests, its TrainingJobs, the registry and the deployment. Goes out:
a `RetrainPlan`. Invariants: never two live runs of a model, whoever started one, and only own ones are ended;
never more runs than the budget; what stops a run is said in `blockedBy` and on the trigger; only an action of
Retrain starts anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.api.status import MESSAGE_LIMIT
from noria_operator.domain.budget import Block
from noria_operator.domain.commands import AGAIN
from noria_operator.domain.conditions import clip
from noria_operator.domain.training_plan import Notice
from noria_operator.domain.training_status import is_finished
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers import ALARMS, FOLLOW_UP, IN_THE_QUEUE, STANDS, Request
from noria_operator.domain.triggers_combine import with_combined
from noria_operator.domain.triggers_gap import in_turn
from noria_operator.domain.triggers_hold import (
    Gate,
    Hold,
    Watched,
    answered_elsewhere,
    answering,
    blocking,
    common,
    limits,
    reason_of,
    resting,
    under_way,
)
from noria_operator.domain.triggers_runs import ended_early, pasts, settled, shortened
from noria_operator.domain.triggers_start import (
    acknowledged,
    asked_again,
    in_line,
    intended,
    own,
    queued,
    started,
    training_job,
)
from noria_operator.domain.triggers_status import ready
from noria_operator.domain.triggers_unanswered import to_give_back

Json = dict[str, Any]

_ACTS: Final = frozenset({"Warn", "Block", "Observe"})
"""Actions of a trigger that start nothing; the decision that stands for each is called the same."""
_ENTRIES: Final = 17
"""As many as the API server takes: of all triggers that a spec may have, and of what people ask for."""
_ASKS: Final = frozenset({"Fire", "Blocked"})
"""Decisions of a trigger that asks for a run."""
_TOLD: Final = {
    "Warn": ("Warning", "TriggerWarns"),
    "Block": ("Warning", "TriggerBlocks"),
    "Blocked": ("Normal", "RunHeld"),
    "Skipped": ("Warning", "RunSkipped"),
    "Error": ("Warning", "TriggerFails"),
    "Observe": ("Normal", "TriggerObserves"),
}
"""Decisions whose Event, when they are new, has the whole message. Each run has an Event of its own."""


@dataclass(frozen=True)
class RetrainPlan:
    """What to do, in this order: create a TrainingJob, write the status, make and remove Jobs that look at
    data, delete old TrainingJobs.
    """

    status: Json
    create: Json | None = None
    jobs: tuple[Json, ...] = ()
    drop: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    again: bool = False
    due: datetime | None = None
    notices: tuple[Notice, ...] = ()


def decide(
    obj: Json, training: ContinuousTraining, requests: Sequence[Request], seen: Watched, now: datetime
) -> RetrainPlan:
    """One decision. `requests` are the triggers' answers of this very pass, the manual one first."""
    held_by, made = common(obj, training, seen), {job["metadata"]["name"] for job in seen.jobs}
    # It may have waited for long, such as for a template that can be used: what holds every run holds it.
    if (run := intended(obj)) and (held_by is None or run["trainingJob"] in made):
        return _make(obj, run)
    before = dict(obj.get("status", {}))
    runs, failures = _settled(obj, seen)
    budget = training.spec.budget
    requests = [answered_elsewhere(one, seen.theirs) for one in requests]
    runs, older = shortened(runs, before.get("olderRuns", ()), budget.per if budget else None, now)
    bounds = limits(training, failures)
    gate = Gate(
        held_by,
        under_way(obj, seen),
        answering(requests, runs, seen.theirs),
        bounds,
        pasts(runs, seen.jobs, now, older),
        failures,
        training.spec.stop_after_failures,
        blocking(training, requests),
        now,
        resting(training, seen, bounds.cooldown),
    )
    actions = {trigger.name: trigger.effect for trigger in training.spec.triggers}
    uid = obj["metadata"]["uid"]
    requests = [
        one if actions.get(one.name) in _ACTS else in_turn(one, seen.gap, uid, now) for one in requests
    ]
    mine = [in_turn(one, seen.gap, uid, now) for one in own(obj, now)]
    asked = [one for one in requests if one.wanted and actions.get(one.name) not in _ACTS]
    # Whichever of them starts a run, it answers the combinations among them.
    mine, requests = ([with_combined(one, asked) for one in these] for these in (mine, requests))
    asking = [one for one in requests if one.wanted and actions.get(one.name) not in _ACTS]
    asking = [*(one for one in mine if one.wanted), *asking]
    back = to_give_back(runs)
    # What such a run answered is asked first, so that the next one answers it, too.
    chosen = None if back else next((one for one in asking if gate.stop(one) is None), None)
    held = gate.overall()
    known = {one["name"]: one for one in before.get("triggers", [])}
    requests = [_in_line(one, mine, gate) for one in requests]
    if chosen is None and len(requests) < _ENTRIES:
        follows = (one for one in mine if one.name == FOLLOW_UP and one.wanted and gate.stop(one))
        requests = [*requests, *follows]
    holds = [gate.stop(one) or _passed_over(one, chosen) for one in requests]
    told = [_told(one, actions.get(one.name, ""), hold) for one, hold in zip(requests, holds, strict=True)]
    entries = _dated(told, requests, known, now)
    status = (
        before
        | acknowledged(before, asked_again(obj))
        | {
            "triggers": entries,
            "runs": runs,
            "olderRuns": older or None,
            "failures": failures or None,
            "active": _active(seen, before),
            "blockedBy": held.block.value if held else "",
            "nextEligibleTime": stamp(gate.eligible) if gate.eligible > now else None,
        }
    )
    notices = (*_notices(known, entries), *_refused(obj))
    seen_now = {one["name"]: one for one in entries}  # what is answered in this very pass was seen in it
    if entries != before.get("triggers"):
        status["lastEvaluation"] = stamp(now)
    why = held.why if held and held.block not in (Block.COOLDOWN, Block.BUDGET) else ""
    if chosen is not None:
        shown = _shown(requests, told, actions, chosen)
        status |= started(obj, training, chosen, shown, runs=runs, now=now)
        status["triggers"] = _dated(status["triggers"], requests, seen_now, now)
        return RetrainPlan(ready(obj, status, seen.deployment, why, now), again=True, notices=notices)
    first = next((one for one in asking if gate.own(one) is None), None)
    replaced: tuple[str, ...] = ()
    if first is not None and gate.common is not None and gate.common.block is Block.CONCURRENCY:
        policy = training.spec.concurrency_policy
        shown = _shown(requests, told, actions, first)
        status |= queued(status, first, shown, now) if policy == "Queue" else {}
        status["triggers"] = _dated(status["triggers"], requests, seen_now, now)
        # A run of somebody else's would hold the new one, so that the own one would end for nothing.
        replaced = tuple(seen.live) if policy == "Replace" and not seen.others else ()
        ended = [job for job in seen.jobs if job["metadata"]["name"] in replaced]
        status["runs"] = ended_early(runs, ended, now)
    return RetrainPlan(
        ready(obj, status, seen.deployment, why, now),
        jobs=tuple(one.job for one in requests if one.job is not None),
        drop=tuple(one.drop for one in requests if one.drop),
        again=back or any(one.again for one in requests),
        delete=(*replaced, *_old(training, seen, runs)),
        due=_due([*requests, *mine], [gate.stop(one) for one in asking], status, now),
        notices=notices,
    )


def _make(obj: Json, run: Json) -> RetrainPlan:
    """Make the intended TrainingJob, and write down that it is made."""
    status = dict(obj.get("status", {}))
    entry: Json = next((one for one in status.get("triggers", []) if one["name"] == run["trigger"]), {})
    run = {"reason": ""} | run
    last = {"name": run["trigger"], **{name: run[name] for name in ("reason", "at", "trainingJob")}}
    status |= {"active": run["trainingJob"], "lastTrigger": last}
    # The trigger may say something else by now, where something held the run.
    why = reason_of(Request(entry, run["reason"])) if entry.get("decision") in _ASKS else run["reason"]
    text = f"TrainingJob {run['trainingJob']} was started: {why}"
    return RetrainPlan(
        status,
        create=training_job(obj, run, entry),
        again=True,
        notices=(Notice("Normal", "TrainingStarted", text),),
    )


def _settled(obj: Json, seen: Watched) -> tuple[list[Json], int]:
    """The runs with their results; one that is yet to be made has none. An edited spec forgives what came
    before: it may be the remedy.
    """
    status = obj.get("status", {})
    edited = status.get("observedGeneration") != obj["metadata"].get("generation")
    runs = status.get("runs", [])
    unmade = runs[-1:] if intended(obj) else []
    found, failures = settled(
        runs[: len(runs) - len(unmade)],
        0 if edited else int(status.get("failures") or 0),
        jobs=seen.jobs,
        versions=seen.versions,
        deployment=seen.deployment,
    )
    return [*found, *unmade], failures


def _told(request: Request, action: str, hold: Hold | None) -> Json:
    """The trigger's entry, saying what it does, or what holds the run it asks for."""
    if not request.wanted:
        return request.entry
    message = reason_of(request)
    if action in _ACTS:
        return request.entry | {"decision": action, "message": message}
    if hold is not None:
        return request.entry | {"decision": "Blocked", "message": _held(message, hold)}
    return request.entry | {"decision": "Fire", "message": message}


def _held(message: str, hold: Hold) -> str:
    held = clip(f"; held by {hold.block.value}: {hold.why}", MESSAGE_LIMIT // 2)
    return clip(message, MESSAGE_LIMIT - len(held)) + held


def _in_line(request: Request, mine: Sequence[Request], gate: Gate) -> Request:
    """The request; one that waits in the queue says what holds its place, but for a run under way, which is
    what it waits for.
    """
    waits = next((one for one in mine if one.name == request.name and one.wanted), None)
    if waits is None or request.wanted or not request.entry.get("message", "").startswith(IN_THE_QUEUE):
        return request
    hold = gate.stop(waits)
    if hold is None:
        return request
    entry = in_line(request.entry, request.reason)
    if hold.block is not Block.CONCURRENCY:
        entry |= {"decision": "Blocked", "message": _held(IN_THE_QUEUE, hold)}
    return replace(request, entry=entry)


def _passed_over(request: Request, chosen: Request | None) -> Hold | None:
    """What holds a request that the run which starts now does not answer."""
    if chosen is None or request.answered_with(chosen):
        return None
    return Hold(Block.CONCURRENCY, f"the run of {chosen.name} starts")


def _shown(
    requests: Sequence[Request], told: Sequence[Json], actions: Mapping[str, str], chosen: Request
) -> list[Request]:
    """The requests; those that start nothing say what they do, and those that are passed over what holds
    them, also in the write that records the run of `chosen`, or its place in the queue.
    """
    return [
        replace(one, entry=entry) if actions.get(one.name) in _ACTS or _passed_over(one, chosen) else one
        for one, entry in zip(requests, told, strict=True)
    ]


def _dated(
    entries: Sequence[Json], requests: Sequence[Request], known: Mapping[str, Json], now: datetime
) -> list[Json]:
    """The entries with the time since which an alarm or a loss stands; one that begins now begins now."""
    return [
        {name: value for name, value in entry.items() if name != "since"}
        | _since(entry, known.get(entry["name"], {}), request.reason, now)
        for entry, request in zip(entries, requests, strict=True)
    ]


def _since(entry: Json, before: Json, kind: str, now: datetime) -> Json:
    """A loss is that of one version; while its run is held, under way or has brought nothing, it stands, also
    where a combination is to ask for it and it warns meanwhile. So does drift that retrains.
    """
    decision, begun = entry.get("decision"), before.get("since")
    stands, last = STANDS.get(kind, frozenset()), before.get("decision")
    same = before.get("version") == entry.get("version") and last in stands
    if decision in ALARMS:
        goes_on = last == decision or (same and last == "Wait" and begun)
        begun = begun if goes_on else stamp(now)
    elif decision not in stands:
        begun = None
    else:
        begun = begun if same else None
        begun = begun or (None if decision == "Wait" else stamp(now))
    return {"since": begun} if begun else {}


def _notices(known: Mapping[str, Json], entries: Sequence[Json]) -> tuple[Notice, ...]:
    told = (_notice(one, known.get(one["name"], {})) for one in entries)
    return tuple(one for one in told if one is not None)


def _notice(entry: Json, before: Json) -> Notice | None:
    """What is told of a trigger whose decision, or the reason for it, is another one than before."""
    decision, earlier = entry.get("decision", ""), before.get("decision", "")
    word, text = entry.get("reason", ""), f"{entry['name']}: {entry.get('message', '')}"
    if decision != earlier and decision in _TOLD:
        return Notice(*_TOLD[decision], text)
    if decision != earlier and earlier in ALARMS:
        return Notice("Normal", "TriggerQuiet", text)
    if decision in ("", "Fire") or (decision, word) == (earlier, before.get("reason", "")):
        return None
    # Without figures: what goes to and fro says the same again, and such Events are counted, not written.
    text = f"{entry['name']}: {decision} ({word})" if word else f"{entry['name']}: {decision}"
    return Notice("Normal", "TriggerDecided", text)


def _refused(obj: Json) -> tuple[Notice, ...]:
    """What is told of a request that was answered before, and is here again."""
    again = asked_again(obj)
    text = f"noria.dev/retrain {again}: {AGAIN}"
    return (Notice("Warning", "CommandRefused", text),) if again else ()


def _active(seen: Watched, before: Json) -> str | None:
    name = before.get("active")
    return name if name in seen.live else next(iter(seen.live), None)


def _old(training: ContinuousTraining, seen: Watched, runs: Sequence[Json]) -> tuple[str, ...]:
    """Finished TrainingJobs beyond the history limit, oldest first; those that tell how a run ended stay
    until that is known.
    """
    open_ = {run["trainingJob"] for run in runs if not run.get("result")}
    done = [
        job
        for job in seen.jobs
        if is_finished(job.get("status", {})) and job["metadata"]["name"] not in open_
    ]
    done.sort(key=lambda job: (job["metadata"]["creationTimestamp"], job["metadata"]["name"]))
    surplus = len(done) - training.spec.history_limit
    return tuple(job["metadata"]["name"] for job in done[: max(0, surplus)])


def _due(
    requests: Sequence[Request], holds: Sequence[Hold | None], status: Mapping[str, Any], now: datetime
) -> datetime | None:
    times = [request.due for request in requests if request.due is not None]
    times += [hold.until for hold in holds if hold is not None and hold.until is not None]
    if status.get("nextEligibleTime"):
        times.append(moment(status["nextEligibleTime"]))
    if status.get("followUp"):
        times.append(moment(status["followUp"]["at"]))
    future = [time for time in times if time > now]
    return min(future, default=None)
