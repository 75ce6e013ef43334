"""Errors that became more frequent are found across steps and restarts, told once and answered once."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from tests.unit.domain.training_world import NOW

from noria_operator.api.continuoustraining import TriggerStatus
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.drift.change import EVIDENCE, Bucket, evidence_of, false_alarms, look, remember
from noria_operator.domain.quality import Labels
from noria_operator.domain.triggers import Champion, Request, opened_at
from noria_operator.domain.triggers_concept import concept_drift
from noria_operator.domain.triggers_start import answered
from noria_serving.contract import SCORE_BINS

Json = dict[str, Any]
MINUTE = timedelta(minutes=1)
FIRST, SECOND = Champion("flights-1", {}), Champion("flights-2", {})
WATCH = TriggerSpec.model_validate({"name": "concept", "conceptDrift": {}})


def labels(right: int, wrong: int) -> Labels:
    negatives, positives = [0] * SCORE_BINS, [0] * SCORE_BINS
    negatives[20], negatives[180] = right, wrong
    return Labels.of(negatives, positives)


def steps(rate: float, count: int, *, of: int = 50) -> list[Labels]:
    wrong = np.random.default_rng([int(1000 * rate), count]).binomial(of, rate, count).tolist()
    return [labels(of - each, each) for each in wrong]


def fed(
    *each: Labels,
    entry: Json | None = None,
    since: int = 0,
    champion: Champion = FIRST,
    trigger: TriggerSpec = WATCH,
) -> list[Request]:
    """A step a minute; the entry goes through JSON, as it does in the API server."""
    found = [concept_drift(trigger, entry or {}, champion=champion, labels=None, now=NOW + since * MINUTE)]
    for minute, counted in enumerate(each, since + 1):
        kept = json.loads(json.dumps(found[-1].entry))
        now = NOW + minute * MINUTE
        found.append(concept_drift(trigger, kept, champion=champion, labels=counted, now=now))
        TriggerStatus.model_validate(found[-1].entry)
    return found


def test_a_rise_of_errors_asks_for_a_run_and_stands_until_it_is_answered() -> None:
    calm = fed(*steps(0.1, 60))
    assert not any(one.wanted for one in calm)
    assert (calm[-1].entry["decision"], calm[-1].entry["samples"]) == ("No", 3000)
    found = fed(*steps(0.4, 10), entry=calm[-1].entry, since=60)
    first = next(place for place, one in enumerate(found) if one.wanted)
    assert first <= 3
    assert all(one.wanted for one in found[first:])
    assert found[first].entry["reason"] == "Changed"
    assert float(found[first].entry["value"]) > float(found[first].entry["threshold"])
    assert "was wrong in 0.095" in found[-1].entry["message"]
    entry = answered(found[-1], found[-1])
    after = fed(*steps(0.4, 20), entry=entry, since=70)
    assert not any(one.wanted for one in after), "it is compared with the new rate from now on"


def test_a_loss_that_a_run_answers_stands_until_errors_are_as_rare_as_before() -> None:
    lost = fed(*steps(0.1, 60), *steps(0.4, 10))[-1]
    after = fed(*steps(0.4, 20), entry=answered(lost, lost), since=70)[-1]
    assert (after.entry["decision"], after.entry["reason"], after.wanted) == ("Wait", "Answered", False)
    assert "0.095 before" in after.entry["message"]
    well = fed(*steps(0.02, 200), entry=after.entry, since=90)[-1]
    assert (well.entry["decision"], well.entry["reason"]) == ("No", "Steady")
    assert "before" not in well.entry["state"]


@pytest.mark.parametrize("bad", [10, 200])
def test_a_loss_that_passes_by_itself_is_over_soon_after_it(bad: int) -> None:
    """However long it lasted, and though what is remembered since the change holds it."""
    lost = fed(*steps(0.1, 60), *steps(0.4, 10))[-1]
    after = fed(*steps(0.4, bad), entry=answered(lost, lost), since=70)[-1]
    assert after.entry["reason"] == "Answered"
    well = fed(*steps(0.1, 30), entry=after.entry, since=70 + bad)[-1]
    assert (well.entry["decision"], well.entry["reason"]) == ("No", "Steady")


@pytest.mark.parametrize("action", ["Warn", "Block", "Retrain"])
def test_a_warning_ends_with_what_it_warns_of_and_a_run_that_is_asked_for_stays_so(action: str) -> None:
    trigger = WATCH.model_copy(update={"action": action})
    lost = fed(*steps(0.1, 60), *steps(0.4, 10), trigger=trigger)[-1]
    still = fed(*steps(0.4, 20), entry=lost.entry, since=70, trigger=trigger)[-1]
    assert still.wanted
    well = fed(*steps(0.1, 30), entry=still.entry, since=90, trigger=trigger)[-1]
    assert well.wanted == (action == "Retrain")
    assert well.entry["reason"] == ("Changed" if well.wanted else "Steady")


def test_an_open_step_changes_nothing_in_status() -> None:
    entry = fed(*steps(0.1, 3))[-1].entry
    for counted, seconds in ((labels(20, 0), 300), (labels(50, 50), 200), (None, 300)):
        now = NOW + timedelta(seconds=seconds)
        said = concept_drift(WATCH, entry, champion=FIRST, labels=counted, now=now)
        assert said.entry == entry


def test_another_version_starts_anew() -> None:
    entry = fed(*steps(0.1, 20))[-1].entry
    assert opened_at(entry, SECOND) is None
    again = fed(*steps(0.5, 10), entry=entry, since=20, champion=SECOND)
    assert not any(one.wanted for one in again)
    assert again[-1].entry["samples"] == 500


def test_nothing_served_is_nothing_to_watch() -> None:
    said = concept_drift(WATCH, {}, champion=None, labels=None, now=NOW)
    assert (said.entry["reason"], said.wanted) == ("NothingServed", False)
    with pytest.raises(ValueError, match="no conceptDrift"):
        other = TriggerSpec.model_validate({"name": "x", "schedule": "0 2 * * 1"})
        concept_drift(other, {}, champion=FIRST, labels=None, now=NOW)


def test_false_alarms_a_month_are_stated_and_follow_from_how_often_it_looks() -> None:
    entry = fed(*steps(0.1, 5))[-1].entry
    assert (entry["windowLength"], entry["threshold"]) == ("1m", "10")
    assert float(entry["expectedFalseAlarms"]) == pytest.approx(43_830 * false_alarms(EVIDENCE), rel=1e-3)
    rare = concept_drift(
        WATCH, entry, champion=FIRST, labels=labels(45, 5), now=NOW + timedelta(minutes=5, days=1)
    )
    assert float(rare.entry["expectedFalseAlarms"]) < 0.001


@pytest.mark.parametrize("allowed", ["0.01", "1", "20"])
def test_evidence_that_counts_follows_from_the_false_alarms_that_may_come(allowed: str) -> None:
    trigger = TriggerSpec.model_validate(
        {"name": "concept", "conceptDrift": {"falseAlarmsPerMonth": allowed}}
    )
    opened = concept_drift(trigger, {}, champion=FIRST, labels=None, now=NOW)
    said = concept_drift(trigger, opened.entry, champion=FIRST, labels=labels(45, 5), now=NOW + MINUTE)
    assert float(said.entry["expectedFalseAlarms"]) == pytest.approx(float(allowed), rel=1e-3)
    assert float(said.entry["threshold"]) == pytest.approx(evidence_of(float(allowed) / 43_830), abs=1e-3)


@pytest.mark.simulated
@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
def test_no_more_false_alarms_come_than_are_stated_and_not_far_fewer(rate: float) -> None:
    evidence, count = 4.0, 3000
    memory: tuple[Bucket, ...] = ()
    found = 0
    for wrong in np.random.default_rng(1).binomial(50, rate, count).tolist():
        said, memory = look(remember(memory, 50, wrong), evidence)
        found += said.found
    stated = count * false_alarms(evidence)
    assert stated / 4 < found < stated
