import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from noria_serving import bundle, contract, data, evaluate, job, quality, result, rows, selection, verify
from noria_serving.bundle import Bundle
from noria_serving.errors import NoriaError, Reason
from noria_serving.signature import Signature, Tensor
from noria_serving.slices import Slicing


@pytest.fixture
def lake(tmp_path: Path, frame) -> Path:
    """Four days of held-out rows, Parquet but for the last one; the newest day has no labels yet."""
    table, labels = frame
    for day in range(4):
        part = table.iloc[day * 60 : (day + 1) * 60]
        columns = {name: pa.array(part[name].tolist()) for name in part.columns}
        known = labels[day * 60 : (day + 1) * 60].tolist()
        columns["late"] = pa.array(known if day < 3 else [None] * 60, pa.int64())
        folder = tmp_path / "lake" / f"date=2013-01-{day + 9:02}"
        folder.mkdir(parents=True)
        if day < 2:
            parquet.write_table(pa.table(columns), folder / "rows.parquet")
        else:
            csv.write_csv(pa.table(columns), folder / "rows.csv")
    (tmp_path / "lake" / "date=2013-01-12" / ".rows.parquet.tmp").write_text("half written")
    return tmp_path / "lake"


def environment(lake: Path, bundle: Bundle, **more: str) -> dict[str, str]:
    return {
        "NORIA_CHALLENGER": str(bundle.path), "NORIA_CHALLENGER_DIGEST": bundle.digest,
        "NORIA_HOLDOUT": str(lake), "NORIA_LABEL": "late", **more,
    }  # fmt: skip


def refusal(env: dict[str, str]) -> NoriaError:
    with pytest.raises(NoriaError) as caught:
        evaluate.evaluate(env)
    return caught.value


def test_both_models_are_scored_on_the_same_rows(lake: Path, frame_bundle: Bundle, frame) -> None:
    env = environment(lake, frame_bundle, NORIA_CHAMPION=str(frame_bundle.path))
    document = evaluate.evaluate(env)
    table, labels = frame
    from sklearn.metrics import roc_auc_score

    assert document["rows"] == 180
    assert set(document["metrics"]["challenger"]) == {"auc", "logloss", "accuracy"}
    assert document["metrics"]["challenger"] == document["metrics"]["champion"]
    inputs = {name: table[name].to_numpy()[:180].reshape(-1, 1) for name in table.columns}
    inputs["distance"] = inputs["distance"].astype(np.float32)
    inputs["carrier"] = inputs["carrier"].astype(object)
    scores = evaluate.load(str(frame_bundle.path)).backend.predict(inputs)[1][:, 1]
    assert float(document["metrics"]["challenger"]["auc"]) == pytest.approx(
        roc_auc_score(labels[:180], scores), abs=1e-6
    )
    assert document["errors"].keys() == {"auc", "logloss", "accuracy"}
    assert document["errors"]["auc"] == "0", "one model is as far from itself on every row"
    alone = evaluate.evaluate(environment(lake, frame_bundle))
    assert alone["metrics"]["champion"] is None
    assert "errors" not in alone


def test_codes_of_a_csv_file_are_the_text_that_the_challenger_takes(tmp_path: Path) -> None:
    """The same rows, and the same figures, as a Parquet file that says so."""
    codes = ["007", "5", "7", "05"] * 30
    table, late = pd.DataFrame({"code": codes}), [code.startswith("0") for code in codes]
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(table, np.array(late, int))
    saved = bundle.save(model, table, np.array(late, int), tmp_path / "b", name="m")
    documents = []
    for write, name in (csv.write_csv, "rows.csv"), (parquet.write_table, "rows.parquet"):
        place = tmp_path / name / name
        place.parent.mkdir()
        write(pa.table({"code": codes, "late": np.array(late, int)}), place)
        documents.append(evaluate.evaluate(environment(place.parent, saved)))
    assert documents[0] == documents[1]
    assert documents[0]["metrics"]["challenger"]["accuracy"] == "1"


