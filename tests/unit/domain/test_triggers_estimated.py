"""Quality as the scores say warns before labels come, and says what it cannot see."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from tests.unit.domain.training_world import NOW

from noria_operator.api.continuoustraining import TriggerStatus
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.estimated import held_out
from noria_operator.domain.predictions import Outputs
from noria_operator.domain.quality import RATED, Labels, Rows, auc, calibration, rows
from noria_operator.domain.triggers import Champion, Request
from noria_operator.domain.triggers_estimated import estimated, expected_labels
from noria_operator.domain.triggers_performance import performance
from noria_serving.contract import GRID_BINS, SCORE_BINS

Json = dict[str, Any]
HOUR = timedelta(hours=1)
FIRST = Champion("flights-1", {"accuracy": "0.9"})


def scores(**counts: int) -> Outputs:
    """Rows by the percentage of their score, in 128 bins of [0, 1]."""
    bins = [0] * 128
    for name, count in counts.items():
        bins[int(name.removeprefix("p")) * 128 // 100] += count
    return Outputs(-7, 0, tuple(bins))


SURE, UNSURE = scores(p5=500, p95=500), scores(p35=500, p65=500)


def trigger(**fields: Any) -> TriggerSpec:
    rule = {"metric": "accuracy", "relativeDrop": "0.05"} | fields
    return TriggerSpec.model_validate({"name": "early", "estimatedPerformance": rule})


def known(**counts: tuple[int, int]) -> Rows:
    """Labels of held-out rows, negatives and positives, by the percentage of their score."""
    sides = [[0] * GRID_BINS, [0] * GRID_BINS]
    for name, pair in counts.items():
        for side, count in zip(sides, pair, strict=True):
            side[int(name.removeprefix("p")) * GRID_BINS // 100] += count
    return held_out({"negatives": sides[0], "positives": sides[1]})


def windows(
    asked: TriggerSpec,
    *each: Outputs,
    labels: Labels | None = None,
    aside: Sequence[int] = (),
    known: Rows | None = None,
) -> Request:
    """An hour for each; in the middle of the hours `aside` requests are led past the champion."""
    found, entry = None, {}
    assert asked.estimated_performance is not None
    for hour, counted in enumerate([None, *each]):
        passes: list[tuple[Outputs | None, float, bool]] = [(counted, hour, False)]
        if hour in aside:
            passes.insert(0, (None, hour - 0.5, True))
        for scored, now, led in passes:
            found = estimated(
                asked, asked.estimated_performance, entry,
                champion=FIRST, scores=scored, labels=labels, now=NOW + now * HOUR, aside=led, known=known,
            )  # fmt: skip
            TriggerStatus.model_validate(found.entry)
            entry = found.entry
    assert found is not None
    return found


def test_scores_that_grow_unsure_are_lost_quality() -> None:
    assert windows(trigger(), SURE).entry["decision"] == "No"
    found = windows(trigger(), SURE, UNSURE, UNSURE)
    assert (found.wanted, found.reason, trigger().effect) == (True, "EstimatedPerformance", "Warn")
    assert float(found.entry["value"]) == pytest.approx(0.65, abs=0.01)
    assert "cannot see a change of the concept" in found.entry["message"]
    assert found.answered_by == "Own"


def test_scores_of_what_a_header_left_for_the_champion_are_no_lost_quality() -> None:
    found = windows(trigger(), SURE, UNSURE, UNSURE, aside=(2, 3))
    assert (found.wanted, found.entry["decision"]) == (False, "Wait")
    assert (found.entry["reason"], found.entry["streak"]) == ("RolloutUnderWay", 0)
    assert float(found.entry["value"]) == pytest.approx(0.95, abs=0.01)
    assert windows(trigger(), SURE, UNSURE, UNSURE, SURE, aside=(4,)).wanted, "nor do they take one back"
    assert windows(trigger(), SURE, UNSURE, SURE, UNSURE, aside=(3,)).wanted, "nor end a streak"
    assert windows(trigger(), SURE, UNSURE, UNSURE, UNSURE, UNSURE, aside=(2, 3)).wanted


def test_an_estimate_is_no_baseline_of_what_labels_show() -> None:
    entry = windows(trigger(), SURE).entry
    rule = {"metric": "accuracy", "relativeDrop": "0.05"}
    edited = TriggerSpec.model_validate({"name": "early", "performance": rule})
    assert edited.performance is not None
    found = performance(
        edited, edited.performance, entry, champion=FIRST, labels=None, now=NOW + 2 * HOUR
    ).entry
    assert (float(entry["best"]) > 0.9, found["best"], found["reason"]) == (True, "0.9", "WindowOpen")


def by_labels(entry: Json, *each: Outputs, first: int = 0) -> Json:
    """What a trigger of the same name says of such labels, an hour for each."""
    rule = {"metric": "accuracy", "relativeDrop": "0.05"}
    watched = TriggerSpec.model_validate({"name": "early", "performance": rule})
    assert watched.performance is not None
    for hours, shown in enumerate(each, first):
        labels, now = expected_labels(shown, None), NOW + hours * HOUR
        entry = performance(watched, watched.performance, entry, champion=FIRST, labels=labels, now=now).entry
    return entry


def test_what_labels_show_is_no_window_of_estimates() -> None:
    """Estimates go on with neither the best, the streak nor the sums of labels."""
    entry, rule = by_labels({}, SURE, SURE, UNSURE), trigger().estimated_performance
    assert rule is not None
    assert (entry["streak"], float(entry["best"]) > 0.9) == (1, True)
    found = estimated(trigger(), rule, entry, champion=FIRST, scores=UNSURE, labels=None, now=NOW + 3 * HOUR)
    told = found.entry
    assert (told["streak"], told["best"], told["reason"]) == (0, "0.9", "WindowOpen")
    assert {"held", "lost"}.isdisjoint(told["state"])


def test_labels_go_on_over_an_upgrade_from_a_release_that_wrote_the_metric_alone() -> None:
    entry = by_labels({}, SURE, SURE)
    old = entry | {"state": entry["state"] | {"metric": "accuracy"}}
    now, then = (by_labels(each, UNSURE, first=2) for each in (entry, old))
    assert now == then and now["streak"] == 1


def test_estimates_go_on_over_an_upgrade_from_a_release_that_wrote_them_as_labels() -> None:
    entry, rule = windows(trigger(), SURE).entry, trigger().estimated_performance
    assert rule is not None
    old = entry | {"state": entry["state"] | {"metric": "accuracy"}}
    now, then = (
        estimated(trigger(), rule, each, champion=FIRST, scores=UNSURE, labels=None, now=NOW + 2 * HOUR).entry
        for each in (entry, old)
    )
    assert now == then and now["streak"] == 1


def test_labels_of_the_window_calibrate_the_scores() -> None:
    negatives, positives = [0] * SCORE_BINS, [0] * SCORE_BINS
    for place, hits in ((10, 120), (190, 280)):
        negatives[place], positives[place] = 400 - hits, hits
    found = windows(trigger(), SURE, labels=Labels.of(negatives, positives))
    assert float(found.entry["value"]) == pytest.approx(0.7, abs=0.01)
    few = Labels.of([count // 10 for count in negatives], [count // 10 for count in positives])
    assert float(windows(trigger(), SURE, labels=few).entry["value"]) == pytest.approx(0.95, abs=0.01)


TIMID = known(p35=(5000, 0), p65=(0, 5000))
"""A model whose scores lie near one half, and which is always right."""
TIMID_ONE = scores(p35=500, p65=500)


def test_labels_of_held_out_rows_calibrate_the_scores_before_others_come() -> None:
    assert float(windows(trigger(), TIMID_ONE).entry["value"]) == pytest.approx(0.65, abs=0.01)
    assert float(windows(trigger(), TIMID_ONE, known=TIMID).entry["value"]) == pytest.approx(1.0)
    few = [(score, no / 100, yes / 100) for score, no, yes in TIMID]
    assert float(windows(trigger(), TIMID_ONE, known=few).entry["value"]) == pytest.approx(0.65, abs=0.01)


def test_labels_of_the_window_go_before_those_of_held_out_rows() -> None:
    negatives, positives = [0] * SCORE_BINS, [0] * SCORE_BINS
    for place, hits in ((70, 120), (131, 280)):
        negatives[place], positives[place] = 400 - hits, hits
    found = windows(trigger(), TIMID_ONE, labels=Labels.of(negatives, positives), known=TIMID)
    assert float(found.entry["value"]) == pytest.approx(0.7, abs=0.01)
    few = Labels.of([count // 10 for count in negatives], [count // 10 for count in positives])
    found = windows(trigger(), TIMID_ONE, labels=few, known=TIMID)
    assert float(found.entry["value"]) == pytest.approx(1.0)


def test_rare_events_are_as_frequent_as_among_held_out_rows() -> None:
    """All scores lie in the first bin, the middle of which is four times the share of positives."""
    seen, rare = scores(p0=100_000), known(p0=(99_900, 100))
    raw, told = expected_labels(seen, None), expected_labels(seen, None, rare)
    assert raw is not None and told is not None
    assert sum(raw.positives) == pytest.approx(100_000 / 256)
    assert sum(told.positives) == pytest.approx(100)
    assert calibration(rows(told)) == pytest.approx(0.5 / SCORE_BINS - 0.001)
    assert auc(rows(told)) == 0.5, "what is inside of one bin has no order, calibrated or not"


def served(entry: Json, champion: Champion, hour: int, known: Rows | None, seen: Outputs = SURE) -> Json:
    """What the hour said; a new version has a pass before it that opens its window."""
    asked = trigger()
    assert asked.estimated_performance is not None
    passes = [(None, hour - 1)] if entry.get("version") != champion.name else []
    for scored, now in [*passes, (seen, hour)]:
        entry = estimated(
            asked, asked.estimated_performance, entry,
            champion=champion, scores=scored, labels=None, now=NOW + now * HOUR,
            known=known if scored else None,
        ).entry  # fmt: skip
        TriggerStatus.model_validate(entry)
    return entry


def test_scores_that_are_calibrated_are_not_compared_with_some_that_claimed_more() -> None:
    """The version before was as sure of itself, and its bundle could not say that it should not be."""
    sure = known(p5=(850, 150), p95=(150, 850))
    raw = served({}, FIRST, 1, ())
    assert float(raw["best"]) > 0.91
    second, third = (Champion(f"flights-{number}", {"accuracy": "0.85"}) for number in (2, 3))
    new = served(raw, second, 3, sure)
    assert (new["value"], new["decision"], float(new["best"])) == ("0.85", "No", 0.85)
    better = served(new, second, 4, known(p5=(950, 50), p95=(50, 950)))
    assert float(better["best"]) > 0.85
    assert served(better, third, 6, sure)["best"] == better["best"], "of versions that are all calibrated"
    old = served(better, Champion("flights-4", {"accuracy": "0.8"}), 8, ())
    assert (old["reason"], float(old["best"]) > 0.9, "calibrated" in old["state"]) == (
        "NotWorse",
        True,
        False,
    )


def test_a_version_that_was_calibrated_is_not_judged_while_nobody_tells_by_what() -> None:
    entry = served({}, FIRST, 1, TIMID, TIMID_ONE)
    silent = served(entry, FIRST, 2, None, TIMID_ONE)
    assert (silent["value"], silent["windowEndedAt"]) == ("1.0", entry["windowEndedAt"])
    assert served(silent, FIRST, 3, TIMID, TIMID_ONE)["windowEndedAt"] > entry["windowEndedAt"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"negatives": [1, 2]},
        {"negatives": [1, 2], "positives": [1]},
        {"negatives": [], "positives": []},
        {"negatives": [1, -2], "positives": [1, 2]},
        {"negatives": ["one"], "positives": [1]},
    ],
)
def test_labels_of_held_out_rows_that_are_malformed_are_none(wrong: Json) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        held_out(wrong)


def test_every_metric_can_be_estimated() -> None:
    labels = expected_labels(SURE, None)
    assert labels is not None
    assert labels.samples == 1000
    assert all(rated(rows(labels)) is not None for rated in RATED.values())


def test_predictions_that_are_no_scores_have_no_estimate() -> None:
    fares = Outputs(-2, -8, (100,) * 200)
    assert expected_labels(fares, None) is None
    assert windows(trigger(), fares).entry["decision"] == "Wait"


def labelled(source: np.random.Generator, count: int, sure: float) -> tuple[np.ndarray, Labels]:
    """Scores, and labels that are positive as often as these would say, were they `sure` times less sure."""
    truth = source.beta(2, 2, count)
    odds = (truth / (1 - truth)) ** sure
    shown = odds / (1 + odds)
    hits, bins = source.random(count) < truth, np.minimum((shown * SCORE_BINS).astype(int), SCORE_BINS - 1)
    sides = (np.bincount(bins[one], minlength=SCORE_BINS).tolist() for one in (~hits, hits))
    return shown, Labels.of(*sides)


def hours(
    asked: TriggerSpec, source: np.random.Generator, *labels: int, sure: float, rows: int
) -> list[Json]:
    """What each hour said in which so many labels came, of a version whose bundle has none."""
    champion, entry, told = Champion("flights-1", {}), {}, []
    assert asked.estimated_performance is not None
    for hour, count in enumerate([0, *labels]):
        shown, joined = labelled(source, rows, sure)[0], labelled(source, count, sure)[1]
        seen = Outputs(-7, 0, tuple(np.bincount((shown * 128).astype(int), minlength=128).tolist()))
        entry = estimated(
            asked, asked.estimated_performance, entry,
            champion=champion, scores=seen if hour else None, labels=joined, now=NOW + hour * HOUR, known=(),
        ).entry  # fmt: skip
        TriggerStatus.model_validate(entry)
        told.append(entry)
    return told[1:]


@pytest.mark.simulated
@pytest.mark.parametrize("metric", ["auc", "brier", "accuracy", "f1"])
def test_an_estimate_is_no_surer_than_the_labels_that_calibrate_it(metric: str) -> None:
    """Five champions of which nothing changes, for 200 hours: 0.02 false alarms at most are told."""
    source, asked = np.random.default_rng(3), trigger(metric=metric, relativeDrop="0.02")
    each = [hours(asked, source, *[600] * 40, sure=1, rows=20_000) for _ in range(5)]
    assert not [entry for told in each for entry in told if entry["decision"] in ("Fire", "Error")]
    values = [float(entry["value"]) for told in each for entry in told]
    ends = [list(map(float, entry["interval"].split(" to "))) for told in each for entry in told]
    error = float(np.median([high - low for low, high in ends])) / (2 * 1.96)
    assert float(np.std(values)) < 1.1 * error


def test_estimates_that_other_labels_calibrate_are_not_compared() -> None:
    """Scores that are too sure of themselves claim an AUC of 0.86, of which 0.76 is left."""
    source, asked = np.random.default_rng(4), trigger(metric="auc", relativeDrop="0.05")
    told = hours(asked, source, *[300] * 10, *[600] * 4, *[300, 600] * 6, sure=1.8, rows=5000)
    assert {entry["decision"] for entry in told} == {"No"}
    assert [round(float(told[place]["value"]), 1) for place in (9, 10)] == [0.9, 0.8]
    assert (told[9]["best"] > "0.84", told[10]["best"] < "0.8") == (True, True)
    assert [told[place]["state"].get("calibrated") for place in (9, 10)] == [None, "window"]


def test_labels_that_come_while_a_window_is_open_change_nothing_before_it_closes() -> None:
    asked = trigger(metric="auc", window="1h")
    source = np.random.default_rng(4)
    before = hours(asked, source, *[300] * 3, sure=1.8, rows=5000)[-1]
    shown, joined = labelled(source, 5000, 1.8)
    seen = Outputs(-7, 0, tuple(np.bincount((shown * 128).astype(int), minlength=128).tolist()))
    rule = asked.estimated_performance
    assert rule is not None
    found = estimated(
        asked, rule, before, champion=Champion("flights-1", {}), scores=seen, labels=joined,
        now=NOW + 3.5 * HOUR, known=(),
    )  # fmt: skip
    assert found.entry == before


def test_labels_of_the_window_and_of_the_bundle_are_compared() -> None:
    """Where the bundle has labels, those of the window that go before them begin nothing anew."""
    entry = served({}, FIRST, 1, TIMID, TIMID_ONE)
    assert float(entry["best"]) > 0.9
    negatives, positives = [0] * SCORE_BINS, [0] * SCORE_BINS
    for place, hits in ((70, 120), (131, 280)):
        negatives[place], positives[place] = 400 - hits, hits
    asked = trigger(**{"for": 1})
    assert asked.estimated_performance is not None
    found = estimated(
        asked, asked.estimated_performance, entry, champion=FIRST, scores=TIMID_ONE,
        labels=Labels.of(negatives, positives), now=NOW + 2 * HOUR, known=TIMID,
    )  # fmt: skip
    assert (found.entry["best"], found.entry["streak"]) == (entry["best"], 1)
