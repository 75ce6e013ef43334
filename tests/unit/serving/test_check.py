"""Rows for training beside those that the champion learned from: counts, and nothing but counts."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from noria_serving import bundle, contract, result
from noria_serving.bundle import Bundle
from noria_serving.check import Column, check, counted, distinct, newest
from noria_serving.errors import NoriaError
from noria_serving.quality import class_indices
from noria_serving.reference import category, numeric
from noria_serving.rows import Rows


def table(frame: object, **changed: list[object]) -> pa.Table:
    rows, labels = frame  # type: ignore[misc]
    columns = {name: pa.array(rows[name].tolist()) for name in rows.columns}
    columns["late"] = pa.array(labels.tolist())
    return pa.table({**columns, **{name: pa.array(values) for name, values in changed.items()}})


def told(folder: Path, given: pa.Table, bundle: Bundle | None = None, **env: str) -> dict[str, object]:
    parquet.write_table(given, folder / "rows.parquet")
    champion = {"NORIA_CHAMPION": str(bundle.path), "NORIA_CHAMPION_DIGEST": bundle.digest} if bundle else {}
    return check({"NORIA_CHECK_DATA": str(folder), **champion, **env})


def test_the_rows_that_the_champion_learned_from_have_nothing_strange(
    tmp_path: Path, frame, frame_bundle: Bundle
) -> None:
    found = told(tmp_path, table(frame), frame_bundle)
    rows, _ = frame
    assert (found["rows"], found["features"], found["absent"]) == (len(rows), len(rows.columns), [])
    for one in found["dirty"]:  # type: ignore[attr-defined]
        assert (one["unseen"], one["outside"], one["wrong"]) == (0, 0, 0)
        assert one["missing"] == one["known"][0]
    assert max(one["psi"] for one in found["skewed"]) == 0  # type: ignore[attr-defined]


def test_codes_of_a_csv_file_are_the_categories_that_the_champion_learned(tmp_path: Path) -> None:
    codes, late = ["007", "5", "05", ""] * 60, [0, 1, 1, 0] * 60
    rows = pd.DataFrame({"code": codes})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows, late)
    saved = bundle.save(model, rows, late, tmp_path / "b", name="m")
    (tmp_path / "new").mkdir()
    csv.write_csv(pa.table({"code": codes, "late": late}), tmp_path / "new" / "rows.csv")
    found = check({"NORIA_CHECK_DATA": str(tmp_path / "new"), "NORIA_CHAMPION": str(saved.path)})
    (code,) = found["dirty"]
    assert (code["unseen"], code["wrong"], code["missing"]) == (0, 0, 60)


def test_a_column_that_is_as_often_infinite_as_the_champions_does_not_stand_out() -> None:
    values = np.where(np.arange(400) % 4, np.arange(400.0), np.inf)
    bins = numeric("ratio", values)
    counts = np.array([*bins.counts, 0, 0, 0, 100])
    told_ = Column(bins, counts, wrong=0)
    assert told_.dirt() | {"name": ""} == {
        "name": "", "rows": 400, "missing": 0, "unseen": 0, "outside": 100, "wrong": 0, "known": [0, 400],
        "beyond": 100,
    }  # fmt: skip
    assert told_.worst() == 0


def test_what_is_broken_is_counted_by_column_and_the_worst_comes_first(
    tmp_path: Path, frame, frame_bundle: Bundle
) -> None:
    rows, _ = frame
    half = len(rows) // 2
    given = table(
        frame,
        carrier=["??"] * half + rows["carrier"].tolist()[half:],
        distance=[1e9] * len(rows),
    )
    found = told(tmp_path, given, frame_bundle)
    dirty = {one["name"]: one for one in found["dirty"]}  # type: ignore[attr-defined]
    assert next(iter(dirty)) == "distance"
    assert (dirty["distance"]["outside"], dirty["carrier"]["unseen"]) == (len(rows), half)
    assert found["skewed"][0]["name"] == "distance"  # type: ignore[index]
    assert found["skewed"][0]["psi"] > 1  # type: ignore[index]
    lacking = told(tmp_path, given.drop_columns(["distance"]), frame_bundle)
    assert lacking["absent"] == ["distance"]


def test_a_column_that_is_gone_is_not_looked_for_under_the_name_of_another(tmp_path: Path) -> None:
    """Only the columns of one matrix have numbers."""
    rows = pd.DataFrame({"x0": np.arange(40.0), "x1": np.arange(40.0) % 7})
    late = [0, 1] * 20
    saved = bundle.save(LogisticRegression().fit(rows, late), rows, late, tmp_path / "b", name="m")
    found = told(tmp_path, pa.table({"x0": rows["x0"].tolist()}), saved)
    assert found["absent"] == ["x1"]


def test_the_one_column_of_a_matrix_is_looked_for_as_files_call_it(tmp_path: Path) -> None:
    rows, late = np.arange(40.0).reshape(-1, 1), [0, 1] * 20
    saved = bundle.save(LogisticRegression().fit(rows, late), rows, late, tmp_path / "b", name="m")
    found = told(tmp_path, pa.table({"x0": rows.ravel().tolist()}), saved)
    assert (found["absent"], found["rows"]) == ([], 40)


def test_texts_among_numbers_are_of_another_type_and_not_missing() -> None:
    bins = numeric("x", np.arange(100.0))
    found = counted(bins, np.array(["5", "n/a", "", "nan", "7.5", "200"], dtype=object))
    told = found.dirt()
    assert (told["wrong"], told["missing"], told["outside"], told["rows"]) == (1, 2, 1, 6)
    assert int(found.counts[: bins.size].sum()) == 3


def test_numbers_where_texts_were_are_the_categories_that_they_spell() -> None:
    bins = category("c", np.array(["1", "2", "2"], dtype=object))
    told = counted(bins, np.array([1.0, 2.0, np.nan, 3.0])).dirt()
    assert (told["missing"], told["unseen"], told["rows"]) == (1, 1, 4)


@pytest.mark.parametrize("values", [[1.0, 1.0, 2.0], ["a", "a", "b"], [1, 1, 2], [np.nan, np.nan, 1.0]])
def test_equal_rows_are_counted_once(values: list[object]) -> None:
    column = np.array(values, dtype=object if isinstance(values[0], str) else None)
    assert distinct(Rows({"x": column, "y": np.zeros(3)}, 3)) == 2
    assert distinct(Rows({"x": column, "y": np.arange(3)}, 3)) == 3
    assert distinct(Rows({}, 0)) == 0


@pytest.mark.parametrize(
    "look",
    [
        lambda texts: distinct(Rows({"a": texts}, len(texts))),
        lambda texts: counted(numeric("a", np.arange(9.0)), texts),
        lambda texts: class_indices(texts, ["", "x" * 100_000]),
    ],
)
def test_one_long_text_takes_no_room_in_every_row(look: Callable[[np.ndarray], object]) -> None:
    texts = np.array(["x" * 100_000, *[""] * 999], dtype=object)
    tracemalloc.start()
    try:
        look(texts)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000  # and not 400 MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([1e9, 2e9, np.nan]), 2e9),
        (np.array([1e12, 1.5e12]), 1.5e9),
        (np.array([1_500_000_000_000_000]), 1.5e9),
        (np.array([1_500_000_000_000_000_000]), 1.5e9),
        (np.array(["2001-09-09 01:46:40", "", "2001-09-09 01:46:39"], dtype=object), 1e9),
        (np.array(["2001-09-09T03:46:40+02:00"], dtype=object), 1e9),
        (np.array(["", ""], dtype=object), None),
        (np.array([np.nan]), None),
    ],
)
def test_the_newest_time_is_unix_seconds(values: np.ndarray, expected: float | None) -> None:
    assert newest(values) == expected


def test_a_column_that_holds_no_times_is_refused() -> None:
    with pytest.raises(NoriaError, match="not of ISO 8601"):
        newest(np.array(["yesterday"], dtype=object))


def test_without_a_champion_there_are_rows_duplicates_and_age(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    csv.write_csv(pa.table({"x": [1, 1, 2], "at": ["2001-09-09 01:46:40"] * 3}), tmp_path / "lake" / "a.csv")
    found = check({"NORIA_CHECK_DATA": str(tmp_path / "lake"), "NORIA_CHECK_TIME": "at"})
    assert (found["rows"], found["duplicates"], found["newest"], found["features"]) == (3, 1, 1e9, 0)
    found = check({"NORIA_CHECK_DATA": str(tmp_path / "lake"), "NORIA_CHECK_TIME": "when"})
    assert (found["newest"], found["absent"]) == (None, ["when"])


def test_rows_are_compared_with_what_was_served_too(tmp_path: Path, frame, frame_bundle: Bundle) -> None:
    known = json.loads((frame_bundle.path / contract.REFERENCE).read_text())["features"]
    distance, carrier = (one["counts"] for one in known if one["name"] != "hour")
    served = {"distance": [sum(distance), *[0] * (len(distance) - 1)], "carrier": carrier, "strange": [1, 2]}
    found = told(tmp_path, table(frame), frame_bundle, NORIA_CHECK_SERVED=json.dumps(served))
    assert max(one["psi"] for one in found["skewed"]) == 0, "they are those of training"  # type: ignore[attr-defined]
    far, near = found["served"]  # type: ignore[misc]
    assert (far["name"], near["name"], near["psi"]) == ("distance", "carrier", 0)
    assert far["psi"] > 1
    assert (far["known"], far["rows"], far["bins"]) == (sum(distance), sum(distance), len(distance))
    other = {"distance": distance[:-1], "carrier": []}
    found = told(tmp_path, table(frame), frame_bundle, NORIA_CHECK_SERVED=json.dumps(other))
    assert found["served"] == [], "of other bins"


def test_a_thousand_features_with_long_names_fit_into_a_result(tmp_path: Path, matrix) -> None:
    from sklearn.linear_model import LogisticRegression

    from noria_serving.bundle import save

    rng = np.random.default_rng(1)
    names = [f"{'feature ' * 15}{index}" for index in range(300)]
    rows = rng.normal(size=(60, 300))
    import pandas as pd

    X = pd.DataFrame(rows, columns=names)
    y = (rows[:, 0] > 0).astype(int)
    bundle = save(LogisticRegression().fit(X, y), X, y, tmp_path / "wide")
    given = pa.table({name: rows[:, index] + 9 for index, name in enumerate(names)})
    (tmp_path / "lake").mkdir()
    found = told(tmp_path / "lake", given, bundle)
    assert len(result.canonical(found)) <= contract.RESULT_LIMIT
    assert found["features"] == 300
    assert found["dirty"]
    assert found["skewed"]
    json.dumps(found)
