"""Drift and broken data are found by window, written down with figures, and answered by one run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.unit.domain.drift.golden import normal
from tests.unit.domain.drift.test_policy import MOVED, column, seen
from tests.unit.domain.training_world import NOW

from noria_operator.api.continuoustraining import TriggerStatus
from noria_operator.api.monitoring import Drift
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.drift.columns import PREDICTION, Reference, Seen
from noria_operator.domain.drift.dirt import Asked
from noria_operator.domain.drift.season import Week
from noria_operator.domain.schedule import ScheduleError
from noria_operator.domain.triggers import Champion, Request
from noria_operator.domain.triggers_counted import Evidence, counted
from noria_operator.domain.triggers_findings import Traffic
from noria_operator.domain.triggers_monitoring import watch, window_start
from noria_operator.domain.triggers_start import answered
from noria_operator.evidence.totals import Totals
from noria_operator.evidence.windows import Window, parse
from noria_serving.contract import COUNTERS_SCHEMA

Json = dict[str, Any]
HOUR = timedelta(hours=1)
FIRST, SECOND = Champion("flights-1", {}), Champion("flights-2", {})
NAMES = ("distance", "dep_delay", "carrier")
REFERENCE = Reference(5000, tuple(column(name) for name in NAMES), column(PREDICTION))
SAME = normal(2000)


def calm() -> dict[str, Seen]:
    return {name: seen(SAME) for name in (*NAMES, PREDICTION)}


def moved(*names: str) -> dict[str, Seen]:
    return {name: seen(MOVED if name in names else SAME) for name in (*NAMES, PREDICTION)}


def nulls(name: str) -> dict[str, Seen]:
    return calm() | {name: Seen((0,) * 10, missing=2000)}


def drift(action: str | None = None, **fields: Any) -> TriggerSpec:
    body: Json = {"name": "drift", "drift": fields}
    return TriggerSpec.model_validate(body | ({"action": action} if action else {}))


def quality(action: str | None = None, **fields: Any) -> TriggerSpec:
    body: Json = {"name": "dirty", "dataQuality": {"window": "1h"} | fields}
    return TriggerSpec.model_validate(body | ({"action": action} if action else {}))


def windows(
    trigger: TriggerSpec,
    *each: dict[str, Seen] | None,
    entry: Json | None = None,
    champion: Champion | None = FIRST,
    reference: Reference | None = REFERENCE,
    since: int = 0,
    aside: Sequence[int] = (),
) -> Request:
    """An hour for each, after the one in which the window opens; None: nobody answers. Requests are led
    aside in the middle of the hours `aside`.
    """
    found = watch(trigger, entry or {}, champion=champion, traffic=None, now=NOW + since * HOUR)
    for hour, counts in enumerate(each, since + 1):
        traffic = None if counts is None else Traffic(counts, reference)
        if hour in aside:
            half = NOW + (hour - 0.5) * HOUR
            found = watch(trigger, found.entry, champion=champion, traffic=None, now=half, aside=True)
        found = watch(trigger, found.entry, champion=champion, traffic=traffic, now=NOW + hour * HOUR)
        TriggerStatus.model_validate(found.entry)
    return found


def test_drift_is_written_down_with_its_figures() -> None:
    found = windows(drift(), calm(), moved("distance"), moved("distance"))
    entry = found.entry
    assert (entry["decision"], entry["reason"], found.wanted) == ("Fire", "Drifted", True)
    assert (entry["value"], entry["threshold"], entry["samples"]) == ("0.333333", "0.3", 2000)
    assert (entry["windowLength"], entry["windowEndedAt"]) == ("1h", "2026-03-01T15:00:00Z")
    assert float(entry["expectedFalseAlarms"]) == pytest.approx(0.01, rel=0.01)
    worst = entry["columns"][0]
    assert (worst["name"], worst["drifted"], worst["samples"]) == ("distance", True, 2000)
    assert float(worst["value"]) > float(worst["threshold"]) > float(worst["floor"])
    assert entry["message"].startswith(
        "33.3 % of the features drifted from training of flights-1 in 2 of 3 windows "
        "(30 % of them count, or the predictions alone); 2000 rows; "
    )
    assert "distance psi" in entry["message"]


def test_a_no_is_written_down_too() -> None:
    entry = windows(drift(), calm()).entry
    assert (entry["decision"], entry["reason"], entry["value"]) == ("No", "Steady", "0")
    assert windows(drift(), moved("distance")).entry["reason"] == "Suspected"
    entry = windows(quality(), calm()).entry
    assert (entry["decision"], entry["reason"], entry["value"]) == ("No", "Clean", "0")
    assert "14 checks" in entry["message"]


@pytest.mark.parametrize("trigger", [drift(), quality(), drift("Block"), quality("Warn")])
def test_a_warning_stands_whoever_starts_a_run(trigger: TriggerSpec) -> None:
    counts = moved(PREDICTION) if trigger.drift else nulls("distance")
    found = windows(trigger, counts, counts)
    assert found.wanted
    by_hand = Request({"name": "Manual"}, "Manual", wanted=True)
    assert answered(found, by_hand)["reason"] in ("Drifted", "Violated")


def test_another_triggers_run_answers_one_that_asks_for_a_run() -> None:
    found = windows(drift("Retrain"), moved(PREDICTION), moved(PREDICTION))
    quality_lost = Request({"name": "quality"}, "Performance", wanted=True)
    entry = answered(found, quality_lost)
    assert (entry["reason"], entry["message"]) == ("Answered", "answered by the run of quality")
    assert "marks" not in entry["state"]


def test_what_a_header_led_past_the_champion_is_no_drift_of_the_rest() -> None:
    """One market's requests go to a challenger, and the champion's rest flies farther."""
    rest = moved("distance")
    assert windows(drift(), calm(), rest, rest).entry["reason"] == "Drifted"
    entry = windows(drift(), calm(), rest, rest, aside=(2, 3)).entry
    assert (entry["decision"], entry["reason"], entry["columns"]) == ("Wait", "RolloutUnderWay", [])
    assert "value" not in entry
    assert "(match) past flights-1" in entry["message"]
    assert windows(drift(), calm(), rest, rest, calm(), aside=(2, 3)).entry["reason"] == "Steady"


def test_a_window_of_which_requests_were_led_aside_moves_no_mark_and_takes_nothing_back() -> None:
    rest = moved("distance")
    assert windows(drift(), rest, calm(), rest, aside=(2,)).entry["reason"] == "Drifted"
    found = windows(drift(), rest, rest, calm(), aside=(3,))
    assert (found.wanted, found.entry["decision"], found.entry["reason"]) == (True, "Fire", "Drifted")
    before = drift(compareWith="PreviousWindow", features=["distance"], of=1, **{"for": 1})
    entry = windows(before, calm(), rest, calm(), aside=(2,)).entry
    assert entry["reason"] == "Steady", "it is compared with the last window of all requests"


def test_the_window_that_begins_while_requests_are_led_aside_bears_the_mark_at_once() -> None:
    opened = watch(drift(), {}, champion=FIRST, traffic=None, now=NOW).entry
    traffic, entry = Traffic(moved("distance"), REFERENCE), opened
    for hour in (1, 2):
        entry = watch(
            drift(), entry, champion=FIRST, traffic=traffic, now=NOW + hour * HOUR, aside=hour == 1
        ).entry
        assert entry["reason"] == "RolloutUnderWay"
    entry = watch(drift(), entry, champion=FIRST, traffic=traffic, now=NOW + 3 * HOUR).entry
    assert entry["reason"] == "Suspected"


def test_what_was_led_aside_before_the_window_of_a_new_champion_begins_is_not_of_it() -> None:
    opened = watch(drift(), {}, champion=FIRST, traffic=None, now=NOW, warmup=HOUR).entry
    assert watch(drift(), opened, champion=FIRST, traffic=None, now=NOW, aside=True).entry == opened
    later = watch(drift(), opened, champion=FIRST, traffic=None, now=NOW + HOUR, aside=True).entry
    assert later["state"] == opened["state"] | {"aside": True}


def test_broken_data_is_broken_whoever_asks_the_challenger() -> None:
    assert windows(quality(), nulls("distance"), aside=(1,)).entry["reason"] == "Violated"


def test_drift_of_the_predictions_alone_says_so() -> None:
    entry = windows(drift(), moved(PREDICTION), moved(PREDICTION)).entry
    assert entry["message"].startswith("the predictions and 0 % of the features drifted")


def test_broken_data_stands_until_it_is_gone() -> None:
    found = windows(quality(), nulls("distance"))
    assert found.wanted
    assert found.entry["columns"][0]["check"] == "completeness"
    assert "distance completeness 1 (tolerated 0.1)" in found.entry["message"]
    assert windows(quality(), nulls("distance"), None).wanted, "an open window leaves the finding standing"
    assert not windows(quality(), nulls("distance"), calm()).wanted
    twice = quality(**{"for": 2})
    assert windows(twice, nulls("distance")).entry["reason"] == "Suspected"
    assert windows(twice, nulls("distance"), nulls("carrier")).wanted


def test_a_window_without_rows_is_broken_only_where_rows_must_come() -> None:
    empty: dict[str, Seen] = {name: Seen((0,) * 10) for name in (*NAMES, PREDICTION)}
    assert windows(quality(), empty).entry["reason"] == "WindowOpen"
    found = windows(quality(minRows=1000), empty)
    assert found.wanted
    assert found.entry["columns"][0]["check"] == "volume"


@pytest.mark.parametrize("trigger", [drift(), quality()])
def test_an_open_window_changes_nothing_in_status(trigger: TriggerSpec) -> None:
    entry = windows(trigger, calm()).entry
    few = {name: seen(SAME[:100]) for name in (*NAMES, PREDICTION)}
    for traffic, hours in ((None, 2.5), (Traffic(few, REFERENCE), 2.5), (Traffic(calm(), REFERENCE), 1.5)):
        found = watch(trigger, entry, champion=FIRST, traffic=traffic, now=NOW + hours * HOUR)
        assert found.entry == entry
        assert (found.due is None) == (hours > 2)


def test_a_new_champion_and_an_edited_rule_start_anew() -> None:
    entry = windows(drift(), moved("distance"), moved("distance")).entry
    for trigger, champion in ((drift(), SECOND), (drift(window="2h"), FIRST)):
        again = watch(
            trigger, entry, champion=champion, traffic=Traffic(moved("distance"), REFERENCE), now=NOW
        )
        assert (again.entry["reason"], again.entry.get("value")) == ("WindowOpen", None)
        assert window_start(trigger, entry, champion) is None
        assert window_start(trigger, again.entry, champion) == NOW


def test_a_run_answers_a_finding_which_must_then_be_found_anew() -> None:
    trigger = drift("Retrain")
    found = windows(trigger, moved("distance"), moved("distance"))
    assert found.wanted
    entry = answered(found, found)
    assert (entry["decision"], entry["reason"]) == ("Fire", "Answered")
    assert not windows(trigger, entry=entry, since=2).wanted
    once = windows(trigger, moved("distance"), entry=entry, since=2)
    assert (once.wanted, once.entry["reason"]) == (False, "Suspected")


def test_the_window_before_shows_sudden_changes_and_no_lasting_ones() -> None:
    trigger = drift(compareWith="PreviousWindow", features=["distance"], of=1, **{"for": 1})
    assert windows(trigger, calm()).entry["reason"] == "FirstWindow"
    changed = windows(trigger, calm(), moved("distance"))
    assert changed.entry["reason"] == "Drifted"
    assert "from the window before" in changed.entry["message"]
    assert windows(trigger, calm(), moved("distance"), moved("distance")).entry["reason"] == "Steady"


def test_what_cannot_be_judged_says_why() -> None:
    assert windows(drift(), calm(), champion=None).entry["reason"] == "NothingServed"
    told = windows(drift(), calm(), reference=None).entry
    assert (told["reason"], told["decision"]) == ("NoReference", "Wait")
    for trigger in (drift(features=["dep_dealy"]), quality(features=["dep_dealy"])):
        entry = windows(trigger, calm()).entry
        assert entry["reason"] == "UnknownFeature"
        assert "no feature dep_dealy" in entry["message"]
        assert "carrier, dep_delay, distance" in entry["message"]


def test_long_names_fit_into_status() -> None:
    long = "x" * 2000
    reference = Reference(5000, (column(long),), column(PREDICTION))
    counts = {long: seen(MOVED), PREDICTION: seen(SAME)}
    entry = windows(drift(), counts, counts, reference=reference).entry
    assert entry["reason"] == "Drifted"


def test_a_wave_of_requests_that_are_refused_is_broken_data_though_no_row_was_predicted() -> None:
    opened = watch(quality(), {}, champion=FIRST, traffic=None, now=NOW)
    nothing = {name: Seen((0,) * 10) for name in (*NAMES, PREDICTION)}
    for asked, reason in ((Asked(900, 900), "Violated"), (Asked(150, 150), "WindowOpen")):
        traffic = Traffic(nothing, REFERENCE, asked=asked)
        entry = watch(quality(), opened.entry, champion=FIRST, traffic=traffic, now=NOW + HOUR).entry
        assert entry["reason"] == reason
        TriggerStatus.model_validate(entry)
    traffic = Traffic(nothing, REFERENCE, asked=Asked(900, 900))
    entry = watch(quality(), opened.entry, champion=FIRST, traffic=traffic, now=NOW + HOUR).entry
    assert entry["columns"][0]["check"] == "dataType"
    assert "requests dataType 1 (tolerated 0.1)" in entry["message"]
    opened = watch(drift(), {}, champion=FIRST, traffic=None, now=NOW)
    entry = watch(drift(), opened.entry, champion=FIRST, traffic=traffic, now=NOW + HOUR).entry
    assert entry["reason"] == "WindowOpen", "drift waits for rows"


def test_requests_that_a_challenger_alone_refuses_are_no_broken_data() -> None:
    """A model with one more input answers each copy, or each request of its share, with 400."""
    servers = {"flights-1": {"ok": 1000, "client_error": 0}, "flights-2": {"ok": 0, "client_error": 1000}}
    rows = {name: {"bins": [200] * 10, "missing": 0, "unseen": 0, "low": 0, "high": 0} for name in NAMES}
    window = Window(since=NOW.timestamp())
    for version, requests in servers.items():
        document = parse(
            {
                "schema": COUNTERS_SCHEMA, "version": version, "process": version,
                "started": window.since, "from": window.since, "at": window.since + 3600,
                "requests": requests, "malformed": requests["client_error"],
                "features": rows, "prediction": rows["carrier"],
            }
        )  # fmt: skip
        assert document
        window.take(document)
    opened = watch(quality(), {}, champion=FIRST, traffic=None, now=NOW).entry
    for champion, reason in ((FIRST, "Clean"), (SECOND, "Violated")):
        found = counted(
            quality(), opened | {"version": champion.name}, champion=champion, now=NOW + HOUR,
            evidence=Evidence(Totals(window.total()), REFERENCE),
        )  # fmt: skip
        assert found.entry["reason"] == reason


def test_a_feed_that_is_stuck_is_broken_data_where_a_limit_is_set() -> None:
    """Summed over the champion's pods; doubles of copies that a challenger got are its own."""
    counted_ = {
        "features/flights-1/carrier/bins": (200,) * 10,
        "prediction/flights-1/bins": (200,) * 10,
        "duplicates/flights-1/rows": (1000,),
        "duplicates/flights-1/equal": (900,),
        "duplicates/flights-2/rows": (1000,),
    }
    evidence = Evidence(Totals(counted_), Reference(5000, (column("carrier"),), column(PREDICTION)))
    for limit, reason in (("1", "Clean"), ("0.5", "Violated")):
        rule = quality(maxDuplicates=limit)
        opened = watch(rule, {}, champion=FIRST, traffic=None, now=NOW).entry
        found = counted(rule, opened, champion=FIRST, now=NOW + HOUR, evidence=evidence).entry
        assert found["reason"] == reason
    assert "rows duplicates 0.9 (tolerated 0.5)" in found["message"]
    assert (found["columns"][0]["check"], found["columns"][0]["samples"]) == ("duplicates", 1000)


