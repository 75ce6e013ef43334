"""Who wins an experiment, and when nobody does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from noria_operator.domain.analysis import Stretch
from noria_operator.domain.experiment import Contender, Metric, Score, choose
from noria_operator.domain.quality import Labels
from noria_operator.domain.quality_drop import QualityPolicy
from noria_operator.domain.verdict import Counts, Judgement, Verdict
from noria_serving.contract import SCORE_BINS

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
ERRORS = Metric("errors")
PASS = Judgement(Verdict.PASS, "fine")


def once(requests: int, errors: int) -> dict[str, Counts]:
    """All while the traffic was divided in one way."""
    return {"a": Counts(requests, errors)}


def arm(name: str, errors: int, champion: int = 60, verdict: Verdict = Verdict.PASS) -> Contender:
    """Errors in a thousand requests of an arm, and of the champion."""
    scores = Score(name, once(1000, errors)), Score("champion m-1", once(1000, champion))
    return Contender(*scores, since=SINCE, judgement=Judgement(verdict, "said"))


def test_the_arm_with_surely_fewer_errors_than_each_other_version_wins() -> None:
    choice = choose(ERRORS, "Sure", [arm("m-2", 60), arm("m-3", 5), arm("m-4", 50)], 3)
    assert choice.winner == 1
    assert "(share of errors: m-2 0.0600, m-3 0.0050, m-4 0.0500, champion m-1 0.0600)" in choice.message


@pytest.mark.parametrize(
    ("arms", "why"),
    [
        ([arm("m-2", 60), arm("m-3", 55)], "m-3 is not surely better than champion m-1"),
        ([arm("m-2", 6), arm("m-3", 5)], "m-3 is not surely better than m-2 (e "),
        ([arm("m-2", 60), arm("m-3", 5, verdict=Verdict.HOLD)], "m-2 is not surely better"),
        (
            [arm("m-2", 60, verdict=Verdict.HOLD), arm("m-3", 5, verdict=Verdict.ERROR)],
            "no arm has the verdict",
        ),
        ([arm("m-2", 0, 0), arm("m-3", 0, 0)], "m-2 is not surely better than champion m-1 (e 1.00 of 40)"),
        ([replace(arm("m-2", 60), since=SINCE + timedelta(1)), arm("m-3", 5)], "did not begin together"),
        ([replace(arm("m-2", 60), edge=5.0), replace(arm("m-3", 5), edge=10.0)], "from different edges"),
    ],
)
def test_nobody_wins_without_being_surely_the_best(arms: list[Contender], why: str) -> None:
    choice = choose(ERRORS, "Sure", arms, 2)
    assert choice.winner is None
    assert why in choice.message


def test_the_best_suffices_where_the_spec_says_so_once_all_pass() -> None:
    assert choose(ERRORS, "Best", [arm("m-2", 60), arm("m-3", 55)], 2).winner == 1
    waiting = choose(ERRORS, "Best", [arm("m-2", 70, verdict=Verdict.HOLD), arm("m-3", 55)], 2)
    assert (waiting.winner, "m-2 did not pass yet" in waiting.message) == (None, True)
    behind = choose(ERRORS, "Best", [arm("m-2", 70), arm("m-3", 61)], 2)
    assert (behind.winner, "champion m-1 is as good or better" in behind.message) == (None, True)


def test_nobody_is_said_to_be_better_of_whom_nothing_is_known() -> None:
    """The champion has one of a hundred requests, and got none yet."""
    arms = [replace(arm("m-2", 60), champion=Score("champion m-1")), arm("m-3", 55)]
    arms[1] = replace(arms[1], champion=arms[0].champion)
    choice = choose(ERRORS, "Best", arms, 2)
    assert (choice.winner, choice.message.partition(" (")[0]) == (
        None,
        "nothing tells m-2 from champion m-1 yet",
    )


def test_never_is_for_a_person_also_when_it_is_sure() -> None:
    choice = choose(ERRORS, "Never", [arm("m-2", 60), arm("m-3", 5)], 2)
    assert (choice.winner, "m-3 is surely the best" in choice.message) == (None, True)


def labels(right: int, wrong: int) -> Labels:
    """Sure scores, so many of them right; half of the labels are positive."""
    positives, negatives = [0] * SCORE_BINS, [0] * SCORE_BINS
    positives[-1], negatives[0], positives[0], negatives[-1] = right, right, wrong, wrong
    return Labels.of(negatives, positives)


STRETCHES = [Stretch(SINCE + timedelta(hour), SINCE + timedelta(hour)) for hour in range(4)]


def labelled(name: str, *parts: Labels) -> Score:
    """Labels of one stretch after the other."""
    return Score(name, labels=dict(zip(STRETCHES, parts, strict=False)))


def test_quality_goes_by_its_own_direction() -> None:
    champion = labelled("champion m-1", labels(4000, 1000))
    arms = [
        Contender(labelled("m-2", labels(4000, 1000)), champion, SINCE, PASS),
        Contender(labelled("m-3", labels(4800, 200)), champion, SINCE, PASS),
    ]
    for metric in ("accuracy", "auc", "brier", "logloss"):
        assert choose(Metric("quality", QualityPolicy(metric)), "Sure", arms, 2).winner == 1
    few = [replace(one, score=labelled(one.score.version, labels(10, 5))) for one in arms]
    assert "no arm has" in choose(Metric("quality", QualityPolicy()), "Sure", few, 2).message


def divided(name: str, *requests: int, rates: tuple[int, ...] = (1, 10)) -> Score:
    """Requests in one division of the traffic after the other, and of each hundred how many failed."""
    pairs = zip("abc", requests, rates, strict=False)
    return Score(name, {division: Counts(count, count * rate // 100) for division, count, rate in pairs})


@pytest.mark.parametrize("promote", ["Sure", "Best"])
def test_equal_arms_do_not_win_by_having_fewer_of_the_requests_of_a_bad_hour(promote: str) -> None:
    """Weights go from 10 and 40 to 40 and 10 as one request in ten begins to fail, whoever answers it."""
    champion = divided("champion m-1", 5000, 5000)
    scores = divided("m-2", 1000, 4000), divided("m-3", 4000, 1000)
    choice = choose(ERRORS, promote, [Contender(one, champion, SINCE, PASS) for one in scores], 2)
    assert choice.winner is None
    assert "m-2 0.0820, m-3 0.0280, champion m-1 0.0550; " in choice.message
    assert "better than the champion at the same weights by: m-2 0.0000, m-3 0.0000" in choice.message


def test_what_was_seen_before_weights_changed_still_counts() -> None:
    champion = divided("champion m-1", 5000, 5000)
    better = divided("m-3", 1000, 400, rates=(0, 3))
    arms = [
        Contender(one, champion, SINCE, PASS) for one in (divided("m-2", 1000, 1000, rates=(1, 10)), better)
    ]
    assert choose(ERRORS, "Sure", arms, 2).winner == 1
    fewer = Score("m-3", {"b": better.divided["b"]})
    assert ERRORS.log_e(better, champion) > ERRORS.log_e(fewer, champion) > 0
    elsewhere = Score("m-3", {"c": better.divided["b"]})
    assert (ERRORS.log_e(elsewhere, champion), ERRORS.gain(elsewhere, champion)) == (0.0, None)


ACCURACY = Metric("quality", QualityPolicy("accuracy"))


def rights(*parts: tuple[int, int]) -> list[Labels]:
    """So many labels, and of each hundred how many are right, of one stretch after the other."""
    return [labels(count * right // 200, count * (100 - right) // 200) for count, right in parts]


@pytest.mark.parametrize("promote", ["Sure", "Best"])
def test_equal_arms_do_not_win_by_having_fewer_of_the_labels_of_a_bad_hour(promote: str) -> None:
    """Weights go from 10 and 40 to 40 and 10 as everybody is right less often."""
    champion = labelled("champion m-1", *rights((5000, 95), (5000, 75)))
    two, three = rights((1000, 95), (4000, 75)), rights((4000, 95), (1000, 75))
    arms = [
        Contender(labelled(name, *one), champion, SINCE, PASS)
        for name, one in zip("23", (two, three), strict=True)
    ]
    choice = choose(ACCURACY, promote, arms, 2)
    assert choice.winner is None
    assert "2 0.7900, 3 0.9100, champion m-1 0.8500" in choice.message


def test_labels_of_before_and_after_weights_changed_make_the_better_arm_win() -> None:
    """It has most of its labels of the bad hour, so that over all of them it is the worst."""
    champion = labelled("champion m-1", *rights((5000, 90), (5000, 60)))
    better = labelled("m-3", *rights((1000, 95), (9000, 68)))
    arms = [
        Contender(labelled("m-2", *rights((4000, 90), (1000, 60))), champion, SINCE, PASS),
        Contender(better, champion, SINCE, PASS),
    ]
    choice = choose(ACCURACY, "Sure", arms, 2)
    assert "m-2 0.8400, m-3 0.7070, champion m-1 0.7500; " in choice.message
    assert "at the same weights by: m-2 0.0000, m-3 0.07" in choice.message
    assert choice.winner == 1


def test_labels_of_other_stretches_are_no_evidence() -> None:
    """As of an arm for which another delay was seen at a change of the weights."""
    champion = labelled("champion m-1", *rights((5000, 50)))
    elsewhere = Score("m-3", labels={STRETCHES[1]: labels(2400, 100)})
    assert (ACCURACY.gain(elsewhere, champion), ACCURACY.log_e(elsewhere, champion)) == (None, 0.0)


@pytest.mark.extended
def test_equal_versions_have_a_sure_winner_in_one_of_twenty_experiments_at_most() -> None:
    """Looked at after every hundred requests to each of four equal arms."""
    dice, won = random.Random(7), 0
    for _ in range(300):
        errors = [0] * 5
        for look in range(1, 40):
            for one in range(5):
                errors[one] += sum(dice.random() < 0.05 for _ in range(100))
            champion = Score("champion m-1", once(100 * look, errors[0]))
            arms = [
                Contender(Score(f"m-{one}", once(100 * look, errors[one])), champion, SINCE, PASS)
                for one in range(1, 5)
            ]
            if choose(ERRORS, "Sure", arms, 4).winner is not None:
                won += 1
                break
    assert won <= 300 / 20


def experiment(random: np.random.Generator, weights: Sequence[tuple[int, ...]], ahead: float) -> int | None:
    """The sure winner at any of five looks at each of three weights, 400 labels apart. Everybody is right
    less often from weight to weight, so that over all labels whoever had more of the first ones is ahead; the
    last one is better by `ahead`.
    """
    parts: list[list[Labels]] = [[] for _ in weights[0]]
    for share, right in zip(weights, (0.95, 0.8, 0.65), strict=True):
        good, seen = np.zeros(len(share), dtype=np.int64), np.zeros(len(share), dtype=np.int64)
        for _ in range(5):
            came = 4 * np.array(share)
            seen += came
            good += random.binomial(came, [right] * (len(share) - 1) + [min(1.0, right + ahead)])
            now = [accurate(*one) for one in zip(good.tolist(), seen.tolist(), strict=True)]
            both = zip(parts, now, strict=True)
            champion, *rest = (labelled(f"m-{at}", *part, one) for at, (part, one) in enumerate(both, 1))
            arms = [Contender(one, champion, SINCE, PASS) for one in rest]
            winner = choose(ACCURACY, "Sure", arms, len(arms)).winner
            if winner is not None:
                return winner
        parts = [[*part, one] for part, one in zip(parts, now, strict=True)]
    return None


@pytest.mark.parametrize(
    "weights",
    [[(50, 10, 40), (50, 40, 10), (20, 40, 40)], [(40, 50, 10), (40, 10, 50), (40, 50, 10)]],
    ids=["exchanged and grown", "there and back"],
)
def test_equal_versions_have_a_sure_winner_by_quality_as_rarely_however_weights_are_edited(
    weights: list[tuple[int, ...]],
) -> None:
    """Of 20 such experiments whose labels are compared over all weights, 17 and 19 had one."""
    random = np.random.default_rng(19)
    winners = [experiment(random, weights, 0.0) for _ in range(30)]
    assert len(winners) - winners.count(None) <= len(winners) / 20
    assert [experiment(random, weights, 0.08) for _ in range(3)] == [1] * 3, (
        "the better one wins all the same"
    )


def accurate(right: int, n: int) -> Labels:
    """Positive ones, so many of them right."""
    positives = [0] * SCORE_BINS
    positives[0], positives[-1] = n - right, right
    return Labels.of([0] * SCORE_BINS, positives)