def test_codes_are_the_text_that_the_champion_takes_though_the_challenger_has_no_use_for_them(
    tmp_path: Path,
) -> None:
    """Else the champion is asked for codes that it does not know, and loses whatever it is worth."""
    codes, distance = ["007", "5", "7", "05"] * 30, [1.0, 2.0, 3.0] * 40
    late = np.array([code.startswith("0") for code in codes], int)
    by_code, by_distance = pd.DataFrame({"code": codes}), pd.DataFrame({"distance": distance})
    old = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(by_code, late)
    champion = bundle.save(old, by_code, late, tmp_path / "old", name="m")
    new = LogisticRegression().fit(by_distance, late)
    challenger = bundle.save(new, by_distance, late, tmp_path / "new", name="m")
    place = tmp_path / "rows"
    place.mkdir()
    csv.write_csv(pa.table({"code": codes, "distance": distance, "late": late}), place / "rows.csv")
    document = evaluate.evaluate(environment(place, challenger, NORIA_CHAMPION=str(champion.path)))
    assert document["metrics"]["champion"]["accuracy"] == "1"


def test_a_champion_that_does_not_know_a_class_is_wrong_about_its_rows(tmp_path: Path) -> None:
    """Else no challenger that learnt a class which came lately could ever take its place."""
    table = pd.DataFrame({"x": np.repeat([0.0, 4.0, 8.0], 40)})
    kinds = np.repeat(["cat", "dog", "eel"], 40)
    old = LogisticRegression(C=100).fit(table[:80], kinds[:80])
    champion = bundle.save(old, table[:80], kinds[:80], tmp_path / "old", name="m")
    new = LogisticRegression(C=100).fit(table, kinds)
    challenger = bundle.save(new, table, kinds, tmp_path / "new", name="m")
    place = tmp_path / "rows"
    place.mkdir()
    csv.write_csv(pa.table({"x": table["x"].to_numpy(), "kind": kinds}), place / "rows.csv")
    env = environment(place, challenger, NORIA_CHAMPION=str(champion.path), NORIA_LABEL="kind")
    metrics = evaluate.evaluate(env)["metrics"]
    assert metrics["challenger"]["accuracy"] == "1"
    assert float(metrics["champion"]["accuracy"]) == pytest.approx(2 / 3)
    assert float(metrics["champion"]["logloss"]) > 5
    assert refusal(environment(place, champion, NORIA_LABEL="kind")).reason is Reason.DATA_INVALID


def test_numbers_of_a_file_are_in_the_slices_of_the_text_that_they_spell(tmp_path: Path) -> None:
    """Whole numbers beside a gap come as 5.0."""
    codes, late = ["5", "7", ""] * 20, [0, 1, 1] * 20
    table = pd.DataFrame({"code": codes})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(table, late)
    saved = bundle.save(model, table, late, tmp_path / "b", name="m", slices=["code"])
    place = tmp_path / "rows"
    place.mkdir()
    numbers = pa.array([5, 7, None] * 20, pa.int64())
    parquet.write_table(pa.table({"code": numbers, "late": late}), place / "rows.parquet")
    document = evaluate.evaluate(environment(place, saved, NORIA_SLICES='["code"]'))
    assert {tuple(one[1:3]) for one in document["slices"]} == {("5", 20), ("7", 20), ("missing", 20)}


def test_slices_of_the_same_rows_are_compared(lake: Path, frame_bundle: Bundle) -> None:
    wishes = [{"feature": "carrier"}, {"feature": "distance", "bounds": [0]}]
    more = {"NORIA_SLICES": json.dumps(wishes), "NORIA_SLICE_METRICS": "accuracy,auc"}
    env = environment(lake, frame_bundle, NORIA_CHAMPION=str(frame_bundle.path), **more)
    document = evaluate.evaluate(env)
    assert document["slicesLeftOut"] == 0
    found = {(one[0], one[1], one[3]): one[2:] for one in document["slices"]}
    for metric in ("accuracy", "auc"):
        assert sum(each[0] for key, each in found.items() if key[0] == "carrier" and key[2] == metric) == 180
        for count, _, challenger, champion, error in found.values():
            assert challenger == champion
            assert 0 <= float(error) < 1 / count**0.5
    alone = evaluate.evaluate(environment(lake, frame_bundle, **more))["slices"]
    assert [one[:5] for one in alone] == [one[:5] for one in document["slices"]]
    assert all(one[5:] == [None, None] for one in alone)


