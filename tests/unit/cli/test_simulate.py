"""A policy over recorded labels decides as the operator would."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.domain.test_triggers_plan import training

from noria_operator.cli.cluster import CommandError
from noria_operator.cli.main import offline_run, parser
from noria_operator.domain.training_times import stamp
from noria_serving.contract import REFERENCE_SCHEMA

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
QUALITY = {"name": "quality", "performance": {"metric": "accuracy", "min": "0.7", "minLabels": 200, "for": 2}}


def history(path: Path, *, days: int, lost_after: int, version: str = "") -> Path:
    """A hundred labels a day; all are right, and from a day on half of them are."""
    lines = ["time,score,label" + (",version" if version else "")]
    for number in range(days * 100):
        at = BEGIN + number * timedelta(days=1) / 100
        wrong = at >= BEGIN + timedelta(days=lost_after) and number % 2 == 0
        label = number // 2 % 2
        lines.append(
            f"{stamp(at)},{0.9 if label != wrong else 0.1},{label}" + (f",{version}" if version else "")
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def trial(tmp_path: Path, *more: str, days: int = 20, lost_after: int = 10, **spec: Any) -> list[str]:
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump(training(**spec)))
    rows = history(tmp_path / "rows.csv", days=days, lost_after=lost_after)
    return list(
        offline_run(parser().parse_args(["simulate", "-f", str(file), "--history", str(rows), *more]))
    )


def test_lost_quality_starts_a_run_after_two_windows_and_is_answered(tmp_path: Path) -> None:
    lines = trial(tmp_path, triggers=[QUALITY], cooldown="48h")
    started = [line for line in lines if "Started" in line]
    assert started[0].startswith("2026-01-19T00:00:00Z   quality")
    assert lines[-1] == f"2000 predictions, 2000 labels, {len(started)} runs: {len(started)} by quality"


@pytest.mark.parametrize("metric", ["accuracy", "f1", "calibration"])
def test_quality_of_several_classes_is_found_lost_too(tmp_path: Path, metric: str) -> None:
    """Of three classes one is taken for another in half of its rows, from a day on."""
    lines, names = ["time,score,prediction,label"], ("red", "green", "blue")
    for number in range(2000):
        at, label = BEGIN + number * timedelta(days=1) / 100, names[number % 3]
        wrong = number >= 1000 and label != "blue"
        lines.append(f"{stamp(at)},0.95,{'blue' if wrong else label},{label}")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    bound = {"max": "0.3"} if metric == "calibration" else {"min": "0.7"}
    rule = {"metric": metric, "minLabels": 200, "for": 2} | bound
    (tmp_path / "policy.yaml").write_text(
        yaml.safe_dump(training(triggers=[{"name": "quality", "performance": rule}], cooldown="900h"))
    )
    files = ["-f", str(tmp_path / "policy.yaml"), "--history", str(tmp_path / "rows.csv")]
    found = list(offline_run(parser().parse_args(["simulate", *files, "--every", "6h"])))
    started = [line for line in found if "Started" in line]
    assert started[0].startswith("2026-01-19T00:00:00Z   quality")
    assert found[-1].startswith("2000 predictions, 2000 labels, 1 runs")


def of_costs(tmp_path: Path, *more: str, **matrix: Any) -> list[str]:
    """Of three classes red is taken for blue in half of its rows, from a day on; nothing else goes wrong."""
    lines, names = ["time,score,prediction,label"], ("red", "green", "blue")
    for number in range(2000):
        at, label = BEGIN + number * timedelta(days=1) / 100, names[number % 3]
        wrong = number >= 1000 and label == "red" and number % 2
        lines.append(f"{stamp(at)},0.95,{'blue' if wrong else label},{label}")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    rule = {"metric": "expectedCost", "minLabels": 200, "max": "2", "costMatrix": matrix}
    (tmp_path / "policy.yaml").write_text(
        yaml.safe_dump(training(triggers=[{"name": "costs", "performance": rule}], cooldown="900h"))
    )
    files = ["-f", str(tmp_path / "policy.yaml"), "--history", str(tmp_path / "rows.csv")]
    return list(offline_run(parser().parse_args(["simulate", *files, "--every", "6h", *more])))


@pytest.mark.parametrize(("predicted", "runs"), [("blue", 1), ("green", 0)])
def test_what_mistakes_between_several_classes_cost_is_told(
    predicted: str, runs: int, tmp_path: Path
) -> None:
    dear = {"label": "red", "predicted": predicted, "cost": "40"}
    assert of_costs(tmp_path, classes=[dear])[-1].startswith(f"2000 predictions, 2000 labels, {runs} runs")


def test_a_class_that_no_row_has_is_known_by_the_bins_of_the_version(tmp_path: Path) -> None:
    rare = {"label": "grey", "predicted": "blue", "cost": "900"}
    assert "costMatrix.classes names 'grey'" in "\n".join(of_costs(tmp_path, classes=[rare]))
    frozen = {
        "schema": REFERENCE_SCHEMA, "samples": 4, "features": [],
        "prediction": {
            "name": "__prediction__", "kind": "numeric", "edges": [], "counts": [4], "missing": 0,
            "low": 0.9, "high": 1.0,
        },
        "called": {"red": 1, "green": 1, "blue": 1, "grey": 1},
    }  # fmt: skip
    (tmp_path / "reference.json").write_text(json.dumps(frozen))
    found = of_costs(tmp_path, "--reference", str(tmp_path / "reference.json"), classes=[rare])
    assert found[-1].startswith("2000 predictions, 2000 labels, 0 runs")
    assert "costMatrix" not in "\n".join(found)


def test_a_metric_that_several_classes_do_not_have_says_what_to_use(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("time,score,prediction,label\n2026-01-05T00:00:00Z,0.9,a,a\n"
                                       "2026-01-06T00:00:00Z,0.9,b,b\n")  # fmt: skip
    rule = {"name": "quality", "performance": {"metric": "auc", "min": "0.7"}}
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(training(triggers=[rule])))
    files = ["-f", str(tmp_path / "policy.yaml"), "--history", str(tmp_path / "rows.csv")]
    found = "\n".join(offline_run(parser().parse_args(["simulate", *files])))
    assert "auc cannot be told of a classifier of several classes" in found


def test_nothing_is_decided_on_labels_that_have_yet_to_come(tmp_path: Path) -> None:
    """Windows of nine hours, looked at every six; from the tenth hour on every label is wrong."""
    lines, turns = ["time,score,label"], BEGIN + timedelta(hours=10)
    for number in range(24 * 60):
        at, label = BEGIN + number * timedelta(minutes=1), number % 2
        lines.append(f"{stamp(at)},{0.9 if label != (at >= turns) else 0.1},{label}")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    rule = {"metric": "accuracy", "min": "0.9", "minLabels": 200, "window": "9h", "for": 1}
    (tmp_path / "policy.yaml").write_text(
        yaml.safe_dump(training(triggers=[{"name": "quality", "performance": rule}]))
    )
    asked = ["simulate", "-f", str(tmp_path / "policy.yaml"), "--every", "6h"]
    asked += ["--history", str(tmp_path / "rows.csv")]
    told = [line.split() for line in offline_run(parser().parse_args(asked))]
    found = [(words[0][11:16], words[2]) for words in told if words[1:2] == ["quality"]]
    assert found[:3] == [("00:00", "Wait"), ("09:00", "No"), ("18:00", "Fire")]


def test_quality_that_is_not_lost_starts_nothing(tmp_path: Path) -> None:
    lines = trial(tmp_path, "--every", "6h", triggers=[QUALITY], lost_after=99)
    assert lines[-1] == "2000 predictions, 2000 labels, 0 runs"


def test_a_schedule_is_kept_also_where_no_label_arrives(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    schedule = {"name": "daily", "schedule": "0 2 * * *"}
    file.write_text(yaml.safe_dump(training(triggers=[schedule], cooldown="1h")))
    rows = tmp_path / "rows.csv"
    rows.write_text(f"time,score,label\n{stamp(BEGIN)},0.5,1\n{stamp(BEGIN + timedelta(days=7))},0.5,0\n")
    lines = list(offline_run(parser().parse_args(["simulate", "-f", str(file), "--history", str(rows)])))
    assert lines[-1] == "2 predictions, 2 labels, 7 runs: 7 by daily"


def test_runs_take_their_time_and_hold_others(tmp_path: Path) -> None:
    schedule = {"name": "hourly", "schedule": "0 * * * *"}
    lines = trial(tmp_path, "--training-time", "5h", triggers=[schedule], cooldown="0s", days=1)
    assert lines[-1] == "100 predictions, 100 labels, 5 runs: 5 by hourly"


def test_what_needs_more_than_a_history_is_named(tmp_path: Path) -> None:
    fresh = {"name": "fresh", "dataChange": {"data": "train"}}
    moved = {"name": "moved", "drift": {}}
    lines = trial(tmp_path, triggers=[QUALITY, fresh, moved], days=1)
    assert lines[-2:] == [
        "not simulated: fresh, which needs the files that are trained on",
        "not simulated: moved, which needs frozen bins: give --reference",
    ]


def test_a_combination_says_which_member_it_lacks_and_whether_it_can_fire_without(tmp_path: Path) -> None:
    fresh = {"name": "fresh", "dataChange": {"data": "train"}}
    both = {"name": "both", "combine": {"of": ["quality", "fresh"]}}
    either = {"name": "either", "combine": {"of": ["quality", "fresh"], "atLeast": 1}}
    lines = trial(tmp_path, triggers=[QUALITY, fresh, both, either], days=1)
    assert lines[-3:] == [
        "not simulated: fresh, which needs the files that are trained on",
        "not simulated: both, which needs its member fresh",
        "simulated without its member fresh: either",
    ]
    assert not [line for line in lines if " both " in line and "No" in line]


def test_without_a_history_it_is_said_why_a_file_is_needed_and_how_to_record_one(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump(training(triggers=[QUALITY])))
    with pytest.raises(CommandError, match=r"keeps counts, not rows.*payloadLog.*noria-server history"):
        list(offline_run(parser().parse_args(["simulate", "-f", str(file)])))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,score\n", "has no column label"),
        ("time,score,label\n", "has no rows"),
        ("time,score,label\nyesterday,0.5,1\n", "line 2"),
        ("time,score,label\n2026-01-01,1.5,1\n", "score must be from 0 to 1"),
        ("time,score,label\n2026-01-01,0.5,maybe\n", "line 2"),
        ("time,label\n", "score .*, prediction"),
        ("time,score,prediction,label\n2026-01-05,1.5,a,a\n", "line 2: score must be from 0 to 1"),
        ("time,score,prediction,label\n2026-01-05,0.5,,a\n", "line 2: prediction is empty"),
        ("time,score,label\n2026-01-05,0.5,2\n", "give the predicted one as"),
        ("time,prediction,label\n2026-01-01,inf,1\n", "must be finite"),
        ("time,score,label,x\n2026-01-01,0.5,1\n", "not as many values"),
        ("time,score,label\n2026-01-01,0.5,1,7\n", "not as many values"),
        ("time,predicted,score,label\n2026-01-01,2026-01-02,0.5,1\n", "known before"),
    ],
)
def test_a_history_that_cannot_be_used_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    file, rows = tmp_path / "policy.yaml", tmp_path / "rows.csv"
    file.write_text(yaml.safe_dump(training()))
    rows.write_text(text)
    with pytest.raises(CommandError, match=message):
        list(offline_run(parser().parse_args(["simulate", "-f", str(file), "--history", str(rows)])))


def test_a_history_may_come_through_a_pipe(tmp_path: Path) -> None:
    """As from `--history <(noria-server history …)`."""
    known = trial(tmp_path, days=5, triggers=[QUALITY])
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        stream.write((tmp_path / "rows.csv").read_bytes())
    asked = ["simulate", "-f", str(tmp_path / "policy.yaml"), "--history", f"/dev/fd/{reader}"]
    try:
        assert list(offline_run(parser().parse_args(asked))) == known
    finally:
        os.close(reader)


def test_of_a_folder_it_is_said_what_makes_a_history_of_a_payload_log(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump(training()))
    with pytest.raises(CommandError, match=rf"is a folder: .*`noria-server history {tmp_path}"):
        list(offline_run(parser().parse_args(["simulate", "-f", str(file), "--history", str(tmp_path)])))


@pytest.mark.parametrize("text", ["", "kind: Pod", "a: [", "kind: ContinuousTraining\nspec: {}"])
def test_a_policy_that_cannot_be_used_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    rows = history(tmp_path / "rows.csv", days=1, lost_after=1)
    with pytest.raises(CommandError):
        list(offline_run(parser().parse_args(["simulate", "-f", str(file), "--history", str(rows)])))
