"""Rows that are handed over with a model: they are such as it takes, or refused by that reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

from noria_serving import bundle, conversion, rows
from noria_serving.errors import NoriaError, Reason
from noria_serving.quality import spelling
from noria_serving.signature import Signature, Tensor

COUNT = 60
LABELS = np.arange(COUNT) % 2


def months(**changes: object) -> pd.DataFrame:
    """A column of numbers and one of whole numbers."""
    table = pd.DataFrame({"distance": np.linspace(0, 9, COUNT) + 5 * LABELS, "month": np.arange(COUNT) % 12})
    return table.assign(**changes)


def refusal(*arguments: object, **options: object) -> str:
    with pytest.raises(NoriaError) as caught:
        bundle.save(*arguments, **options)
    assert caught.value.reason is Reason.DATA_INVALID
    return caught.value.message


def doubled(datatype: int) -> onnx.ModelProto:
    """An ONNX model of one column, `month`."""
    node = helper.make_node("Cast", ["month"], ["number"], to=TensorProto.FLOAT)
    rows = helper.make_tensor_value_info("month", datatype, ["N", 1])
    number = helper.make_tensor_value_info("number", TensorProto.FLOAT, ["N", 1])
    graph = helper.make_graph([node], "month", [rows], [number])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([None, *range(1, COUNT)], "has missing values where the model takes INT64"),
        ([3.5, *range(1, COUNT)], "holds 3.5, which is no INT64"),
        (["May"] * COUNT, "holds text where the model takes INT64"),
    ],
)
def test_held_out_rows_that_the_model_cannot_take_are_refused_by_their_column(
    column: list[object], words: str, tmp_path: Path
) -> None:
    from sklearn.tree import DecisionTreeClassifier

    table = months()
    model = DecisionTreeClassifier(max_depth=2).fit(table, LABELS)
    message = refusal(model, table, LABELS, tmp_path, holdout=months(month=column))
    assert message.startswith(f"holdout: column 'month' {words}")
    assert "astype(float)" in message


@pytest.mark.parametrize(("value", "words"), [(np.nan, "has missing values"), (3.7, "holds 3.7")])
def test_rows_that_an_onnx_model_of_whole_numbers_cannot_take_are_refused(
    value: float, words: str, tmp_path: Path
) -> None:
    table, targets = pd.DataFrame({"month": [1.0, 2.0, value]}), [1.0, 2.0, 3.0]
    message = refusal(doubled(TensorProto.INT64), table, targets, tmp_path, task="regression")
    assert message.startswith(f"X: column 'month' {words}")
    whole = table.fillna(3).round()
    saved = bundle.save(doubled(TensorProto.INT64), whole, targets, tmp_path, task="regression")
    assert saved.signature["inputs"][0]["datatype"] == "INT64"
    message = refusal(
        doubled(TensorProto.INT64), whole, targets, tmp_path / "b",
        task="regression", holdout=table, holdout_y=targets,
    )  # fmt: skip
    assert message.startswith(f"holdout: column 'month' {words}")


def test_whole_numbers_beyond_the_largest_are_not_made_negative() -> None:
    arrays, _ = conversion.table(pd.DataFrame({"id": np.array([1, 2**63 + 9], np.uint64)}))
    wide = Signature((Tensor("id", "UINT64", (-1, 1)),), ())
    assert conversion.cast(arrays, wide)["id"].tolist() == [[1], [2**63 + 9]]
    with pytest.raises(NoriaError, match=r"X: column 'id' holds 9.22337e.18, which is no INT64"):
        conversion.cast(arrays, Signature(conversion.inputs_of(arrays, "FP64"), ()))


@pytest.mark.parametrize("kinds", [[7, 9], [7.0, 9.5], [True, False]])
def test_categories_that_are_no_text_are_refused_with_how_to_make_them_text(
    kinds: list[object], tmp_path: Path
) -> None:
    column = pd.Series(pd.Categorical([*kinds, None, *kinds], kinds))
    with pytest.raises(NoriaError, match="column 'kind' has categories that are no text") as caught:
        conversion.table(pd.DataFrame({"kind": column}))
    assert caught.value.reason is Reason.DATA_INVALID
    assert "X['kind'] = X['kind'].cat.rename_categories(spelling)" in caught.value.message
    named = conversion.table(pd.DataFrame({"kind": column.cat.rename_categories(spelling)}))[0]
    pd.DataFrame({"kind": column.astype(object)}).to_parquet(tmp_path / "rows.parquet")
    shape = Signature(conversion.inputs_of(named, "FP64"), ())
    read = rows.read(str(tmp_path)).inputs(shape, 0, 5)
    assert named["kind"].ravel().tolist() == read["kind"].ravel().tolist()


def test_truth_values_with_gaps_are_numbers_as_whole_numbers_with_gaps_are() -> None:
    table = pd.DataFrame({"late": pd.array([True, None, False], "boolean")})
    (values,) = conversion.table(table)[0].values()
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values.ravel(), [1.0, np.nan, 0.0])
    assert conversion.table(table.dropna())[0]["late"].dtype == bool


def test_the_one_column_of_a_matrix_is_found_in_files_as_the_first_of_several_is(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x0,x1\n1,2\n3,4\n")
    read = rows.read(str(tmp_path))
    for width, given in ((1, [[1], [3]]), (2, [[1, 2], [3, 4]])):
        shape = Signature((Tensor("input-0", "FP32", (-1, width)),), ())
        assert read.inputs(shape, 0, 2)["input-0"].tolist() == given
    with pytest.raises(NoriaError, match=r"columns that the model takes: .'age'"):
        read.inputs(Signature((Tensor("age", "FP32", (-1, 1)),), ()), 0, 2)
    (tmp_path / "rows.csv").write_text("age\n1\n")
    with pytest.raises(NoriaError, match=r"name the column x0 .*x0.* are missing.*, or"):
        rows.read(str(tmp_path)).inputs(Signature((Tensor("input-0", "FP32", (-1, 1)),), ()), 0, 1)


def test_inputs_of_several_numbers_a_row_beside_others_are_refused_by_name(tmp_path: Path) -> None:
    node = helper.make_node("Concat", ["ids", "age"], ["both"], axis=1)
    total = helper.make_node("ReduceSum", ["both"], ["total"], keepdims=1)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])
        for name, width in (("ids", 3), ("age", 1))
    ]
    out = helper.make_tensor_value_info("total", TensorProto.FLOAT, ["N", 1])
    graph = helper.make_graph([node, total], "wide", inputs, [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    table = pd.DataFrame({"ids": [1.0, 2.0], "age": [3.0, 4.0]})
    with pytest.raises(NoriaError, match=r"'ids' takes 3 numbers a row, and X has one.*join") as caught:
        bundle.save(model, table, [1.0, 2.0], tmp_path / "b", task="regression")
    assert caught.value.reason is Reason.MODEL_INVALID
    table.to_csv(tmp_path / "rows.csv", index=False)
    shape = Signature((Tensor("ids", "FP32", (-1, 3)), Tensor("age", "FP32", (-1, 1))), ())
    with pytest.raises(NoriaError, match=r"'ids' of shape .-1, 3. has more than one column") as caught:
        rows.read(str(tmp_path / "rows.csv")).inputs(shape, 0, 2)
    assert caught.value.reason is Reason.DATA_INVALID


@pytest.mark.parametrize(
    ("datatype", "words"),
    [
        (TensorProto.BFLOAT16, r"a tensor\(bfloat16\); taken are BOOL, .*FP64.*Cast"),
        (None, "export tensors only"),
    ],
)
def test_datatypes_that_are_not_taken_are_told(datatype: int | None, words: str, tmp_path: Path) -> None:
    model = doubled(datatype or TensorProto.FLOAT)
    if datatype is None:
        model.graph.node.append(helper.make_node("SequenceConstruct", ["number"], ["several"]))
        kind = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", 1])
        model.graph.output.append(helper.make_value_info("several", helper.make_sequence_type_proto(kind)))
    table = pd.DataFrame({"month": [1.0, 2.0]})
    with pytest.raises(NoriaError, match=words) as caught:
        bundle.save(model, table, [1.0, 2.0], tmp_path, task="regression")
    assert caught.value.reason is Reason.MODEL_INVALID


def test_what_is_no_model_is_told_so(tmp_path: Path) -> None:
    message = refusal({"slope": 2}, months(), LABELS, tmp_path, task="binary")
    assert "a dict has no predict" in message