@pytest.mark.parametrize(
    "wish",
    [{"feature": "rate"}, {"feature": "rate", "values": [0.1, 0.2]}, {"feature": "rate", "bounds": [0.1]}],
)
@pytest.mark.parametrize("earlier", [False, True])
def test_numbers_of_a_file_are_in_the_slices_of_what_the_model_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: dict[str, Any], earlier: bool
) -> None:
    """In single precision, also where a bundle of an earlier release does not say so."""
    table, late = pd.DataFrame({"rate": [0.1, 0.2] * 40, "hour": range(80)}), [0, 1, 1, 0] * 20
    model = LogisticRegression().fit(table, late)
    if earlier:
        document = Slicing.document
        unsaid = lambda self: {key: one for key, one in document(self).items() if key != "datatype"}  # noqa: E731
        monkeypatch.setattr(Slicing, "document", unsaid)
    saved = bundle.save(model, table, late, tmp_path / "b", name="m", slices=[wish])
    assert json.loads((saved.path / "signature.json").read_text())["inputs"][0]["datatype"] == "FP32"
    place = tmp_path / "rows"
    place.mkdir()
    table.assign(late=late).to_parquet(place / "rows.parquet")
    found = evaluate.evaluate(environment(place, saved, NORIA_SLICES=json.dumps([wish])))["slices"]
    names = ("..0.1", "0.1..") if "bounds" in wish else ("0.1", "0.2")
    assert {tuple(one[1:3]) for one in found} == {(name, 40) for name in names}


@pytest.mark.parametrize(
    ("wishes", "told"),
    [
        ([{"feature": "nowhere"}], "no column 'nowhere'"),
        ([{"feature": "date", "bounds": [1]}], "give values"),
    ],
)
def test_slices_that_the_rows_cannot_have_are_refused(
    lake: Path, frame_bundle: Bundle, wishes, told: str
) -> None:
    assert told in refusal(environment(lake, frame_bundle, NORIA_SLICES=json.dumps(wishes))).message


def test_the_digest_is_of_the_rows_not_of_the_files(lake: Path, tmp_path: Path) -> None:
    before = rows.read(str(lake)).digest()
    for folder in sorted(lake.iterdir()):
        for file in folder.glob("rows.csv"):
            table = csv.read_csv(file)
            parquet.write_table(table, folder / "rows.parquet", compression="zstd")
            file.unlink()
    assert rows.read(str(lake)).digest() == before
    assert rows.read(str(lake), data.Select("date", 2)).digest() != before


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([2**53 + 1, 1], pa.int64(), [2**53 + 1, 1]),
        ([2**53 + 1, None], pa.int64(), [2.0**53, np.nan]),
        ([2**64 - 1, 1], pa.uint64(), [2.0**64, 1.0]),
        ([2**64 - 1, None], pa.uint64(), [2.0**64, np.nan]),
    ],
)
def test_large_whole_numbers_are_read_as_exactly_as_they_can_be(
    tmp_path: Path, values: list[int | None], kind: pa.DataType, read: list[float]
) -> None:
    """Such as the ids of rows, which no model takes."""
    parquet.write_table(pa.table({"id": pa.array(values, kind)}), tmp_path / "rows.parquet")
    found = rows.read(str(tmp_path)).columns["id"]
    np.testing.assert_array_equal(found, read)
    assert found.dtype.kind == ("i" if isinstance(read[0], int) else "f")


def test_numbers_that_stand_for_text_are_written_as_files_write_them() -> None:
    shape = Signature((Tensor("code", "BYTES", (-1, 1)),), (Tensor("label", "INT64", (-1,)),))
    codes = rows.Rows({"code": np.array([5.0, np.nan, 5.5])}, 3)
    assert codes.inputs(shape, 0, 3)["code"].reshape(-1).tolist() == ["5", "", "5.5"]


