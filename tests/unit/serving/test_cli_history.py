"""`noria-server history` makes of a payload log what a simulation of a policy reads."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from noria_operator.cli import recorded_history
from noria_operator.cli.recorded_history import History
from noria_operator.domain.tasks import BINARY, MULTICLASS, REGRESSION
from noria_serving.cli.history import history
from noria_serving.errors import NoriaError
from noria_serving.feedback.token import Token
from noria_serving.main import main
from noria_serving.model.loaded import Loaded
from noria_serving.payload.log import PayloadLog
from noria_serving.payload.settings import LogSettings

NOW = 1_800_000_000.0
Outputs = dict[str, Any]


def nonce(number: int) -> bytes:
    return b"proc01" + number.to_bytes(4)


def logged(
    loaded: Loaded, place: Path, outputs: Outputs, labels: list[Any], *,
    regression: bool = False, after: float = 3600, version: str = "late-4", first: int = 0,
) -> None:  # fmt: skip
    """A request of a row for each label, an hour later; None: none came. `first`: where numbers begin."""
    answered = [SimpleNamespace(name=name) for name in outputs]
    signature = SimpleNamespace(inputs=loaded.backend.signature.inputs, outputs=answered)
    here = PayloadLog(
        LogSettings(uri=str(place)), signature, loaded.reference, version=version, regression=regression,
    )  # fmt: skip
    for number, label in enumerate(labels):
        inputs = {
            "carrier": np.array(["AA" if number else ""], dtype=object).reshape(-1, 1),
            "distance": np.array([number / 2 if number else np.nan], dtype=np.float32).reshape(-1, 1),
            "hour": np.array([number], dtype=np.int64).reshape(-1, 1),
        }
        at = NOW + number
        here.prediction(
            nonce(first + number), at, None, inputs, [one[number : number + 1] for one in outputs.values()]
        )
        if label is not None:
            token = Token(version, int(at * 1000), nonce(first + number), batch=1)
            here.labels(token, [label], at + after)
    here.close()
    assert here.join(60)


def told(place: Path, file: Path, *asked: str) -> History:
    with pytest.raises(SystemExit, match="0"):
        main(["history", str(place), "--output", str(file), *asked])
    return recorded_history.read(file)


def probabilities(*rows: list[float]) -> Any:
    return np.array(rows, dtype=np.float32)


Said = tuple[str, list[float]]
"""The class that was predicted in each row, and the scores of the second class."""


def of_one_class(called: str, scores: list[float]) -> Outputs:
    told = probabilities(*([1 - score, score] for score in scores))
    return {"label": np.array([called] * len(scores), dtype=object), "probabilities": told}


@pytest.mark.parametrize(
    ("said", "labels"),
    [
        ([0, 1, 1], [0, None, 1]),
        ([2, 1, 1], ["2", None, "1"]),
        (["on time", "late", "late"], ["on time", None, "late"]),
        (["on time", "late", "late"], [0, None, 1]),
        (["on time", "late", "late"], [False, None, "late"]),
    ],
)
def test_two_classes_have_a_score_and_labels_of_one_and_zero(
    loaded_frame: Loaded, tmp_path: Path, said: list[Any], labels: list[Any]
) -> None:
    called = np.array(said, dtype=object if isinstance(said[0], str) else np.int64)
    outputs = {"label": called, "probabilities": probabilities([0.75, 0.25], [0.25, 0.75], [0.5, 0.5])}
    logged(loaded_frame, tmp_path / "log", outputs, labels)
    found = told(tmp_path / "log", tmp_path / "rows.csv")
    assert found.model.task == BINARY
    assert [(one.row.version, one.row.value, one.label) for one in found.rows] == [
        ("late-4", 0.25, 0.0), ("late-4", 0.75, None), ("late-4", 0.5, 1.0),
    ]  # fmt: skip
    assert [one.predicted.timestamp() - NOW for one in found.rows] == [0, 1, 2]
    assert [(one.known - one.predicted).total_seconds() for one in found.rows] == [3600, 0, 3600]
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert lines[0] == "time,predicted,version,score,label,distance,hour,carrier"
    assert lines[1].endswith("late-4,0.25,0,,0,")
    assert lines[3].endswith("late-4,0.5,1,1.0,2,AA")


def test_a_threshold_of_the_models_own_does_not_turn_labels_around(
    loaded_frame: Loaded, tmp_path: Path
) -> None:
    """It calls rows late of which it says that they are likelier on time."""
    called = np.array(["late", "late", "late", "on-time"], dtype=object)
    rows = probabilities([0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.875, 0.125])
    logged(
        loaded_frame, tmp_path / "log", {"label": called, "probabilities": rows},
        ["late", "on-time", "late", "on-time"],
    )  # fmt: skip
    found = told(tmp_path / "log", tmp_path / "rows.csv")
    assert [one.label for one in found.rows] == [1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("said", "labels", "read"),
    [
        (("yes", [0.9, 0.8, 0.45]), ["yes", "no", None], [1.0, 0.0, None]),
        (("yes", [0.9, 0.8, 0.45]), ["yes", None, None], [1.0, None, None]),
        (("no", [0.1, 0.2, 0.55]), ["yes", "no", None], [1.0, 0.0, None]),
        (("no", [0.1, 0.2, 0.55]), ["no", None, None], [0.0, None, None]),
        (("yes", [0.9, 0.8, 0.7]), [1, 0, None], [1.0, 0.0, None]),
        (("yes", [0.5, 0.5, 0.5]), [1, 0, None], [1.0, 0.0, None]),
        (("-1", [0.1, 0.2, 0.55]), ["1", "-1", None], [1.0, 0.0, None]),
        (("-1", [0.1, 0.2, 0.55]), [1, None, None], [1.0, None, None]),
        (("2", [0.9, 0.8, 0.7]), [0, 2, None], [0.0, 1.0, None]),
        (("yes", [0.5, 0.5, 0.5]), [None, None, None], [None, None, None]),
    ],
)
def test_where_one_class_alone_was_predicted_most_of_its_rows_say_which_it_is(
    loaded_frame: Loaded, tmp_path: Path, said: Said, labels: list[Any], read: list[Any]
) -> None:
    outputs = of_one_class(*said)
    logged(loaded_frame, tmp_path / "log", outputs, labels)
    assert [one.label for one in told(tmp_path / "log", tmp_path / "rows.csv").rows] == read


@pytest.mark.parametrize(
    ("said", "labels", "says"),
    [
        (("yes", [0.5, 0.5]), ["yes", "no"], "no row tells whether 'yes' is the first of the two classes"),
        (("-1", [0.25, 0.25]), [0, -1], "labels 0 and 1 may be the other's name"),
        (("2", [0.75, 0.75]), [1, 2], "labels 0 and 1 may be the other's name"),
    ],
)
def test_labels_that_may_be_read_either_way_are_refused(
    loaded_frame: Loaded, tmp_path: Path, said: Said, labels: list[Any], says: str
) -> None:
    outputs = of_one_class(*said)
    logged(loaded_frame, tmp_path / "log", outputs, labels)
    with pytest.raises(NoriaError, match=says):
        list(history(str(tmp_path / "log")))


def test_a_label_by_a_clock_that_was_behind_was_known_when_the_prediction_was_made(
    loaded_frame: Loaded, tmp_path: Path
) -> None:
    """One such row of millions would spoil the whole history."""
    outputs = {"score": np.array([0.25, 0.75], dtype=np.float32)}
    logged(loaded_frame, tmp_path / "log", outputs, [0, 1], after=-0.003)
    found = told(tmp_path / "log", tmp_path / "rows.csv").rows
    assert [(one.known == one.predicted, one.label) for one in found] == [(True, 0.0), (True, 1.0)]


def test_labels_of_scores_alone_are_0_and_1(loaded_frame: Loaded, tmp_path: Path) -> None:
    outputs = {"probabilities": probabilities([0.75, 0.25], [0.25, 0.75])}
    logged(loaded_frame, tmp_path / "log", outputs, [1, False])
    found = told(tmp_path / "log", tmp_path / "rows.csv")
    assert [one.label for one in found.rows] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"score": np.array([0.5, 0.25], dtype=np.float32)}, "called 'no', 'yes', and no output says"),
        (
            {"probabilities": probabilities([0.75, 0.25], [0.25, 0.75])},
            "called 'no', 'yes', and no output says",
        ),
        (
            {"label": np.array([0, 1]), "probabilities": probabilities([0.75, 0.25], [0.25, 0.75])},
            "two classes are called '0', '1', 'no', 'yes'",
        ),
    ],
)
def test_labels_that_no_output_explains_are_refused(
    loaded_frame: Loaded, tmp_path: Path, capsys: pytest.CaptureFixture[str], outputs: Outputs, message: str
) -> None:
    """Taken for the second class, all of them, a simulation would see other quality than there was."""
    logged(loaded_frame, tmp_path / "log", outputs, ["no", "yes"])
    with pytest.raises(SystemExit, match="1"):
        main(["history", str(tmp_path / "log")])
    assert message in capsys.readouterr().err


def test_several_classes_have_the_predicted_one_and_its_score(loaded_frame: Loaded, tmp_path: Path) -> None:
    outputs = {
        "label": np.array(["a", "c"], dtype=object),
        "probabilities": probabilities([0.5, 0.25, 0.25], [0.125, 0.25, 0.625]),
    }
    logged(loaded_frame, tmp_path / "log", outputs, ["b", "c"])
    found = told(tmp_path / "log", tmp_path / "rows.csv")
    assert found.model.task == MULTICLASS
    assert [(one.row.value, one.label == one.row.called) for one in found.rows] == [
        (0.5, False),
        (0.625, True),
    ]


def test_a_regression_has_its_number_and_a_history_without_labels_none(
    loaded_frame: Loaded, tmp_path: Path
) -> None:
    outputs = {"variable": np.array([[30.5], [12.0]], dtype=np.float32)}
    logged(loaded_frame, tmp_path / "log", outputs, [31.0, None], regression=True)
    found = told(tmp_path / "log", tmp_path / "rows.csv")
    assert found.model.task == REGRESSION
    assert [(one.row.value, one.label) for one in found.rows] == [(30.5, 31.0), (12.0, None)]
    score = {"score": np.array([[0.5], [0.25]], dtype=np.float32)}
    logged(loaded_frame, tmp_path / "other", score, [None, None])
    alone = told(tmp_path / "other", tmp_path / "more.csv")
    assert (alone.model.task, [one.row.value for one in alone.rows]) == (BINARY, [0.5, 0.25])


@pytest.mark.parametrize(
    ("asked", "values"),
    [
        ([], [0.125, 0.25, 0.5]),
        (["--since", "2026-01-05"], [0.25, 0.5]),
        (["--version", "late-4"], [0.125, 0.25]),
        (["--since", "2026-01-05", "--version", "late-5"], [0.5]),
    ],
)
def test_a_part_of_a_log_is_chosen_by_day_and_version(
    tmp_path: Path, asked: list[str], values: list[float]
) -> None:
    """A label comes later, to whatever version; what another version calls its classes does not matter."""
    for version, day, value in (("late-4", 4, 0.125), ("late-4", 5, 0.25), ("late-5", 6, 0.5)):
        other = version == "late-5" and asked == ["--version", "late-4"]
        at = datetime(2026, 1, day, tzinfo=UTC)
        row = {"id": f"{day}", "row": 0}
        for kind, folder, said in (
            ("predictions", f"version={version}", {"time": at, "output.score": value}),
            (
                "labels",
                "taken_by=late-5",
                {"time": at + timedelta(hours=1), "label": "yes" if other else f"{day % 2}"},
            ),
        ):
            place = tmp_path / "log" / kind / folder / f"day=2026-01-{day:02}"
            place.mkdir(parents=True)
            parquet.write_table(pa.Table.from_pylist([{**row, **said}]), place / "rows.parquet")
    found = told(tmp_path / "log", tmp_path / "rows.csv", *asked).rows
    assert [one.row.value for one in found] == values
    assert [one.label for one in found] == [float(one.row.value == 0.25) for one in found]


@pytest.mark.parametrize(
    ("asked", "message"),
    [(["--since", "2027-01-01"], "has no files since 2027-01-01"), (["--version", "x"], "has no files of x")],
)
def test_days_and_versions_that_a_log_lacks_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: list[str], message: str
) -> None:
    (tmp_path / "predictions" / "version=late-4" / "day=2026-01-04").mkdir(parents=True)
    with pytest.raises(SystemExit, match="1"):
        main(["history", str(tmp_path), *asked])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["score", "version", "time", "predicted", "prediction", "label"])
def test_features_that_are_called_as_columns_of_a_history_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    place = tmp_path / "log" / "predictions" / "version=late-4"
    place.mkdir(parents=True)
    row = {"id": "aa", "row": 0, "time": datetime(2026, 1, 5, tzinfo=UTC), "output.score": 0.25}
    parquet.write_table(
        pa.Table.from_pylist([{**row, f"input.{name}": 0.5, "input.age": 40.0}]), place / "rows.parquet"
    )
    (found,) = told(tmp_path / "log", tmp_path / "rows.csv").rows
    assert (found.row.version, found.row.value, found.label) == ("late-4", 0.25, None)
    assert (tmp_path / "rows.csv").read_text().splitlines()[0] == "time,predicted,version,score,label,age"
    assert f"left out, as a history's own columns are called so: {name}\n" in capsys.readouterr().err


def test_of_a_log_of_several_models_each_versions_history_is_read(
    loaded_frame: Loaded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels of one are numbers, and texts those of the other."""
    called = np.array(["on time", "late", "late"], dtype=object)
    late = {"label": called, "probabilities": probabilities([0.75, 0.25], [0.25, 0.75], [0.5, 0.5])}
    logged(loaded_frame, tmp_path / "log", late, ["on time", "late", None])
    tips = {"tip": np.array([3.5, 4.25])}
    logged(loaded_frame, tmp_path / "log", tips, [3.0, 4.5], regression=True, version="tips-1", first=9)
    found = told(tmp_path / "log", tmp_path / "late.csv", "--version", "late-4")
    assert [(one.row.value, one.label) for one in found.rows] == [(0.25, 0.0), (0.75, 1.0), (0.5, None)]
    found = told(tmp_path / "log", tmp_path / "tips.csv", "--version", "tips-1")
    assert [(one.row.value, one.label) for one in found.rows] == [(3.5, 3.0), (4.25, 4.5)]
    with pytest.raises(SystemExit, match="1"):
        main(["history", str(tmp_path / "log")])
    assert (
        "log of several models: take one version by --version, of late-4, tips-1" in capsys.readouterr().err
    )


