"""Times in the state of a rollout that lie ahead of the clock count as now.

A node may boot with a clock that is a year ahead, lead for a minute, and be corrected: for that year a step
would not end, a window of counts not close, and answers to queries would be old. Comes in: the state, now.
Goes out: the state as a pass takes it, which writes it down. Invariants: no time is moved into the future;
where none is ahead the state is as it was; times that are told to people alone stay.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from noria_operator.domain.analysis import Analysis
from noria_operator.domain.rollout_state import State
from noria_operator.domain.rollout_wait import Wait


def not_ahead(state: State, now: datetime) -> State:
    """The state with no time that is yet to come, but for those that it waits for."""
    step = state.step
    if step is not None:
        spent = max(step.spent, timedelta())
        step = replace(
            step,
            since=min(step.since, now),
            spent=spent,
            hold_from=_past(step.hold_from, now),
            wait=_wait(step.wait, now),
        )
    return replace(
        state,
        step=step,
        analysis=_analysis(state.analysis, now),
        others=tuple(
            replace(one, analysis=_analysis(one.analysis, now), wait=_wait(one.wait, now))
            for one in state.others
        ),
        rejected=tuple(replace(one, at=min(one.at, now)) for one in state.rejected),
        traffic=tuple(replace(one, draining_since=_past(one.draining_since, now)) for one in state.traffic),
    )


def _wait(wait: Wait, now: datetime) -> Wait:
    since, back, behind = (_past(at, now) for at in (wait.since, wait.back, wait.behind))
    return replace(wait, since=since, back=back, behind=behind)


def _analysis(analysis: Analysis | None, now: datetime) -> Analysis | None:
    if analysis is None:
        return None
    queries = {
        name: replace(one, last_at=_past(one.last_at, now), since=_past(one.since, now))
        for name, one in analysis.queries.items()
    }
    since, opened = _past(analysis.since, now), _past(analysis.window_from, now)
    turns = tuple(replace(one, at=min(one.at, now)) for one in analysis.turns)
    doubts = {name: min(at, now) for name, at in analysis.doubts.items()}
    return replace(analysis, since=since, turns=turns, window_from=opened, queries=queries, doubts=doubts)


def _past(at: datetime | None, now: datetime) -> datetime | None:
    return None if at is None else min(at, now)
