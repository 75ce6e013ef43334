"""Policies are weighed on models that are really trained."""

from __future__ import annotations

import json
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from benchmarks.policies import __main__ as command
from benchmarks.policies import bounds, frozen, looks
from benchmarks.policies.rules import DEFAULT, POLICIES, Policy
from benchmarks.policies.streams import DAYS, ROWS, Stream, synthetic
from benchmarks.policies.table import front, markdown
from benchmarks.policies.trial import Outcome, Trial

from noria_operator.domain.triggers_cost import NOISE
from noria_serving.contract import SCORE_BINS

PAGES = Path(__file__).parents[2] / "docs" / "benchmarks"


def short(stream: Stream, days: int) -> Stream:
    """The first days of a stream."""
    kept = stream.day < days
    return Stream(stream.name, stream.rows[kept], stream.labels[kept], stream.day[kept], stream.made)


@pytest.fixture(scope="module")
def abrupt() -> Stream:
    return short(next(one for one in synthetic(1) if "abrupt" in one.name), 125)


def by_name(name: str) -> Policy:
    return next(policy for policy in POLICIES if policy.name == name)


def test_a_stream_has_its_rows_every_day_and_a_tenth_of_its_labels_wrong() -> None:
    still = next(synthetic(3))
    assert len(still.labels) == DAYS * ROWS
    wrong = (still.rows[:, 0] > 0) != (still.labels == 1)
    assert wrong.mean() == pytest.approx(0.1, abs=0.01)
    assert all(a <= b for a, b in pairwise(still.day))


def test_a_model_that_is_never_retrained_loses_by_the_change_and_ours_does_not(abrupt: Stream) -> None:
    never, ours = (Trial(abrupt, policy).outcome() for policy in (by_name("never"), DEFAULT))
    assert (never.runs, never.promoted) == (0, 0)
    assert ours.runs >= 1
    assert ours.loss < never.loss - 0.03


def test_a_schedule_trains_as_often_as_it_says(abrupt: Stream) -> None:
    assert Trial(abrupt, by_name("weekly")).outcome().runs == pytest.approx(95 / 7, abs=1)


def test_benign_shifts_start_the_drift_rule_and_not_ours() -> None:
    still = short(next(synthetic(1)), 75)
    assert Trial(still, by_name("PSI > 0.2")).outcome().runs > 3
    assert Trial(still, DEFAULT).outcome().runs <= 1


def test_every_trigger_that_asks_for_runs_by_itself_is_among_the_policies() -> None:
    """`estimatedPerformance` warns early, `dataQuality` and `fairness` block, others wait to be asked."""
    kinds = {kind for policy in POLICIES for trigger in policy.triggers for kind in trigger}
    assert kinds - {"name", "action"} == {
        "schedule", "maxAge", "newSamples", "performance", "conceptDrift", "drift"
    }  # fmt: skip


def test_drift_is_of_the_columns_and_bins_that_the_served_model_learnt_from() -> None:
    """The feature that moves says nothing; its share of four is less than the default asks for."""
    still = short(next(synthetic(1)), 75)
    assert Trial(still, by_name("Noria, on drift")).outcome().runs == 0
    one = Trial(still, by_name("Noria, on drift of one feature"))
    assert one.outcome().runs >= 1
    assert set(one.bins) == {f"model-{number + 1}" for number in range(one.number)}


def test_what_lost_its_concept_and_what_is_old_is_trained_anew(abrupt: Stream) -> None:
    runs = {name: Trial(abrupt, by_name(f"Noria, on {name}")).outcome().runs
            for name in ("conceptDrift", "newSamples", "maxAge")}  # fmt: skip
    assert runs == {"conceptDrift": 1, "newSamples": 4, "maxAge": 4}


def test_an_index_is_taken_of_texts_and_of_numbers_that_are_missing() -> None:
    assert frozen._index(np.array([1.0, np.nan, 2.0, 3.0]), np.array([np.nan, 1.0, 2.0, 3.0])) == 0
    one, other = (np.array([*"ab" * 50, *more], dtype=object) for more in ("", "a" * 50))
    assert frozen._index(one, one) == 0
    assert frozen._index(one, other) == pytest.approx(0.115, abs=0.01)


def test_the_front_is_what_nothing_beats() -> None:
    outcomes = {
        "a": Outcome(0, 0, 0.5),
        "b": Outcome(5, 5, 0.2),
        "c": Outcome(9, 9, 0.3),
        "d": Outcome(9, 9, 0.1),
    }
    assert front(outcomes) == ["a", "b", "d"]
    assert "| **b** | 5 | 5 | 0.2000 |" in markdown({"x": outcomes})
    assert "| c | 9 |" in markdown({"x": outcomes})


