"""Between `ModelDeployment.status` on the wire and the planner's `State`.

Comes in and goes out: pydantic models of the API on one side, frozen values on the other. Invariant: what is
written and read again is the same state to the last bit, so that a restart between any two writes changes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from noria_operator.api.modeldeployment_status import (
    AnalysisStatus,
    CandidateStatus,
    ChampionStatus,
    DecisionStatus,
    DeploymentHistory,
    MatchStatus,
    ModelDeploymentStatus,
    PreviousStatus,
    RejectedStatus,
    RivalStatus,
    Served,
    StepStatus,
    TrafficStatus,
    UndoStatus,
)
from noria_operator.domain.analysis_wire import (
    analysis_of,
    analysis_status,
    counts_of,
    counts_status,
    measures_of,
    measures_status,
    present,
)
from noria_operator.domain.rollout_ranges import Ranges
from noria_operator.domain.rollout_state import (
    Candidate,
    Decision,
    Entry,
    Mode,
    Previous,
    Rejected,
    Revision,
    Rival,
    Share,
    State,
    Step,
    Undo,
)
from noria_operator.domain.rollout_wait import Wait
from noria_operator.domain.rollout_words import Happened
from noria_operator.domain.verdict import Verdict

_RUN = "step"
_MICROSECOND = timedelta(microseconds=1)


def state_of(status: ModelDeploymentStatus) -> State:
    """The state that a status holds; what a status of another operator's age lacks begins afresh."""
    kept = (status.analysis.state if status.analysis else None) or {}
    candidate, previous = status.candidate, status.previous
    return State(
        stable=_revision(status.stable) if status.stable else None,
        candidate=Candidate(_revision(candidate), candidate.attempt, candidate.started_at)
        if candidate and candidate.started_at
        else None,
        previous=Previous(_revision(previous), previous.keep_until)
        if previous and previous.keep_until
        else None,
        step=_step(status.step, kept.get(_RUN) or {}, candidate.started_at)
        if candidate and candidate.started_at
        else None,
        traffic=tuple(
            Share(
                _revision(one),
                one.weight,
                one.verified or bool(one.assumed),
                one.mirror or 0,
                tuple((header.name, header.value) for header in one.match or ()),
                one.draining_since,
                _ranges(one.ranges or ""),
                bool(one.assumed),
            )
            for one in status.traffic
        ),
        traffic_version=status.traffic_version,
        analysis=analysis_of(status.analysis),
        rejected=tuple(
            Rejected(
                one.version,
                one.revision,
                one.reason,
                one.at,
                one.retries,
                one.next_retry_time,
                one.by_hand,
                one.retrying,
                one.lost,
            )
            for one in status.rejected
            if one.at
        ),
        decisions=tuple(map(_decision, status.decisions)),
        champions=tuple(map(_revision, status.champions)),
        turns=_turns(status),
        undo=Undo(_revision(status.undo.target), _revision(status.undo.left)) if status.undo else None,
        restarts=dict(status.restarts),
        commands=dict(status.commands),
        earlier={name: tuple(ids) for name, ids in status.earlier_commands.items()},
        history=tuple(Entry(one.at, one.event, one.version, one.message) for one in status.history),
        others=tuple(map(_rival, status.others)),
    )


def status_fields(
    state: State, *, realised: Mapping[str, int] | None = None, compares: bool = False
) -> dict[str, Any]:
    """The part of `ModelDeploymentStatus` that the state stands for, as keyword arguments of that model.

    `realised` (percent by revision) is what weights come to; of an experiment, which `compares`, the step is
    none of `spec.strategy.steps`, and not shown as one.
    """
    candidate, previous, step, undo = state.candidate, state.previous, state.step, state.undo
    return {
        "stable": Served(**_served(state.stable)) if state.stable else None,
        "candidate": CandidateStatus(
            **_served(candidate.target), attempt=candidate.attempt, started_at=candidate.started_at
        )
        if candidate
        else None,
        "previous": PreviousStatus(**_served(previous.target), keep_until=previous.keep_until)
        if previous
        else None,
        "step": StepStatus(index=step.index, started_at=step.since, requests=step.requests)
        if step and not compares
        else None,
        "traffic": [
            TrafficStatus(
                **_served(one.target),
                weight=one.weight,
                verified=one.verified and not one.assumed,
                assumed=(one.verified and one.assumed) or None,
                realised=(realised or {}).get(one.target.name),
                draining_since=one.draining_since,
                mirror=one.mirror or None,
                match=[MatchStatus(name=name, value=value) for name, value in one.match] or None,
                ranges=",".join(f"{start}-{end}" for start, end in one.ranges) or None,
            )
            for one in state.traffic
        ],
        "traffic_version": state.traffic_version,
        "analysis": analysis_status(state.analysis, {_RUN: _step_json(step, whole=compares)} if step else {}),
        "rejected": [
            RejectedStatus(
                version=one.version,
                revision=one.revision,
                reason=one.reason,
                at=one.at,
                retries=one.retries,
                next_retry_time=one.retry_at,
                by_hand=one.by_hand,
                retrying=one.retrying,
                lost=one.lost,
            )
            for one in state.rejected
        ],
        "decisions": [_decision_status(one) for one in state.decisions],
        "champions": [
            ChampionStatus(**_served(one), turn=state.turns.get(one.name, 0)) for one in state.champions
        ],
        "undo": UndoStatus(target=Served(**_served(undo.target)), left=Served(**_served(undo.left)))
        if undo
        else None,
        "restarts": dict(state.restarts),
        "commands": dict(state.commands),
        "earlier_commands": {name: list(ids) for name, ids in state.earlier.items()},
        "history": [
            DeploymentHistory(at=one.at, event=one.event, version=one.version, message=one.message)
            for one in state.history
        ],
        "others": [_rival_status(one) for one in state.others],
    }


