"""What a classifier that is handed over must answer to be counted: a probability of each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from noria_serving import bundle
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.loaded import load

ROWS = np.random.default_rng(3).normal(size=(60, 3))
TWO, THREE = np.arange(60) % 2, np.arange(60) % 3


def network(width: int, last: str, *, beside: bool = False, open_width: bool = False) -> onnx.ModelProto:
    """Of so many numbers a row, with this step at its end; `beside`: its rows are its last output;
    `open_width`: it does not say how many numbers these are.
    """
    weights = np.random.default_rng(5).normal(size=(3, width)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["rows", "weights"], ["margins"])]
    nodes.append(helper.make_node(last, ["margins"], ["scores"]))
    told = ["N", "C" if open_width else width]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, told)]
    if beside:
        nodes.append(helper.make_node("Identity", ["rows"], ["embedding"]))
        outputs.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 3]))
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(nodes, "net", [rows], outputs, [numpy_helper.from_array(weights, "weights")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_how_many_probabilities_there_are_is_read_from_the_answer_where_the_model_leaves_it_open(
    tmp_path: Path,
) -> None:
    """Scores of several classes are counted by class where it is known of how many they are."""
    bundle.save(network(3, "Softmax", open_width=True), ROWS, THREE, tmp_path, task="multiclass")
    found = load(str(tmp_path))
    assert found.backend.signature.outputs[0].shape == (-1, 3)
    assert found.scoring.calls


@pytest.mark.parametrize(
    ("model", "labels"),
    [
        (network(1, "Sigmoid"), TWO),
        (network(2, "Softmax"), TWO),
        (network(3, "Softmax"), THREE),
        (network(3, "Sigmoid"), THREE),
    ],
)
def test_probabilities_of_each_class_are_taken_also_where_they_do_not_sum_to_one(
    model: onnx.ModelProto, labels: np.ndarray, tmp_path: Path
) -> None:
    task = "binary" if labels is TWO else "multiclass"
    assert bundle.save(model, ROWS, labels, tmp_path, task=task).format == "onnx"


@pytest.mark.parametrize(
    ("model", "labels", "words"),
    [
        (network(1, "Identity"), TWO, "'scores' holds .*, which is no probability.*Sigmoid"),
        (network(2, "Identity"), TWO, "'scores' holds .*Softmax"),
        (network(3, "Identity"), THREE, "'scores' holds .*Softmax"),
        (network(3, "Softmax"), 2 * TWO, r"3 numbers a row, and there are 2 classes, \[0, 2\].*each class"),
        (network(2, "Softmax"), THREE, r"2 numbers a row, and there are 3 classes"),
        (network(2, "Softmax", beside=True), TWO, "'embedding' has 3 numbers.*output `probabilities`"),
        (network(3, "Softmax", beside=True), THREE, "'embedding' holds .*output `probabilities`"),
    ],
)
def test_an_onnx_model_of_other_numbers_is_refused_with_what_to_do(
    model: onnx.ModelProto, labels: np.ndarray, words: str, tmp_path: Path
) -> None:
    with pytest.raises(NoriaError, match=words) as caught:
        bundle.save(model, ROWS, labels, tmp_path, task="binary" if labels is TWO else "multiclass")
    assert caught.value.reason is Reason.MODEL_INVALID
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("labels", [0 * TWO, THREE])
def test_a_binary_model_has_two_classes(labels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(NoriaError, match="task='binary' is of two classes, and there are") as caught:
        bundle.save(network(1, "Sigmoid"), ROWS, labels, tmp_path, task="binary")
    assert caught.value.reason is Reason.DATA_INVALID
