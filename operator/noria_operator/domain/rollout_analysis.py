"""The open window of a rollout: when it begins, when it is weighed, what the judge says meanwhile.

Comes in: the analysis kept in status and the routers' counts of this pass. Goes out: a `Reading`: evidence
with the open window included (what decisions look at) and the analysis to keep. Invariant: what is kept
changes only when a window opens or closes, a router appears, the verdict changes or the rollout moves, so
watching traffic writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from noria_operator.domain.rollout_state import Analysis, Policy, State
from noria_operator.domain.verdict import Counts, Evidence, Judgement, Verdict, Window, decide, step
from noria_operator.domain.windows import mark, merge, since

Counters = Mapping[str, Mapping[str, Counts]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the routers say at this moment; `judgement` is None while there is nothing to judge."""

    counts: Counters | None
    window: Window
    judgement: Judgement | None

    @property
    def verdict(self) -> Verdict | None:
        """The verdict with the open window included."""
        return self.judgement.verdict if self.judgement else None


def read(policy: Policy, state: State, counts: Counters | None, now: datetime) -> Reading:
    """Judge what was seen up to now; nothing is judged without both arms or before the first weight."""
    analysis = state.analysis
    if analysis is None or state.candidate is None or state.stable is None or analysis.since is None:
        return Reading(counts, Window(), None)
    challenger = state.candidate.target.name
    window = Window()
    if counts is not None and state.weight(challenger):
        window = since(analysis.marks, counts, champion=state.stable.name, challenger=challenger)
    judgement = decide(
        _with(analysis.evidence, window),
        policy.tolerated,
        readable=counts is not None,
        floors_met=now - analysis.since >= policy.min_duration,
    )
    return Reading(counts, window, judgement)


def weigh(policy: Policy, before: State, after: State, reading: Reading, now: datetime) -> State:
    """`after` with the analysis to keep: the window is closed when its time is up or the rollout moved."""
    analysis = after.analysis
    if analysis is None or (before.candidate is None and after.candidate is None):
        return after
    if after.candidate is None or after.candidate == before.candidate:
        after = _weighed(policy, before, after, reading, now)
    else:
        # What was counted belongs to another challenger; this one begins with the counts of now.
        after = replace(after, analysis=_baseline(analysis, after, reading, moved=True))
    return _judged(after, read(policy, after, reading.counts, now))


def _weighed(policy: Policy, before: State, after: State, reading: Reading, now: datetime) -> State:
    analysis = after.analysis or Analysis()
    moved = _place(before) != _place(after)
    opened = analysis.window_from
    if moved or (opened is not None and now >= opened + policy.interval):
        analysis = _close(analysis, after, reading, now)
        after = _count(before, after, reading.window)
    elif opened is None and _requests(reading.window):
        analysis = replace(analysis, window_from=now)
    analysis = _baseline(analysis, after, reading, moved=moved)
    return after if analysis == after.analysis else replace(after, analysis=analysis)


def _judged(after: State, reading: Reading) -> State:
    """A verdict that changed is kept at once, with its sentence; the evidence waits for the window to
    close. So is a burst of errors that is no longer the only one, or no longer harm.
    """
    analysis, judgement = after.analysis, reading.judgement
    if analysis is None or judgement is None:
        return after
    if (judgement.verdict, judgement.lone_burst) == (analysis.verdict, analysis.lone_burst):
        return after
    return replace(after, analysis=said(analysis, judgement))


def said(analysis: Analysis, judgement: Judgement) -> Analysis:
    """The analysis with what is said of it; its evidence stays."""
    return replace(
        analysis,
        verdict=judgement.verdict,
        message=judgement.message,
        lone_burst=judgement.lone_burst,
    )


def _close(analysis: Analysis, after: State, reading: Reading, now: datetime) -> Analysis:
    """Put the open window into the evidence; an empty one leaves no trace but that no window is open.

    A router that did not answer keeps its mark: what it counted comes with a later window.
    """
    window, judgement = reading.window, reading.judgement
    if judgement is None or not _requests(window):
        return replace(analysis, window_from=None)
    return replace(
        said(analysis, judgement),
        evidence=_with(analysis.evidence, window),
        marks={**analysis.marks, **_marks(after, reading)},
        window_from=now,
    )


def _count(before: State, after: State, window: Window) -> State:
    """Requests of the closed window belong to the step in which they were answered."""
    if before.step is None or after.step is None or before.step.index != after.step.index:
        return after
    requests = after.step.requests + window.challenger.requests
    return replace(after, step=replace(after.step, requests=requests))


def _baseline(analysis: Analysis, after: State, reading: Reading, *, moved: bool) -> Analysis:
    """Marks for what begins now: all routers when the weight changed, else those seen for the first time."""
    if after.candidate is None or not after.weight(after.candidate.target.name):
        return replace(analysis, marks={}, window_from=None)
    if moved:
        # Counts that cannot be read now must not end up in a window of another weight: begin with the next.
        return replace(analysis, marks=_marks(after, reading), window_from=None)
    if reading.counts is None:
        return analysis
    known = merge(analysis.marks, reading.counts, *_arms(after))
    return analysis if known == analysis.marks else replace(analysis, marks=known)


def _marks(state: State, reading: Reading) -> dict[str, dict[str, Counts]]:
    return mark(reading.counts or {}, *_arms(state))


def _arms(state: State) -> tuple[str, ...]:
    stable = (state.stable.name,) if state.stable else ()
    return (*stable, state.candidate.target.name) if state.candidate else stable


def _with(evidence: Evidence, window: Window) -> Evidence:
    return step(evidence, window) if _requests(window) else evidence


def _requests(window: Window) -> int:
    return window.champion.requests + window.challenger.requests


def _place(state: State) -> tuple[object, ...]:
    """What separates windows: who is compared, with which weights, in which step."""
    weights = tuple(map(state.weight, _arms(state)))
    return _arms(state), weights, state.step.index if state.step else None