# -- the same time of earlier weeks ----------------------------------------------------------------------


def at_the_same_time(*each: Week | None, entry: Json | None = None, now: Week | None = None) -> Json:
    """One window of a trigger that compares with these weeks; None alone: nobody remembers."""
    trigger = drift(compareWith="SameHour", of=1, **{"for": 1})
    opened = watch(trigger, entry or {}, champion=FIRST, traffic=None, now=NOW).entry
    earlier = None if each == (None,) else [one or {} for one in each]
    traffic = Traffic(now or moved("distance"), REFERENCE, earlier=earlier)
    begun = datetime.fromisoformat(opened["windowStartedAt"])
    found = watch(trigger, opened, champion=FIRST, traffic=traffic, now=begun + HOUR).entry
    TriggerStatus.model_validate(found)
    return found


def test_a_season_that_training_did_not_have_is_no_drift_from_the_week_before() -> None:
    assert at_the_same_time(moved("distance"), moved("distance"))["reason"] == "Steady"
    found = at_the_same_time(calm(), None, calm())
    assert (found["reason"], found["columns"][0]["name"]) == ("Drifted", "distance")
    assert (
        "drifted from the same time of 2 weeks before (4000 rows of flights-1) in 1 of 1 windows"
        in found["message"]
    )
    assert float(found["columns"][0]["floor"]) > 0
    assert "the same time of the week before (2000 rows of flights-1)" in at_the_same_time(calm())["message"]


