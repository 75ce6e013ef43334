"""A policy over a history with features: triggers on what the model saw decide as the operator would."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.domain.test_triggers_plan import training

from noria_operator.cli.cluster import CommandError
from noria_operator.cli.main import offline_run, parser, run
from noria_operator.domain.training_times import stamp

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
DAY, ROWS = timedelta(days=1), 120
"""Rows of a day."""
Json = dict[str, Any]
Row = dict[str, Any]


def bins(name: str, **more: Any) -> Json:
    """Of training rows that are evenly spread from 0 to 1."""
    shared = {"name": name, "input": name, "column": 0, "missing": 0, "chi2_critical": 0}
    edges = [number / 10 for number in range(1, 10)]
    return shared | {
        "kind": "numeric", "edges": edges, "low": 0.0, "high": 1.0, "counts": [1000] * 10, **more,
    }  # fmt: skip


def reference(**more: Any) -> Json:
    team = bins("team") | {"kind": "category", "values": ["a", "b"], "known": [], "counts": [5000, 5000, 0]}
    apart = {"feature": "team", "input": "team", "column": 0, "numeric": False, "values": ["a", "b"]}
    return {
        "schema": "noria.reference/v1", "samples": 10_000, "features": [bins("x"), team],
        "prediction": bins("__prediction__"), "slices": [apart | {"groups": ["a", "b", "other", "missing"]}],
    } | more  # fmt: skip


def day(number: int, **changed: Any) -> Iterator[Row]:
    """Rows of a day like those of training; labels are as the score says, a day late."""
    for row in range(ROWS):
        share = (row * 7919 % ROWS + 0.5) / ROWS
        at = BEGIN + number * DAY + row * DAY / ROWS
        told = {"time": stamp(at + DAY), "predicted": stamp(at), "x": share, "team": "ab"[row % 2]}
        score = (row * 104729 % ROWS + 0.5) / ROWS
        label = int(score > (row * 31 % ROWS + 0.5) / ROWS)
        yield told | {"score": score, "label": label} | {name: of(row) for name, of in changed.items()}


def trial(tmp_path: Path, rows: list[Row], *more: str, bins: Json | None = None, **spec: Any) -> list[str]:
    policy, history, frozen = (tmp_path / name for name in ("policy.yaml", "rows.csv", "reference.json"))
    policy.write_text(yaml.safe_dump(training(**spec)))
    frozen.write_text(json.dumps(bins or reference()))
    with history.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    asked = ["simulate", "-f", str(policy), "--history", str(history), "--every", "6h"]
    return list(offline_run(parser().parse_args([*asked, "--reference", str(frozen), *more])))


def decisions(lines: list[str], name: str) -> list[tuple[str, str]]:
    """(day, decision) of each change."""
    found = (line.split() for line in lines if f" {name} " in line)
    return [(words[0][5:10], words[2]) for words in found]


DRIFT = {"name": "moved", "drift": {"window": "24h", "minSamples": 100}}
DIRTY = {"name": "dirty", "dataQuality": {"window": "24h", "minSamples": 100}}
UNFAIR = {
    "name": "unfair",
    "fairness": {
        "feature": "team",
        "window": "24h",
        "for": 1,
        "minSamples": 50,
        "maxParityDifference": "0.1",
    },
}
GUESSED = {"name": "guessed", "estimatedPerformance": {"metric": "accuracy", "min": "0.7"}}
GUESSED["estimatedPerformance"] |= {"window": "24h", "minSamples": 100}
CHANGED = {"name": "changed", "conceptDrift": {}}


def days(calm: int, more: int, **changed: Any) -> list[Row]:
    first = [row for number in range(calm) for row in day(number)]
    return first + [row for number in range(calm, calm + more) for row in day(number, **changed)]


@pytest.mark.parametrize(
    ("trigger", "changed", "fires"),
    [
        (DRIFT, {"x": lambda row: 0.9 + row % 10 / 100}, ("01-10", "Warn")),
        (DIRTY, {"x": lambda row: "" if row % 2 else 0.5}, ("01-09", "Block")),
        (DIRTY, {"team": lambda row: "never seen" if row % 2 else "a"}, ("01-09", "Block")),
        (UNFAIR, {"score": lambda row: 0.9 if row % 2 else 0.1}, ("01-09", "Warn")),
        (GUESSED, {"score": lambda row: 0.5 + row % 2 / 1000}, ("01-10", "Warn")),
    ],
)
def test_what_moves_after_some_days_is_found_then_and_not_before(
    tmp_path: Path, trigger: Json, changed: Json, fires: tuple[str, str]
) -> None:
    found = decisions(trial(tmp_path, days(3, 4, **changed), triggers=[trigger]), trigger["name"])
    assert fires in found
    assert found.index(fires) == [decision for _, decision in found].index(fires[1])


def named(rows: list[Row]) -> list[Row]:
    """As of three classes: what is predicted, with its score."""
    return [row | {"prediction": row.get("prediction", "ccd"[place % 3])} for place, row in enumerate(rows)]


def test_classes_that_change_places_drift_in_a_history_too(tmp_path: Path) -> None:
    frozen = reference(called={"c": 6667, "d": 3333, "e": 0})
    calm = named(days(6, 0))
    swapped = named(days(3, 3, prediction=lambda row: "cde"[row % 2 + 1]))
    for rows, told in ((calm, []), (swapped, ["01-10"])):
        lines = trial(tmp_path, rows, triggers=[DRIFT], bins=frozen)
        assert [day for day, decision in decisions(lines, "moved") if decision == "Warn"] == told
    assert any("the predictions and 0 % of the features drifted" in line for line in lines)
    assert any("__class__ psi" in line for line in lines)


def test_a_class_that_the_reference_lacks_is_unseen_and_refuses_no_history(tmp_path: Path) -> None:
    """Of a later version, where one reference stands for all."""
    rows = named(days(3, 3, prediction=lambda row: "d" if row % 10 else "x"))
    lines = trial(tmp_path, rows, triggers=[DRIFT], bins=reference(called={"c": 6667, "d": 3333}))
    assert [day for day, decision in decisions(lines, "moved") if decision == "Warn"] == ["01-10"]
    assert any("__class__ psi" in line for line in lines)


def test_classes_that_are_numbers_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    """As pandas writes a column of whole numbers in which some are missing."""
    rows = [
        row | {"prediction": "0.0" if place % 3 else "1", "label": "0" if place % 3 else "1.0"}
        for place, row in enumerate(days(6, 0))
    ]
    right = {"name": "right", "performance": {"metric": "accuracy", "min": "0.99", "minLabels": 100}}
    lines = trial(tmp_path, rows, triggers=[DRIFT, right], bins=reference(called={"0": 6667, "1": 3333}))
    assert not [decision for _, decision in decisions(lines, "moved") if decision == "Warn"]
    assert lines[-1].endswith(" 0 runs")


def test_a_concept_that_changes_starts_a_run_when_its_labels_are_there(tmp_path: Path) -> None:
    turned = days(3, 2, label=lambda row: int((row * 104729 % ROWS + 0.5) / ROWS < 0.5))
    lines = trial(tmp_path, turned, triggers=[CHANGED])
    assert ("01-09", "Started") in decisions(lines, "changed")


def test_rows_without_labels_are_seen_and_not_labelled(tmp_path: Path) -> None:
    rows = days(2, 0, label=lambda row: "")
    for row in rows[ROWS:]:
        row["label"] = ""
    lines = trial(tmp_path, rows, triggers=[{"name": "fresh", "newSamples": {"count": 100}}])
    assert lines[-1] == "240 predictions, 120 labels, 1 runs: 1 by fresh"


def test_the_champion_is_the_version_with_most_of_the_traffic(tmp_path: Path) -> None:
    """A challenger with a tenth of it for two days is none; the version after it is."""
    rows = [row | {"version": "m-1"} for row in days(4, 0)]
    for number, row in enumerate(rows):
        if number >= 3 * ROWS:
            row["version"] = "m-3"
        elif number >= ROWS and number % 10 == 0:
            row["version"] = "m-2"
    lines = trial(tmp_path, rows, triggers=[DRIFT, {"name": "old", "maxAge": "48h"}], cooldown="1000h")
    assert decisions(lines, "old")[:1] == [("01-05", "No")]
    assert ("01-07", "Started") in decisions(lines, "old")
    assert not any("m-2" in line for line in lines)
    assert any("m-3" in line for line in lines)


@pytest.mark.parametrize("switch", [12, 5], ids=["one version", "one that is older than the run"])
def test_a_run_that_ends_makes_a_champion_of_that_age(tmp_path: Path, switch: int) -> None:
    rows = [
        row | {"version": "m-1" if number < switch * ROWS else "m-2"}
        for number, row in enumerate(days(12, 0))
    ]
    rows[0]["version"] = "m-2"
    old = {"name": "old", "maxAge": "96h"}
    took = ("--training-time", "24h")
    lines = trial(tmp_path, rows, *took, triggers=[old], cooldown="6h", budget={"maxRuns": 9, "per": "168h"})
    started = [day for day, decision in decisions(lines, "old") if decision == "Started"]
    assert started == ["01-09", "01-14"], "four days after the run of 01-09 ended on 01-10"


def test_a_version_that_gets_copies_of_all_requests_is_not_the_champion(tmp_path: Path) -> None:
    """A payload log has copies as if clients had asked; a row more between two looks is chance."""
    rows = [row | {"version": "m-1"} for row in days(4, 0)]
    copies = [row | {"version": "m-2"} for row in rows[ROWS : 3 * ROWS]]
    lines = trial(
        tmp_path, [*rows, *copies, *copies[:5]], triggers=[{"name": "old", "maxAge": "48h"}], cooldown="1000h"
    )
    assert ("01-07", "Started") in decisions(lines, "old")
    assert not any("m-2" in line for line in lines)


@pytest.mark.parametrize(
    ("challenger", "one_of"),
    [("m-10", 1), ("m-10", 2), ("m-10", 10), ("m-2", 10)],
    ids=["copies", "half", "a tenth", "a tenth of an older one"],
)
def test_a_history_that_begins_within_a_step_begins_with_the_champion(
    tmp_path: Path, challenger: str, one_of: int
) -> None:
    """A log may be cut anywhere; the first row is the challenger's, for two days of four."""
    rows = [row | {"version": "m-9"} for row in days(4, 0)]
    tried = [row | {"version": challenger} for row in rows[: 2 * ROWS : one_of]]
    left = [row for place, row in enumerate(rows) if place >= 2 * ROWS or place % one_of]
    history = [*tried, *(rows if one_of == 1 else left)]
    lines = trial(tmp_path, history, triggers=[{"name": "old", "maxAge": "48h"}], cooldown="1000h")
    assert ("01-07", "Started") in decisions(lines, "old")
    assert any("m-9 is" in line for line in lines)
    assert not any(challenger in line for line in lines)


