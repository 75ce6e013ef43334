"""Quality as a measure: estimates against brute force, and verdicts on labels that arrive."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest
from tests.unit.domain.rollout_world import START, World, canary, revision, seconds

from noria_operator.domain.analysis import Counted, Said
from noria_operator.domain.quality import Labels
from noria_operator.domain.quality_drop import METRICS, QualityPolicy, judge
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_words import Happened
from noria_operator.domain.verdict import Judgement, Verdict
from noria_serving.contract import SCORE_BINS

NEW = revision(2).name


def labels(rows: dict[tuple[float, int], int]) -> Labels:
    """Labels by (score, class)."""
    counts = [[0] * SCORE_BINS, [0] * SCORE_BINS]
    for (score, label), count in rows.items():
        counts[label][int(score * SCORE_BINS)] += count
    return Labels.of(*counts)


def model(right: float, n: int) -> Labels:
    """Half of each class; `right` of the scores are 0.9 or 0.1 on the good side."""
    good = round(right * n / 2)
    bad = n // 2 - good
    return labels({(0.9, 1): good, (0.1, 1): bad, (0.1, 0): good, (0.9, 0): bad})


ROWS = {(0.2, 0): 40, (0.2, 1): 7, (0.5025, 0): 20, (0.5025, 1): 33, (0.9, 1): 50, (0.9, 0): 3}


def test_means_and_their_variances_are_those_of_the_labels_one_by_one() -> None:
    losses = {
        "accuracy": lambda score, label: float((score > 0.5) == label),
        "logloss": lambda score, label: -log(score if label else 1 - score),
        "brier": lambda score, label: (score - label) ** 2,
    }
    middle = {score: (int(score * SCORE_BINS) + 0.5) / SCORE_BINS for score, _ in ROWS}
    for name, loss in losses.items():
        values = np.repeat([loss(middle[score], label) for score, label in ROWS], list(ROWS.values()))
        found = METRICS[name].estimate(labels(ROWS))
        assert found.value == pytest.approx(values.mean())
        floor = {"accuracy": 1.0, "logloss": log(400), "brier": 1.0}[name] ** 2 / len(values)
        assert found.variance == pytest.approx(max(values.var(), floor) / len(values))


def test_the_variance_of_auc_is_delongs() -> None:
    negatives = np.repeat([s for s, label in ROWS if not label], [n for (_, y), n in ROWS.items() if not y])
    positives = np.repeat([s for s, label in ROWS if label], [n for (_, y), n in ROWS.items() if y])
    pairs = np.array([[(p > n) + (p == n) / 2 for n in negatives] for p in positives])
    found = METRICS["auc"].estimate(labels(ROWS))
    assert found.value == pytest.approx(pairs.mean())
    expected = pairs.mean(axis=1).var() / len(positives) + pairs.mean(axis=0).var() / len(negatives)
    assert found.variance == pytest.approx(expected)


def verdict(metric: str, champion: Labels, challenger: Labels, max_drop: float = 0.02) -> Judgement:
    return judge(QualityPolicy(metric, max_drop), [(champion, challenger)], 1)


@pytest.mark.parametrize(
    ("old", "new", "n", "expected"),
    [
        (0.9, 0.9, 99, Verdict.HOLD),
        (0.9, 0.7, 600, Verdict.FAIL),
        (0.9, 0.9, 600, Verdict.HOLD),
        (0.9, 0.9, 20_000, Verdict.PASS),
        (0.9, 0.95, 2000, Verdict.PASS),
        (0.9, 0.88, 100_000, Verdict.HOLD),
    ],
)
@pytest.mark.parametrize("metric", ["accuracy", "auc"])
def test_a_drop_that_is_surely_more_fails_and_surely_less_passes(
    metric: str, old: float, new: float, n: int, expected: Verdict
) -> None:
    assert verdict(metric, model(old, 10 * n), model(new, n)).verdict is expected


def test_a_hundred_labels_without_a_mistake_are_not_taken_for_certainty() -> None:
    assert verdict("accuracy", model(1.0, 100), model(1.0, 100)).verdict is Verdict.HOLD


def test_a_loss_is_better_when_it_is_lower() -> None:
    assert verdict("logloss", model(0.9, 20_000), model(0.7, 2000)).verdict is Verdict.FAIL
    assert verdict("brier", model(0.7, 20_000), model(0.9, 2000)).verdict is Verdict.PASS


def test_auc_waits_for_labels_of_both_classes() -> None:
    rare = labels({(0.9, 1): 19, (0.1, 0): 1000})
    found = verdict("auc", rare, rare)
    assert found.verdict is Verdict.HOLD
    assert "waiting for 100 labels of each version, 20 of each class" in found.message


def test_labels_that_are_optional_hold_nothing_but_may_still_fail() -> None:
    policy = QualityPolicy("accuracy", 0.02, optional=True)
    assert judge(policy, [(Labels.none(), Labels.none())], 1).verdict is Verdict.PASS
    assert judge(policy, [(model(0.9, 6000), model(0.7, 600))], 1).verdict is Verdict.FAIL


@pytest.mark.simulated
def test_looking_after_every_batch_of_labels_errs_as_rarely_as_promised() -> None:
    """100 rollouts, looked at ten times: of a drop that is exactly what is allowed, 0.5 % may fail and 5 %
    pass; without a drop most pass, none fails.
    """
    random = np.random.default_rng(7)
    first: dict[float, list[Verdict]] = {0.0: [], 0.02: []}
    for drop, ends in first.items():
        for _ in range(100):
            champion = random.binomial(3600, 0.9, 10).cumsum()
            challenger = random.binomial(400, 0.9 - drop, 10).cumsum()
            seen = (
                verdict("accuracy", accurate(old, 3600 * look), accurate(new, 400 * look)).verdict
                for look, (old, new) in enumerate(zip(champion, challenger, strict=True), 1)
            )
            ends.append(next((one for one in seen if one is not Verdict.HOLD), Verdict.HOLD))
    assert first[0.0].count(Verdict.PASS) > 60
    assert first[0.0].count(Verdict.FAIL) == 0
    assert first[0.02].count(Verdict.PASS) <= 9
    assert first[0.02].count(Verdict.FAIL) <= 2


# -- on a ramp: 1,000 labels a look, at weight 10 and then at 50, when both are right less often


@pytest.mark.parametrize("metric", list(METRICS))
def test_the_same_labels_in_parts_of_the_same_shares_say_the_same(metric: str) -> None:
    """Nothing is lost by a stretch that begins without need."""
    whole = verdict(metric, model(0.9, 40_000), model(0.88, 4000))
    parts = [(model(0.9, 30_000), model(0.88, 3000)), (model(0.9, 10_000), model(0.88, 1000))]
    split = judge(QualityPolicy(metric, 0.02), parts, 1)
    assert split.verdict is whole.verdict
    assert split.figures == pytest.approx(whole.figures, rel=1e-6)
    alone = [*parts, (model(0.5, 5000), Labels.none()), (Labels.none(), model(0.5, 5000))]
    assert judge(QualityPolicy(metric, 0.02), alone, 1) == split, "nobody to compare with"


@pytest.mark.parametrize("metric", list(METRICS))
def test_labels_of_one_version_at_one_weight_and_of_the_other_at_the_next_wait_for_some_of_both(
    metric: str,
) -> None:
    """The champion's came while copies were sent, and the challenger's with 99 % of the traffic."""
    apart = [(model(0.9, 5000), Labels.none()), (Labels.none(), model(0.9, 5000))]
    found = judge(QualityPolicy(metric), apart, 1)
    assert (found.verdict, found.figures["labels"]) == (Verdict.HOLD, 5000)
    assert "at the same weights (5000 labels, champion 5000)" in found.message


def test_auc_is_not_spoilt_by_a_stretch_with_hardly_a_positive() -> None:
    good, scarce = model(0.9, 20_000), labels({(0.1, 0): 20_000, (0.1, 1): 1})
    sure = judge(QualityPolicy("auc"), [(good, good)], 1)
    found = judge(QualityPolicy("auc"), [(good, good), (scarce, scarce)], 1)
    assert sure.verdict is found.verdict is Verdict.PASS
    assert found.figures["logEOk"] == pytest.approx(sure.figures["logEOk"], rel=0.01)


def on_a_ramp(random: np.random.Generator, drop: float) -> Verdict:
    """A Fail at any of 20 looks at each of two weights, or what is said last."""
    right = np.zeros((2, 2), dtype=np.int64)
    seen = np.zeros((2, 2), dtype=np.int64)
    for look in range(40):
        part = look // 20
        came = [(900, 100), (500, 500)][part]
        good = np.array([0.95, 0.85][part]) - [0.0, drop * part]
        seen[part] += came
        right[part] += random.binomial(came, good)
        arms = [
            (accurate(old, all_old), accurate(new, all_new))
            for (old, new), (all_old, all_new) in zip(right.tolist(), seen.tolist(), strict=True)
        ]
        found = judge(QualityPolicy("accuracy", 0.02), arms, 2).verdict
        if found is Verdict.FAIL:
            break
    return found


def test_an_equal_model_does_not_fail_on_a_ramp_however_the_population_changes() -> None:
    random = np.random.default_rng(11)
    ends = [on_a_ramp(random, 0.0) for _ in range(60)]
    assert ends.count(Verdict.FAIL) == 0
    assert ends.count(Verdict.PASS) == len(ends)


def test_a_challenger_that_is_worse_after_the_weights_changed_fails() -> None:
    """It is as good at weight 10, and 0.1 worse at weight 50, which most of its labels are of."""
    random = np.random.default_rng(12)
    assert {on_a_ramp(random, 0.1) for _ in range(20)} == {Verdict.FAIL}


def accurate(right: int, n: int) -> Labels:
    return labels({(0.9, 1): int(right), (0.1, 1): n - int(right)})


# -- in a rollout


def judged(world: World) -> Said:
    assert world.state.analysis is not None
    return next(one for one in world.state.analysis.said if one.measure == "quality")


def rollout(**quality: bool) -> World:
    policy = QualityPolicy("accuracy", **quality)
    world = canary(Policy(replicas=2, steps=(PolicyStep(50, seconds(1)),), quality=policy))
    world.settle()
    return world


LOST = Counted(champion=model(0.9, 3000), challenger=model(0.7, 1000))
FINE = Counted(champion=model(0.9, 3000), challenger=model(0.9, 400))


def test_a_challenger_with_lost_quality_is_rolled_back_with_both_figures() -> None:
    world = rollout()
    world.counted = dict.fromkeys(world.names(), LOST)
    world.run(0.5, requests=2000)
    assert judged(world).verdict is Verdict.HOLD
    assert world.events.count(Happened.BURST) == 1
    more = Counted(champion=model(0.9, 600), challenger=model(0.7, 200))
    world.counted = dict.fromkeys(world.names(), replace(LOST, later={"quality": more}))
    world.reconcile()
    assert world.state.weight(NEW) == 0
    assert "quality: too much worse: accuracy 0.7000, champion 0.9000" in world.state.rejected[0].reason


@pytest.mark.parametrize("optional", [False, True])
def test_labels_of_one_batch_roll_nobody_back(optional: bool) -> None:
    """Those that come later are as good as the champion's."""
    world = rollout(optional=optional)
    world.counted = dict.fromkeys(world.names(), replace(LOST, later={"quality": FINE}))
    world.run(5, requests=2000)
    assert not world.state.rejected
    assert world.state.reach.weight == 50, "no step begins, and nobody is promoted"
    assert judged(world).message.endswith("; waiting for the same in what comes from 2026-01-01T00:00:20Z on")
    assert world.state.analysis is not None
    assert world.state.analysis.doubts == {"quality": START + seconds(10)}
    fine = Counted(champion=model(0.9, 30_000), challenger=model(0.9, 4000))
    world.counted = dict.fromkeys(world.names(), fine)
    world.run(1, requests=2000)
    assert world.state.stable == revision(2)


