"""Quality as the scores say warns before labels come, and says what it cannot see."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.training_world import NOW

from noria_operator.api.continuoustraining import TriggerStatus
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.predictions import Outputs
from noria_operator.domain.quality import RATED, Labels, rows
from noria_operator.domain.triggers import Champion, Request
from noria_operator.domain.triggers_estimated import estimated, expected_labels
from noria_operator.domain.triggers_performance import performance
from noria_serving.contract import SCORE_BINS

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


def windows(
    asked: TriggerSpec, *each: Outputs, labels: Labels | None = None, aside: Sequence[int] = ()
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
                champion=FIRST, scores=scored, labels=labels, now=NOW + now * HOUR, aside=led,
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


def test_every_metric_can_be_estimated() -> None:
    labels = expected_labels(SURE, None)
    assert labels is not None
    assert labels.samples == 1000
    assert all(rated(rows(labels)) is not None for rated in RATED.values())


def test_predictions_that_are_no_scores_have_no_estimate() -> None:
    fares = Outputs(-2, -8, (100,) * 200)
    assert expected_labels(fares, None) is None
    assert windows(trigger(), fares).entry["decision"] == "Wait"
