"""ONNX models that name other files are refused, however they are written; those that do not are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from noria_serving.errors import NoriaError, Reason
from noria_serving.model.external import PARTS, has_external
from noria_serving.model.onnx import open_session

SECRET = b"16 secret bytes!"


def field(number: int, content: bytes) -> bytes:
    """A field of protobuf, of less than 128 bytes."""
    return bytes((number << 3 | 2, len(content))) + content


def written(entry: bytes, *, tag: bytes = b"\x6a") -> bytes:
    """A model that adds a tensor; `entry`: a key and value of where it is, which stands behind `tag`."""
    tensor = b"\x08\x10\x10\x02\x70\x01" + field(8, b"w") + tag + bytes([len(entry)]) + entry
    node = field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"Add")

    def told(name: bytes) -> bytes:
        return field(1, name) + field(2, field(1, b"\x08\x02" + field(2, field(1, b"\x08\x10"))))

    graph = field(1, node) + field(2, b"g") + field(5, tensor) + field(11, told(b"x")) + field(12, told(b"y"))
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x12")


KEY, VALUE = field(1, b"location"), field(2, b"s")
SPELLINGS = {
    "as usual": written(KEY + VALUE),
    "value first": written(VALUE + KEY),
    "a longer length": written(b"\x0a\x88\x00location" + VALUE),
    "a longer tag": written(b"\x8a\x00\x08location" + VALUE),
    "another key before": written(field(1, b"x") + KEY + VALUE),
    "the list by a longer tag": written(VALUE + KEY, tag=b"\xea\x00"),
    "the list by a tag of 33 bits": written(VALUE + KEY, tag=b"\xea\x80\x80\x80\x10"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_file_is_not_read_however_it_is_named(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime reads files beside a model, and below the server's own directory for one in memory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s").write_bytes(SECRET)
    (tmp_path / "model.onnx").write_bytes(SPELLINGS[spelling])
    for model in (SPELLINGS[spelling], tmp_path / "model.onnx"):
        with pytest.raises(NoriaError, match="other files") as caught:
            open_session(model)
        assert caught.value.reason is Reason.FORMAT_REFUSED


def elsewhere() -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def attribute(**content: Any) -> onnx.AttributeProto:
    return onnx.AttributeProto(name="value", **content)


def graph(**content: Any) -> onnx.GraphProto:
    return onnx.GraphProto(name="g", **content)


def node(**content: Any) -> onnx.NodeProto:
    return onnx.NodeProto(op_type="Constant", attribute=[attribute(**content)])


SPARSE = onnx.SparseTensorProto(values=elsewhere())
PLACES: dict[str, Callable[[], onnx.ModelProto]] = {
    "an initializer": lambda: onnx.ModelProto(graph=graph(initializer=[elsewhere()])),
    "a sparse one": lambda: onnx.ModelProto(graph=graph(sparse_initializer=[SPARSE])),
    "a constant": lambda: onnx.ModelProto(graph=graph(node=[node(t=elsewhere())])),
    "several": lambda: onnx.ModelProto(graph=graph(node=[node(tensors=[elsewhere()])])),
    "sparse ones": lambda: onnx.ModelProto(graph=graph(node=[node(sparse_tensors=[SPARSE])])),
    "a branch": lambda: onnx.ModelProto(
        graph=graph(node=[node(g=graph(node=[node(graphs=[graph(initializer=[elsewhere()])])]))])
    ),
    "a function": lambda: onnx.ModelProto(
        functions=[onnx.FunctionProto(name="f", node=[node(t=elsewhere())])]
    ),
    "a default": lambda: onnx.ModelProto(
        functions=[onnx.FunctionProto(name="f", attribute_proto=[attribute(t=elsewhere())])]
    ),
    "training": lambda: onnx.ModelProto(
        training_info=[onnx.TrainingInfoProto(algorithm=graph(initializer=[elsewhere()]))]
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_it_is_found_wherever_it_stands(place: str) -> None:
    assert has_external(PLACES[place]().SerializeToString())


def test_no_part_of_a_model_is_left_out() -> None:
    """As onnx itself describes them."""
    parts: dict[str, dict[int, str]] = {}
    ahead: list[Any] = [onnx.ModelProto.DESCRIPTOR]
    while ahead:
        message = ahead.pop()
        if message.name not in parts:
            inner = {one.number: one.message_type for one in message.fields if one.message_type}
            parts[message.name] = {number: one.name for number, one in inner.items()}
            ahead += inner.values()

    def holds(kind: str, seen: tuple[str, ...] = ()) -> bool:
        inner = parts[kind].values()
        return kind == "TensorProto" or any(one not in seen and holds(one, (*seen, kind)) for one in inner)

    assert {
        kind: {number: one for number, one in inner.items() if holds(one)}
        for kind, inner in parts.items()
        if holds(kind)
    } == PARTS


def test_a_column_called_location_is_no_file() -> None:
    column = helper.make_tensor_value_info("location", TensorProto.FLOAT, ["N"])
    total = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    steps = [helper.make_node("Add", ["location", "one"], ["y"])]
    made = helper.make_graph(steps, "g", [column], [total], [one])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    (given,) = open_session(model.SerializeToString()).run(None, {"location": np.ones(2, np.float32)})
    assert given.tolist() == [2, 2]


@pytest.mark.parametrize(
    "model",
    [
        b"\x08\x08" + field(7, b"\x0a\x7flocation"),
        b"\x08\x08" + field(7, b"location"),
        b"\x08\x08\x3b location group",
        b"\x08\x08\x3a\xff\xff\xff\xff\xff\xff location",
        b"\x08\x01\0\0ORTM" + b"\0" * 100,
    ],
    ids=["too long", "too short", "a group", "a number without an end", "ONNX Runtime's own format"],
)
def test_what_is_no_onnx_is_refused(model: bytes) -> None:
    with pytest.raises(NoriaError, match="not ONNX") as caught:
        open_session(model)
    assert caught.value.reason is Reason.FORMAT_REFUSED


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_are_answered_with_yes_or_no(begin: bytes, end: bytes) -> None:
    for model in (begin + b"location" + end, b"\x3a" + bytes([len(begin) + 8]) + begin + b"location" + end):
        with suppress(ValueError):
            has_external(model)


@pytest.mark.parametrize("spelling", [name for name in SPELLINGS if "33 bits" not in name])
def test_what_is_written_by_hand_above_is_a_model(spelling: str) -> None:
    """As onnx reads it, whose protobuf takes no tag of 33 bits; ONNX Runtime's does."""
    (tensor,) = onnx.load_from_string(SPELLINGS[spelling]).graph.initializer
    told: Mapping[str, str] = {one.key: one.value for one in tensor.external_data}
    assert told["location"] == "s"
