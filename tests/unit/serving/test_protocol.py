import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_serving.contract import Why
from noria_serving.protocol import v1
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.tensors import decode_tensor, encode_tensor
from noria_serving.protocol.v2 import decode, render
from noria_serving.signature import DATATYPES, Signature, Tensor

MATRIX = Signature(
    (Tensor("x", "FP32", (-1, 2)),), (Tensor("label", "INT64", (-1,)), Tensor("p", "FP32", (-1, 2)))
)
COLUMNS = Signature(
    (Tensor("a", "FP64", (-1, 1)), Tensor("n", "INT64", (-1, 1)), Tensor("s", "BYTES", (-1, 1))),
    (Tensor("y", "FP64", (-1,)),),
)


def matrix(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4.5], **changes}]}


def body(document: object) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize("data", [[1, 2, 3, 4.5], [[1, 2], [3, 4.5]]])
def test_flat_and_nested_data_are_the_same_rows(data: list[Any]) -> None:
    request = decode(body(matrix(data=data)), MATRIX)
    assert request.inputs["x"].tolist() == [[1, 2], [3, 4.5]]
    assert request.inputs["x"].dtype == np.float32
    assert (request.rows, request.outputs, request.id) == (2, (0, 1), None)


def test_columns_come_with_or_without_their_trailing_dimension() -> None:
    inputs = [
        {"name": "s", "shape": [2], "datatype": "BYTES", "data": ["u", None]},
        {"name": "a", "shape": [2, 1], "datatype": "FP32", "data": [[0.5], [None]]},
        {"name": "n", "shape": [2], "datatype": "INT32", "data": [7, -1]},
    ]
    request = decode(body({"id": "q", "inputs": inputs, "outputs": [{"name": "y"}]}), COLUMNS)
    assert request.inputs["s"].tolist() == [["u"], [""]]
    assert request.inputs["n"].dtype == np.int64
    assert np.isnan(request.inputs["a"][1, 0])
    assert request.id == "q"


@pytest.mark.parametrize("datatype", sorted(set(DATATYPES) - {"FP16"}))
def test_every_datatype_that_has_a_json_form_survives_the_round_trip(datatype: str) -> None:
    samples: dict[str, list[Any]] = {"BOOL": [True, False], "BYTES": ["a", "ü"]}
    data = samples.get(datatype, [1, 2])
    tensor = Tensor("t", datatype, (-1,))
    array = decode_tensor({"name": "t", "shape": [2], "datatype": datatype, "data": data}, tensor)
    assert json.loads(render(encode_tensor(tensor, array)))["data"] == data