def test_a_selection_takes_the_newest_after_leaving_out_the_newest(lake: Path, frame_bundle: Bundle) -> None:
    select = json.dumps({"by": "date", "last": 1, "skip": 1})
    assert evaluate.evaluate(environment(lake, frame_bundle, NORIA_HOLDOUT_SELECT=select))["rows"] == 60
    env = {
        "NORIA_DATA_TRAIN_SET": str(lake),
        "NORIA_DATA_TRAIN_SET_SELECT": '{"by":"date","last":2,"skip":1}',
    }
    assert data.partitions("train-set", env=env) == [f"{lake}/date=2013-01-10", f"{lake}/date=2013-01-11"]
    assert data.partitions("train", env={"NORIA_DATA_TRAIN": "s3://b/p"}) == ["s3://b/p"]


def test_whole_numbers_are_ordered_as_numbers() -> None:
    assert data.Select("day", 2).choose(["9", "10", "2"]) == ["9", "10"]
    assert data.Select("day", 5, 1).choose(["a", "b"]) == ["a"]
    assert data.Select("day", 1, 9).choose(["a", "b"]) == []


def test_rows_without_a_value_of_the_key_are_of_no_day() -> None:
    """As the newest they would be held out, and every day that lands later would lie within the range."""
    days = ["2026-01-01", "2026-01-02", "__HIVE_DEFAULT_PARTITION__"]
    assert data.Select("day", 1).choose(days) == ["2026-01-02"]
    assert data.Select("day", 1, 0, "2026-01-01", "__HIVE_DEFAULT_PARTITION__").choose(days) == days[:2]


def test_where_a_value_stands_does_not_depend_on_the_others() -> None:
    assert data.Select("day", 9).choose(["9", "10", "2", "x"]) == ["2", "9", "10", "x"]
    chosen = data.Select("day", 2, 0, "9", "10")
    assert chosen.choose(["9", "10", "2"]) == chosen.choose(["9", "10", "2", "11", "x"]) == ["9", "10"]


def selections(lake: Path, **selects: dict[str, object]) -> dict[str, str]:
    entries = [
        {"name": name, "location": str(lake), "select": {"by": "date", **select}}
        for name, select in selects.items()
    ]
    return {"NORIA_SELECTIONS": json.dumps(entries)}


def test_what_was_chosen_once_is_read_by_all_whatever_lands_in_between(
    lake: Path, frame_bundle: Bundle
) -> None:
    asked = {"train": {"last": 2, "skip": 1}, "holdout": {"last": 1}}
    result = selection.select(selections(lake, **asked))
    assert result["data"] == [
        {"name": "train", "by": "date", "oldest": "2013-01-10", "newest": "2013-01-11", "count": 2},
        {"name": "holdout", "by": "date", "oldest": "2013-01-12", "newest": "2013-01-12", "count": 1},
    ]
    (lake / "date=2013-01-13").mkdir()
    told = {
        each["name"]: json.dumps(
            {"by": "date", **asked[each["name"]], "oldest": each["oldest"], "newest": each["newest"]}
        )
        for each in result["data"]
    }
    env = {"NORIA_DATA_TRAIN": str(lake), "NORIA_DATA_TRAIN_SELECT": told["train"]}
    assert data.partitions("train", env=env) == [f"{lake}/date=2013-01-10", f"{lake}/date=2013-01-11"]
    held_out = data.select_partitions(str(lake), data.parse_select(told["holdout"]))
    assert held_out == [f"{lake}/date=2013-01-12"]


def test_a_range_whose_partitions_are_gone_and_a_selection_of_nothing_name_the_data(lake: Path) -> None:
    with pytest.raises(NoriaError, match="has no partitions date=2012-01-01 to date=2012-01-02"):
        data.select_partitions(str(lake), data.Select("date", 1, 0, "2012-01-01", "2012-01-02"))
    with pytest.raises(NoriaError, match=r"data train: .* after leaving out the newest 9") as caught:
        selection.select(selections(lake, train={"last": 1, "skip": 9}))
    assert caught.value.reason is Reason.NO_ROWS
    with pytest.raises(NoriaError, match="NORIA_SELECTIONS"):
        selection.select({"NORIA_SELECTIONS": "[1]"})


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "x",
        '{"by":"a"}',
        '{"by":"a/b","last":1}',
        '{"by":"a","last":0}',
        '{"by":"a","last":1,"skip":-1}',
        '{"by":"a","last":1,"oldest":"x"}',
        '{"by":"a","last":1,"oldest":1,"newest":2}',
    ],
)
def test_a_malformed_selection_is_refused(text: str) -> None:
    with pytest.raises(NoriaError) as caught:
        data.parse_select(text)
    assert caught.value.reason is Reason.CONFIGURATION