def test_a_regressions_version_without_labels_yet_is_told_by_those_of_others(
    loaded_frame: Loaded, tmp_path: Path
) -> None:
    for version, labels in (("tips-1", [3.0, 4.5]), ("tips-2", [None, None])):
        tips = {"tip": np.array([3.5, 4.25])}
        first = len(labels) * (version == "tips-2")
        logged(loaded_frame, tmp_path / "log", tips, labels, regression=True, version=version, first=first)
    found = told(tmp_path / "log", tmp_path / "tips.csv", "--version", "tips-2")
    assert (found.model.task, [one.row.value for one in found.rows]) == (REGRESSION, [3.5, 4.25])


def test_the_last_label_of_a_row_counts(loaded_frame: Loaded, tmp_path: Path) -> None:
    outputs = {"label": np.array([0]), "probabilities": probabilities([0.75, 0.25])}
    logged(loaded_frame, tmp_path / "log", outputs, [1])
    labels = tmp_path / "log" / "labels"
    (labels / "taken_by=late-4").rename(labels / "version=late-4")  # as earlier releases called it
    (labels / "taken_by=late-3").mkdir()  # of which nothing is left
    nothing = SimpleNamespace(inputs=(), outputs=[])
    here = PayloadLog(
        LogSettings(uri=str(tmp_path / "log")), nothing, loaded_frame.reference,
        version="late-5", regression=False,
    )  # fmt: skip
    here.labels(Token("late-4", int(NOW * 1000), nonce(0), batch=1), [0], NOW + 7200)
    here.close()
    assert here.join(60)
    (row,) = told(tmp_path / "log", tmp_path / "rows.csv").rows
    assert (row.label, (row.known - row.predicted).total_seconds()) == (0.0, 7200)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"text": np.array(["a"], dtype=object)}, "no score and no number"),
        ({"label": np.array([1])}, "no score and no number"),
        ({"probabilities": probabilities([0.5, 0.25, 0.25])}, "which of the classes"),
    ],
)
def test_what_no_history_can_be_made_of_is_refused(
    loaded_frame: Loaded, tmp_path: Path, capsys: pytest.CaptureFixture[str], outputs: Outputs, message: str
) -> None:
    logged(loaded_frame, tmp_path / "log", outputs, [None])
    with pytest.raises(SystemExit) as ended:
        main(["history", str(tmp_path / "log")])
    assert ended.value.code == 1
    assert re.search(message, capsys.readouterr().err)


def test_a_place_without_a_log_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["history", str(tmp_path)])
    assert ended.value.code == 1
    assert "predictions" in capsys.readouterr().err