def test_without_enough_history_it_waits_and_says_what_is_missing() -> None:
    first = at_the_same_time(None, {})
    assert (first["decision"], first["reason"]) == ("Wait", "NoHistory")
    assert (
        "0 rows of flights-1 are known of this time in the 4 weeks before, 200 are needed" in first["message"]
    )
    pods = at_the_same_time(None)
    assert pods["reason"] == "NoHistory"
    assert "countsFrom in the chart's values" in pods["message"]


def test_a_window_without_history_takes_no_finding_back() -> None:
    found = at_the_same_time(calm())
    again = at_the_same_time({}, entry=found)
    assert (again["reason"], again["message"]) == ("Drifted", found["message"])
    assert again["windowStartedAt"] != found["windowStartedAt"]


def test_bins_that_cannot_be_read_take_no_finding_back() -> None:
    found = windows(quality(), nulls("distance"))
    unread = windows(quality(), nulls("distance"), entry=found.entry, since=2, reference=None)
    assert (unread.wanted, unread.entry) == (True, found.entry)
    assert not windows(quality(), calm(), entry=unread.entry, since=3).wanted


def test_a_time_zone_that_is_not_known_is_an_error_of_the_spec() -> None:
    trigger = TriggerSpec.model_validate({"name": "d", "drift": {}, "timeZone": "Europe/Berlln"})
    with pytest.raises(ScheduleError, match="Europe/Berlln"):
        watch(trigger, {}, champion=FIRST, traffic=None, now=NOW)


