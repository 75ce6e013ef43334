"""`noria-server reference` gives the bins that a simulation of a policy counts in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noria_operator.domain.recorded_bins import Bins
from noria_serving import reference
from noria_serving.bundle import Bundle
from noria_serving.main import main


def given(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    with pytest.raises(SystemExit) as ended:
        main(["reference", *arguments])
    told = capsys.readouterr()
    return json.loads(told.out) if ended.value.code == 0 else told.err


def written(path: Path, head: str, count: int = 200) -> Path:
    lines = [f"{n / count},{'ab'[n % 2]},{n % 7 / 7},{n % 7 / 7 + 0.1},2026-01-01" for n in range(count)]
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def test_those_of_a_bundle_are_its_own(frame_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    found = given(capsys, str(frame_bundle.path))
    assert found == json.loads((frame_bundle.path / "reference.json").read_text())


def test_rows_are_binned_as_training_rows_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "rows.csv", "x,team,score,label,time")
    found = given(capsys, str(file), "--slices", "team")
    made = reference.parse(found)
    assert [one.name for one in made.features] == ["x", "team"]
    assert made.features[0].edges == reference.numeric("x", np.arange(200) / 200).edges
    assert made.slices[0].groups == ("a", "b", "other", "missing")
    assert (made.residuals, made.calibration) == (None, None)
    assert Bins(found, ["x", "team"]).cells({"x": "0.5", "team": "b"}, 0.3).groups == (1,)


def test_of_several_classes_the_score_is_binned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.csv"
    lines = [f"{n / 200},{'abc'[n % 3]},{0.4 + n % 7 / 14},{'abc'[n % 3]}" for n in range(200)]
    file.write_text("\n".join(["x,prediction,score,label", *lines]) + "\n")
    made = reference.parse(given(capsys, str(file)))
    assert [one.name for one in made.features] == ["x"]
    assert (made.prediction.low, made.residuals) == (0.4, None)
    assert made.called == {"a": 67, "b": 67, "c": 66}
    file.write_text("\n".join(["x,prediction,score,label", *lines, "1,a,0.5,d", "1,a,0.5,"]) + "\n")
    assert reference.parse(given(capsys, str(file))).called == {"a": 69, "b": 67, "c": 66, "d": 0}
    file.write_text("x,prediction,score,label\n0.5,2,0.6,2\n0.7,0,0.5,\n0.1,2,0.9,1\n")
    assert reference.parse(given(capsys, str(file))).called == {"0": 1, "1": 0, "2": 2}


def test_rows_with_scores_and_labels_tell_how_scores_came_true(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("x,score,label\n0.5,0.2,0\n0.7,0.2,1\n0.1,0.999,1\n0.2,0.3,\n")
    made = reference.parse(given(capsys, str(file))).calibration
    assert made is not None
    counted = [
        (n, *pair) for n, pair in enumerate(zip(made.negatives, made.positives, strict=True)) if any(pair)
    ]
    assert counted == [(25, 1, 1), (127, 0, 1)]
    file.write_text("x,prediction,score,label\n0.5,2,0.6,2\n0.7,0,0.5,\n0.1,2,0.6,1\n")
    made = reference.parse(given(capsys, str(file))).calibration
    assert made is not None
    assert (made.negatives[76], made.positives[76], made.samples) == (1, 1, 2)


def test_rows_of_a_regression_tell_its_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, kept = written(tmp_path / "rows.csv", "x,team,prediction,label,time"), tmp_path / "reference.json"
    with pytest.raises(SystemExit, match="0"):
        main(["reference", str(file), "--output", str(kept)])
    made = reference.parse(json.loads(kept.read_text()))
    assert made.residuals is not None
    assert made.residuals.of == "heldOut"
    assert sum(made.residuals.absolute) == pytest.approx(20)


@pytest.mark.parametrize(
    ("head", "more", "message"),
    [
        ("x,team,y,label,time", (), "score .*, prediction"),
        ("x,team,score,label,time", ("--slices", "age"), "no column age"),
        ("x,score,label,y,time", (), "column 'score' holds text"),
        ("x,prediction,label,y,time", (), "column 'prediction' holds text.*score"),
        ("x,label,prediction,y,time", (), "column 'label' holds text"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], head: str, more: tuple[str, ...], message: str
) -> None:
    file = written(tmp_path / "rows.csv", head)
    assert re.search(message, given(capsys, str(file), *more))
