"""Age, new labels and combinations as reasons to retrain."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.domain.training_world import NOW

from noria_operator.api.continuoustraining import TriggerStatus
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.training_times import moment
from noria_operator.domain.triggers import Champion, Request
from noria_operator.domain.triggers_age import max_age
from noria_operator.domain.triggers_combine import combined
from noria_operator.domain.triggers_samples import new_samples

Json = dict[str, Any]
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def trigger(**kind: Any) -> TriggerSpec:
    return TriggerSpec.model_validate({"name": "it"} | kind)


def valid(request: Request) -> Request:
    TriggerStatus.model_validate(request.entry)
    return request


def test_a_champion_is_old_from_its_very_age_on() -> None:
    old, champion = trigger(maxAge="24h"), Champion("flights-1", {}, NOW - 23 * HOUR)
    young = valid(max_age(old, champion, NOW))
    assert (young.wanted, young.due, young.entry["decision"]) == (False, NOW + HOUR, "No")
    late = valid(max_age(old, champion, NOW + HOUR))
    assert late.wanted
    assert "flights-1 is older than 24h" in late.says
    behind = valid(max_age(old, Champion("flights-1", {}, NOW + HOUR / 60), NOW))
    assert behind.entry["value"] == "0s"


def test_nothing_that_is_served_is_not_old() -> None:
    assert valid(max_age(trigger(maxAge="1h"), None, NOW)).entry["decision"] == "Wait"


def test_labels_are_added_up_over_windows_and_pods() -> None:
    many, entry = trigger(newSamples={"count": 1000}), {}
    for hour, labels in enumerate((None, 400, 0, 500)):
        said = valid(new_samples(many, entry, labels=labels, now=NOW + hour * HOUR))
        entry = said.entry
    assert (entry["value"], said.wanted) == ("900", False)
    unread = valid(new_samples(many, entry, labels=None, now=NOW + 9 * HOUR))
    assert (unread.entry, unread.wanted) == (entry, False)
    enough = valid(new_samples(many, entry, labels=100, now=NOW + 3 * HOUR + timedelta(minutes=2)))
    assert enough.wanted
    assert (enough.entry | enough.answer)["state"]["labels"] == 0


def test_counting_labels_writes_nothing_while_the_window_is_open() -> None:
    many = trigger(newSamples={"count": 1000})
    entry = new_samples(many, {}, labels=None, now=NOW).entry
    for minutes in (1, 30, 59):
        said = new_samples(many, entry, labels=minutes, now=NOW + timedelta(minutes=minutes))
        assert said.entry == entry


def test_labels_that_are_enough_are_written_once_an_hour_and_forgotten_by_no_restart() -> None:
    many = trigger(newSamples={"count": 1000})
    entry: Json = {}
    written = []
    for minutes in range(5 * 60):
        now = NOW + minutes * MINUTE
        # Ten come a minute, until there are enough; after a restart servers tell of an hour.
        since = max(moment(entry["windowStartedAt"]) if entry else now, now - HOUR)
        labels = 10 * max(0, (min(now, NOW + 100 * MINUTE) - since) // MINUTE)
        said = valid(new_samples(many, entry, labels=labels, now=now))
        assert (said.wanted, said.back.get("labels", 0)) == (minutes >= 100, 10 * min(minutes, 100))
        if said.entry != entry:
            written.append(minutes)
        entry = said.entry
    assert written == [0, 60, 100, 160, 220, 280]


def asks(name: str, wanted: bool) -> Request:
    return Request({"name": name}, "Performance", wanted=wanted, key=name)


@pytest.mark.parametrize(
    ("combine", "firing", "wanted"),
    [
        ({"of": ["a", "b", "c"]}, "ab", False),
        ({"of": ["a", "b", "c"]}, "abc", True),
        ({"of": ["a", "b", "c"], "atLeast": 1}, "c", True),
        ({"of": ["a", "b", "c"], "atLeast": 2}, "c", False),
        ({"of": ["a", "b", "c"], "atLeast": 2}, "bc", True),
    ],
)
def test_a_combination_fires_when_enough_of_its_triggers_do(combine: Json, firing: str, wanted: bool) -> None:
    others = {name: asks(name, name in firing) for name in "abc"}
    said = valid(combined(trigger(combine=combine), others))
    assert said.wanted is wanted
    assert said.members == (tuple(firing) if wanted else ())
    assert said.entry["value"] == str(len(firing))


@pytest.mark.parametrize(
    "kinds",
    [
        {},
        {"maxAge": "1h", "schedule": "0 2 * * 1"},
        {"combine": {"of": ["a"]}},
        {"combine": {"of": ["a", "a"]}},
        {"combine": {"of": ["a", "b"], "atLeast": 3}},
        {"maxAge": "1h", "timeZone": "Europe/Berlin"},
        {"maxAge": "1h", "action": "Explode"},
        {"performance": {"metric": "auc", "min": "0.6", "cost": {"pointDay": "1", "run": "5"}}},
    ],
)
def test_a_trigger_that_says_nothing_or_two_things_is_refused(kinds: Json) -> None:
    with pytest.raises(ValidationError):
        trigger(**kinds)