# -- rows and labels that do not come --------------------------------------------------------------------


def predicting(rows: int) -> dict[str, Seen]:
    return calm() | {PREDICTION: Seen((rows,) + (0,) * 9)}


def flowing(
    trigger: TriggerSpec, *each: tuple[int, int], champion: Champion = FIRST, entry: Json | None = None
) -> Request:
    """An hour with so many rows and labels after the other."""
    begin = NOW
    if entry:
        begin = datetime.fromisoformat(entry["windowStartedAt"])
    found = watch(trigger, entry or {}, champion=champion, traffic=None, now=begin)
    for hour, (rows, labels) in enumerate(each, 1):
        traffic = Traffic(predicting(rows), REFERENCE, labels=labels)
        found = watch(trigger, found.entry, champion=champion, traffic=traffic, now=begin + hour * HOUR)
        TriggerStatus.model_validate(found.entry)
    return found


def test_rows_that_do_not_come_and_labels_that_stopped_are_told_in_words() -> None:
    rule = quality(minRows=100, maxAge="2h", maxLabelAge="3h")
    found = flowing(rule, (500, 5), (0, 0), (0, 0), (0, 0), (0, 0))
    assert found.wanted
    assert found.entry["message"].startswith(
        "3 of 14 checks failed on 0 rows: rows volume 0 (at least 100), no rows for 4h (freshness, tolerated "
        "2h), no labels for 4h (freshness, tolerated 3h)"
    )
    told = [(one["name"], one["check"]) for one in found.entry["columns"]]
    assert told == [("__prediction__", "volume"), ("__prediction__", "freshness"), ("__label__", "freshness")]
    assert (found.entry["value"], found.entry["threshold"]) == ("0", "100")
    assert flowing(rule, (500, 5), (0, 0), (500, 1)).entry["reason"] == "Clean"


