"""Predictions as a measure: bins that nest, the distance against scipy's, and verdicts."""

from __future__ import annotations

from dataclasses import replace
from math import ldexp

import numpy as np
import pytest
from scipy.stats import ks_2samp
from tests.unit.domain.rollout_world import World, canary, revision, seconds

from noria_operator.domain.analysis import Counted, Said
from noria_operator.domain.predictions import Called, Outputs, distance, judge, margin, mixture
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_words import Happened
from noria_operator.domain.verdict import Verdict

NEW = revision(2).name


def outputs(values: np.ndarray, exponent: int, first: int, size: int) -> Outputs:  # type: ignore[type-arg]
    places = np.floor(values / ldexp(1.0, exponent)).astype(int) - first
    return Outputs(exponent, first, tuple(np.bincount(places.clip(0, size - 1), minlength=size).tolist()))


def normal(mean: float, n: int) -> np.ndarray:  # type: ignore[type-arg]
    """Quantiles of a normal distribution, without chance, on a grid of eighths."""
    from scipy.stats import norm

    values: np.ndarray = norm.ppf((np.arange(n) + 0.5) / n) + mean  # type: ignore[type-arg]
    return np.floor(values * 8) / 8


def test_the_distance_is_scipys_where_the_bins_are_the_values() -> None:
    one, other = normal(0, 5000), normal(0.3, 700)
    expected = ks_2samp(one, other).statistic
    assert distance(outputs(one, -3, -64, 128), outputs(other, -3, -64, 128)) == pytest.approx(expected)


def test_bins_of_another_width_and_place_are_brought_to_the_same() -> None:
    one, other = normal(0, 5000), normal(0.3, 700)
    wide = outputs(other, -1, -10, 24)
    assert distance(outputs(one, -3, -64, 128), wide) == distance(outputs(one, -1, -16, 32), wide)
    moved = outputs(one, -1, -6, 11)
    assert distance(moved, wide) == distance(moved, outputs(other, -1, -6, 11)), "the ends are open"


def test_versions_that_predict_nothing_alike_are_as_far_as_can_be() -> None:
    assert distance(Outputs(0, 0, (5, 5)), Outputs(3, 100, (7,))) == 1.0
    assert distance(Outputs(0, 0, (5, 5)), Outputs(0, 0, (50, 50))) == 0.0


def test_the_margin_holds_at_any_time_and_shrinks() -> None:
    """arXiv 1906.09712: 0.85 √((log log(e t) + 0.8 log(1612 / α)) / t)."""
    assert margin(1000, 0.05) == pytest.approx(0.0868, abs=5e-4)
    assert margin(10_000, 0.05) < margin(1000, 0.05) < margin(1000, 0.005)


FAR, NEAR = normal(1.0, 4000), normal(0.05, 4000)


@pytest.mark.parametrize(
    ("challenger", "most", "expected"),
    [
        (FAR, 0.2, Verdict.FAIL),
        (NEAR, 0.2, Verdict.PASS),
        (NEAR[::80], 0.2, Verdict.HOLD),
        (FAR[::80], 0.2, Verdict.HOLD),
        (FAR, 0.6, Verdict.PASS),
    ],
)
def test_a_distance_that_is_surely_larger_fails_and_surely_smaller_passes(
    challenger: np.ndarray,  # type: ignore[type-arg]
    most: float,
    expected: Verdict,
) -> None:
    champion = outputs(normal(0, 20_000), -3, -64, 128)
    assert judge(most, [(champion, outputs(challenger, -3, -64, 128))], 1).verdict is expected


def test_without_counts_that_can_be_compared_it_holds_and_says_so() -> None:
    """A champion whose server is of an earlier release."""
    found = judge(0.2, [(None, outputs(FAR, -3, -64, 128))], 1)
    assert found.verdict is Verdict.HOLD
    assert "earlier release" in found.message


@pytest.mark.parametrize(
    ("rows", "whose"), [((9, 0), "the challenger"), ((0, 9), "the champion"), ((0, 0), "both versions")]
)
def test_a_version_that_predicted_nothing_yet_is_waited_for_by_name(
    rows: tuple[int, int], whose: str
) -> None:
    """As one that refuses all requests."""
    old, new = (Outputs(0, 0, (each, 0)) for each in rows)
    cats, dogs = (Called({"cat": each, "dog": 0}) for each in rows)
    for found in (judge(0.2, [(old, new)], 1), judge(0.2, [], 1, called=[(cats, dogs)])):
        assert (found.verdict, found.message) == (Verdict.HOLD, f"waiting for predictions of {whose}")


# -- on a ramp: 1,000 predictions a look, at weight 10 and then at 50, which are others then


