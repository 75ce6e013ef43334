"""The judge: each measure that a rollout is judged by, and all of them together.

Comes in: what the spec asks for, the evidence kept, what was observed, the open windows. Goes out: one
judgement. A measure turns evidence into Pass, Fail, Hold or Error with a sentence and figures; errors are
always one of them. Invariant: nothing is kept here, so that it may be asked at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from noria_operator.domain import disagreement, latency, predictions, quality_drop, queries, refusals
from noria_operator.domain.analysis import Analysis, Counted
from noria_operator.domain.confirmation import confirmed
from noria_operator.domain.disagreement import Pairs
from noria_operator.domain.quality_drop import QualityPolicy
from noria_operator.domain.queries import Asked, Measured, QueryPolicy
from noria_operator.domain.rollout_observed import Observed, Seen
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_state import State
from noria_operator.domain.stretches import stretches
from noria_operator.domain.training_times import stamp
from noria_operator.domain.verdict import (
    TOLERABLE_RATIO,
    Evidence,
    Judgement,
    Verdict,
    Window,
    decide,
    step,
    together,
)

UNREAD = "the model servers' counters cannot be read"


def judge(
    policy: Policy,
    state: State,
    observed: Observed,
    *,
    window: Window,
    refused: Window,
    slow: Window,
    long_enough: bool,
    unanswered: int = 0,
) -> Judgement:
    """All measures; `window`, `refused` and `slow` are what the open window has of errors, of refusals and of
    slow answers, `long_enough` whether `minDuration` is over, `unanswered` as `decide` has it.
    """
    analysis, seen = state.analysis or Analysis(), observed.of(state.candidate)
    tests = _tests(policy)
    alone = _champion_is_down(policy, state, observed)
    if policy.counted or not policy.queries:
        errors = decide(
            added(analysis.evidence, window, over=False),
            policy.tolerated,
            readable=observed.counts is not None,
            floors_met=long_enough,
            unanswered=unanswered,
            measures=tests,
            rivals=policy.rivals,
            alone=alone,
        )
    else:
        verdict = Verdict.PASS if long_enough else Verdict.HOLD
        errors = Judgement(verdict, "nobody counts them here, so that the queries decide", "errors")
    turned_away = of_refusals(policy, analysis, refused, seen, alone=alone)
    asked = (
        judge_(policy, state, analysis, observed, slow, tests)
        for judge_ in (_latency, _quality, _predictions, _disagreement)
    )
    answered = (queries.judge(*one) for one in measured(policy, analysis, seen.queries))
    told = (one for one in (turned_away, *asked) if one is not None)
    return together([errors, *told, *answered])


def _tests(policy: Policy) -> int:
    """The measures that share the false alarms."""
    beside = (policy.latency, policy.quality, policy.max_distance, policy.disagreement)
    return 1 + sum(asked is not None for asked in beside)


def of_refusals(
    policy: Policy, analysis: Analysis, refused: Window, seen: Seen, *, alone: bool = False
) -> Judgement | None:
    """What the open window and those before it say of what the challenger refuses; `alone` beside a champion
    that is down.
    """
    return refusals.judge(
        refusals.added(analysis.refused, refused, analysis.evidence, over=False),
        tests=_tests(policy),
        rivals=policy.rivals,
        by_users=policy.divides_users,
        alone=alone,
        inputs=seen.inputs,
        said=seen.refused,
    )


def _champion_is_down(policy: Policy, state: State, observed: Observed) -> bool:
    stable = state.stable
    return stable is not None and policy.replicas > 0 and not observed.ready.get(stable.name, 0)


def measured(
    policy: Policy, analysis: Analysis, answers: Mapping[str, Asked]
) -> Iterator[tuple[QueryPolicy, Measured, Asked]]:
    """Each query with its measurements, the latest answer included."""
    for query in policy.queries:
        asked, known = answers.get(query.name, Asked()), analysis.queries.get(query.name, Measured())
        if analysis.since is not None:
            yield query, queries.measure(query, known, asked, analysis.since), asked


def added(
    evidence: Evidence, window: Window, tolerable: float = TOLERABLE_RATIO, *, over: bool = True
) -> Evidence:
    """The evidence with one more window, if anything came in it; `over` False: with the open one."""
    return step(evidence, window, tolerable, over=over) if window.requests else evidence


def _latency(
    policy: Policy, _: State, analysis: Analysis, observed: Observed, slow: Window, tests: int
) -> Judgement | None:
    asked, seen = policy.latency, analysis.latency
    if asked is None:
        return None
    if seen is None or not seen.answers(asked):
        readable = observed.timings is not None
        verdict = Verdict.HOLD if readable else Verdict.ERROR
        wait = f"waiting for {latency.ENOUGH} answers of the champion to know its quantile"
        return Judgement(verdict, wait if readable else latency.UNREAD, "latency")
    judged = decide(
        added(seen.evidence, slow, asked.factor, over=False),
        1 - asked.quantile,
        readable=observed.timings is not None,
        of=latency.comparison(seen.edge, asked.factor),
        measures=tests,
        rivals=policy.rivals,
    )
    return replace(judged, figures={"edgeMilliseconds": seen.edge, **judged.figures})


def _quality(
    policy: Policy, state: State, analysis: Analysis, observed: Observed, _: Window, tests: int
) -> Judgement | None:
    asked = policy.quality
    if asked is None:
        return None
    judged = _by_servers(
        policy,
        state,
        observed,
        quality_drop.MEASURE,
        lambda seen: _of_labels(asked, seen, tests, policy.rivals),
    )
    if judged.verdict is not Verdict.HOLD or not analysis.turns:
        return judged
    begins = stretches(analysis, asked.initial_delay)[-1].labelled
    which = (
        f"those that come from {stamp(begins)} on" if begins else "none before it is seen how late they come"
    )
    return replace(judged, message=f"{judged.message}; of this weight count {which}")


def _of_labels(asked: QualityPolicy, seen: Counted, tests: int, rivals: int) -> Judgement:
    if not seen.unsuitable:
        return quality_drop.judge(asked, seen.labels, tests, rivals)
    verdict = Verdict.PASS if asked.optional else Verdict.ERROR
    return Judgement(verdict, f"analysis.quality: {seen.unsuitable}", quality_drop.MEASURE)


def _predictions(
    policy: Policy, state: State, _: Analysis, observed: Observed, __: Window, tests: int
) -> Judgement | None:
    most = policy.max_distance
    if most is None:
        return None
    return _by_servers(
        policy,
        state,
        observed,
        predictions.MEASURE,
        lambda seen: predictions.judge(most, seen.outputs, tests, policy.rivals, called=seen.called),
    )


def _disagreement(
    policy: Policy, state: State, analysis: Analysis, observed: Observed, _: Window, tests: int
) -> Judgement | None:
    """By revision: one version in two configurations may well answer differently."""
    asked, seen = policy.disagreement, observed.of(state.candidate).paired
    if asked is None:
        return None
    compared, copied = analysis.compared.plus(seen), bool(state.reach.mirror)

    def judged(pairs: Pairs) -> Judgement:
        return disagreement.judge(asked, pairs, seen, copied=copied, measures=tests, rivals=policy.rivals)

    again = None if compared.later is None else judged(compared.later)
    return confirmed(judged(compared.pairs), again, doubted(policy, analysis, disagreement.MEASURE))


def doubted(policy: Policy, analysis: Analysis, measure: str) -> datetime | None:
    """From when on what comes has to show the harm again that a measure showed; None where it showed none."""
    showed = analysis.doubts.get(measure)
    return None if showed is None else showed + policy.interval


def _by_servers(
    policy: Policy, state: State, observed: Observed, measure: str, judged: Callable[[Counted], Judgement]
) -> Judgement:
    """What `judged` says of the model servers' counts, where there are any that can differ."""
    same = _same(state, measure)
    if same is not None:
        return same
    counted = observed.of(state.candidate).counted
    if counted is None:
        return Judgement(Verdict.HOLD, "waiting for the first counts", measure)
    if not counted.readable:
        return Judgement(Verdict.ERROR, UNREAD, measure)
    found, later = judged(counted), counted.later.get(measure)
    again = judged(later) if later and found.verdict is Verdict.FAIL else None
    return confirmed(found, again, doubted(policy, state.analysis or Analysis(), measure))


def _same(state: State, measure: str) -> Judgement | None:
    """Counters go by version: one that is champion and challenger at once cannot differ from itself."""
    if state.stable is None or state.candidate is None:
        return None
    if state.stable.version != state.candidate.target.version:
        return None
    text = f"both are {state.stable.version}: one model, in another configuration"
    return Judgement(Verdict.PASS, text, measure)
