"""Triggers ask for a run when there is a reason, and write down every no."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.unit.domain.training_world import NOW

from noria_operator.api.continuoustraining import TriggerStatus
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.quality import Labels
from noria_operator.domain.training_times import stamp
from noria_operator.domain.triggers import Champion, Request, manual
from noria_operator.domain.triggers_gap import Gap
from noria_operator.domain.triggers_performance import performance
from noria_operator.domain.triggers_schedule import schedule
from noria_serving.contract import SCORE_BINS

Json = dict[str, Any]
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
FIRST = Champion("flights-1", {"auc": "0.75"})


def auc(value: float, count: int = 1000) -> Labels:
    """`count` labels whose area under the curve is `value`: so many positives above all negatives, the rest
    below.
    """
    half = count // 2
    negatives, positives = [0] * SCORE_BINS, [0] * SCORE_BINS
    negatives[100] = half
    positives[150] = round(half * value)
    positives[50] = half - positives[150]
    return Labels.of(negatives, positives)


def rule(**fields: Any) -> TriggerSpec:
    body: Json = {"metric": "auc", "relativeDrop": "0.05", "minLabels": 500, "for": 2} | fields
    body = {name: value for name, value in body.items() if value is not None}
    return TriggerSpec.model_validate({"name": "quality", "performance": body})


def ask(
    trigger: TriggerSpec,
    entry: Json,
    labels: Labels | None,
    *,
    champion: Champion | None = FIRST,
    hours: float = 1,
    gap: Gap | None = None,
) -> Request:
    assert trigger.performance is not None
    now = NOW + hours * HOUR
    found = performance(
        trigger, trigger.performance, entry, champion=champion, labels=labels, now=now, gap=gap
    )
    TriggerStatus.model_validate(found.entry)
    return found


def windows(trigger: TriggerSpec, *values: float, champion: Champion = FIRST) -> Request:
    """One window after the other, each closed with this value."""
    found = ask(trigger, {}, None, champion=champion, hours=0)
    for hour, value in enumerate(values, 1):
        found = ask(trigger, found.entry, auc(value), champion=champion, hours=hour)
    return found


def test_a_value_tells_the_window_that_it_is_of() -> None:
    entry = windows(rule(), 0.74, 0.73).entry
    assert (entry["windowLength"], entry["windowEndedAt"]) == ("1h", stamp(NOW + 2 * HOUR))


@pytest.mark.parametrize("fields", [{}, {"min": "0.6", "relativeDrop": None}, {"for": 1}])
def test_false_alarms_a_month_are_stated_one_in_ten_thousand_windows(fields: Json) -> None:
    trigger = rule(**fields)
    entry = windows(trigger, 0.74, 0.74).entry
    assert float(entry["expectedFalseAlarms"]) == pytest.approx(730.5 / 10_000, rel=1e-3)
    longer = ask(trigger, entry, auc(0.74), hours=2 + 168).entry
    assert float(longer["expectedFalseAlarms"]) == pytest.approx(30.4375 / 7 / 10_000, rel=1e-2)


@pytest.mark.parametrize(
    ("per_month", "told"), [("0.1", 0.1), ("3", 3.0), ("1000", 0.05 * 730.5), ("0", 7e-10)]
)
def test_false_alarms_a_month_are_what_is_asked_for(per_month: str, told: float) -> None:
    entry = windows(rule(falseAlarmsPerMonth=per_month), 0.74, 0.74).entry
    assert float(entry["expectedFalseAlarms"]) == pytest.approx(told, rel=1e-3, abs=1e-6)


def test_who_allows_fewer_false_alarms_waits_for_more_windows() -> None:
    def after(per_month: str) -> int:
        trigger = rule(falseAlarmsPerMonth=per_month)
        return next(count for count in range(1, 40) if windows(trigger, *[0.69] * count).wanted)

    found = [after(per_month) for per_month in ("10", "0.0730", "0.0001", "0")]
    assert found == sorted(found)
    assert len(set(found)) == 4
    lost = windows(rule(falseAlarmsPerMonth="0.1"), *[0.69] * 30)
    assert ask(rule(falseAlarmsPerMonth="0.1"), lost.entry, None, hours=40).wanted, (
        "an open window changes none"
    )


def test_quality_is_lost_only_after_enough_windows_in_a_row() -> None:
    assert windows(rule(), 0.74).entry["decision"] == "No"
    once = windows(rule(), 0.65)
    assert (once.wanted, once.entry["decision"], once.entry["streak"]) == (False, "Wait", 1)
    assert not windows(rule(), 0.65, 0.74, 0.65).wanted
    twice = windows(rule(), 0.65, 0.65)
    assert twice.wanted
    assert twice.entry["value"] == "0.65"
    assert windows(rule(), 0.715, 0.715).entry["decision"] == "No"
    assert twice.entry["threshold"] == "0.7125"
    assert twice.entry["samples"] == 1000
    assert "2 of 2 windows in a row; surely lost by at least 0.0" in twice.entry["message"]
    longer = windows(rule(), 0.65, 0.65, 0.65)
    assert "2 of 2 windows in a row, 3 by now" in longer.entry["message"]
    assert longer.entry["message"].endswith("since 3 windows")


def test_a_small_loss_waits_for_as_many_windows_as_make_it_sure() -> None:
    twice = windows(rule(), 0.7, 0.7)
    assert (twice.wanted, twice.entry["decision"], twice.entry["streak"]) == (False, "Wait", 2)
    assert twice.entry["message"].endswith("in 2 windows that may be chance, so it waits")
    assert windows(rule(), *[0.7] * 7).wanted
    assert not windows(rule(), *[0.7] * 6, 0.74).wanted  # proven, but not any more
    assert not windows(rule(), *[0.72] * 50).wanted  # less than was allowed, however sure it is


def test_one_terrible_window_is_no_loss() -> None:
    assert not windows(rule(), 0.1, 0.74).wanted
    assert not windows(rule(relativeDrop="0.02"), 0.1, 0.74, 0.73, 0.73).wanted
    assert windows(rule(**{"for": 1}), 0.1).wanted  # unless one is all that was asked for


def test_what_makes_a_loss_sure_is_in_status_and_of_bounded_size() -> None:
    short, long = (windows(rule(), *[0.7] * count).entry["state"] for count in (5, 50))
    assert set(short) == set(long) == {"metric", "held", "lost"}
    assert long["held"]["windows"] == 50
    again = ask(rule(), windows(rule(), 0.65, 0.65).entry, None, hours=3)  # nothing else is remembered
    assert again.wanted


def test_an_open_window_changes_nothing_in_status() -> None:
    entry = windows(rule(), 0.74).entry
    for labels in (None, Labels.none(), auc(0.2, 400)):
        assert ask(rule(), entry, labels, hours=2).entry == entry
    assert ask(rule(window="3h"), entry, auc(0.2), hours=3.9).entry == entry
    assert ask(rule(window="3h"), entry, auc(0.2), hours=4.1).entry != entry


def test_a_window_closes_with_its_last_label_and_its_last_moment() -> None:
    exact = rule(minLabels=1000, window="1h")
    opened = ask(exact, {}, None, hours=0).entry
    assert ask(exact, opened, auc(0.7, 998), hours=1).entry == opened
    assert ask(exact, opened, auc(0.7, 1000), hours=0.999).entry == opened
    assert ask(exact, opened, auc(0.7, 1000), hours=1).entry["value"] == "0.7"


def test_labels_of_one_class_leave_the_window_open() -> None:
    entry = windows(rule(), 0.74).entry
    only = Labels.of([0] * SCORE_BINS, [600] + [0] * (SCORE_BINS - 1))
    assert ask(rule(), entry, only, hours=2).entry == entry


def test_a_new_champion_starts_a_window_and_a_streak_but_no_new_best() -> None:
    lost = windows(rule(), *[0.80] * 20, 0.70)
    best = lost.entry["best"]
    assert 0.78 < float(best) < 0.79  # what it surely was in windows that showed 0.8
    worse = ask(rule(), lost.entry, auc(0.1), champion=Champion("flights-2", {"auc": "0.72"}), hours=23)
    assert (worse.entry["version"], worse.entry["streak"], worse.entry["best"]) == ("flights-2", 0, best)
    assert not worse.wanted
    praised = ask(rule(), lost.entry, None, champion=Champion("flights-2", {"auc": "0.9"}), hours=23)
    assert praised.entry["best"] == best


def test_a_bad_promotion_cannot_hide_the_loss() -> None:
    found = windows(rule(), *[0.80] * 20)
    best = found.entry["best"]
    bad = Champion("flights-2", {"auc": "0.60"})
    for hour in (22, 23, 24):
        found = ask(rule(), found.entry, auc(0.60), champion=bad, hours=hour)
    assert found.wanted
    assert found.entry["best"] == best


@pytest.mark.simulated
def test_windows_of_one_quality_hardly_ever_ask_however_many_there_are() -> None:
    """The best of three hundred noisy windows is a lucky one; as it is, most of the others would ask."""
    source, found, asked = random.Random(11), ask(rule(), {}, None, hours=0), 0
    for hour in range(1, 301):
        negatives, positives = [0] * SCORE_BINS, [0] * SCORE_BINS
        for _ in range(600):
            label = source.random() < 0.4
            score = min(max(source.gauss(0.58 if label else 0.42, 0.15), 0), 1)
            (positives if label else negatives)[min(SCORE_BINS - 1, int(score * SCORE_BINS))] += 1
        found = ask(rule(), found.entry, Labels.of(negatives, positives), hours=hour)
        asked += found.wanted
    assert asked == 0


def test_without_any_value_to_compare_with_the_first_window_sets_it() -> None:
    found = windows(rule(**{"for": 1}), 0.60, champion=Champion("flights-1", {}))
    assert not found.wanted
    assert 0.4 < float(found.entry["best"]) < 0.5
    assert ask(rule(**{"for": 1}), found.entry, auc(0.3), champion=Champion("flights-1", {}), hours=2).wanted


@pytest.mark.parametrize(
    ("fields", "value", "wanted"),
    [
        ({"min": "0.65"}, 0.5, True),
        ({"min": "0.65"}, 0.66, False),
        ({"metric": "logloss", "max": "0.1"}, 0.5, True),
        ({"metric": "accuracy", "max": "0.1"}, 0.5, False),
        ({"metric": "calibration", "max": "0.9"}, 0.5, False),
    ],
)
def test_an_absolute_threshold_needs_no_baseline(fields: Json, value: float, wanted: bool) -> None:
    trigger = rule(**{"relativeDrop": None, "for": 1} | fields)
    assert windows(trigger, value, champion=Champion("flights-1", {})).wanted is wanted


@pytest.mark.simulated
def test_a_bound_that_is_just_met_is_exceeded_by_noise_alone_and_asks_for_nothing() -> None:
    """A third of these windows are below it after one that is, too."""
    trigger, source = rule(relativeDrop=None, min="0.7"), random.Random(5)
    found, asked, rows = ask(trigger, {}, None, hours=0), 0, 0
    for hour in range(1, 301):
        found = ask(trigger, found.entry, auc(min(0.99, source.gauss(0.7, 0.0165))), hours=hour)
        asked += found.wanted
        rows += int(found.entry["streak"] >= 2)
    assert (asked, rows > 60) == (0, True)


def test_a_bound_that_is_missed_by_little_asks_once_that_is_sure_and_by_much_at_once() -> None:
    trigger = rule(relativeDrop=None, min="0.7")
    few = windows(trigger, 0.68, 0.68)
    assert (few.wanted, few.entry["decision"]) == (False, "Wait")
    assert few.entry["message"].endswith("in 2 windows that may be chance, so it waits")
    many = windows(trigger, *[0.68] * 30)
    assert many.wanted
    assert "surely worse by at least 0.00" in many.entry["message"]
    assert [windows(trigger, *[0.6] * times).wanted for times in (1, 2)] == [False, True]


def test_a_bound_is_compared_with_itself_and_not_with_the_best() -> None:
    """A model that was far better than asked for may lose all of that."""
    trigger = rule(relativeDrop=None, min="0.6")
    assert not windows(trigger, *[0.9] * 10, *[0.61] * 30).wanted


def test_lower_is_better_for_a_loss() -> None:
    trigger = rule(metric="logloss", **{"for": 1})
    begun = ask(trigger, {}, None, champion=Champion("flights-1", {"logloss": "0.3"}), hours=0)
    lost = ask(trigger, begun.entry, auc(0.5), champion=Champion("flights-1", {}), hours=1)
    assert lost.wanted
    assert lost.entry["best"] == "0.3"


def test_a_gain_that_shrinks_is_a_loss() -> None:
    """expectedCost is negative where a prediction earns more than it costs."""
    matrix = {"falsePositive": "1", "falseNegative": "1", "truePositive": "-10"}
    trigger = rule(metric="expectedCost", costMatrix=matrix)
    earns = Champion("flights-1", {"expectedCost": "-3.1"})
    kept = windows(trigger, 0.75, 0.75, champion=earns)
    assert (kept.entry["threshold"], kept.entry["decision"]) == ("-2.945", "No")
    assert windows(trigger, 0.5, 0.5, champion=earns).wanted


def test_an_edited_metric_starts_anew() -> None:
    entry = windows(rule(), 0.80, 0.70).entry
    edited = ask(rule(metric="logloss"), entry, auc(0.7), hours=3)
    assert (edited.entry["streak"], edited.entry.get("best")) == (0, None)


@pytest.mark.parametrize("fields", [{}, {"relativeDrop": None, "cost": {"pointDay": "1", "run": "9"}}])
def test_edited_prices_of_mistakes_start_anew(fields: Json) -> None:
    cheap, dear = (
        rule(metric="expectedCost", costMatrix={"falseNegative": price}, **fields) for price in ("1", "10")
    )
    entry = windows(cheap, 0.7, 0.7).entry
    edited = ask(dear, entry, auc(0.7), hours=3)
    assert (edited.wanted, edited.entry["decision"], edited.entry.get("best")) == (False, "Wait", None)
    assert ask(cheap, entry, None, hours=3).entry == entry
    assert ask(rule(metric="expectedCost", **fields), entry, None, hours=3).entry == entry, "1 each is 1 each"


@pytest.mark.parametrize("wrote", ["expectedCost", "expectedCost 1.0 10.0 0.0 0.0"])
def test_costs_go_on_over_an_upgrade_from_a_release_that_wrote_less_of_them(wrote: str) -> None:
    dear = rule(metric="expectedCost", costMatrix={"falseNegative": "10"})
    entry = windows(dear, 0.7, 0.7).entry
    old = entry | {"state": entry["state"] | {"metric": wrote}}
    assert ask(dear, old, None, hours=3).entry == old
    assert ask(dear, old, auc(0.7), hours=3).entry == ask(dear, entry, auc(0.7), hours=3).entry


def test_what_was_asked_for_stands_until_a_window_says_otherwise() -> None:
    lost = windows(rule(), 0.65, 0.65)
    assert ask(rule(), lost.entry, None, hours=9).wanted
    assert not ask(rule(), lost.entry, auc(0.75), hours=9).wanted


@pytest.mark.parametrize(("action", "by"), [("Retrain", "Wanted"), ("Warn", "Own"), ("Block", "Own")])
def test_a_warning_of_lost_quality_stands_whoever_starts_a_run(action: str, by: str) -> None:
    trigger = rule().model_copy(update={"action": action})
    lost = windows(trigger, 0.55, 0.55)
    assert (lost.wanted, lost.answered_by) == (True, by)
    assert ask(trigger, lost.entry, None, hours=4).answered_by == by


def test_nothing_is_watched_while_nothing_is_served() -> None:
    found = ask(rule(), {}, None, champion=None)
    assert (found.wanted, found.entry["decision"]) == (False, "Wait")


WEEKLY = TriggerSpec.model_validate({"name": "weekly", "schedule": "0 2 * * 1"})
MONDAY = datetime.fromisoformat("2026-03-02T02:00:00+00:00")


def planned(entry: Json, now: datetime, trigger: TriggerSpec = WEEKLY) -> Request:
    found = schedule(trigger, entry, since=now if entry else NOW, now=now)
    TriggerStatus.model_validate(found.entry)
    return found


def test_a_schedule_asks_once_for_each_scheduled_time() -> None:
    early = planned({}, NOW)
    assert (early.wanted, early.due, early.entry["nextRun"]) == (False, MONDAY, "2026-03-02T02:00:00Z")
    found = planned(early.entry, MONDAY)
    assert (found.wanted, found.key) == (True, "2026-03-02T02:00:00Z")
    assert planned(found.entry, MONDAY + HOUR / 2).key == found.key
    done = planned(found.entry | found.answer, MONDAY + HOUR / 2)
    assert (done.wanted, done.entry["nextRun"]) == (False, "2026-03-09T02:00:00Z")


def test_a_run_that_is_held_is_due_until_it_starts_or_is_skipped() -> None:
    """What an alert on overdue runs looks at."""
    held = planned(planned({}, NOW).entry, MONDAY + HOUR / 2)
    assert (held.entry["nextRun"], held.due) == ("2026-03-02T02:00:00Z", MONDAY + HOUR + SECOND)
    assert planned(held.entry, MONDAY + HOUR).entry["nextRun"] == "2026-03-02T02:00:00Z"
    skipped = planned(held.entry, MONDAY + HOUR + SECOND)
    assert (skipped.entry["decision"], skipped.entry["nextRun"]) == ("Skipped", "2026-03-09T02:00:00Z")


def test_a_scheduled_run_that_could_not_start_in_time_is_skipped_and_said_so() -> None:
    found = planned(planned({}, NOW).entry, MONDAY + timedelta(days=20))
    assert (found.wanted, found.entry["decision"]) == (False, "Skipped")
    assert found.entry["lastScheduled"] == "2026-03-16T02:00:00Z"
    assert planned(found.entry, MONDAY + timedelta(days=20, minutes=1)).entry == found.entry


def test_a_schedule_that_others_combine_is_neither_late_nor_skipped() -> None:
    """Its run is not missing: it asks for none by itself."""
    trigger = WEEKLY.model_copy(update={"action": "Observe"})
    due = planned(planned({}, NOW, trigger).entry, MONDAY + HOUR / 2, trigger)
    assert (due.wanted, due.entry["nextRun"]) == (True, "2026-03-09T02:00:00Z")
    over = planned(due.entry, MONDAY + HOUR + SECOND, trigger)
    assert (over.wanted, over.entry["decision"], over.entry["reason"]) == (False, "No", "Over")
    assert over.entry["lastScheduled"] == "2026-03-02T02:00:00Z"


def test_an_edited_schedule_does_not_fire_for_its_own_past() -> None:
    entry = planned({}, NOW).entry
    edited = TriggerSpec.model_validate({"name": "weekly", "schedule": "30 12 * * *"})
    assert not planned(entry, NOW + 0.6 * HOUR, trigger=edited).wanted
    again = planned(planned(entry, NOW + 0.6 * HOUR, trigger=edited).entry, NOW + 24.6 * HOUR, trigger=edited)
    assert again.wanted


def test_an_annotation_is_carried_out_once_for_each_id() -> None:
    assert manual("", None, None) is None
    first = manual("now-1", None, None)
    assert first is not None
    assert (first.wanted, first.key) == (True, "now-1")
    done = manual("now-1", "now-1", first.entry)
    assert done is not None
    assert not done.wanted
    second = manual("now-2", "now-1", first.entry)
    assert second is not None
    assert second.wanted
