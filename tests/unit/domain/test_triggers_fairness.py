"""The trigger `fairness`: judged by window, written down with figures, and a warning by default."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.drift.test_policy import column
from tests.unit.domain.training_world import NOW

from noria_operator.api.continuoustraining import TriggerStatus
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.drift.columns import PREDICTION, Reference
from noria_operator.domain.fairness import Group, Slicing
from noria_operator.domain.triggers import Champion, Request
from noria_operator.domain.triggers_findings import Traffic
from noria_operator.domain.triggers_monitoring import watch
from noria_operator.domain.triggers_start import answered

HOUR = timedelta(hours=1)
FIRST = Champion("loan-1", {})
SLICES = (Slicing("sex", ("f", "m", "other", "missing")),)
REFERENCE = Reference(5000, (column("sex"),), column(PREDICTION), slices=SLICES)
Groups = tuple[Group, ...]
ALIKE = (Group("f", 1000, 500), Group("m", 1000, 500))
UNLIKE = (Group("f", 1000, 300), Group("m", 1000, 500), Group("other", 9, 9))


def fair(**fields: Any) -> TriggerSpec:
    rule = {"feature": "sex", "minParityRatio": "0.8", "window": "1h"} | fields
    return TriggerSpec.model_validate({"name": "fair", "fairness": rule})


def windows(
    trigger: TriggerSpec, *each: Groups, reference: Reference | None = REFERENCE, task: str = "binary"
) -> Request:
    found = watch(trigger, {}, champion=FIRST, traffic=None, now=NOW)
    for hour, groups in enumerate(each, 1):
        by_column = {one.feature: groups for one in reference.slices} if reference else {}
        traffic = Traffic({}, reference, groups=by_column, task=task)
        found = watch(trigger, found.entry, champion=FIRST, traffic=traffic, now=NOW + hour * HOUR)
        TriggerStatus.model_validate(found.entry)
    return found


def test_unfairness_is_written_down_with_its_figures_and_warns() -> None:
    found = windows(fair(maxParityDifference="0.25"), UNLIKE)
    entry = found.entry
    assert (entry["decision"], entry["reason"], found.wanted) == ("Fire", "Unfair", True)
    assert (entry["value"], entry["threshold"], entry["samples"]) == ("0.6", "0.8", 2000)
    assert entry["message"].startswith(
        "sex: demographicParityRatio 0.6 (f 0.3, m 0.5, 2000 rows; too few rows in other; 0.8 is tolerated, "
        "surely less); demographicParityDifference 0.2 (f 0.3, m 0.5, 2000 rows"
    )
    assert [(one["name"], one["check"], one["drifted"]) for one in entry["columns"]] == [
        ("sex", "demographicParityRatio", True), ("sex", "demographicParityDifference", False),
    ]  # fmt: skip
    assert 0.6 < float(entry["columns"][0]["floor"]) < 0.8
    assert fair().effect == "Warn"
    assert answered(found, found)["reason"] == "Answered"


def test_groups_that_are_treated_alike_are_written_down_too() -> None:
    entry = windows(fair(), ALIKE).entry
    assert (entry["decision"], entry["reason"], entry["value"]) == ("No", "Fair", "1")
    assert float(entry["expectedFalseAlarms"]) == pytest.approx(0.01, rel=0.01)


def test_it_takes_so_many_windows_in_a_row() -> None:
    trigger = fair(**{"for": 2})
    assert windows(trigger, UNLIKE).entry["reason"] == "Suspected"
    assert windows(trigger, UNLIKE, ALIKE, UNLIKE).entry["reason"] == "Suspected"
    assert windows(trigger, UNLIKE, UNLIKE).entry["reason"] == "Unfair"


def test_a_window_stays_open_until_two_groups_have_labels_where_labels_are_bounded() -> None:
    opened = windows(fair(maxOpportunityDifference="0.1")).entry
    assert "200 rows in two groups" in opened["message"]
    assert windows(fair(maxOpportunityDifference="0.1"), UNLIKE).entry == opened
    labelled = tuple(replace(one, fn=150, tp=150) for one in UNLIKE)
    assert windows(fair(maxOpportunityDifference="0.1"), UNLIKE, labelled).entry["reason"] == "Unfair"


@pytest.mark.parametrize(
    ("reference", "reason", "says"),
    [
        (None, "NoReference", "do not tell"),
        (replace(REFERENCE, slices=(Slicing("age", ("a", "b")),)), "UnknownSlices", "this one has: age"),
        (replace(REFERENCE, slices=()), "UnknownSlices", "add it to template.spec.slices"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_said(reference: Reference | None, reason: str, says: str) -> None:
    entry = windows(fair(), UNLIKE, reference=reference).entry
    assert (entry["decision"], entry["reason"]) == ("Wait", reason)
    assert says in entry["message"]


@pytest.mark.parametrize("bounds", [{}, {"maxOpportunityDifference": "0.1"}])
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_what_is_no_binary_classifier_is_not_judged(task: str, bounds: dict[str, str]) -> None:
    """Nor waited for: its groups never have labels that are positive."""
    entry = windows(fair(**bounds), UNLIKE, task=task).entry
    assert (entry["decision"], entry["reason"]) == ("Wait", "NotBinary")
    assert "remove the trigger" in entry["message"]