def test_what_the_registry_knows_of_a_version_is_its_age_and_its_best(tmp_path: Path) -> None:
    history, rows = (
        tmp_path / "rows.csv",
        [row | {"version": "m-1"} for row in days(0, 2, label=lambda row: 0)],
    )
    with history.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    old = {"name": "old", "maxAge": "240h"}
    lost = {
        "name": "lost",
        "performance": {"metric": "accuracy", "relativeDrop": "0.001", "minLabels": 100, "for": 1},
    }
    loop = training(triggers=[old, lost], cooldown="1000h")
    spec = {"evaluation": {"metrics": {"accuracy": "0.999"}}}
    meta = {"name": "m-1", "creationTimestamp": stamp(BEGIN - 9 * DAY)}
    registry = Registry({"ContinuousTraining": [loop], "ModelVersion": [{"metadata": meta, "spec": spec}]})
    lines = list(run(parser().parse_args(["simulate", "flights", "--history", str(history)]), registry))
    assert ("01-06", "Started") in decisions(lines, "old")
    assert any("is worse than the threshold 0.998" in line for line in lines)


class Registry:
    """Objects by kind."""

    def __init__(self, objects: dict[str, list[Json]]) -> None:
        self._objects = objects

    def get(self, kind: str, name: str) -> Json | None:
        return next((one for one in self.list(kind) if one["metadata"]["name"] == name), None)

    def list(self, kind: str) -> list[Json]:
        return self._objects.get(kind, [])

    def annotate(self, kind: str, name: str, annotations: dict[str, str]) -> None:
        raise AssertionError("a simulation changes nothing")