class Later(Drift):
    """The rule with a field that a newer release added."""

    newer: int = 0


def test_a_field_that_a_newer_release_adds_makes_no_other_rule() -> None:
    for said in ({}, {"threshold": "0.3", "window": "2h"}, {"share": "0.3", "features": []}):
        assert Later.model_validate(said).wording == Drift.model_validate(said).wording
    assert Later(newer=1).wording != Drift().wording
    assert Drift.model_validate({"share": "0.4"}).wording != Drift().wording
    assert Drift.model_validate({"share": "0.30"}).wording == Drift().wording, "as it is by default"


@pytest.mark.parametrize(
    ("trigger", "before"), [(drift("Block"), "1c1f3cff4d4f"), (quality("Block"), "8a5ad2d34f43")]
)
def test_what_an_earlier_release_found_stands(trigger: TriggerSpec, before: str) -> None:
    """It wrote down the rule with all fields; with its next window it is told as it is today."""
    counts = moved("distance") if trigger.drift else nulls("distance")
    entry = windows(trigger, counts, counts).entry
    rule, entry["state"]["rule"] = entry["state"]["rule"], before
    assert window_start(trigger, entry, FIRST) is not None
    open_ = watch(trigger, entry, champion=FIRST, traffic=None, now=NOW + 2 * HOUR)
    assert (open_.wanted, open_.entry) == (True, entry)
    closed = windows(trigger, counts, entry=entry, since=2)
    assert (closed.wanted, closed.entry["state"]["rule"]) == (True, rule)