def test_what_cannot_be_measured_is_a_reason_never_a_number(
    lake: Path, frame_bundle: Bundle, matrix_bundle: Bundle
) -> None:
    newest = json.dumps({"by": "date", "last": 1})
    assert refusal(environment(lake, frame_bundle, NORIA_HOLDOUT_SELECT=newest)).reason is Reason.NO_ROWS
    assert refusal(environment(lake, frame_bundle) | {"NORIA_LABEL": "nope"}).reason is Reason.DATA_INVALID
    assert refusal(environment(lake, matrix_bundle)).reason is Reason.DATA_INVALID
    wrong = refusal(
        environment(
            lake, frame_bundle, NORIA_CHAMPION=str(frame_bundle.path), NORIA_CHAMPION_DIGEST="sha256:0"
        )
    )
    assert (wrong.reason, wrong.message[:9]) == (Reason.DIGEST_MISMATCH, "champion:")
    assert refusal({}).reason is Reason.CONFIGURATION
    assert refusal(environment(lake / "no", frame_bundle)).reason is Reason.NO_ROWS


def test_a_column_that_is_no_utf_8_is_named_where_it_is_needed(tmp_path: Path, frame_bundle: Bundle) -> None:
    (tmp_path / "rows.csv").write_bytes(b"distance,late\n1,caf\xe9\n2,no\n")
    error = refusal(environment(tmp_path, frame_bundle))
    assert (error.reason, error.message) == (
        Reason.DATA_INVALID,
        "column 'late' holds bytes that are no text in UTF-8; write it in UTF-8",
    )
    read = rows.read(str(tmp_path))
    assert list(read.columns) == ["distance"]
    shape = Signature((Tensor("late", "BYTES", (-1, 1)),), ())
    with pytest.raises(NoriaError, match="UTF-8"):
        read.inputs(shape, 0, 2)


def test_text_is_text_however_parquet_keeps_it(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array(["x", None], pa.string_view()), "b": pa.array([[1], [2]])})
    parquet.write_table(table, tmp_path / "rows.parquet")
    read = rows.read(str(tmp_path))
    assert read.columns["a"].tolist() == ["x", ""]
    assert read.unread["b"].startswith("holds list<")


def test_times_of_a_zone_that_nobody_knows_are_the_fault_of_the_rows(tmp_path: Path) -> None:
    zoned = pa.array([0], pa.timestamp("us", tz="Foo/Bar"))
    parquet.write_table(pa.table({"a": zoned}), tmp_path / "rows.parquet")
    with pytest.raises(NoriaError) as caught:
        rows.read(str(tmp_path))
    assert caught.value.reason is Reason.DATA_INVALID


