"""The benchmark of seasons: days and nights differ, a shift comes on top, and the page says what is found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.drift.seasons import ROWS, RULES, SHIFTS, month, truths

PAGES = Path(__file__).parents[2] / "docs" / "benchmarks"


def test_hours_of_a_day_and_weekends_differ_and_six_features_move_on_top() -> None:
    assert all(one.sum() == pytest.approx(1) for one in truths(6, 0.5))
    differ = [not np.allclose(one, other) for one, other in zip(truths(6), truths(18), strict=True)]
    assert differ == [True] * 10 + [False] * 9 + [True]
    assert not np.allclose(truths(6)[0], truths(6 + 5 * 24)[0])
    moved = [not np.allclose(one, other) for one, other in zip(truths(6), truths(6, 0.5), strict=True)]
    assert moved == [True] * 6 + [False] * 14


def test_a_season_alarms_beside_training_and_not_beside_earlier_weeks() -> None:
    found = month(200, seed=3, windows=48)
    assert found["Reference"].sum() > 5
    assert not any(found[rule].any() for rule in RULES if rule != "Reference")


def test_the_page_keeps_the_bar_that_its_figures_set() -> None:
    """No false alarm where a season is known; a lasting shift is found beside earlier weeks alone."""
    figures = json.loads((PAGES / "drift-seasons.json").read_text())
    assert set(figures["calm"]) == {str(rows) for rows in ROWS}
    for rules in figures["calm"].values():
        assert rules["Reference"] > 100
        assert all(alarms == 0 for rule, alarms in rules.items() if rule.startswith("SameHour"))
    assert {(one["rows"], one["shift"]) for one in figures["shifts"]} == {
        (rows, shift) for rows in ROWS for shift in SHIFTS
    }
    assert all(one["SameHour, four weeks"] is not None for one in figures["shifts"])
    assert (PAGES / "drift-seasons.md").read_text().count("\n|") == 2 * 2 + len(ROWS) * (1 + len(SHIFTS))
