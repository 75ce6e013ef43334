"""Who wins an experiment, and when nobody does."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

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
    assert "share of errors: m-2 0.0600, m-3 0.0050, m-4 0.0500, champion m-1 0.0600" in choice.message


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


def test_never_is_for_a_person_also_when_it_is_sure() -> None:
    choice = choose(ERRORS, "Never", [arm("m-2", 60), arm("m-3", 5)], 2)
    assert (choice.winner, "m-3 is surely the best" in choice.message) == (None, True)


def labels(right: int, wrong: int) -> Labels:
    """Sure scores, so many of them right; half of the labels are positive."""
    positives, negatives = [0] * SCORE_BINS, [0] * SCORE_BINS
    positives[-1], negatives[0], positives[0], negatives[-1] = right, right, wrong, wrong
    return Labels.of(negatives, positives)


def test_quality_goes_by_its_own_direction() -> None:
    champion = Score("champion m-1", labels=labels(4000, 1000))
    arms = [
        Contender(Score("m-2", labels=labels(4000, 1000)), champion, SINCE, PASS),
        Contender(Score("m-3", labels=labels(4800, 200)), champion, SINCE, PASS),
    ]
    for metric in ("accuracy", "auc", "brier", "logloss"):
        assert choose(Metric("quality", QualityPolicy(metric)), "Sure", arms, 2).winner == 1
    few = [replace(one, score=Score(one.score.version, labels=labels(10, 5))) for one in arms]
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
    assert "m-2 0.0820, m-3 0.0280, champion m-1 0.0550" in choice.message


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


def test_labels_of_changed_weights_are_for_a_person() -> None:
    champion = Score("champion m-1", labels=labels(4000, 1000))
    arms = [
        Contender(
            Score("m-2", labels=labels(4000, 1000)), champion, SINCE, PASS, weights=frozenset({10, 40})
        ),
        Contender(Score("m-3", labels=labels(4800, 200)), champion, SINCE, PASS, weights=frozenset({40})),
    ]
    choice = choose(Metric("quality", QualityPolicy("accuracy")), "Sure", arms, 2)
    assert choice.winner is None
    assert (
        "the weight of m-2 changed while labels were counted, so that a person has to choose"
        in choice.message
    )


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
