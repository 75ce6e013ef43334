"""The benchmark of drift on real data: flights without a change, then flights of another time or through a
broken feed; and its figures are in the documents.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.drift import detectors
from benchmarks.drift import flights as real
from benchmarks.drift.detectors import AT, NORIA
from benchmarks.drift.flights import ANY, CALM, CHANGES, ROWS, Flights
from benchmarks.drift.noise import NORIA as OURS
from benchmarks.drift.noise import PEERS
from benchmarks.drift.streams import WINDOW

PAGES = Path(__file__).parents[2] / "docs" / "benchmarks"


@pytest.fixture(scope="module")
def flights() -> Flights:
    return Flights.load()


def test_a_stream_of_flights_changes_at_its_item_and_nowhere_else(flights: Flights) -> None:
    made = {one.name: one for one in flights.streams(seed=0)}
    assert set(made) == {CALM, *CHANGES}
    calm, july = made[CALM], made["then July"]
    assert {len(one.errors) for one in made.values()} == {AT + 5000}
    np.testing.assert_array_equal(calm.errors[:AT], july.errors[:AT])
    assert july.rates[1] > july.rates[0] + 0.05
    assert abs(calm.rates[1] - calm.rates[0]) < 0.02
    assert all(sum(window["carrier"].bins) == WINDOW for window in calm.windows)
    assert detectors.labels(calm) == []
    assert detectors.drift(calm) == []
    assert AT <= detectors.labels(july)[0] < AT + 5000
    assert detectors.drift(made["pressure in other units"])[0] == AT + WINDOW - 1


def test_a_slow_change_comes_between_its_ends(flights: Flights) -> None:
    (slow,) = (one for one in flights.streams(seed=1) if "over" in one.name)
    abrupt = next(one for one in flights.streams(seed=1) if one.name == "then July")
    assert slow.rates[0] < slow.rates[1] < abrupt.rates[1] + 0.02
    assert slow.errors[-1000:].mean() > slow.errors[:AT].mean() + 0.04


def test_shuffled_flights_alarm_under_bare_thresholds_and_not_under_ours(flights: Flights) -> None:
    found = flights.month(100, seed=3, windows=40)
    assert set(found) == {OURS, ANY, *PEERS}
    assert not found[OURS].any()
    assert not found[ANY].any()
    assert found["PSI above 0.1"].mean() > 0.9
    broken = flights.month(500, seed=3, windows=3, change="pressure in other units")
    assert broken["PSI above 0.2"].all()
    assert broken[OURS].tolist() == broken[ANY].tolist() == [False, True, True]
    late = flights.month(500, seed=3, windows=3, change="departures in another time zone")
    assert not late[OURS].any()
    assert late[ANY].tolist() == [False, True, True]


def test_missing_values_are_in_no_bin(flights: Flights) -> None:
    codes = real.codes(real.bins_of("x", np.array([1.0, 2.0, 3.0, 4.0])), np.array([np.nan, 1.0, 9.0]))
    assert codes[0] == -1
    assert codes[1] == 0
    assert codes[2] == codes.max()
    texts = real.bins_of("c", np.array(["a", "a", "b"], dtype=object))
    assert real.codes(texts, np.array(["b", "never", "", "a"], dtype=object)).tolist() == [1, -1, -1, 0]


def test_the_page_keeps_the_bar_that_its_figures_set() -> None:
    """Found no later than by ADWIN, no false alarm, none on flights without drift."""
    figures = json.loads((PAGES / "drift-flights.json").read_text())
    assert set(figures["streams"]) == {CALM, *CHANGES}
    for name, rules in figures["streams"].items():
        assert rules[NORIA]["false"] == 0, name
    for name in ("then July", "July, over 2,000 flights"):
        july = figures["streams"][name]
        assert july[NORIA]["found"] == july[NORIA]["seeds"] == 10
        assert july[NORIA]["delay"] <= july["ADWIN"]["delay"]
    assert set(figures["noise"]) == {str(rows) for rows in ROWS}
    assert all(rules[OURS] == rules[ANY] == 0 for rules in figures["noise"].values())
    assert all(one[ANY] is not None for one in figures["changes"] if one["rows"] >= 200)
    assert len(figures["changes"]) == 3 * len(ROWS)
    assert (PAGES / "drift-flights.svg").is_file()
