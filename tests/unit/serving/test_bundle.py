import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from noria_serving import bundle, contract, conversion, reference, rows
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.loaded import check_golden, load
from noria_serving.signature import Signature, Tensor

DOCS = Path(__file__).parents[3] / "docs" / "bundle.md"


def test_the_same_model_and_rows_give_the_same_digest(matrix, matrix_bundle, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    rows, labels = matrix
    again = bundle.save(
        LogisticRegression().fit(rows, labels), rows, labels, tmp_path, name="m", metrics={"auc": 0.9}
    )
    assert again.digest == matrix_bundle.digest


def test_a_search_is_saved_as_the_model_that_it_found(frame, tmp_path: Path) -> None:
    """Boosters by the names of their columns have no other form that knows of searches."""
    from sklearn.model_selection import GridSearchCV
    from xgboost import XGBClassifier

    rows, labels = frame
    numbers = rows[["distance", "hour"]]
    search = GridSearchCV(XGBClassifier(n_estimators=2, n_jobs=1), {"max_depth": [1]}, cv=2).fit(
        numbers, labels
    )
    found = bundle.save(search.best_estimator_, numbers, labels, tmp_path / "found")
    assert bundle.save(search, numbers, labels, tmp_path / "search").digest == found.digest


def test_a_pipeline_on_named_columns_becomes_onnx_with_one_tensor_a_column(
    frame_bundle: bundle.Bundle,
) -> None:
    assert frame_bundle.format == "onnx"
    assert frame_bundle.signature["inputs"] == [
        {"name": "distance", "datatype": "FP32", "shape": [-1, 1]},
        {"name": "hour", "datatype": "INT64", "shape": [-1, 1]},
        {"name": "carrier", "datatype": "BYTES", "shape": [-1, 1]},
    ]
    assert [tensor["name"] for tensor in frame_bundle.signature["outputs"]] == ["label", "probabilities"]


def test_boosted_trees_on_a_frame_of_numbers_become_onnx(frame, tmp_path: Path) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows, labels = frame
    numbers = rows[["distance", "hour"]].copy()
    numbers.loc[::5, "distance"] = np.nan
    model = HistGradientBoostingClassifier(max_iter=3).fit(numbers, labels)
    saved = bundle.save(model, numbers, labels, tmp_path)
    assert saved.format == "onnx"
    assert "parity" in json.loads((tmp_path / contract.METRICS).read_bytes())


def test_rows_with_infinite_numbers_are_trained_on_and_are_no_golden_ones(tmp_path: Path) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows = np.column_stack([np.arange(60.0), np.arange(60.0) % 7])
    rows[0, 0], rows[59, 1], labels = np.inf, -np.inf, np.arange(60) % 2
    model = HistGradientBoostingClassifier(max_iter=3).fit(rows, labels)
    saved = bundle.save(model, rows, labels, tmp_path / "b", name="m")
    golden = json.loads((saved.path / contract.GOLDEN).read_bytes())["inputs"][0]
    assert golden["shape"] == [8, 2]
    with pytest.raises(NoriaError) as caught:
        bundle.save(model, np.full((60, 2), np.inf), labels, tmp_path / "c", name="m")
    assert caught.value.reason is Reason.DATA_INVALID


@pytest.mark.parametrize("converts", [True, False])
def test_labels_that_are_whole_numbers_with_a_point_are_served_as_whole_numbers(
    converts: bool, matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So they are in a column that once had gaps, or that numpy read from a file."""
    from sklearn.linear_model import LogisticRegression

    if not converts:
        monkeypatch.setattr(conversion, "_as_onnx", lambda *_: "no converter")
    rows, labels = matrix
    saved = bundle.save(LogisticRegression().fit(rows, labels * 1.0), rows, labels * 1.0, tmp_path)
    loaded = load(str(tmp_path))
    assert (saved.format, loaded.manifest.classes) == ("onnx" if converts else "skops", (0, 1))
    assert [type(label) for label in loaded.manifest.classes] == [int, int]
    label = loaded.backend.predict({loaded.backend.signature.inputs[0].name: rows[:2].astype("f4")})[0]
    assert label.dtype == np.int64


def test_a_label_that_is_not_of_the_largest_probability_is_served_as_the_model_gives_it(
    matrix, tmp_path: Path
) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import FixedThresholdClassifier

    rows, labels = matrix
    model = FixedThresholdClassifier(LogisticRegression(), threshold=0.2).fit(rows, labels)
    bundle.save(model, rows, labels, tmp_path)
    backend = load(str(tmp_path)).backend
    label, probabilities = backend.predict({backend.signature.inputs[0].name: rows})
    assert label.tolist() == model.predict(rows).tolist()
    assert (label != probabilities.argmax(axis=1)).any()


def test_labels_that_are_no_labels_are_refused(matrix, matrix_bundle, tmp_path: Path) -> None:
    rows, labels = matrix
    source = matrix_bundle.path / "model.onnx"
    for wrong in (np.where(labels, np.nan, 0.0), labels + 0.5):
        with pytest.raises(NoriaError, match="none of these") as caught:
            bundle.save(source, rows, wrong, tmp_path / "b", task="binary")
        assert caught.value.reason is Reason.DATA_INVALID


def test_a_model_of_several_targets_is_refused_by_that_reason(matrix, tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression
    from sklearn.tree import DecisionTreeClassifier

    rows, labels = matrix
    both = np.column_stack([labels, 1 - labels])
    for model in (LinearRegression(), DecisionTreeClassifier(max_depth=2)):
        with pytest.raises(NoriaError, match="2 values a row") as caught:
            bundle.save(model.fit(rows, both), rows, both, tmp_path / "b")
        assert caught.value.reason is Reason.MODEL_INVALID


def test_a_regression_has_one_prediction(matrix, tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    rows, _ = matrix
    saved = bundle.save(LinearRegression().fit(rows, rows[:, 0]), rows, rows[:, 0], tmp_path)
    assert [tensor["name"] for tensor in saved.signature["outputs"]] == ["prediction"]
    assert load(str(tmp_path)).manifest.task == "regression"


@pytest.mark.parametrize(("least", "step"), [(0.0, 1e-6), (2000.0, 0.015)])
def test_numbers_that_are_tiny_or_hardly_differ_are_compared_by_what_they_differ(
    least: float, step: float, tmp_path: Path
) -> None:
    """Single precision cannot tell these rows apart, and answers with the numbers of others."""
    from sklearn.linear_model import LinearRegression

    rows = 1e8 + np.arange(64.0)[:, None]
    truth = least + step * np.arange(64)
    saved = bundle.save(LinearRegression().fit(rows, truth), rows, truth, tmp_path)
    assert saved.signature["inputs"][0]["datatype"] == "FP64"
    backend = load(str(tmp_path)).backend
    given = backend.predict({backend.signature.inputs[0].name: rows})[0].reshape(-1)
    assert np.abs(given - truth).max() <= step / 100
    golden = json.loads((tmp_path / contract.GOLDEN).read_bytes())
    assert golden["tolerance"] == pytest.approx(1e-4 * min(1.0, 63 * step + least))


@pytest.mark.parametrize("share", [1e-9, 1e-3])
def test_golden_rows_are_compared_by_what_all_predictions_reach_over_and_nothing_else_does(
    share: float, tmp_path: Path
) -> None:
    """Another processor may answer with the next number of single precision. One row has no finite answer."""
    from onnx import TensorProto, helper

    shape = [None, 1]
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "unit"], ["variable"]),
            helper.make_node("Mul", ["x", "share"], ["further"]),
        ],
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("variable", "further")],
        [
            helper.make_tensor("unit", TensorProto.FLOAT, [1], [1e-3]),
            helper.make_tensor("share", TensorProto.FLOAT, [1], [share * 1e-3]),
        ],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    rows = np.ones((64, 1), np.float32)
    rows[1:3, 0] = 300.0, np.inf  # neither of which is a golden row
    bundle.save(model, rows, np.ones(64), tmp_path, task="regression")
    golden = json.loads((tmp_path / contract.GOLDEN).read_bytes())
    assert golden["inputs"][0]["data"] == [1.0] * 8
    assert golden["tolerance"] == pytest.approx(1e-4 * 0.299)


def test_a_regression_freezes_where_its_predictions_usually_lie(matrix, frame_bundle, tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    rows, _ = matrix
    model = LinearRegression().fit(rows, rows[:, 0])
    outlier = np.vstack([rows, rows[:1] * 1e6])
    bundle.save(model, outlier, outlier[:, 0], tmp_path)
    known = load(str(tmp_path)).reference
    assert known.prediction.usual is not None
    low, high = known.prediction.usual
    told = model.predict(rows)
    assert low == pytest.approx(told.min(), rel=1e-3)
    assert told.max() < high < 10 * told.max()
    assert max(abs(known.prediction.low), known.prediction.high) > 1e3
    document = json.loads((tmp_path / "reference.json").read_text())
    assert reference.document(known)["prediction"] == document["prediction"]
    for wrong in ([1.0], [2.0, 1.0], "ab", [0.0, float("inf")]):
        with pytest.raises(NoriaError, match="malformed"):
            reference.parse(document | {"prediction": document["prediction"] | {"usual": wrong}})
    assert "usual" not in json.loads((frame_bundle.path / "reference.json").read_text())["prediction"]


def test_a_regression_knows_its_errors_by_prediction(matrix, tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    X, y = matrix
    truth = X[:, 0] * 2.0 + 1.0 + np.where(np.arange(len(y)) % 2, 1.0, -1.0)
    model = LinearRegression().fit(X, truth)
    bundle.save(model, X, truth, tmp_path / "training")
    known = load(str(tmp_path / "training")).reference.residuals
    assert known is not None
    assert (known.of, sum(known.rows)) == ("training", len(y))
    assert sum(known.absolute) == pytest.approx(float(np.abs(model.predict(X) - truth).sum()), rel=1e-3)
    bundle.save(model, X, truth, tmp_path / "held", holdout=X[:50], holdout_y=truth[:50] + 3)
    held = load(str(tmp_path / "held")).reference.residuals
    assert held is not None
    assert (held.of, sum(held.rows)) == ("heldOut", 50)
    errors = model.predict(X[:50]) - truth[:50] - 3
    assert sum(held.squared) == pytest.approx(float((errors**2).sum()), rel=1e-3)
    with pytest.raises(NoriaError, match="give both"):
        bundle.save(model, X, truth, tmp_path / "none", holdout_y=truth)
    with pytest.raises(NoriaError, match="a label in holdout_y each"):
        bundle.save(model, X, truth, tmp_path / "few", holdout=X[:50], holdout_y=truth[:49])


def calibration_of(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Negatives and positives of the bundle, by bin of the score."""
    known = load(str(path)).reference.calibration
    assert known is not None
    return np.array(known.negatives), np.array(known.positives)


def test_a_classifier_knows_labels_of_held_out_rows_by_score(matrix, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    X, y = matrix
    model = LogisticRegression().fit(X, y)
    truth = y[:80].astype(object)
    truth[:3] = None, float("nan"), ""
    bundle.save(model, X, y, tmp_path / "b", holdout=X[:80], holdout_y=truth)
    negatives, positives = calibration_of(tmp_path / "b")
    assert (len(negatives), negatives.sum(), positives.sum()) == (128, sum(1 - y[3:80]), sum(y[3:80]))
    places = (model.predict_proba(X[3:80])[:, 1] * 128).astype(int)
    assert (negatives + positives).tolist() == np.bincount(places, minlength=128).tolist()
    bundle.save(model, X, y, tmp_path / "empty", holdout=X[:80], holdout_y=[None] * 80)
    assert calibration_of(tmp_path / "empty")[0].sum() == 0
    bundle.save(model, X, y, tmp_path / "none", holdout=X[:80])
    assert load(str(tmp_path / "none")).reference.calibration is None
    told = json.loads((tmp_path / "none" / contract.REFERENCE).read_bytes())
    assert "calibration" not in told, "as an earlier release wrote it"


def test_of_several_classes_it_knows_how_often_the_predicted_one_was_right(matrix, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    X, _ = matrix
    y = np.array(["cat", "dog", "eel"])[np.digitize(X[:, 0], [-0.5, 0.7])]
    model = LogisticRegression().fit(X, y)
    truth = y.copy()
    truth[:10] = "fox"  # which the model does not know, and so is wrong about
    bundle.save(model, X, y, tmp_path, holdout=X, holdout_y=truth)
    negatives, positives = calibration_of(tmp_path)
    assert positives.sum() == (model.predict(X) == truth).sum()
    assert negatives.sum() == len(X) - positives.sum()
    assert not (negatives + positives)[:42].any(), "none of three is the likeliest below a third"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["yes", "no"] * 40, "holdout_y: 'no' is not one of the model's classes .0, 1."),
        ([0, 2] * 40, "holdout_y: '2' is not one"),
        ([[0, 1]] * 80, "one label a row"),
        ([0] * 79, "a label in holdout_y each"),
    ],
)
def test_labels_that_are_none_of_the_models_are_refused(
    labels: list[Any], message: str, matrix, tmp_path: Path
) -> None:
    from sklearn.linear_model import LogisticRegression

    X, y = matrix
    model = LogisticRegression().fit(X, y)
    with pytest.raises(NoriaError, match=message):
        bundle.save(model, X, y, tmp_path, holdout=X[:80], holdout_y=labels)


def test_a_model_without_probabilities_has_none_to_calibrate(matrix, tmp_path: Path) -> None:
    from sklearn.svm import LinearSVC

    X, y = matrix
    bundle.save(LinearSVC().fit(X, y), X, y, tmp_path, holdout=X, holdout_y=y)
    assert load(str(tmp_path)).reference.calibration is None


def test_what_has_no_onnx_form_is_served_through_skops_with_a_stable_digest(
    matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.ensemble import RandomForestClassifier

    def no_converter(*_: object) -> None:
        raise RuntimeError("no converter")

    monkeypatch.setattr("noria_serving.conversion._to_onnx", no_converter)
    rows, labels = matrix
    saved = [
        bundle.save(
            RandomForestClassifier(3, random_state=1).fit(rows, labels), rows, labels, tmp_path / name
        )
        for name in ("one", "two")
    ]
    assert [item.format for item in saved] == ["skops", "skops"]
    assert saved[0].digest == saved[1].digest
    assert load(str(tmp_path / "one")).manifest.classes == (0, 1)


@pytest.mark.parametrize("converts", [True, False])
def test_a_step_that_writes_into_its_rows_changes_nobody_elses(
    converts: bool, matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not converts:
        monkeypatch.setattr("noria_serving.conversion._as_onnx", lambda *_: "no converter")
    rows, labels = 100 + matrix[0], matrix[1]
    model = make_pipeline(StandardScaler(copy=False), LogisticRegression()).fit(rows.copy(), labels)
    saved = bundle.save(model, rows, labels, tmp_path)
    assert saved.format == ("onnx" if converts else "skops")
    loaded = load(str(tmp_path))
    assert 95 < loaded.reference.features[0].low < 100  # bins of the rows as they came
    row = rows[:1].astype(np.float32 if converts else np.float64)
    loaded.backend.predict({"input-0": row})
    assert 95 < row[0, 0] < 105  # which is counted, and logged, after the answer


def test_a_conversion_without_parity_is_not_used(
    matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.linear_model import LogisticRegression

    differences = iter([2e-4, 2e-4, 0.0])
    monkeypatch.setattr("noria_serving.conversion.difference", lambda *_: next(differences))
    rows, labels = matrix
    assert bundle.save(LogisticRegression().fit(rows, labels), rows, labels, tmp_path).format == "skops"


@pytest.mark.parametrize("held_out", [True, False])
def test_a_comparison_on_training_rows_is_said(
    held_out: bool, matrix, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from sklearn.linear_model import LogisticRegression

    rows, labels = matrix
    model = LogisticRegression().fit(rows[:200], labels[:200])
    saved = bundle.save(model, rows[:200], labels[:200], tmp_path, holdout=rows[200:] if held_out else None)
    assert saved.speed.keys() == {"speedup", "microseconds"}
    assert ("compared on rows that it was trained on; give holdout=" in caplog.text) is not held_out


def test_a_model_that_no_form_can_answer_for_is_refused_when_it_is_saved(frame, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    rows, labels = frame
    gaps = rows[["carrier"]].copy()
    gaps.loc[::3, "carrier"] = None
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(gaps, labels)
    with pytest.raises(NoriaError, match="fill gaps"):
        bundle.save(model, gaps, labels, tmp_path)


def test_labels_that_are_words_or_truth_values_stay_what_they_are(matrix, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    rows, labels = matrix
    for name, named in (("words", np.where(labels == 1, "late", "early")), ("truth", labels == 1)):
        saved = bundle.save(LogisticRegression().fit(rows, named), rows, named, tmp_path / name)
        assert saved.format == "onnx"
        classes = load(str(saved.path)).manifest.classes
        assert classes == (("early", "late") if name == "words" else (False, True))


def test_an_onnx_model_that_takes_any_number_of_columns_is_saved_with_that_of_its_rows(
    matrix, matrix_bundle, tmp_path: Path
) -> None:
    model = onnx.load(matrix_bundle.path / "model.onnx")
    width = model.graph.input[0].type.tensor_type.shape.dim[1]
    assert width.dim_value == 3
    width.Clear()
    width.dim_param = "M"
    rows, labels = matrix
    saved = bundle.save(model, rows, labels, tmp_path / "b", task="binary")
    assert saved.signature["inputs"][0]["shape"] == [-1, 3]
    assert load(str(saved.path)).backend.signature.inputs[0].shape == (-1, 3)


def test_an_onnx_model_from_elsewhere_keeps_its_names(matrix, matrix_bundle, tmp_path: Path) -> None:
    rows, labels = matrix
    source = matrix_bundle.path / "model.onnx"
    saved = bundle.save(source, rows, labels, tmp_path, task="binary")
    assert saved.signature["inputs"][0]["name"] == "input_0"
    with pytest.raises(NoriaError, match="task="):
        bundle.save(source.read_bytes(), rows, labels, tmp_path / "b")


def test_an_onnx_model_with_an_output_that_has_no_value_a_row_is_refused(
    matrix, matrix_bundle, tmp_path: Path
) -> None:
    """Of which V1 has nothing to answer with for each row, nor the payload log to write."""
    from onnx import TensorProto, helper

    model = onnx.load(matrix_bundle.path / "model.onnx")
    model.graph.node.append(helper.make_node("ReduceMean", ["probabilities"], ["mean"], keepdims=1))
    model.graph.output.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 1]))
    with pytest.raises(NoriaError, match=r"output 'mean' of shape .1, 1. has not a value") as caught:
        bundle.save(model, *matrix, tmp_path / "b", task="binary")
    assert caught.value.reason is Reason.MODEL_INVALID


def test_a_regression_whose_first_output_is_one_number_of_all_rows_is_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    mean = helper.make_node("ReduceMean", ["rows"], ["mean"], keepdims=0)
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph(
        [mean], "mean", [rows], [helper.make_tensor_value_info("mean", TensorProto.FLOAT, [])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(NoriaError, match=r"output 'mean' of shape .. has not a value for each") as caught:
        bundle.save(model, np.ones((9, 2)), np.ones(9), tmp_path, task="regression")
    assert caught.value.reason is Reason.MODEL_INVALID


def test_an_onnx_model_of_so_many_rows_is_refused_by_that_reason(
    matrix, matrix_bundle, tmp_path: Path
) -> None:
    """As exporters make it of the rows that they are shown, unless told."""
    model = onnx.load(matrix_bundle.path / "model.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = len(matrix[0])
    with pytest.raises(NoriaError, match="no other number of rows") as caught:
        bundle.save(model, *matrix, tmp_path / "b", task="binary")
    assert caught.value.reason is Reason.MODEL_INVALID


def test_golden_answers_may_hold_nothing_where_a_model_finds_nothing() -> None:
    """Rows of a request may not: theirs cost nothing to claim."""

    class Finds:
        signature = Signature((Tensor("x", "FP32", (-1,)),), (Tensor("found", "INT64", (-1, -1)),))

        def predict(self, inputs: Mapping[str, Any]) -> list[Any]:
            return [np.zeros((len(inputs["x"]), 0), np.int64)]

    found = {"name": "found", "shape": [2, 0], "datatype": "INT64", "data": []}
    rows = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]}
    assert check_golden(Finds(), {"inputs": [rows], "outputs": [found], "tolerance": 0.0})[1] == 2


def test_an_onnx_model_whose_columns_have_one_dimension_is_saved_and_reads_files(tmp_path: Path) -> None:
    from onnx import TensorProto, helper
    from pandas import DataFrame

    def column(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"])

    total = helper.make_node("Add", ["a", "b"], ["total"])
    graph = helper.make_graph([total], "sum", [column("a"), column("b")], [column("total")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    table = DataFrame({"b": np.arange(10.0), "a": np.arange(10.0) ** 2})
    saved = bundle.save(model, table, table.a + table.b, tmp_path / "b", task="regression")
    assert [tensor["shape"] for tensor in saved.signature["inputs"]] == [[-1], [-1]]
    table.to_csv(tmp_path / "rows.csv", index=False)
    backend = load(str(saved.path)).backend
    (given,) = backend.predict(rows.read(str(tmp_path / "rows.csv")).inputs(backend.signature, 2, 5))
    assert given.tolist() == [6, 12, 20]


def test_publish_writes_a_result_that_fits(
    matrix_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "result"
    monkeypatch.setenv(contract.ENV_RESULT, str(target))
    uri = matrix_bundle.publish(data=[{"name": "train", "digest": "sha256:0", "rows": 240}], git="abc")
    document = json.loads(target.read_bytes())
    assert document["artifact"] == {"uri": uri, "digest": matrix_bundle.digest, "format": "onnx"}
    assert document["metrics"] == {"auc": "0.9"}
    assert document["reference"]["features"] == 3


def test_a_signature_too_large_for_the_result_is_left_out(matrix_bundle, tmp_path: Path, monkeypatch) -> None:
    from dataclasses import replace

    target = tmp_path / "result"
    monkeypatch.setenv(contract.ENV_RESULT, str(target))
    wide = {"inputs": [{"name": f"feature_{i}", "datatype": "FP32", "shape": [-1, 1]} for i in range(1000)]}
    replace(matrix_bundle, signature=wide, card="long " * 2000).publish()
    assert len(target.read_bytes()) <= contract.RESULT_LIMIT
    assert "signature" not in json.loads(target.read_bytes())


def test_metrics_too_many_for_the_result_are_its_reason(matrix_bundle, tmp_path: Path, monkeypatch) -> None:
    from dataclasses import replace

    target = tmp_path / "result"
    monkeypatch.setenv(contract.ENV_RESULT, str(target))
    with pytest.raises(NoriaError):
        replace(matrix_bundle, metrics={f"recall_{i}": "0.9" for i in range(500)}).publish()
    assert json.loads(target.read_bytes())["error"]["reason"] == "TooLarge"


def test_a_bundle_saved_elsewhere_is_brought_to_the_runs_output(
    matrix_bundle, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv(contract.ENV_OUTPUT, str(tmp_path / "claim" / "run"))
    monkeypatch.setenv(contract.ENV_OUTPUT_URI, "pvc://claim/run")
    assert matrix_bundle.publish() == "pvc://claim/run"
    assert load(str(tmp_path / "claim" / "run"), digest=matrix_bundle.digest).manifest.task == "binary"


def test_an_output_in_a_store_is_uploaded_manifest_last(
    matrix_bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from obstore.store import MemoryStore

    from noria_serving.artifact import Artifact
    from noria_serving.objects import ObjectSource, upload

    store, order = MemoryStore(), []
    monkeypatch.setenv(contract.ENV_OUTPUT_URI, "s3://bucket/run")
    monkeypatch.setattr(bundle, "open_store", lambda uri: store)
    monkeypatch.setattr(bundle, "upload", lambda s, name, path: (order.append(name), upload(s, name, path)))
    assert matrix_bundle.publish() == "s3://bucket/run"
    assert order[-1] == contract.MANIFEST
    assert Artifact(ObjectSource(store), digest=matrix_bundle.digest).verify() > 0


def test_a_store_that_refuses_the_upload_leaves_the_reason_as_the_result(
    matrix_bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:

    class Refusing:
        def put(self, name: str, path: Path) -> None:
            raise PermissionError("status code: 403 Forbidden: <Error><Code>AccessDenied</Code></Error>")

    monkeypatch.setenv(contract.ENV_OUTPUT_URI, "s3://bucket/run")
    monkeypatch.setenv(contract.ENV_RESULT, str(tmp_path / "result"))
    monkeypatch.setattr(bundle, "open_store", lambda uri: Refusing())
    with pytest.raises(NoriaError):
        matrix_bundle.publish()
    said = json.loads((tmp_path / "result").read_text())["error"]
    assert said["reason"] == "StorageUnavailable"
    assert "credentials" in said["message"]


def test_the_uri_of_a_mounted_claim_is_its_pvc_address(matrix_bundle) -> None:
    from dataclasses import replace

    assert (
        replace(matrix_bundle, path=Path("/noria/volumes/models/m/run-1")).publish() == "pvc://models/m/run-1"
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"metrics": {"auc": float("nan")}}, Reason.METRIC_UNDEFINED), ({"y": [0]}, Reason.DATA_INVALID)],
)
def test_what_cannot_be_saved_is_refused_with_a_reason(
    matrix, matrix_bundle, tmp_path, changes, reason
) -> None:
    rows, labels = matrix
    arguments = {"X": rows, "y": labels, "path": tmp_path / "b", "task": "binary", **changes}
    with pytest.raises(NoriaError) as caught:
        bundle.save(matrix_bundle.path / "model.onnx", **arguments)
    assert caught.value.reason is reason


def test_a_directory_with_other_files_is_left_alone(matrix, matrix_bundle, tmp_path: Path) -> None:
    rows, labels = matrix
    (tmp_path / "thesis.doc").write_text("precious")
    with pytest.raises(NoriaError, match="in the way"):
        bundle.save(matrix_bundle.path / "model.onnx", rows, labels, tmp_path, task="binary")
    assert (tmp_path / "thesis.doc").read_text() == "precious"


def test_the_example_in_the_docs_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert example is not None
    assert len(example[1].strip().splitlines()) <= 10
    monkeypatch.setenv(contract.ENV_OUTPUT, str(tmp_path / "out"))
    monkeypatch.setenv(contract.ENV_RESULT, str(tmp_path / "result"))
    exec(compile(example[1], "docs/bundle.md", "exec"), {})
    digest = json.loads((tmp_path / "result").read_bytes())["artifact"]["digest"]
    assert load(str(tmp_path / "out"), digest=digest).manifest.task == "binary"


def test_without_a_converter_the_model_is_kept_as_it_is_and_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    rows = np.arange(20.0).reshape(10, 2)
    model = LogisticRegression().fit(rows, [0, 1] * 5)
    made = bundle.save(model, rows, [0, 1] * 5, tmp_path / "kept", name="m")
    assert made.format == "skops"
    assert caplog.text.count("pip install 'noria-ml[train]'") == 1


@pytest.mark.processes
def test_importing_the_library_loads_neither_a_runtime_nor_scikit_learn() -> None:
    heavy = ("onnxruntime", "sklearn", "skl2onnx", "scipy", "uvicorn", "orjson")
    code = f"import sys, noria_serving.bundle; print([m for m in {heavy} if m in sys.modules])"
    serving = str(Path(bundle.__file__).parents[1])
    output = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": serving}, capture_output=True, check=True
    )
    assert output.stdout == b"[]\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.8712345678, "0.871235"),
        (123.0, "123"),
        (3.4567891e-6, "0.00000345679"),
        (-4.9e-7, "-0.00000049"),
        (1e-20, "0"),
    ],
)
def test_a_metric_keeps_six_significant_digits_however_small(value: float, text: str) -> None:
    assert bundle.decimal(value) == text