def test_windows_close_without_rows_where_their_coming_is_checked() -> None:
    for rule in (quality(maxAge="2h"), quality(maxLabelAge="2h"), quality(maxVolumeChange="0.5")):
        empty = Traffic({}, REFERENCE)
        opened = watch(rule, {}, champion=FIRST, traffic=None, now=NOW).entry
        closed = watch(rule, opened, champion=FIRST, traffic=empty, now=NOW + HOUR).entry
        assert closed["reason"] == "Clean"
        unread = watch(rule, opened, champion=FIRST, traffic=None, now=NOW + HOUR).entry
        assert unread == opened, "what nobody could read is not zero"


def test_what_is_usual_outlives_versions_and_another_wording_of_the_rule() -> None:
    rule = quality(maxVolumeChange="0.5", maxLabelAge="200h")
    week = flowing(rule, *[(2000, 1)] * 168)
    assert week.entry["message"].endswith("no earlier one is known yet, so its volume is not compared")
    other = quality(maxVolumeChange="0.4", maxLabelAge="3h")
    for policy, champion, least in ((rule, SECOND, 1000), (other, SECOND, 1200), (other, FIRST, 1200)):
        found = flowing(policy, (300, 0), champion=champion, entry=week.entry).entry
        assert f"rows volume 300 (at least {least}); 2000 rows are usual" in found["message"]
        assert found["state"]["labelAt"] == week.entry["state"]["labelAt"]
    fresh = flowing(quality(), (300, 0), entry=week.entry).entry
    assert (fresh["reason"], set(fresh["state"])) == ("Clean", {"rule"}), "nor is it kept to become old"