BAD = {
    "not JSON": (b"{", "valid JSON"),
    "NaN": (b'{"inputs": [NaN]}', "JSON has no NaN: write null"),
    "infinity": (b'{"inputs": [-Infinity]}', "JSON has no Infinity"),
    "no object": (b"[]", "object"),
    "no inputs": (b"{}", "`inputs` must be a list with the tensors ['x']; it is missing"),
    "empty inputs": (b'{"inputs": []}', "it is empty"),
    "inputs are an object": (b'{"inputs": {}}', "it is an object"),
    "input is no object": (b'{"inputs": [3]}', "each input must be an object with its `name`, not 3"),
    "input is its name": (b'{"inputs": ["x"]}', "not \"x\"; the model takes ['x']"),
    "input without name": (b'{"inputs": [{}]}', "not null; the model takes ['x']"),
    "unknown input": (body({"inputs": [{"name": "z"}]}), "the model takes ['x']"),
    "given twice": (body({"inputs": matrix()["inputs"] * 2}), "twice"),
    "unknown datatype": (body(matrix(datatype="FP31")), "unknown datatype"),
    "wrong datatype": (body(matrix(datatype="BYTES")), "must be FP32"),
    "half precision": (body(matrix(datatype="FP16")), "FP16"),
    "no shape": (body(matrix(shape=None)), "that fits [-1, 2], not null"),
    "negative shape": (body(matrix(shape=[-1, 2])), "that fits [-1, 2], not [-1,2]"),
    "boolean shape": (body(matrix(shape=[True, 2])), "not [true,2]"),
    "endless shape": (body(matrix(shape=[1.5] * 99)), "not [1.5,1.5,1.5,1.5,1.5,1.5,1.5,1.5,…]"),
    "nested shape": (body(matrix(shape=[[1], [2]])), "not a list of 2 that are not numbers"),
    "shape is text": (body(matrix(shape="x" * 99)), "xxx…"),
    "huge shape": (body(matrix(shape=[2**31 - 1, 2])), "elements"),
    "overflowing shape": (body(matrix(shape=[2**62, 2**62])), "shape"),
    "wrong width": (body(matrix(shape=[4, 1])), "shape must be [-1, 2]"),
    "wrong rank": (body(matrix(shape=[4])), "shape must be [-1, 2]"),
    "no rows": (body(matrix(shape=[0, 2], data=[])), "no rows"),
    "too few elements": (body(matrix(data=[1])), "4 elements"),
    "no data": (b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32"}]}', "no `data`"),
    "data is text": (body(matrix(data="1234")), "must be a list"),
    "text in numbers": (body(matrix(data=[1, 2, "3", 4])), 'a string, "3", at [1, 0]'),
    "truth in numbers": (body(matrix(data=[1, 2, True, 4])), "a boolean, true, at [1, 0]"),
    "object in numbers": (body(matrix(data=[1, 2, {}, 4])), "holds an object at [1, 0]"),
    "ragged": (
        body(matrix(data=[[1, 2], [3]])),
        "ragged: shape says [2, 2], a list of 1 stands beside a list of 2",
    ),
    "mixed nesting": (body(matrix(data=[[1, 2], 3])), "the number 3 stands beside a list of 2"),
    "nested too deep": (body(matrix(data=[[[[[1, 2, 3, 4]]]]])), "nested deeper than that"),
    "nested otherwise": (body(matrix(data=[[1], [2], [3], [4]])), "nested"),
    "beyond FP32": (
        body(matrix(data=[1e39, 0, 0, 0])),
        "'x' holds 1e+39, which is outside the range of FP32",
    ),
    "deep nesting": (b'{"inputs":' + b"[" * 5000 + b"]" * 5000 + b"}", "JSON"),
    "id is a number": (body({"id": 3, **matrix()}), "`id`"),
    "parameters is a list": (body({"parameters": [], **matrix()}), "`parameters` must be an object, not []"),
    "outputs is an object": (body({"outputs": {}, **matrix()}), "`outputs` must be a list"),
    "output is text": (body({"outputs": ["p"], **matrix()}), "not \"p\"; the model gives ['label', 'p']"),
    "output without name": (body({"outputs": [{}], **matrix()}), "not null; the model gives ['label', 'p']"),
    "unknown output": (body({"outputs": [{"name": "z"}], **matrix()}), "unknown output"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_a_sentence_that_says_what_is_wrong(case: str) -> None:
    content, says = BAD[case]
    with pytest.raises(RequestError) as caught:
        decode(content, MATRIX)
    assert caught.value.status == 400
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("case", "why"),
    [
        *((case, Why.FORM) for case in ("not JSON", "no inputs", "no data", "unknown output")),
        *((case, Why.INPUTS) for case in ("unknown input", "given twice")),
        ("wrong datatype", Why.DATATYPE),
        *((case, Why.SHAPE) for case in ("no shape", "wrong width", "no rows", "ragged")),
        *((case, Why.VALUE) for case in ("text in numbers", "beyond FP32")),
    ],
)
def test_bad_input_is_counted_by_what_is_wrong_whatever_a_client_sent(case: str, why: Why) -> None:
    with pytest.raises(RequestError) as caught:
        decode(BAD[case][0], MATRIX)
    assert caught.value.why is why


def test_inputs_that_are_missing_are_counted_as_that_and_a_full_line_as_nobodys_fault() -> None:
    with pytest.raises(RequestError) as caught:
        decode(body({"inputs": [{"name": "n", "shape": [1], "datatype": "INT64", "data": [1]}]}), COLUMNS)
    assert caught.value.why is Why.INPUTS
    with pytest.raises(RequestError) as caught:
        v1.decode(b'{"instances": [{"n": 1}]}', COLUMNS)
    assert caught.value.why is Why.INPUTS
    assert RequestError("too many", status=429).why is Why.UNANSWERED


@pytest.mark.parametrize(
    "changes", [{"shape": [1] * 300_000}, {"data": [[1]] * 300_000 + [[1, 2]]}], ids=["shape", "ragged"]
)
def test_a_large_mistake_is_told_without_a_word_for_each_of_its_parts(changes: dict[str, Any]) -> None:
    entry = matrix(**changes)["inputs"][0]
    tracemalloc.start()
    try:
        with pytest.raises(RequestError):
            decode_tensor(entry, MATRIX.inputs[0])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("shape", [[2**31 - 1, 0], [1, 0]])
def test_rows_without_an_element_are_refused_however_many_are_claimed(shape: list[int]) -> None:
    """A model that takes rows of any size would be asked for as many answers."""
    anything = Signature((Tensor("x", "FP32", (-1, -1)),), MATRIX.outputs)
    with pytest.raises(RequestError, match="'x' has no elements"):
        decode(body(matrix(shape=shape, data=[])), anything)


@pytest.mark.parametrize("instances", [[[]], [[], []]])
def test_rows_without_an_element_are_refused_over_v1(instances: list[Any]) -> None:
    anything = Signature((Tensor("x", "FP32", (-1, -1)),), MATRIX.outputs)
    with pytest.raises(RequestError, match="'x' has no elements"):
        v1.decode(json.dumps({"instances": instances}).encode(), anything)


def test_rows_of_all_inputs_must_agree() -> None:
    inputs = [
        {"name": "a", "shape": [1], "datatype": "FP64", "data": [1]},
        {"name": "n", "shape": [2], "datatype": "INT64", "data": [1, 2]},
        {"name": "s", "shape": [1], "datatype": "BYTES", "data": ["x"]},
    ]
    with pytest.raises(RequestError, match="same number of rows"):
        decode(body({"inputs": inputs}), COLUMNS)


def test_an_answer_with_words_that_are_no_unicode_is_one_all_the_same() -> None:
    """As over gRPC: such as the name of a file, which a class of the user's gives as its label."""
    tensor = encode_tensor(Tensor("label", "BYTES", (-1,)), np.array(["caf\udce9", "thé"], object))
    score = encode_tensor(Tensor("p", "FP64", (-1,)), np.array([0.5, 0.25]))
    said = json.loads(render({"outputs": [tensor, score]}))["outputs"]
    assert [one["data"] for one in said] == [["caf?", "thé"], [0.5, 0.25]]


def test_a_whole_number_out_of_range_is_refused() -> None:
    tensor = Tensor("n", "INT8", (-1,))
    for datatype, value in (("INT8", 300), ("INT64", 300)):
        with pytest.raises(RequestError, match="'n' holds 300, which is outside the range of INT8"):
            decode_tensor({"name": "n", "shape": [1], "datatype": datatype, "data": [value]}, tensor)


@pytest.mark.parametrize("datatype", ["INT8", "INT64", "FP32", "FP64"])
def test_a_whole_number_may_have_a_point(datatype: str) -> None:
    """As every number has that comes out of a table in which some are floats."""
    tensor = Tensor("n", "INT8", (-1,))
    sent = {"name": "n", "shape": [3], "datatype": datatype}
    array = decode_tensor({**sent, "data": [3.0, -7, -0.0]}, tensor)
    assert (array.tolist(), array.dtype) == ([3, -7, 0], np.int8)
    large = decode_tensor({**sent, "data": np.array([3.0, -7.0, 0.0])}, tensor)
    assert (large.tolist(), large.dtype) == ([3, -7, 0], np.int8)
    said = r"3\.5, at \[1\]" if "INT" in datatype else r"'n' holds 3\.5, which is no whole number"
    with pytest.raises(RequestError, match=said):
        decode_tensor({**sent, "data": [3, 3.5, 1]}, tensor)
    with pytest.raises(RequestError, match=r"holds 300(\.0)?, which is outside the range of INT8"):
        decode_tensor({**sent, "data": [3, 300.0, 1]}, tensor)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_a_column_has_one_dimension_or_two(shape: tuple[int, ...]) -> None:
    tensor = Tensor("n", "INT64", shape)
    for stated, data in (([2], [1, 2]), ([2, 1], [1, 2]), ([2, 1], [[1], [2]])):
        array = decode_tensor({"name": "n", "shape": stated, "datatype": "INT64", "data": data}, tensor)
        assert (array.shape, array.reshape(-1).tolist()) == ((2, *shape[1:]), [1, 2])
    for stated in ([1, 2], [2, 1, 1], []):
        with pytest.raises(RequestError, match="shape must be"):
            decode_tensor({"name": "n", "shape": stated, "datatype": "INT64", "data": [1, 2]}, tensor)


def test_what_is_no_number_is_no_whole_one() -> None:
    with pytest.raises(RequestError, match="'n' holds nan, which is no whole number"):
        decode_tensor(
            {"name": "n", "shape": [1], "datatype": "FP64", "data": [None]}, Tensor("n", "INT64", (-1,))
        )
    for datatype, other in (("BOOL", "INT8"), ("FP32", "BOOL"), ("BYTES", "INT64"), ("INT8", "BYTES")):
        with pytest.raises(RequestError, match=f"'n' must be {other}, not {datatype}"):
            decode_tensor(
                {"name": "n", "shape": [1], "datatype": datatype, "data": [1]}, Tensor("n", other, (-1,))
            )


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(shape=JSON, data=JSON, datatype=st.sampled_from(sorted(DATATYPES)) | JSON, extra=JSON)
def test_whatever_comes_is_arrays_or_a_refusal(shape: Any, data: Any, datatype: Any, extra: Any) -> None:
    document = matrix(shape=shape, data=data, datatype=datatype)
    document["outputs"] = extra
    try:
        request = decode(body(document), MATRIX)
    except RequestError:
        return
    assert request.inputs["x"].shape == (request.rows, 2)