def test_the_default_is_on_the_front_of_every_stream_in_the_published_figures() -> None:
    """Nothing is said but the metric and the drop: `followUp` is absent unless it is asked for."""
    (default,) = (one for one in POLICIES if one.triggers == DEFAULT.triggers and not one.follow_up)
    figures = json.loads((PAGES / "policies-figures.json").read_text())
    assert len(figures) == 4
    for stream, rows in figures.items():
        assert default.name in front({name: Outcome(**one) for name, one in rows.items()}), stream


def test_the_command_keeps_tables_and_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [short(one, 50) for one in synthetic(1)]
    monkeypatch.setattr(command, "synthetic", lambda seed: streams)
    monkeypatch.setattr(command, "flights", lambda: Stream("tiny", *_tiny()))
    monkeypatch.setattr(
        command, "POLICIES", (by_name("never"), by_name("PSI > 0.2"), by_name("Noria, by cost"))
    )
    monkeypatch.setattr(sys, "argv", ["policies", "--seeds", "1", "--into", str(tmp_path)])
    command.main()
    assert "Noria, by cost" in (tmp_path / "policies-figures.md").read_text()
    assert (tmp_path / "policies.svg").read_text().count("trainings") >= 1


def test_windows_may_be_of_any_size() -> None:
    (trigger,) = DEFAULT.with_labels(500).triggers
    assert trigger["performance"] == {"metric": "logloss", "relativeDrop": "0.05", "minLabels": 500}
    assert by_name("weekly").with_labels(500) == by_name("weekly")


def test_figures_of_other_policies_stay_as_they_were_kept() -> None:
    kept = {"x": {name: {"runs": 1, "promoted": 1, "loss": 0.5} for name in ("Noria", "weekly", "gone")}}
    found = command.with_kept({"x": {"Noria": Outcome(2, 2, 0.1)}}, kept)
    assert list(found["x"].items()) == [("weekly", Outcome(1, 1, 0.5)), ("Noria", Outcome(2, 2, 0.1))]


def _tiny() -> tuple[object, ...]:
    source = short(next(synthetic(2)), 40)
    return source.rows, source.labels, np.asarray(source.day), source.made


@pytest.mark.parametrize("rule", [looks.as_served, looks.each_by_itself])
def test_the_rules_whose_looks_are_counted_fire_on_losses_alone(rule: looks.Rule) -> None:
    source, shares = np.random.default_rng(1), np.full(SCORE_BINS, 1 / SCORE_BINS)
    assert rule("accuracy", looks.windows(shares, source, lost_at=100, coins=1)[:40]) is None
    lost = rule("accuracy", looks.windows(shares, source, lost_at=30, coins=0.5))
    assert lost is not None
    assert 31 <= lost <= 33


def test_a_bound_that_is_just_met_asks_for_nothing_unless_windows_are_counted() -> None:
    source, shares = np.random.default_rng(1), np.full(SCORE_BINS, 1 / SCORE_BINS)
    asked = partial(bounds.as_served, {"min": "0.75"}, 0.75)  # of evenly spread scores 3 in 4 are right
    steady = looks.windows(shares, source, lost_at=100, coins=0)[:40]
    assert asked("accuracy", steady) is None
    assert bounds.in_a_row(0.75, "accuracy", steady) is not None
    lost = asked("accuracy", looks.windows(shares, source, lost_at=30, coins=0.5))
    assert lost is not None
    assert 31 <= lost <= 35


def test_noise_asks_for_no_more_runs_by_cost_than_it_is_worth() -> None:
    assert pytest.approx(0.08332, abs=1e-5) == NOISE
    source, shares = np.random.default_rng(2), np.full(SCORE_BINS, 1 / SCORE_BINS)
    rule = {"cost": {"pointDay": "1", "run": "0.5"}}
    steady = looks.windows(shares, source, lost_at=100, coins=0)
    error = looks.measured("accuracy", steady[0]).error
    found = list(bounds.runs(rule, 0.75, "accuracy", steady))
    assert 0 < len(found) <= 100 * NOISE * error * 100 / 0.5


def test_a_loss_has_the_size_that_it_is_made_to_have() -> None:
    shares = np.full(SCORE_BINS, 1 / SCORE_BINS)
    coins = looks.coins_for("accuracy", shares, 2)  # of evenly spread scores 3 in 4 are right
    assert (1 - coins) * 0.75 + coins / 2 == pytest.approx(0.9 * 0.75, abs=1e-3)
