"""The open window of a rollout: when it begins, when it is weighed, what the judge says meanwhile.

Comes in: the analysis kept in status and the routers' counts of this pass. Goes out: a `Reading`: evidence
with the open window included (what decisions look at) and the analysis to keep. Invariant: what is kept
changes only when a window opens or closes, a router appears, the verdict changes or the rollout moves, so
watching traffic writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from math import log

from noria_operator.domain import divisions, latency, refusals
from noria_operator.domain.analysis import Analysis, Said, Slowness
from noria_operator.domain.conditions import clip
from noria_operator.domain.confirmation import doubts
from noria_operator.domain.disagreement import MEASURE as DISAGREEMENT
from noria_operator.domain.disagreement import Compared, Paired
from noria_operator.domain.measures import added, doubted, judge, measured, of_refusals
from noria_operator.domain.rollout_observed import Observed, Seen
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_state import State
from noria_operator.domain.rollout_steps import filling
from noria_operator.domain.stretches import learnt, shares, turned
from noria_operator.domain.verdict import SUSPECT_AT, Counts, Evidence, Judgement, Window, step
from noria_operator.domain.windows import Marks, lately, mark, merge, since


@dataclass(frozen=True, slots=True)
class Reading:
    """What the routers say at this moment: requests and errors of the open window, requests and refusals,
    answers and slow answers; `judgement` is None while there is nothing to judge, `division` how traffic is
    divided, of arms alone; `step` is the one that the window's requests count for, if any.
    """

    observed: Observed
    window: Window = field(default_factory=Window)
    refused: Window = field(default_factory=Window)
    slow: Window = field(default_factory=Window)
    judgement: Judgement | None = None
    division: str = ""
    step: int | None = None


def read(policy: Policy, state: State, observed: Observed, now: datetime) -> Reading:
    """Judge what was seen up to now; nothing is judged without both arms or before the first
    request may reach the challenger."""
    analysis = state.analysis
    if analysis is None or state.candidate is None or state.stable is None or analysis.since is None:
        return Reading(observed)
    window = refused = slow = Window()
    if state.reach.any:
        window, refused = refusals.apart(_since(state, analysis.marks, observed.counts))
        if analysis.latency is not None:
            slow = _since(state, analysis.latency.marks, _slow(analysis.latency, observed))
    long_enough = now - analysis.since >= policy.min_duration
    judgement = judge(
        policy,
        state,
        observed,
        window=window,
        refused=refused,
        slow=slow,
        long_enough=long_enough,
        unanswered=_unanswered(state, observed) if untimed(policy, state, now) else 0,
    )
    division = divisions.named(state) if policy.compares and state.reach.any else ""
    return Reading(observed, window, refused, slow, judgement, division, filling(policy, state))


def untimed(policy: Policy, state: State, now: datetime) -> bool:
    """Whether what hangs since the challenger got the weight of now can be no error yet: none of it has timed
    out, and been seen.
    """
    analysis = state.analysis
    if analysis is None or analysis.since is None:
        return False
    began = max([analysis.since, *(one.at for one in analysis.turns)])
    return now < began + policy.timeout + policy.interval


def _unanswered(state: State, observed: Observed) -> int:
    """Requests under way to the challenger, where these are more than those to the champion explain; 0 where
    they are not, or headers decide who gets what.
    """
    reach = state.reach
    if state.stable is None or state.candidate is None or reach.match or not reach.any:
        return 0
    theirs, mine = (observed.under_way.get(one.name, 0) for one in (state.stable, state.candidate.target))
    asked = Window(
        Counts(state.weight(state.stable.name), theirs),
        Counts(reach.weight or reach.mirror, mine),
    )
    return mine if step(Evidence(), asked, over=False).log_e_harm >= log(SUSPECT_AT) else 0


def refuses(policy: Policy, state: State, counts: Marks | None) -> bool:
    """Whether it speaks against the challenger what it refuses, so that its servers are worth asking why."""
    analysis = state.analysis
    if analysis is None or not state.reach.any:
        return False
    _, refused = refusals.apart(_since(state, analysis.marks, counts))
    return of_refusals(policy, analysis, refused, Seen()) is not None


def _slow(seen: Slowness, observed: Observed) -> Marks | None:
    return None if observed.timings is None else latency.slow(observed.timings, seen.edge)


def _since(state: State, marks: Marks, counts: Marks | None) -> Window:
    if counts is None or state.stable is None or state.candidate is None:
        return Window()
    return since(marks, counts, champion=state.stable.name, challenger=state.candidate.target.name)


def weigh(policy: Policy, before: State, after: State, reading: Reading, now: datetime) -> State:
    """`after` with the analysis to keep: the window is closed when its time is up or the rollout moved.
    `reading` is what `before` told.
    """
    analysis = after.analysis
    if analysis is None or (before.candidate is None and after.candidate is None):
        return after
    if after.candidate is None or after.candidate == before.candidate:
        after = _weighed(policy, before, after, reading, now)
    else:
        # What was counted belongs to another challenger; this one begins with the counts of now.
        after = replace(after, analysis=_baseline(policy, analysis, after, reading, moved=True))
    if _judged_by(before) != _judged_by(after):
        reading = read(policy, after, reading.observed, now)
    return _judged(policy, before, after, reading, now)


def _judged_by(state: State) -> tuple[object, ...]:
    """What a reading depends on, but for what was observed."""
    return state.candidate, state.stable, state.reach, state.analysis


def _weighed(policy: Policy, before: State, after: State, reading: Reading, now: datetime) -> State:
    analysis = after.analysis or Analysis()
    moved = _place(before) != _place(after)
    opened = analysis.window_from
    if moved or (opened is not None and now >= opened + policy.interval):
        analysis = _close(policy, _sorted(analysis, reading), after, reading, now)
        after = _count(policy, after, reading)
    elif opened is None and reading.window.requests:
        analysis = replace(analysis, window_from=now)
    began = before.analysis.since if before.analysis else None
    counted = reading.observed.of(after.candidate).counted
    delay = counted.delay if counted else None
    analysis = learnt(analysis, now, delay)
    if (
        began is not None
        and after.candidate is not None
        and _parted(policy, before) != _parted(policy, after)
    ):
        analysis = turned(analysis, now, delay)
    analysis = _baseline(policy, analysis, after, reading, moved=moved)
    return after if analysis == after.analysis else replace(after, analysis=analysis)


def _judged(policy: Policy, before: State, after: State, reading: Reading, now: datetime) -> State:
    """A verdict that changed is kept at once, with its sentence; the evidence waits for the window to
    close. So is harm in too few bursts, and when it is that no longer, and each answer to a query.
    """
    analysis, judgement = after.analysis, reading.judgement
    if analysis is None or judgement is None:
        return after
    seen = reading.observed.of(after.candidate)
    answers = {query.name: one for query, one, _ in measured(policy, analysis, seen.queries)}
    kept = replace(analysis, queries=answers, doubts=doubts(analysis.doubts, judgement, now))
    known = before.analysis.compared if before.analysis else Compared()
    news = known.plus(seen.paired) != known
    kept = replace(kept, compared=_parts(policy, kept, seen.paired, now, news=news))
    if kept != analysis:
        return replace(after, analysis=said(kept, judgement))
    said_before = [(one.measure, one.verdict) for one in analysis.said]
    same = said_before == [(one.measure, one.verdict) for one in judgement.measures]
    if same and (judgement.verdict, judgement.lone_burst) == (analysis.verdict, analysis.lone_burst):
        return after
    return replace(after, analysis=said(analysis, judgement))


def _parts(
    policy: Policy, analysis: Analysis, paired: Paired | None, now: datetime, *, news: bool
) -> Compared:
    """The pairs, apart from each other where harm has to show again. The first `news` after that moment are
    of before, too: servers tell pairs some time after they answered.
    """
    since, compared = doubted(policy, analysis, DISAGREEMENT), analysis.compared
    if since is None:
        return replace(compared, earlier=None)
    if compared.earlier is not None:
        return compared
    compared = compared.plus(paired)
    return replace(compared, earlier=compared.pairs) if news and now >= since else compared


def said(analysis: Analysis, judgement: Judgement) -> Analysis:
    """The analysis with what is said of it; its evidence stays."""
    return replace(
        analysis,
        verdict=judgement.verdict,
        message=clip(judgement.message),
        lone_burst=judgement.lone_burst,
        said=tuple(map(_said, judgement.measures)),
    )


def _said(one: Judgement) -> Said:
    figures = {name: f"{value:.6g}" for name, value in one.figures.items()}
    return Said(one.measure, one.verdict, clip(one.message), figures, clip(one.query))


def _sorted(analysis: Analysis, reading: Reading) -> Analysis:
    """The analysis of an arm with the open window put to how traffic was divided in it."""
    if not reading.division:
        return analysis
    seen = analysis.latency
    if seen is not None:
        seen = replace(seen, divided=divisions.plus(seen.divided, reading.division, reading.slow))
    return replace(
        analysis,
        latency=seen,
        divided=divisions.plus(analysis.divided, reading.division, reading.window),
    )


def _close(policy: Policy, analysis: Analysis, after: State, reading: Reading, now: datetime) -> Analysis:
    """Put the open window into the evidence; an empty one leaves no trace but that no window is open.

    A router that did not answer keeps its mark: what it counted comes with a later window.
    """
    judgement, seen, arms = reading.judgement, analysis.latency, _arms(after)
    paired = reading.observed.of(after.candidate).paired
    if judgement is None or not reading.window.requests:
        return replace(analysis, window_from=None)
    if seen is not None and policy.latency is not None:
        late = _slow(seen, reading.observed) or {}
        seen = replace(
            seen,
            asked=seen.asked or policy.latency,
            evidence=added(seen.evidence, reading.slow, policy.latency.factor),
            marks={**lately(seen.marks, late), **mark(late, *arms)},
        )
    counts = reading.observed.counts or {}
    return replace(
        said(analysis, judgement),
        evidence=added(analysis.evidence, reading.window),
        refused=refusals.added(analysis.refused, reading.refused, analysis.evidence),
        marks={**lately(analysis.marks, counts), **mark(counts, *arms)},
        latency=seen,
        compared=analysis.compared.plus(paired),
        window_from=now,
    )


def _count(policy: Policy, after: State, reading: Reading) -> State:
    """What was asked in the closed window belongs to the step in which it was; to an arm all of its."""
    if after.step is None or not (policy.compares or reading.step == after.step.index):
        return after
    requests = after.step.requests + reading.window.challenger.requests
    return replace(after, step=replace(after.step, requests=requests))


def _baseline(policy: Policy, analysis: Analysis, after: State, reading: Reading, *, moved: bool) -> Analysis:
    """Marks for what begins now: all routers when the weight changed, else those seen for the first time."""
    seen = _edged(policy, analysis, after, reading.observed)
    if not after.reach.any:
        seen = replace(seen, marks={}) if seen else None
        return replace(analysis, marks={}, latency=seen, window_from=None)
    arms = _arms(after)
    if seen is not None:
        seen = replace(seen, marks=_marked(seen.marks, _slow(seen, reading.observed), arms, moved=moved))
    marks = _marked(analysis.marks, reading.observed.counts, arms, moved=moved)
    opened = None if moved else analysis.window_from
    return replace(analysis, marks=marks, latency=seen, window_from=opened)


def _marked(marks: Marks, counts: Marks | None, arms: tuple[str, ...], *, moved: bool) -> Marks:
    """Counts that cannot be read when the weight changes must not end up in a window of another weight: then
    there are no marks, and the next reading is where it begins.
    """
    if moved:
        return mark(counts or {}, *arms)
    return marks if counts is None else merge(marks, counts, *arms)


def _edged(policy: Policy, analysis: Analysis, after: State, observed: Observed) -> Slowness | None:
    """The evidence on latency, begun once the champion's quantile is known, and anew where something else is
    asked.
    """
    seen = analysis.latency
    if policy.latency is None or after.stable is None:
        return seen if policy.latency else None
    if seen is not None and seen.answers(policy.latency):
        return seen
    champion = [pod.get(after.stable.name, latency.Histogram()) for pod in (observed.timings or {}).values()]
    edge = latency.edge(champion, policy.latency.quantile)
    return None if edge is None else Slowness(edge, policy.latency)


def _arms(state: State) -> tuple[str, ...]:
    stable = (state.stable.name,) if state.stable else ()
    return (*stable, state.candidate.target.name) if state.candidate else stable


def _place(state: State) -> tuple[object, ...]:
    """What separates windows: who is compared, how requests reach both, in which step."""
    return _arms(state), divisions.division(state), state.step.index if state.step else None


def _parted(policy: Policy, state: State) -> tuple[object, ...]:
    """What separates stretches: in an experiment whatever divides the traffic otherwise, as all arms are
    compared with each other.
    """
    if policy.compares:
        return divisions.division(state)
    return shares(state.weight(state.stable.name) if state.stable else 0, state.reach)
