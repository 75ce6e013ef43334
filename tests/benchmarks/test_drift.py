"""The benchmark of drift: its rules do what they are said to do, and its figures are in the documents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.drift import __main__ as command
from benchmarks.drift import detectors, noise, picture, table
from benchmarks.drift.detectors import ALWAYS, AT, DRIFT, NORIA, Figures
from benchmarks.drift.noise import KNOWN, PEERS, month, truths
from benchmarks.drift.streams import WINDOW, Stream

from noria_operator.domain.drift.columns import PREDICTION, Column, Reference, Seen

PAGES = Path(__file__).parents[2] / "docs" / "benchmarks"


def stream(before: float, after: float, *, moved: bool = False) -> Stream:
    rng = np.random.default_rng(1)
    errors = (rng.random(12_000) < np.repeat([before, after], [AT, 12_000 - AT])).astype(np.int64)
    known = tuple(Column(name, (300,) * 10) for name in ("x0", PREDICTION))
    calm, strange = Seen((50,) * 10), Seen((0, 0, 0, 0, 0, 100, 100, 100, 100, 100))
    windows = [
        {"x0": strange if moved and start >= AT else calm, PREDICTION: calm}
        for start in range(0, len(errors), WINDOW)
    ]
    return Stream("made", 0, errors, Reference(3000, known[:1], known[1]), tuple(windows))


def test_labels_show_what_features_do_not_and_the_other_way_round() -> None:
    concept, benign = stream(0.1, 0.4), stream(0.1, 0.1, moved=True)
    assert detectors.figures([detectors.labels(concept)]).delay < 100
    assert detectors.drift(concept) == []
    assert detectors.labels(benign) == []
    assert detectors.drift(benign)[0] == AT + WINDOW - 1
    assert AT + WINDOW - 1 in detectors.windowed(concept)


def test_figures_count_delays_after_the_change_and_alarms_before_it() -> None:
    found = detectors.figures([[10, AT + 5], [AT + 15, AT + 99], [20, 30]])
    assert found == Figures(2, 3, 10.0, 1.0)
    assert detectors.figures([[], []]) == Figures(0, 2, None, 0.0)


def test_shares_of_bins_add_up_and_only_six_features_move() -> None:
    assert all(one.sum() == pytest.approx(1) for one in truths(0.5))
    moved = [not np.allclose(one, other) for one, other in zip(truths(), truths(0.5), strict=True)]
    assert moved == [True] * 6 + [False] * 15


@pytest.mark.parametrize("rows", [50, 200])
def test_traffic_without_drift_alarms_under_bare_thresholds_and_not_under_ours(rows: int) -> None:
    found = month(rows, seed=3, windows=40)
    assert not found[noise.NORIA].any()
    assert found["PSI above 0.1"].mean() > 0.9
    assert set(found) == {noise.NORIA, *PEERS}
    assert 10 * rows <= KNOWN


def test_a_shift_of_six_features_is_found_in_the_second_window() -> None:
    assert command.until_found(1000, 1.0, 1)[noise.NORIA] == 2
    assert command.until_found(50, 0.25, 1)[noise.NORIA] is None


def test_tables_and_picture_are_made_of_figures(tmp_path: Path) -> None:
    rules = {
        NORIA: Figures(9, 10, 391.0, 0.0),
        ALWAYS: Figures(10, 10, 499.0, 14.0),
        DRIFT: Figures(0, 10, None, 0),
    }
    found = {"SEA 0→3": rules, "no change": rules}
    text = table.streams(found, dict.fromkeys(found, (0.1, 0.2)))
    assert "| SEA 0→3: 0.100 → 0.200 | 391 (9/10), 0 | 499, 14 | never, 0 |" in text
    calm = {100: {"Noria": 0.0, "PSI above 0.1": 730.0}}
    assert "| 100 | 0 | 730 |" in table.noise(calm)
    assert "| 0.5 | 200 | 3 | – |" in table.power({(200, 0.5): {"Noria": 3.0, "PSI above 0.1": None}})
    picture.draw(found, calm, tmp_path / "drift.svg")
    assert "Noria, labels" in (tmp_path / "drift.svg").read_text()


def test_the_page_keeps_the_bar_that_its_figures_set() -> None:
    """No worse than ADWIN on any stream, no false alarm, none on traffic without drift."""
    figures = json.loads((PAGES / "drift-figures.json").read_text())
    for name, rules in figures["streams"].items():
        assert rules[NORIA]["false"] == 0, name
        if rules["ADWIN"]["delay"] is not None:
            assert rules[NORIA]["delay"] <= rules["ADWIN"]["delay"], name
    assert figures["streams"]["SEA 0→3"][NORIA]["delay"] <= 500
    assert all(rules["Noria"] == 0 for rules in figures["noise"].values())
    assert set(figures["noise"]) == {str(rows) for rows in command.ROWS}