def test_rows_of_every_version_are_enough_and_those_of_the_champion_too_many() -> None:
    """Whether a challenger's were clients' or copies, nobody counts."""
    for rule, others, reason in (
        (quality(minRows=3000), 500, "Violated"),
        (quality(minRows=3000), 1000, "Clean"),
        (quality(maxRows=3000), 2000, "Clean"),
        (quality(maxRows=1999), 2000, "Violated"),
    ):
        opened = watch(rule, {}, champion=FIRST, traffic=None, now=NOW).entry
        traffic = Traffic(calm(), REFERENCE, others=others)
        found = watch(rule, opened, champion=FIRST, traffic=traffic, now=NOW + HOUR).entry
        assert (found["reason"], found["samples"]) == (reason, 2000)
        assert "2000 rows" in found["message"], "columns are the champion's"


def test_a_window_in_which_another_version_predicted_says_nothing_of_what_is_usual() -> None:
    rule = quality(maxVolumeChange="0.5")
    opened = watch(rule, {}, champion=FIRST, traffic=None, now=NOW).entry
    for others, learned in ((0, 2000), (1, 0)):
        traffic = Traffic(calm(), REFERENCE, others=others)
        found = watch(rule, opened, champion=FIRST, traffic=traffic, now=NOW + HOUR).entry
        assert (found["reason"], found["state"]["hour"][1]) == ("Clean", learned)


def test_half_of_the_rows_of_a_version_that_got_copies_of_its_own_are_surely_clients() -> None:
    """Another configuration of the champion's version is tried with `mirror`: one name, one count."""
    for most, reason in ((1000, "Clean"), (999, "Violated")):
        rule = quality(maxRows=most, maxVolumeChange="0.5")
        entry = watch(rule, {}, champion=FIRST, traffic=None, now=NOW).entry
        assert entry["state"].keys() == {"rule"}
        entry = watch(rule, entry, champion=FIRST, traffic=None, now=NOW + HOUR / 2, copied=True).entry
        traffic = Traffic(calm(), REFERENCE)
        entry = watch(rule, entry, champion=FIRST, traffic=traffic, now=NOW + HOUR).entry
        assert (entry["reason"], entry["state"]["hour"][1]) == (reason, 0)
        entry = watch(rule, entry, champion=FIRST, traffic=traffic, now=NOW + 2 * HOUR, copied=True).entry
        assert (entry["reason"], entry["state"]["hour"][1]) == (reason, 0)
        entry = watch(rule, entry, champion=FIRST, traffic=traffic, now=NOW + 3 * HOUR).entry
        assert entry["reason"] == reason, "the window began while copies were made"
        entry = watch(rule, entry, champion=FIRST, traffic=traffic, now=NOW + 4 * HOUR).entry
        assert (entry["reason"], "copied" in entry["state"]) == ("Violated", False)