def _turns(status: ModelDeploymentStatus) -> dict[str, int]:
    """An earlier release kept none: champions stand in their order, unless one was gone back to last."""
    turns = {one.name: one.turn for one in status.champions}
    ways = (Happened.PROMOTED, Happened.REVERTED)
    last = next((one.event for one in reversed(status.history) if one.event in ways), None)
    if any(turns.values()) or last == Happened.REVERTED:
        return turns
    return {name: place for place, name in enumerate(turns, 1)}


def _decision(one: DecisionStatus) -> Decision:
    told = AnalysisStatus.model_validate(one.evidence)
    return Decision(
        _revision(one),
        one.decision == "Promoted",
        one.at,
        Verdict(told.verdict or Verdict.HOLD),
        told.message or "",
        counts_of(told.champion),
        counts_of(told.challenger),
        measures_of(told.measures),
    )


def _decision_status(one: Decision) -> DecisionStatus:
    told = AnalysisStatus(
        version=one.target.version,
        verdict=one.verdict.value,
        message=one.message or None,
        champion=counts_status(one.champion),
        challenger=counts_status(one.challenger),
        measures=measures_status(one.said),
    )
    decision: Literal["Promoted", "Rejected"] = "Promoted" if one.promoted else "Rejected"
    return DecisionStatus(**_served(one.target), decision=decision, at=one.at, evidence=told.to_json())


def _rival(one: RivalStatus) -> Rival:
    analysis = AnalysisStatus.model_validate(one.analysis)
    kept = (analysis.state or {}).get(_RUN) or {}
    return Rival(
        Candidate(_revision(one), one.attempt, one.started_at),
        analysis_of(analysis),
        kept.get("requests", 0),
        kept.get("keptWeight"),
        _wait(kept),
    )


def _rival_status(one: Rival) -> RivalStatus:
    candidate = one.candidate
    kept = present(requests=one.requests, keptWeight=one.kept_weight, **_wait_json(one.wait))
    analysis = analysis_status(one.analysis, {_RUN: kept})
    return RivalStatus(
        **_served(candidate.target),
        attempt=candidate.attempt,
        started_at=candidate.started_at,
        analysis=analysis.to_json() if analysis else {},
    )


def _ranges(text: str) -> Ranges:
    return tuple(
        (int(start), int(end)) for start, _, end in (one.partition("-") for one in text.split(",") if one)
    )


def _served(target: Revision) -> dict[str, Any]:
    return {"version": target.version, "revision": target.revision, "name": target.name}


def _revision(one: Served) -> Revision:
    return Revision(one.version, one.revision, one.name)


# -- the step --------------------------------------------------------------------------------


def _step_json(step: Step, *, whole: bool) -> dict[str, Any]:
    """What `status.step` does not tell, or the `whole` of it."""
    shown = {"index": step.index, "since": step.since.isoformat(), "requests": step.requests}
    return (shown if whole else {}) | present(
        mode=step.mode.value,
        spentMicroseconds=step.spent // _MICROSECOND or None,
        holdFrom=step.hold_from.isoformat() if step.hold_from else None,
        **_wait_json(step.wait),
        released=step.released,
        paused=step.paused,
        why=step.why or None,
        stalled=step.stalled,
        told=step.told or None,
        resumed=step.resumed or None,
        keptWeight=step.kept_weight,
        ramped=step.ramped,
        recreate=step.recreate or None,
        plan=step.plan,
    )


def _wait_json(wait: Wait) -> dict[str, Any]:
    times = {"waitsSince": wait.since, "backSince": wait.back, "behindSince": wait.behind}
    waited, enough = wait.before // _MICROSECOND, wait.enough or None
    return present(
        waitedMicroseconds=waited,
        enoughPods=enough,
        **{name: at.isoformat() for name, at in times.items() if at},
    )


def _wait(kept: Mapping[str, Any]) -> Wait:
    before = kept.get("waitedMicroseconds", 0) * _MICROSECOND
    times = (kept.get(name) for name in ("waitsSince", "backSince", "behindSince"))
    since, back, behind = map(_time, times)
    return Wait(before, since, back, kept.get("enoughPods", 0), behind)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _step(status: StepStatus | None, kept: Mapping[str, Any], begun: datetime) -> Step:
    since = status.started_at if status else _time(kept.get("since"))
    return Step(
        index=status.index if status else kept.get("index", 0),
        since=since or begun,
        requests=status.requests if status else kept.get("requests", 0),
        mode=Mode(kept.get("mode", Mode.WAITING)),
        spent=kept.get("spentMicroseconds", 0) * _MICROSECOND,
        hold_from=_time(kept.get("holdFrom")),
        wait=_wait(kept),
        released=kept.get("released", False),
        paused=kept.get("paused", False),
        why=kept.get("why", ""),
        stalled=kept.get("stalled", False),
        told=kept.get("told", False),
        resumed=kept.get("resumed", False),
        kept_weight=kept.get("keptWeight"),
        ramped=kept.get("ramped"),
        recreate=kept.get("recreate", False),
        plan=kept.get("plan", ""),
    )
