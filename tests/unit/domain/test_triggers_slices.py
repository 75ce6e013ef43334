"""The trigger `performance` by slice: a loss in one is found and named, and chance in many finds none."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.domain.training_world import NOW

from noria_operator.api.continuoustraining import TriggerStatus
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain import lost
from noria_operator.domain.slice_quality import Slice, SliceLabels
from noria_operator.domain.triggers import Champion, Request
from noria_operator.domain.triggers_labels import Coverage
from noria_operator.domain.triggers_slices import performance_by_slice
from noria_operator.domain.triggers_start import answered
from noria_serving.contract import SLICE_SCORES, slice_score

HOUR = timedelta(hours=1)
FIRST, SECOND = Champion("loan-1", {}), Champion("loan-2", {})
GOOD, BAD = 0.9, 0.8
Shares = dict[str, float]


def right(share: float, rows: int = 1000) -> tuple[int, int, int, int]:
    """So many labels, of which this share was as predicted."""
    half, hits = rows // 2, round(rows * share)
    return hits - hits // 2, half - hits // 2, rows - half - (hits - hits // 2), hits // 2


def told(shares: Shares, rows: int = 1000, task: str = "binary", **few: int) -> SliceLabels:
    counts = {name: right(share, few.get(name.partition("=")[2], rows)) for name, share in shares.items()}
    return SliceLabels(counts, task, samples=rows)


def rule(**fields: Any) -> TriggerSpec:
    body = {"metric": "accuracy", "relativeDrop": "0.05", "minLabels": 1000, "bySlice": True} | fields
    body = {name: value for name, value in body.items() if value is not None}
    return TriggerSpec.model_validate({"name": "fair", "performance": body})


def ask(
    trigger: TriggerSpec,
    entry: Any,
    labels: SliceLabels | None,
    hour: float,
    champion: Champion | None = FIRST,
) -> Request:
    assert trigger.performance is not None
    found = performance_by_slice(
        trigger, trigger.performance, entry, champion=champion, labels=labels, now=NOW + hour * HOUR,
        seen=Coverage(4000),
    )  # fmt: skip
    TriggerStatus.model_validate(found.entry)
    return found


def test_false_alarms_a_month_are_those_of_all_slices_together() -> None:
    entry = windows(rule(), {"carrier=AA": GOOD, "carrier=UA": GOOD}).entry
    assert float(entry["expectedFalseAlarms"]) == pytest.approx(730.5 / 10_000, rel=1e-3)


def windows(trigger: TriggerSpec, *each: SliceLabels | Shares, entry: Any = None, start: int = 0) -> Request:
    """One window after the other, an hour each."""
    found = ask(trigger, entry or {}, None, start)
    for hour, labels in enumerate(each, start + 1):
        given = labels if isinstance(labels, SliceLabels) else told(labels)
        found = ask(trigger, json.loads(json.dumps(found.entry)), given, hour)
    return found


ALIKE: Shares = {"sex=f": GOOD, "sex=m": GOOD, "sex=other": GOOD}


def test_a_loss_in_one_slice_is_found_and_named() -> None:
    found = windows(rule(), ALIKE, ALIKE, ALIKE | {"sex=m": BAD}, ALIKE | {"sex=m": BAD})
    entry = found.entry
    assert (found.wanted, entry["decision"], entry["reason"]) == (True, "Fire", "LostInSlice")
    assert entry["message"].startswith(
        "accuracy 0.8000 in sex=m on 1000 labels of loan-1 is worse than the threshold 0.8"
    )
    assert "2 of 2 windows in a row; surely by at least 0.0" in entry["message"]
    assert entry["message"].endswith("in 1 of 3 slices")
    assert (entry["value"], entry["samples"], entry["streak"]) == ("0.8", 1000, 2)
    assert 0.85 < float(entry["best"]) < GOOD
    assert float(entry["threshold"]) == pytest.approx(0.95 * float(entry["best"]), abs=1e-6)
    assert entry["interval"].startswith("0.77")
    assert entry["coverage"] == "0.25"
    first = entry["columns"][0]
    assert (first["name"], first["check"], first["value"], first["drifted"]) == (
        "sex=m",
        "accuracy",
        "0.8",
        True,
    )
    assert float(first["floor"]) > 0
    assert [one["drifted"] for one in entry["columns"][1:]] == [False, False]


def scored(shares: Shares, rows: int = 1000) -> SliceLabels:
    """Labels of scores 0.3 and 0.7, of which this share was on the side of its score."""
    found = {}
    for name, share in shares.items():
        wrong, counts = rows - round(rows * share), [0] * SLICE_SCORES
        hits = rows - wrong
        for bin_, positive, times in (
            (60, False, hits - hits // 2), (140, True, hits // 2),
            (60, True, wrong - wrong // 2), (140, False, wrong // 2),
        ):  # fmt: skip
            for place, amount in slice_score(bin_, positive):
                counts[place] += amount * times
        found[name] = tuple(counts)
    return SliceLabels({name: right(share) for name, share in shares.items()}, "binary", rows, scores=found)


@pytest.mark.parametrize(("metric", "drop"), [("auc", "0.05"), ("logloss", "0.1"), ("brier", "0.1")])
def test_a_loss_of_a_metric_that_needs_scores_is_found_by_slice(metric: str, drop: str) -> None:
    good, bad = scored(ALIKE), scored(ALIKE | {"sex=m": BAD})
    trigger = rule(metric=metric, relativeDrop=drop)
    found = windows(trigger, good, good, bad, bad)
    assert (found.wanted, found.entry["reason"]) == (True, "LostInSlice")
    assert (
        found.entry["message"].startswith(f"{metric} 0.") and " in sex=m on 1000 " in found.entry["message"]
    )
    assert not windows(trigger, good, good, good, good).wanted


def test_scores_of_a_slice_wait_for_more_as_counts_do() -> None:
    trigger, rare = rule(metric="auc"), scored(ALIKE, rows=400)
    assert "value" not in windows(trigger, rare, rare).entry
    scores = scored(ALIKE).scores | {"sex=m": rare.scores["sex=m"]}
    mixed = SliceLabels(rare.counts, "binary", 1000, scores=scores)
    waiting = windows(trigger, mixed, mixed).entry
    assert sum(waiting["state"]["slices"]["sex=m"]["waiting"][:80]) == 800
    judged = windows(trigger, mixed, mixed, mixed).entry
    assert Slice.of(judged["state"]["slices"]["sex=m"]).last[3] == 1200


def test_servers_that_count_no_scores_by_slice_are_no_slices_without_loss() -> None:
    found = windows(rule(metric="auc"), told(ALIKE)).entry
    assert (found["decision"], found["reason"]) == ("Wait", "UnknownSlices")
    assert "noria.dev/restart" in found["message"]


def test_what_is_lost_in_none_is_written_down_too() -> None:
    entry = windows(rule(), ALIKE, ALIKE).entry
    assert (entry["decision"], entry["reason"], entry["streak"]) == ("No", "NotWorse", 0)
    assert entry["message"].startswith("lost in none of 3 slices; accuracy 0.9000 in sex=f on 1000 labels")


def test_one_bad_window_of_a_slice_waits() -> None:
    found = windows(rule(), ALIKE, ALIKE | {"sex=m": BAD})
    assert (found.wanted, found.entry["decision"]) == (False, "Wait")
    assert found.entry["message"].endswith("1 of 2 windows in a row; that may be chance, so it waits")
    assert not windows(rule(), ALIKE, ALIKE | {"sex=m": BAD}, ALIKE, ALIKE | {"sex=m": BAD}).wanted


def test_a_slice_waits_until_it_has_enough_labels_and_forgets_none() -> None:
    rare = told(ALIKE, m=400)
    two = windows(rule(), rare, rare).entry
    assert two["state"]["slices"]["sex=m"] == {"waiting": [360, 40, 40, 360]}
    assert two["message"].endswith("1 of 3 slices have had fewer labels")
    three = windows(rule(), rare, rare, rare).entry
    assert Slice.of(three["state"]["slices"]["sex=m"]).last == pytest.approx(
        (0.9, 0.8817, 0.9157, 1200), abs=1e-4
    )
    worse = [told(ALIKE | {"sex=m": BAD}, m=400)] * 6
    found = windows(rule(), *[rare] * 3, *worse)
    assert found.wanted
    assert "0.8000 in sex=m on 1200 labels" in found.entry["message"]


def test_while_no_slice_has_enough_the_window_stays_open() -> None:
    entry = windows(rule(), ALIKE).entry
    for labels in (None, told(ALIKE, 900), told(dict.fromkeys(ALIKE, GOOD), 0)):
        assert ask(rule(), entry, labels, 2).entry == entry
    longer = rule(window="3h")
    assert ask(longer, entry, told(ALIKE), 3.9).entry == entry
    assert ask(longer, entry, told(ALIKE), 4.1).entry != entry


def test_a_loss_stands_until_a_run_answers_it_whatever_other_slices_say() -> None:
    once = windows(rule(), ALIKE, *[ALIKE | {"sex=m": BAD}] * 2)
    later = ask(rule(), once.entry, told(ALIKE, m=10), 5)
    assert later.wanted
    assert "in sex=m" in later.entry["message"]
    assert ask(rule(), once.entry, None, 5).wanted
    after = answered(later, later)
    assert after["streak"] == 0
    assert not ask(rule(), after, None, 6).wanted
    assert not ask(rule(), after, told(ALIKE | {"sex=m": BAD}), 6).wanted
    assert windows(rule(), *[ALIKE | {"sex=m": BAD}] * 2, entry=after, start=6).wanted


def test_the_best_of_a_slice_outlives_a_version_but_that_of_other_which_is_another_group() -> None:
    before = windows(rule(), ALIKE, ALIKE).entry
    opened = ask(rule(), before, None, 3, champion=SECOND).entry
    assert "of a slice" in opened["message"]
    known = {name: Slice.of(one) for name, one in opened["state"]["slices"].items()}
    assert set(known) == {"sex=f", "sex=m"}
    assert all(one.best and not one.held.windows and not one.waiting for one in known.values())
    entry = opened
    for hour in (4, 5):
        found = ask(rule(), entry, told(ALIKE | {"sex=f": BAD, "sex=other": BAD}), hour, champion=SECOND)
        entry = found.entry
    assert found.wanted
    assert "in 1 of 3 slices" in entry["message"]


@pytest.mark.parametrize(("bound", "wanted"), [("0.85", True), ("0.75", False)])
def test_a_fixed_bound_is_surely_broken_before_it_asks(bound: str, wanted: bool) -> None:
    trigger = rule(relativeDrop=None, min=bound)
    assert windows(trigger, *[ALIKE | {"sex=m": BAD}] * 2).wanted is wanted
    near = rule(relativeDrop=None, min="0.8", minLabels=100)
    noisy = told(ALIKE | {"sex=m": 0.78}, 100)
    assert not windows(near, *[noisy] * 3).wanted, "two in a hundred are chance"


def test_more_slices_ask_for_more_evidence() -> None:
    few: Shares = {"sex=f": GOOD, "sex=m": GOOD}
    many = few | {f"city={place}": GOOD for place in range(38)}

    def surely(shares: Shares) -> float:
        entry = windows(rule(), shares, *[shares | {"sex=m": 0.75}] * 3).entry
        return float(entry["columns"][0]["floor"])

    assert 0 < surely(many) < surely(few)


def test_a_regression_is_judged_by_its_errors() -> None:
    def labels(over: int) -> SliceLabels:
        counts = {"sex=f": (1000, 500, 500, 2000), "sex=m": (1000, over, 500, 2 * (over + 500))}
        return SliceLabels(counts, "regression", 2000, unit=0.5)

    trigger = rule(metric="mae", relativeDrop="0.1")
    assert windows(trigger, labels(500), labels(500)).entry["value"] == "0.5"
    found = windows(trigger, labels(500), *[labels(1000)] * 2)
    assert found.wanted
    assert found.entry["message"].startswith("mae 0.7500 in sex=m on 1000 labels")


@pytest.mark.parametrize(
    ("metric", "task", "says"),
    [
        (
            "f1",
            "multiclass",
            "f1 by slice cannot be told of a multiclass model; use one of accuracy, calibration, ece",
        ),
        ("mae", "binary", "use one of accuracy, f1, precision, recall, expectedCost"),
        ("accuracy", "regression", "use one of rmse, mae"),
    ],
)
def test_a_metric_that_the_model_has_not_is_refused(metric: str, task: str, says: str) -> None:
    entry = windows(rule(metric=metric), told(ALIKE, task=task)).entry
    assert (entry["decision"], entry["reason"]) == ("Error", "MetricUnsuitable")
    assert says in entry["message"]


def test_a_version_without_slices_says_what_to_do() -> None:
    entry = windows(rule(), SliceLabels({}, "binary")).entry
    assert (entry["decision"], entry["reason"]) == ("Wait", "UnknownSlices")
    assert "template.spec.slices" in entry["message"]
    assert windows(rule(), SliceLabels({}, "binary"), ALIKE).entry["decision"] == "No"


def test_another_metric_begins_anew() -> None:
    entry = windows(rule(), ALIKE, ALIKE).entry
    again = ask(rule(metric="f1"), entry, told(ALIKE), 4).entry
    assert (again["decision"], again["state"]["slices"]) == ("Wait", {})
    assert ask(rule(), {}, None, 1, champion=None).entry["message"].startswith("nothing is served yet")


def test_cost_by_slice_is_refused_when_written() -> None:
    with pytest.raises(ValidationError, match="go without cost"):
        rule(relativeDrop=None, cost={"pointDay": "1", "run": "9"})


def test_what_is_remembered_of_the_most_slices_fits_into_status() -> None:
    most = {f"a-long-column-{column}=value-{place}": 0.87654321 for column in range(4) for place in range(10)}
    state = windows(rule(), *[told(most, 1237)] * 3, *[told(most | dict.fromkeys(most, BAD), 1237)] * 2).entry
    assert len(json.dumps(state)) < 16_000
    few = scored(most, 999).scores | {"a-long-column-0=value-0": scored({"one": GOOD}).scores["one"]}
    counts = told(most).counts
    wait = windows(rule(metric="auc"), SliceLabels(counts, "binary", 1000, scores=few)).entry
    assert len(json.dumps(wait)) < 20_000


@pytest.mark.extended
def test_many_slices_of_noise_ask_no_oftener_than_one_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty slices that are just what is asked for, at a level that can be seen: of 300 windows six may ask.
    With a level for each slice, fourteen do.
    """
    monkeypatch.setattr(lost, "A_WINDOW", 0.02)
    source, trigger, alarms = random.Random(2), rule(relativeDrop=None, min=str(GOOD), minLabels=200), 0
    names = [f"city={place}" for place in range(40)]
    for _ in range(3):
        entry: Any = ask(trigger, {}, None, 0).entry
        for hour in range(1, 101):
            hits = {name: source.gauss(GOOD, (GOOD * (1 - GOOD) / 200) ** 0.5) for name in names}
            found = ask(trigger, entry, told({name: min(1.0, hit) for name, hit in hits.items()}, 200), hour)
            alarms += found.wanted
            entry = answered(found, found) if found.wanted else found.entry
    assert alarms <= 6


def test_errors_of_a_slice_that_wait_begin_anew_in_another_unit() -> None:
    """As when servers of the next release take a finer one."""
    few, many = (300, 600, 600, 4000), (1000, 2000, 2000, 12_000)
    trigger = rule(metric="rmse")
    coarse = SliceLabels({"sex=f": many, "sex=m": few}, "regression", samples=1300, unit=0.5)
    fine = replace(coarse, unit=0.25)
    seen = [windows(trigger, coarse, one).entry["state"]["slices"] for one in (coarse, fine)]
    assert [one["sex=m"]["waiting"][0] for one in seen] == [600, 300]