def test_the_same_predictions_in_parts_of_the_same_shares_say_the_same() -> None:
    """Nothing is lost by a stretch that begins without need."""
    champion, challenger = outputs(normal(0, 20_000), -3, -64, 128), outputs(FAR, -3, -64, 128)
    whole = judge(0.2, [(champion, challenger)], 1)
    halves = [
        tuple(Outputs(-3, -64, tuple(count / 2 for count in one.bins)) for one in (champion, challenger))
    ] * 2
    arms = [(old, new) for old, new in halves]
    assert judge(0.2, arms, 1).figures == pytest.approx(whole.figures)
    silent = [*arms, (champion, None), (None, challenger), (champion, Outputs(-3, -64, (0,) * 128))]
    assert judge(0.2, silent, 1) == judge(0.2, arms, 1), "nobody to compare with"


def test_what_predictions_tell_shrinks_where_the_arms_have_other_mixtures() -> None:
    one, other = Outputs(0, 0, (900, 0)), Outputs(0, 0, (0, 50))
    mixed, worth = mixture([one, other], [0.5, 0.5])
    assert mixed.bins == pytest.approx((475, 475))
    assert worth == pytest.approx(1 / (0.25 / 900 + 0.25 / 50))
    assert mixture([one], [1.0]) == (one, pytest.approx(900))


def on_a_ramp(random: np.random.Generator, off: float) -> Verdict:
    """A Fail at any of 20 looks at each of two weights, or what is said last; by night predictions are 3
    higher, and the challenger's `off` more.
    """
    seen = np.zeros((2, 2, 128), dtype=np.int64)
    for look in range(40):
        part = look // 20
        for arm, rows in enumerate([(900, 100), (500, 500)][part]):
            values = random.normal(part * (3 + off * arm), 1, rows)
            seen[part, arm] += np.array(outputs(values, -3, -64, 128).bins)
        arms = [(Outputs(-3, -64, tuple(old)), Outputs(-3, -64, tuple(new))) for old, new in seen.tolist()]
        found = judge(0.2, arms, 2).verdict
        if found is Verdict.FAIL:
            break
    return found


def test_an_equal_model_does_not_fail_on_a_ramp_however_the_population_changes() -> None:
    random = np.random.default_rng(11)
    assert {on_a_ramp(random, 0.0) for _ in range(60)} == {Verdict.PASS}


def test_a_challenger_that_is_far_off_after_the_weights_changed_fails() -> None:
    random = np.random.default_rng(12)
    assert {on_a_ramp(random, 2.0) for _ in range(20)} == {Verdict.FAIL}


def judged(world: World) -> Said:
    assert world.state.analysis is not None
    return next(one for one in world.state.analysis.said if one.measure == "predictions")


def test_a_challenger_that_predicts_something_else_is_rolled_back() -> None:
    world = canary(Policy(replicas=2, steps=(PolicyStep(50, seconds(3600)),), max_distance=0.2))
    world.settle()
    world.run(0.5)
    assert judged(world).message == "waiting for the first counts"
    champion = outputs(normal(0, 4000), -3, -64, 128)
    world.counted = dict.fromkeys(
        world.names(), Counted(champion_outputs=champion, challenger_outputs=champion)
    )
    world.reconcile()
    assert judged(world).verdict is Verdict.PASS
    assert judged(world).figures["distance"] == "0"
    far = Counted(champion_outputs=champion, challenger_outputs=outputs(FAR, -3, -64, 128))
    world.counted = dict.fromkeys(world.names(), far)
    world.run(0.5)
    assert (judged(world).verdict, world.state.rejected) == (Verdict.HOLD, ())
    world.counted = dict.fromkeys(world.names(), replace(far, later={"predictions": far}))
    world.reconcile()
    assert world.state.weight(NEW) == 0
    assert "predictions: they differ too much: distance 0.3" in world.state.rejected[0].reason


def test_equal_rows_of_one_request_roll_nobody_back() -> None:
    world = canary(Policy(replicas=2, steps=(PolicyStep(50, seconds(30)),), max_distance=0.2))
    world.settle()
    champion, challenger = (Outputs(-7, 0, (each,) * 128) for each in (15, 2))
    burst = replace(challenger, bins=(5002, *challenger.bins[1:]))
    alike = Counted(champion_outputs=champion, challenger_outputs=challenger)
    world.counted = dict.fromkeys(
        world.names(), replace(alike, challenger_outputs=burst, later={"predictions": alike})
    )
    world.run(5, requests=2000)
    assert (world.state.rejected, judged(world).verdict) == ((), Verdict.HOLD)
    assert world.state.reach.weight == 50
    assert world.events.count(Happened.BURST) == 1