def test_harm_that_began_small_aborts_once_it_is_sure() -> None:
    """It showed an interval earlier, and has shown since."""
    world = rollout()
    some = Counted(champion=model(0.9, 3000), challenger=model(0.78, 200))
    world.counted = dict.fromkeys(world.names(), some)
    world.reconcile()
    assert judged(world).verdict is Verdict.HOLD
    assert "not enough evidence yet" in judged(world).message
    world.pass_time(seconds(10))
    world.counted = dict.fromkeys(world.names(), replace(LOST, later={"quality": LOST}))
    world.reconcile()
    assert world.state.rejected
    assert Happened.BURST not in world.events


def test_a_challenger_of_equal_quality_is_promoted() -> None:
    world = rollout()
    world.counted = dict.fromkeys(
        world.names(), Counted(champion=model(0.9, 9000), challenger=model(0.9, 9000))
    )
    world.run(5, requests=2000)
    assert world.state.candidate is None
    assert world.state.stable is not None
    assert world.state.stable.version == "m-2"


def test_nothing_is_promoted_before_labels_arrive_unless_they_are_optional() -> None:
    """Case 44: no data is no evidence."""
    for optional in (False, True):
        world = rollout(optional=optional)
        world.counted = dict.fromkeys(world.names(), Counted())
        world.run(5, requests=2000)
        assert (world.state.candidate is None) is optional
    world = rollout()
    world.run(5, requests=2000)
    assert judged(world).message == "waiting for the first counts"


def test_counters_that_cannot_be_read_are_an_error() -> None:
    world = rollout(optional=True)
    world.counted = dict.fromkeys(world.names(), Counted(readable=False))
    world.run(1, requests=2000)
    assert judged(world).verdict is Verdict.ERROR
    assert world.state.candidate is not None


def test_a_new_configuration_of_the_same_version_has_no_quality_of_its_own() -> None:
    world = rollout()
    target = world.approve(1, config="bbbbbb")
    world.versions = {target.version: world.versions[target.version]}
    world.settle()
    assert world.state.candidate is not None
    assert world.state.candidate.target == target
    world.run(1)
    assert judged(world).verdict is Verdict.PASS
    assert "both are m-1" in judged(world).message