def test_frozen_bins_may_be_those_of_one_version_and_of_a_bundle(tmp_path: Path) -> None:
    rows = [row | {"version": "m-1"} for row in days(3, 0)]
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "reference.json").write_text(json.dumps(reference(features=[bins("x"), bins("gone")])))
    lines = trial(tmp_path, rows, "--reference", f"m-1={folder}", triggers=[DRIFT])
    assert lines[-1] == "not watched, as the history has no such columns: gone"
    assert ("01-06", "No") in decisions(lines, "moved")


def test_a_regression_is_judged_by_its_errors_and_estimated_by_those_of_its_bundle(tmp_path: Path) -> None:
    errors = {"of": "heldOut", "rows": [100] * 10, "absolute": [10.0] * 5 + [40.0] * 5}
    errors |= {"squared": [2.0] * 5 + [20.0] * 5, "fourth": [1.0] * 5 + [9.0] * 5}
    lost = {"name": "lost", "performance": {"metric": "mae", "max": "0.3", "minLabels": 100, "for": 1}}
    guess = {"name": "guess", "estimatedPerformance": {"metric": "mae", "max": "0.3", "window": "24h"}}
    guess["estimatedPerformance"] |= {"minSamples": 100, "for": 1}
    rows = [
        {"prediction": row.pop("score"), **row} | {"label": row["x"]}
        for row in days(2, 2, score=lambda row: 0.6 + row % 40 / 100)
    ]
    for row in rows:
        row["label"] = row["prediction"] + (0.1 if row["predicted"] < stamp(BEGIN + 2 * DAY) else 0.5)
    lines = trial(tmp_path, rows, triggers=[lost, guess], bins=reference(errors=errors), cooldown="1000h")
    assert ("01-08", "Started") in decisions(lines, "lost") or ("01-09", "Started") in decisions(
        lines, "lost"
    )
    assert any(decision == "Warn" for _, decision in decisions(lines, "guess"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read the reference"),
        ("{}", "is no reference"),
        ('{"schema": "noria.reference/v1"}', "is malformed: 'features'"),
    ],
)
def test_a_reference_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        file = tmp_path / "other.json"
        file.write_text(text)
        trial(tmp_path, [row | {"version": "m-1"} for row in day(0)], "--reference", f"m-1={file}")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--reference", "x.json"], "one FILE for all versions"),
        (["--reference", "m-2=x.json"], "cannot read the reference x.json"),
        (["--reference", "=x.json"], "say VERSION=FILE"),
    ],
)
def test_references_are_told_apart_by_version(tmp_path: Path, more: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        trial(tmp_path, list(day(0)), *more)


SEASON = {"name": "season", "drift": {"window": "24h", "minSamples": 100, "compareWith": "SameHour"}}


def weeks(number: int, **changed: Any) -> list[Row]:
    """Weekends have another distribution than working days and training; what is `changed` is in the last
    week.
    """
    rows = []
    for each in range(7 * number):
        other = {"x": lambda row: 0.9 + row % 10 / 100} if each % 7 in (5, 6) else {}
        rows += day(each, **(changed if each >= 7 * (number - 1) else {}) | other)
    return rows


def test_a_season_drifts_from_training_and_not_from_the_week_before(tmp_path: Path) -> None:
    lines = trial(tmp_path, weeks(3), triggers=[DRIFT, SEASON])
    assert [decision for _, decision in decisions(lines, "moved")].count("Warn") == 3
    assert decisions(lines, "season") == [("01-05", "Wait"), ("01-13", "No")]


def test_what_changes_on_top_of_a_season_is_found(tmp_path: Path) -> None:
    lines = trial(tmp_path, weeks(3, x=lambda row: row % 20 / 100), triggers=[SEASON])
    assert decisions(lines, "season")[:3] == [("01-05", "Wait"), ("01-13", "No"), ("01-20", "Wait")]
    assert ("01-21", "Warn") in decisions(lines, "season")
    assert any("drifted from the same time of 2 weeks before (240 rows of " in line for line in lines)


def test_rows_and_labels_that_stop_are_found_in_a_history(tmp_path: Path) -> None:
    volume = {"window": "24h", "maxVolumeChange": "0.5", "minSamples": 100}
    labels = {"window": "24h", "maxLabelAge": "60h", "minSamples": 100}
    rules = {"volume": volume, "labels": labels}
    triggers = [{"name": name, "dataQuality": rule, "action": "Warn"} for name, rule in rules.items()]
    rows = [
        row
        for number in range(14)
        for place, row in enumerate(day(number))
        if number < 10 or (place < 20 and number < 13)
    ]
    for row in rows:
        row["label"] = "" if row["predicted"] >= stamp(BEGIN + 8 * DAY) else row["label"]
    lines = trial(tmp_path, rows, triggers=triggers)
    found = {name: [day for day, told in decisions(lines, name) if told == "Warn"] for name in rules}
    assert found == {"volume": ["01-16"], "labels": ["01-17"]}
    assert any("rows volume 20 (at least 60); 120 rows are usual" in line for line in lines)
    assert any("no labels for 72h (freshness, tolerated 60h)" in line for line in lines)


def test_an_estimate_is_calibrated_by_the_labels_of_the_reference(tmp_path: Path) -> None:
    """Scores that claim 0.96 and come true in 0.3 of all rows."""
    late = [row | {"score": 0.96, "label": ""} for row in days(4, 0)]
    labels = {"negatives": [700] * 128, "positives": [300] * 128}
    for bins, fires in ((reference(), False), (reference(calibration=labels), True)):
        found = decisions(trial(tmp_path, late, triggers=[GUESSED], bins=bins), "guessed")
        assert ("Warn" in [decision for _, decision in found]) is fires
