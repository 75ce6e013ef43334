"""What a version was promoted or rejected on, kept when the next challenger is judged.

Comes in: a `Scene` and the state in which the version still is a challenger. Goes out: the state that
remembers. Invariant: bounded, whatever containers and queries say: the last few decisions, each with the
figures of its measures and sentences that are cut.
"""

from __future__ import annotations

from dataclasses import replace

from noria_operator.domain.conditions import clip
from noria_operator.domain.measures import added
from noria_operator.domain.rollout_analysis import said
from noria_operator.domain.rollout_arms import seats
from noria_operator.domain.rollout_scene import Scene
from noria_operator.domain.rollout_state import DECISIONS, Decision, Revision, State

SENTENCE = 300
"""Letters that are kept of what is said of a measure."""


def decided(scene: Scene, state: State, target: Revision, *, promoted: bool) -> State:
    """The state with the evidence on `target`, the open window included; as it was where there is none."""
    mine = next((one for one in seats(state) if one.candidate and one.candidate.target == target), None)
    if mine is None or mine.candidate is None or mine.analysis is None:
        return state
    reading, analysis = scene.readings.get(mine.candidate), mine.analysis
    counts = analysis.evidence
    if reading is not None and reading.judgement is not None:
        analysis, counts = said(analysis, reading.judgement), added(counts, reading.window)
    if analysis.verdict is None:
        return state
    found = Decision(
        target,
        promoted,
        scene.now,
        analysis.verdict,
        analysis.message,
        counts.champion,
        counts.challenger,
        tuple(replace(one, message=clip(one.message, SENTENCE), query="") for one in analysis.said),
    )
    return replace(state, decisions=(*state.decisions, found)[-DECISIONS:])
