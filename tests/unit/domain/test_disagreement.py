"""Disagreement as a measure: pairs, evidence, verdicts, and a rollout that waits for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.rollout_world import World, canary, revision, seconds, serving

from noria_operator.domain.analysis import Said
from noria_operator.domain.disagreement import (
    BETTER,
    WORSE,
    Compared,
    DisagreementPolicy,
    Paired,
    Pairs,
    compare,
    judge,
    log_e_harm,
    log_e_ok,
)
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_words import Happened
from noria_operator.domain.verdict import FAIL_AT, PASS_AT, Judgement, Verdict

NEW = revision(2).name
NAN = None


@pytest.mark.parametrize(
    ("one", "other", "task", "differing", "difference"),
    [
        ([0.9], [0.6], "binary", 0, 0.3),
        ([0.9], [0.5], "binary", 1, 0.4),
        ([0.5], [0.2], "binary", 0, 0.3),
        ([0.9, 0.1, 0.2, 0.3], [0.9, 0.1, 0.8, 0.3], "binary", 0.25, 0.15),
        ([100.0], [101.0], "regression", 0, 1),
        ([100.0], [101.2], "regression", 1, 1.2),
        ([-100.0], [-99.0], "regression", 0, 1),
        ([0.0], [0.0], "regression", 0, 0),
        ([0.0], [1e-9], "regression", 1, 1e-9),
        ([NAN, 1.0], [NAN, 1.0], "regression", 0, 0),
        ([NAN, 1.0], [2.0, 1.0], "regression", 0.5, 0),
        (["late"], ["late"], "multiclass", 0, None),
        (["late", 1], ["early", "1"], "multiclass", 0.5, None),
        ([0.9], [0.9, 0.8], "binary", 1, None),
        ([], [], "binary", 1, None),
    ],
)
def test_rows_differ_by_class_or_by_more_than_the_tolerance(
    one: list[Any], other: list[Any], task: str, differing: float, difference: float | None
) -> None:
    found = compare(one, other, task, 0.01)
    assert (found.count, found.differing) == (1, differing)
    assert found.difference == (None if difference is None else pytest.approx(difference))
    assert compare(other, one, task, 0.01) == found


@pytest.mark.parametrize(
    ("count", "differing", "most", "harm", "fine"),
    [
        (52, 15, 0.1, 5.722783508837899, -4.904799388747192),
        (100, 30, 0.1, 13.445907549239037, -8.32193816517704),
        (100, 12.5, 0.1, -0.8416355552074933, -2.7450665569973816),
        (44, 0, 0.1, -2.7016037724116027, 3.7721223223497065),
        (300, 3, 0.05, -4.960544503708822, 6.318090601232515),
        (0, 0, 0.1, 0, 0),
    ],
)
def test_evidence_is_the_mean_likelihood_ratio_over_the_alternatives(
    count: int, differing: float, most: float, harm: float, fine: float
) -> None:
    """The figures are those of the sums of products, in plain arithmetic."""
    pairs = Pairs(count, differing)
    assert log_e_harm(pairs, most) == pytest.approx(harm)
    assert log_e_ok(pairs, most) == pytest.approx(fine)


@given(
    st.floats(0.001, 0.9),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=1, max_size=6),
)
def test_no_distribution_of_shares_with_the_allowed_mean_gives_evidence_on_average(
    most: float, support: list[tuple[float, float]]
) -> None:
    """One pair of any law on [0, 1] with this mean multiplies e by 1 at most, whatever the alternative."""
    weights = np.array([weight for _, weight in support])
    values = np.array([value for value, _ in support])
    mean = float(weights @ values / weights.sum())
    # Moved to the mean that is allowed by mixing with 0 or 1.
    extreme, share = (1.0, (most - mean) / (1 - mean)) if mean < most else (0.0, 1 - most / max(mean, most))
    law = [(extreme, share), *zip(values, (1 - share) * weights / weights.sum(), strict=True)]
    for test, alternatives in ((log_e_harm, WORSE), (log_e_ok, BETTER)):
        expected = sum(chance * math.exp(test(Pairs(1, float(value)), most)) for value, chance in law)
        assert expected <= 1 + 1e-9, alternatives


def verdict(pairs: Pairs, most: float = 0.1, *, measures: int = 1, copied: bool = True) -> Judgement:
    policy = DisagreementPolicy(most)
    return judge(policy, pairs, Paired("a"), copied=copied, measures=measures)


@pytest.mark.parametrize(
    ("pairs", "most", "expected"),
    [
        (Pairs(36, 0), 0.1, Verdict.PASS),
        (Pairs(35, 0), 0.1, Verdict.HOLD),
        (Pairs(376, 0), 0.01, Verdict.PASS),
        (Pairs(375, 0), 0.01, Verdict.HOLD),
        (Pairs(52, 15), 0.1, Verdict.FAIL),
        (Pairs(2000, 200), 0.1, Verdict.HOLD),
        (Pairs(), 0.1, Verdict.HOLD),
        (Pairs(8, 8), 0.1, Verdict.FAIL),
        (Pairs(20, 20), 0.9, Verdict.HOLD),
    ],
)
def test_surely_more_fails_surely_less_passes(pairs: Pairs, most: float, expected: Verdict) -> None:
    assert verdict(pairs, most).verdict is expected


def test_several_measures_share_the_false_alarms() -> None:
    assert verdict(Pairs(52, 15)).verdict is Verdict.FAIL
    assert verdict(Pairs(52, 15), measures=2).verdict is Verdict.HOLD


def test_what_cannot_be_known_is_said_with_what_to_do() -> None:
    policy, none = DisagreementPolicy(), Pairs()
    for seen, copied, expected, said in (
        (None, False, Verdict.HOLD, "waiting for copies"),
        (Paired("a"), True, Verdict.HOLD, "waiting for requests that both answer"),
        (Paired("a", untold="champion"), True, Verdict.HOLD, "the champion's server is of an earlier"),
        (Paired("a", readable=False), True, Verdict.ERROR, "cannot be read"),
        (Paired("a", readable=False), False, Verdict.HOLD, "a person has to decide"),
    ):
        found = judge(policy, none, seen, copied=copied, measures=1)
        assert (found.verdict, said in found.message) == (expected, True), found.message
    failed = judge(policy, Pairs(100, 90), Paired("a", readable=False), copied=True, measures=1)
    assert failed.verdict is Verdict.FAIL, "what was found before stands"


def test_looking_often_gives_no_more_false_alarms_than_stated() -> None:
    """400 challengers that differ exactly as often as allowed, looked at 40 times in 2,000 pairs."""
    random, most, looks = np.random.default_rng(5), 0.1, np.arange(50, 2001, 50)
    seen = random.binomial(50, most, size=(400, len(looks))).cumsum(axis=1)
    least = np.array([_first(n, most, log_e_harm, FAIL_AT) for n in looks])
    most_fine = np.array([_last(n, most, log_e_ok, PASS_AT) for n in looks])
    assert (seen >= least).any(axis=1).sum() <= 6, "0.5 % are allowed: 2 expected at most"
    assert 0 < (seen <= most_fine).any(axis=1).sum() <= 32, "5 % are allowed: 20 expected at most"


def _first(n: int, most: float, log_e: Any, at: float) -> int:
    counts = range(int(n * most), n + 1)
    return next(s for s in counts if log_e(Pairs(n, s), most) >= math.log(at))


def _last(n: int, most: float, log_e: Any, at: float) -> int:
    return max((s for s in range(int(n * most) + 1) if log_e(Pairs(n, s), most) >= math.log(at)), default=-1)


def test_no_pair_counts_twice_whichever_process_read_it() -> None:
    kept = Compared().plus(Paired("one", Pairs(10, 1, 0.5)))
    assert kept.pairs == Pairs(10, 1, 0.5)
    assert kept.plus(Paired("one", Pairs(10, 1, 0.5))) == kept
    assert kept.plus(None) == kept
    more = kept.plus(Paired("one", Pairs(14, 3, 0.75)))
    assert more.pairs == Pairs(14, 3, 0.75)
    restarted = more.plus(Paired("two", Pairs(5, 0, 0.25)))
    assert restarted.pairs == Pairs(19, 3, 1.0)
    assert restarted.plus(Paired("two", Pairs(6, 0, 0.25))).pairs == Pairs(20, 3, 1.0)


SHADOW = (PolicyStep(mirror=100, duration=seconds(60)), PolicyStep(50, seconds(3600)))


def shadow(steps: tuple[PolicyStep, ...] = SHADOW) -> World:
    return canary(Policy(replicas=2, steps=steps, disagreement=DisagreementPolicy()))


def judged(world: World) -> Said:
    assert world.state.analysis is not None
    return next(one for one in world.state.analysis.said if one.measure == "disagreement")


def differing(world: World, share: float = 0.3) -> None:
    """As many pairs in each of three readings."""
    for pairs in (200, 400, 600):
        assert world.state.candidate is not None, "not before harm was seen twice"
        world.paired = Paired("a", Pairs(pairs, share * pairs, 0.2 * share * pairs))
        world.run(0.25, every=1)


def test_a_challenger_that_answers_otherwise_never_gets_a_request() -> None:
    world = shadow()
    world.run(0.5)
    assert judged(world).message == "waiting for requests that both answer"
    differing(world)
    assert world.state.candidate is None
    assert "in 0.300 of 600 pairs, at most 0.1 allowed" in world.state.rejected[0].reason
    assert all(not share.weight for share in world.state.traffic if share.target.name == NEW)


def test_copies_go_on_until_enough_answers_were_compared() -> None:
    world = shadow()
    world.paired = Paired("a", Pairs(20, 0, 0.0))
    world.run(10)
    assert world.state.reach.mirror == 100, "its minute is over, and 20 pairs say too little"
    world.paired = Paired("a", Pairs(40, 0, 0.5))
    world.run(0.5)
    assert world.state.reach.weight == 50
    assert judged(world).verdict is Verdict.PASS
    assert judged(world).figures["meanAbsoluteDifference"] == "0.0125"


def test_copies_do_not_go_on_for_longer_than_max_hold() -> None:
    world = shadow()
    world.edit(max_hold=seconds(600))
    world.run(12)
    assert world.state.step is not None
    assert world.state.step.paused
    assert world.state.reach.mirror == 100


def test_pairs_outlive_the_process_that_read_them_and_the_step_that_brought_them() -> None:
    world = shadow()
    world.paired = Paired("a", Pairs(30, 0, 0.0))
    world.run(0.5)
    world.paired = None  # another process, which has not read yet
    world.run(0.5)
    assert judged(world).figures["pairs"] == "30"
    world.paired = Paired("b", Pairs(10, 1, 0.5))
    world.run(0.5)
    assert judged(world).figures["pairs"] == "40"
    world.paired = Paired("b", Pairs(60, 1, 0.5))
    world.run(1)
    assert world.state.reach.weight == 50
    world.paired = None
    world.run(1)
    assert judged(world).verdict is Verdict.PASS
    assert (judged(world).figures["pairs"], judged(world).figures["rate"]) == ("90", "0.0111111")


def test_another_attempt_begins_without_the_pairs_of_the_last() -> None:
    world = shadow()
    differing(world)
    assert world.state.rejected
    world.paired = None
    world.commands = {"retry": "1"}
    world.settle()
    world.run(0.2)
    assert world.state.analysis is not None
    assert world.state.analysis.compared == Compared()


def test_two_configurations_of_one_version_are_compared_too() -> None:
    """Another server may well answer differently with the same model."""
    world = serving(1, Policy(replicas=2, steps=SHADOW, disagreement=DisagreementPolicy()))
    world.approve(1, config="bbbbbb")
    world.settle()
    differing(world, 1.0)
    assert "in 1.000 of 600 pairs" in world.state.rejected[0].reason


@pytest.mark.parametrize("every", [1, 5, 10])
def test_one_odd_request_that_a_client_repeats_rolls_nobody_back(every: int) -> None:
    """Also where some of its pairs are told by the next reading."""
    world = shadow()
    for pairs in (Pairs(200), Pairs(240, 40), Pairs(260, 60), Pairs(300, 60), Pairs(360, 60)):
        world.paired = Paired("a", pairs)
        world.run(0.25, every=every)
    world.run(5, every=every)
    assert (world.state.rejected, judged(world).verdict) == ((), Verdict.HOLD)
    assert world.events.count(Happened.BURST) == 1
    world.paired = Paired("a", Pairs(400, 75))
    world.run(0.25, every=every)
    assert not world.state.rejected
    world.paired = Paired("b", Pairs(60, 40))
    world.run(0.25, every=every)
    assert "in 0.250 of 460 pairs" in world.state.rejected[0].reason, "at another time, read by another"


def test_harm_that_fades_is_forgotten() -> None:
    world = shadow((PolicyStep(mirror=100, pause=True),))
    for pairs in (Pairs(20, 8), Pairs(40, 8)):
        world.paired = Paired("a", pairs)
        world.run(0.25, every=1)
    assert world.state.analysis is not None
    assert world.state.analysis.compared.earlier == Pairs(40, 8)
    world.paired = Paired("a", Pairs(800, 8))
    world.run(0.25, every=1)
    assert judged(world).verdict is Verdict.PASS
    assert (world.state.analysis.doubts, world.state.analysis.compared.earlier) == ({}, None)
