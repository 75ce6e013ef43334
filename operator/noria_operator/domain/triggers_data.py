"""The trigger `dataChange`: what is stored for training is not what was there when the last run started.

Comes in: the trigger, its entry in status, the Job that looked, now. Goes out: a request, with the Job to
make or to remove. Invariants: the operator opens no location, a Job of ours does; a look is written into
status before its Job is made, under a name that follows from its time, so a crash loses and doubles nothing;
what the first look finds counts as known; a change counts once it has stood for `settle`; what a run was
started on is known unless the run comes to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.api.triggers import DataChange, TriggerSpec
from noria_operator.domain.results import ResultError, fingerprint_result
from noria_operator.domain.training_runs import Run, State, judge_run, last_word, refusal
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers import Request

Json = dict[str, Any]

_PENDING: Final = timedelta(minutes=30)
"""A look that found no node for so long has failed; the next one tries again."""
_AGAIN: Final = timedelta(minutes=10)
"""A look that failed is repeated after no longer: a store away for a minute blinds nobody for a day."""


@dataclass(frozen=True)
class Looking:
    """The Job of the look that status speaks of, if it is there, and how to make it."""

    run: Run | None
    job: Callable[[str], Json]
    """The Job of a look at this time."""


def asked_at(entry: Json) -> str:
    """When the last look was begun; empty before the first one."""
    return str((entry.get("state") or {}).get("asked") or "")


def data_change(trigger: TriggerSpec, entry: Json, looking: Looking, now: datetime) -> Request:
    """What the last look says, and the next look when it is time."""
    rule = trigger.data_change
    if rule is None:
        raise ValueError(f"{trigger.name} has no dataChange")
    state: Json = dict(entry.get("state") or {})
    if state.get("data") != rule.data:
        # A new trigger, or one that was pointed at something else: nothing is known of it.
        state = {"data": rule.data}
    if state.get("asked") and state["asked"] != state.get("looked"):
        if looking.run is None:
            return replace(_said(trigger, rule, state), job=looking.job(state["asked"]))
        return _awaited(trigger, rule, state, looking.run, now)
    done = looking.run.name if looking.run is not None else ""
    due = moment(state["asked"]) + _pause(rule, state) if state.get("asked") else now
    if now >= due and not done:
        return replace(_said(trigger, rule, state | {"asked": stamp(now)}), again=True)
    return replace(_said(trigger, rule, state), drop=done, due=due)


def _awaited(trigger: TriggerSpec, rule: DataChange, state: Json, run: Run, now: datetime) -> Request:
    """A look is under way: wait for its Job, or take its word."""
    verdict = judge_run(run, pending=_PENDING, now=now)
    if verdict.state in (State.PENDING, State.RUNNING):
        return replace(_said(trigger, rule, state), due=verdict.due)
    looked = state | {"looked": state["asked"]}
    if verdict.state is State.FAILED:
        looked |= {"problem": refusal(run, verdict)[:500]}
    else:
        looked |= _found(state, run)
    return replace(_said(trigger, rule, looked), drop=run.name)


def _found(state: Json, run: Run) -> Json:
    """What a look that ended well adds to the state."""
    try:
        found = fingerprint_result(last_word(run))
    except ResultError as error:
        return {"problem": error.message[:500]}
    known = state.get("known", found.digest)
    if _kind(known) != _kind(found.digest):
        known = found.digest  # by a .dvc file since now, or no longer: that is no other data
    new = {"files": found.files, "bytes": found.bytes, "known": known, "problem": ""}
    if found.digest != state.get("seen"):
        new |= {"seen": found.digest, "since": state["asked"]}
    return new


def _said(trigger: TriggerSpec, rule: DataChange, state: Json) -> Request:
    """The entry as the state has it; a run makes what was seen last the known one."""
    base: Json = {"name": trigger.name, "state": state}
    base |= {"samples": state["files"]} if "files" in state else {}
    base |= {"value": _short(state["seen"])} if "seen" in state else {}
    base |= {"threshold": _short(state["known"])} if "known" in state else {}
    if "seen" not in state:
        text = f"data {rule.data} is looked at for the first time"
        told = {"decision": "Wait", "reason": "FirstLook", "message": text}
        return Request(base | (_failed(rule, state) or told), trigger.reason)
    size = f"{state['files']} files, {state['bytes']} bytes"
    known = {"state": state | {"known": state["seen"]}, "threshold": _short(state["seen"])}
    back = {name: state[name] for name in ("data", "known")}
    if failed := _failed(rule, state):
        return replace(_settled(base, failed, trigger, known), back=back)
    if state["seen"] == state["known"]:
        text = f"data {rule.data} is as it was ({size})"
        told = {"decision": "No", "reason": "Unchanged", "message": text}
        return _settled(base, told, trigger, known)
    if moment(state["looked"]) - moment(state["since"]) < rule.settle:
        text = f"data {rule.data} changed at {state['since']} ({size}); waiting whether it stays like this"
        told = {"decision": "Wait", "reason": "Settling", "message": text}
        return replace(_settled(base, told, trigger, known), back=back)
    text = f"data {rule.data} changed at {state['since']} ({size})"
    asking = _settled(base, {"reason": "Changed"}, trigger, known)
    return replace(asking, wanted=True, key=state["seen"], says=text, back=back)


def _failed(rule: DataChange, state: Json) -> Json:
    """What is said while the location cannot be looked at; empty while it can."""
    if not state.get("problem"):
        return {}
    text = f"data {rule.data} could not be looked at: {state['problem']}"
    return {"decision": "Error", "reason": "LookFailed", "message": text}


def unknown_again(entry: Json, back: Json) -> Json:
    """The entry once the run that was started on what is known came to nothing."""
    state = entry.get("state") or {}
    return entry | {"state": state | back} if state.get("data") == back.get("data") else entry


def _settled(base: Json, told: Json, trigger: TriggerSpec, known: Json) -> Request:
    return Request(base | told, trigger.reason, answer=known, answered_by="Any")


def _pause(rule: DataChange, state: Json) -> timedelta:
    """From one look to the next: sooner after one that failed, and where a change waits to be confirmed."""
    if state.get("problem"):
        return min(rule.every, _AGAIN)
    if state.get("seen") == state.get("known"):
        return rule.every
    return min(rule.every, max(rule.settle, timedelta(seconds=1)))


def _short(digest: str) -> str:
    """A digest as people compare it: its kind and twelve digits."""
    return f"{_kind(digest)}:{digest.partition(':')[2][:12]}"


def _kind(digest: str) -> str:
    return digest.partition(":")[0]