def test_a_label_of_text_is_no_number(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": np.arange(20.0)})
    saved = bundle.save(LinearRegression().fit(table, table.x), table, table.x, tmp_path / "b", name="m")
    place = tmp_path / "rows"
    place.mkdir()
    (place / "rows.csv").write_text("x,late\n1,n/k\n2,3\n")
    error = refusal(environment(place, saved))
    assert error.reason is Reason.DATA_INVALID
    assert "n/k" in error.message


@pytest.mark.parametrize("words", ["no file caf\udce9", "\x1b" * 3000, "é" * 3000])
def test_whatever_an_error_says_its_reason_is_written(tmp_path: Path, words: str) -> None:
    place = tmp_path / "result"
    result.write_error("s", NoriaError(Reason.MODEL_INVALID, words), str(place))
    assert len(place.read_bytes()) <= contract.RESULT_LIMIT
    error = json.loads(place.read_bytes())["error"]
    assert (error["reason"], error["message"][:3]) == ("ModelInvalid", words[:3])


def test_labels_of_one_class_only_have_no_auc(tmp_path: Path, frame_bundle: Bundle) -> None:
    columns = {"distance": [0.1, 0.2], "hour": [1, 2], "carrier": ["AA", None], "late": [1, 1]}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert refusal(environment(tmp_path, frame_bundle)).reason is Reason.METRIC_UNDEFINED


@pytest.mark.parametrize("count", [2, 17, 300])
def test_auc_is_what_scikit_learn_says_ties_included(count: int) -> None:
    from sklearn.metrics import log_loss, roc_auc_score

    random = np.random.default_rng(count)
    truth = np.arange(count) % 2 == 0
    scores = random.integers(1, 10, count) / 10
    assert quality.auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
    both = np.column_stack([1 - scores, scores])
    assert quality.Classified(both, truth.astype(int)).metrics()["logloss"] == pytest.approx(
        log_loss(truth, scores)
    )


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_calibration_is_that_of_scikit_learns_reliability_diagram(shift: float) -> None:
    from sklearn.calibration import calibration_curve

    random = np.random.default_rng(4)
    scores = random.random(500) ** 2
    truth = random.random(500) < np.clip(scores + shift * scores * (1 - scores), 0, 1)
    found = quality.Classified(np.column_stack([1 - scores, scores]), truth.astype(np.int64)).metrics()
    share, score = calibration_curve(truth, scores, n_bins=10)
    counts = np.histogram(scores, np.linspace(0, 1, 11))[0]
    assert found["ece"] == pytest.approx(np.average(np.abs(share - score), weights=counts))
    assert found["calibration"] == pytest.approx(abs(scores.mean() - truth.mean()))


def test_of_several_classes_it_is_the_score_of_the_predicted_one_that_counts() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.65, 0.15], [0.05, 0.05, 0.9], [0.9, 0.1, 0.0]])
    found = quality.Classified(probabilities, np.array([0, 2, 2, 0])).metrics()
    assert found["calibration"] == pytest.approx((0.6 + 0.65 + 0.9 + 0.9 - 3) / 4)
    assert found["ece"] == pytest.approx((abs(0.6 + 0.65 - 1) + abs(1.8 - 2)) / 4)
    assert np.isnan(quality.ece(np.array([]), np.array([])))


def test_a_gate_may_ask_for_calibration(lake: Path, frame_bundle: Bundle) -> None:
    document = evaluate.evaluate(environment(lake, frame_bundle, NORIA_METRICS="ece,calibration"))
    found = document["metrics"]["challenger"]
    assert 0 < float(found["calibration"]) <= float(found["ece"]) < 1


def test_a_job_writes_its_result_and_leaves_with_zero(tmp_path: Path, matrix_bundle: Bundle) -> None:
    env = {
        "NORIA_BUNDLE": str(matrix_bundle.path),
        "NORIA_DIGEST": matrix_bundle.digest,
        "NORIA_RESULT": str(tmp_path / "r"),
    }
    assert job.run(contract.VERIFICATION_SCHEMA, verify.verify, env) == 0
    document = json.loads((tmp_path / "r").read_bytes())
    assert document["digest"] == matrix_bundle.digest
    assert document["bytes"] == sum(file.stat().st_size for file in matrix_bundle.path.iterdir())


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"NORIA_DIGEST": "sha256:" + "0" * 64}, 1, "DigestMismatch"),
        ({"NORIA_BUNDLE": "/nonexistent"}, 1, "ArtifactNotFound"),
        ({"NORIA_BUNDLE": ""}, 2, "ConfigurationInvalid"),
    ],
)
def test_a_job_that_refuses_says_why_in_json(
    tmp_path: Path, matrix_bundle: Bundle, changes, code: int, reason: str
) -> None:
    env = {"NORIA_BUNDLE": str(matrix_bundle.path), "NORIA_RESULT": str(tmp_path / "r"), **changes}
    left = job.run(contract.VERIFICATION_SCHEMA, verify.verify, env)
    error = json.loads((tmp_path / "r").read_bytes())["error"]
    assert (left, error["reason"]) == (code, reason)
    assert error["message"]


def test_a_fault_of_ours_is_an_internal_error_with_a_message(tmp_path: Path) -> None:
    def broken(_: object) -> dict[str, object]:
        raise ZeroDivisionError("x" * 10_000)

    assert job.run(contract.VERIFICATION_SCHEMA, broken, {"NORIA_RESULT": str(tmp_path / "r")}) == 4
    assert len((tmp_path / "r").read_bytes()) <= contract.RESULT_LIMIT
