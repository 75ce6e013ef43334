"""Messages over gRPC become the same requests as bodies over HTTP, answered in the form asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_serving.protocol import v2_grpc
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import InferAnswer, InferRequest
from noria_serving.protocol.inference_pb2 import InferParameter, ModelInferRequest, ModelInferResponse
from noria_serving.protocol.raw import to_raw
from noria_serving.signature import DATATYPES, Signature, Tensor

MATRIX = Signature(
    (Tensor("input-0", "FP32", (-1, 2)),),
    (Tensor("label", "INT64", (-1,)), Tensor("probabilities", "FP32", (-1, 2))),
)
VALUES = {
    "BOOL": [True, False],
    "BYTES": [b"AA", "Zürich".encode()],
    "FP32": [0.5, -1.25],
    "FP64": [0.1, 1e300],
}


def message(
    tensor: Tensor, *, raw: bytes | None = None, shape: Any = (2, 1), **fields: Any
) -> ModelInferRequest:
    request = ModelInferRequest(model_name="m")
    entry = request.inputs.add(
        name=tensor.name, datatype=fields.pop("datatype", tensor.datatype), shape=shape
    )
    for field, values in fields.items():
        getattr(entry.contents, field).extend(values)
    if raw is not None:
        request.raw_input_contents.append(raw)
    return request


def decode(
    request: ModelInferRequest, signature: Signature = MATRIX, deadline: float | None = None
) -> InferRequest:
    data = request.SerializeToString()
    return v2_grpc.decode(v2_grpc.received(data), signature, deadline=deadline)


def column(datatype: str) -> Signature:
    return Signature((Tensor("x", datatype, (-1, 1)),), MATRIX.outputs)


def refusal(request: ModelInferRequest, signature: Signature = MATRIX) -> str:
    with pytest.raises(RequestError) as refused:
        decode(request, signature)
    assert refused.value.status == 400
    return str(refused.value)


@pytest.mark.parametrize("more", [b"\0\0\0\0", b"\1\0\0\0A", b"\0\0\0\0" * 2, b"\0"])
def test_no_more_texts_are_taken_than_the_shape_needs(more: bytes) -> None:
    signature = column("BYTES")
    text = to_raw(np.array(["UA"], object), "BYTES")
    assert decode(message(signature.inputs[0], raw=text, shape=(1, 1)), signature).rows == 1
    told = refusal(message(signature.inputs[0], raw=text + more, shape=(1, 1)), signature)
    assert f"its {6 + len(more)} bytes are not 1 elements of BYTES" in told


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name != "FP16"])
def test_typed_contents_and_raw_bytes_of_every_datatype_are_the_same_array(datatype: str) -> None:
    signature, values = column(datatype), VALUES.get(datatype, [1, 100])
    typed = decode(message(signature.inputs[0], **{v2_grpc.CONTENTS[datatype]: values}), signature)
    texts = [value.decode() if isinstance(value, bytes) else value for value in values]
    data = to_raw(np.array(texts, DATATYPES[datatype]), datatype)
    raw = decode(message(signature.inputs[0], raw=data), signature)
    for request in (typed, raw):
        array = request.inputs["x"]
        assert (array.dtype, array.shape, array[:, 0].tolist()) == (DATATYPES[datatype], (2, 1), texts)
    assert (typed.raw, raw.raw) == (frozenset(), frozenset({0, 1}))


def test_halves_come_as_raw_bytes_alone() -> None:
    signature = column("FP32")
    half = np.array([0.5, -2.0], np.float16)
    assert decode(message(signature.inputs[0], datatype="FP16", raw=half.tobytes()), signature).inputs["x"][
        :, 0
    ].tolist() == [0.5, -2.0]
    brain = (np.array([0.5, -2.0], np.float32).view(np.uint32) >> 16).astype("<u2")
    assert decode(message(signature.inputs[0], datatype="BF16", raw=brain.tobytes()), signature).inputs["x"][
        :, 0
    ].tolist() == [0.5, -2.0]
    for datatype in ("FP16", "BF16"):
        said = refusal(message(signature.inputs[0], datatype=datatype, fp32_contents=[1, 2]), signature)
        assert f"{datatype} has no typed contents" in said


WRONG = [
    (message(MATRIX.inputs[0], shape=(1, 2), fp32_contents=[1, 2], raw=b"\0" * 8), "both contents and raw"),
    (message(MATRIX.inputs[0], shape=(1, 2), raw=b"\0" * 7), "2 elements of FP32 are 8 bytes, not 7"),
    (message(MATRIX.inputs[0], shape=(1, 2), fp32_contents=[1]), "needs 2 elements, fp32_contents holds 1"),
    (message(MATRIX.inputs[0], shape=(1, 2), int_contents=[1, 2]), "contents.fp32_contents alone"),
    (message(MATRIX.inputs[0], shape=(1, 2), fp32_contents=[1, 2], int_contents=[1]), "alone"),
    (message(MATRIX.inputs[0], shape=(1, 2)), "not in nothing"),
    (message(MATRIX.inputs[0], shape=(1, 3), fp32_contents=[1, 2, 3]), "shape must be"),
    (message(MATRIX.inputs[0], shape=(-1, 2), fp32_contents=[1, 2]), "whole numbers"),
    (message(MATRIX.inputs[0], shape=(2**62, 2), raw=b""), "whole numbers"),
    (message(MATRIX.inputs[0], shape=(1, 2), datatype="FP31", fp32_contents=[1, 2]), "unknown datatype"),
    (message(Tensor("y", "FP32", (-1, 2)), shape=(1, 2), fp32_contents=[1, 2]), "unknown input 'y'"),
    (ModelInferRequest(), "missing inputs"),
    (ModelInferRequest(raw_input_contents=[b""]), "1 entries for 0 inputs"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_does_not_fit_is_refused_with_what_was_expected_and_what_came(
    request_: ModelInferRequest, said: str
) -> None:
    assert said in refusal(request_)


def test_numbers_that_have_no_place_in_a_narrow_integer_are_refused() -> None:
    signature = column("INT8")
    assert "outside the range of INT8" in refusal(
        message(signature.inputs[0], int_contents=[1, 128]), signature
    )
    signature = column("UINT16")
    assert "outside the range" in refusal(message(signature.inputs[0], uint_contents=[1, 2**16]), signature)


def test_text_that_is_not_utf8_is_refused() -> None:
    signature = column("BYTES")
    assert "not UTF-8" in refusal(message(signature.inputs[0], bytes_contents=[b"a", b"\xff"]), signature)


def test_nan_and_infinity_stay_what_they_are_and_need_not_be_finite_in_the_answer() -> None:
    request = decode(message(MATRIX.inputs[0], shape=(1, 2), fp32_contents=[float("nan"), float("inf")]))
    assert (str(request.inputs["input-0"][0].tolist()), request.finite) == ("[nan, inf]", ())


def test_parameters_of_all_five_kinds_are_read() -> None:
    given = {
        "a": InferParameter(bool_param=True), "b": InferParameter(int64_param=-1),
        "c": InferParameter(string_param="x"), "d": InferParameter(double_param=0.5),
        "e": InferParameter(uint64_param=2**64 - 1), "f": InferParameter(),
    }  # fmt: skip
    assert v2_grpc.plain(given) == {"a": True, "b": -1, "c": "x", "d": 0.5, "e": 2**64 - 1}


def test_the_earlier_of_the_two_deadlines_counts() -> None:
    request = message(MATRIX.inputs[0], shape=(1, 2), fp32_contents=[1, 2])
    assert decode(request, deadline=5.0).deadline == 5.0
    request.parameters["timeout"].int64_param = 1
    assert decode(request, deadline=1e12).deadline < 1e12
    request.parameters["timeout"].string_param = "soon"
    assert "must be microseconds" in refusal(request)


def answer(request: ModelInferRequest) -> ModelInferResponse:
    outputs = [np.array([1], np.int64), np.array([[0.25, 0.75]], np.float32)]
    decoded = decode(request)
    return v2_grpc.encode(InferAnswer(outputs, "token"), decoded, MATRIX, name="m", version="4")


def test_an_answer_has_the_form_of_its_request() -> None:
    typed = message(MATRIX.inputs[0], shape=(1, 2), fp32_contents=[1, 2])
    typed.id = "7"
    said = answer(typed)
    assert (said.model_name, said.model_version, said.id) == ("m", "4", "7")
    assert said.parameters["feedback_token"].string_param == "token"
    assert [(one.name, one.datatype, list(one.shape)) for one in said.outputs] == [
        ("label", "INT64", [1]),
        ("probabilities", "FP32", [1, 2]),
    ]
    assert list(said.outputs[0].contents.int64_contents) == [1]
    assert list(said.outputs[1].contents.fp32_contents) == [0.25, 0.75]
    raw = message(MATRIX.inputs[0], shape=(1, 2), raw=b"\0" * 8)
    raw.outputs.add(name="probabilities")
    said = answer(raw)
    assert [one.name for one in said.outputs] == ["probabilities"]
    assert list(said.raw_output_contents) == [np.array([0.25, 0.75], np.float32).tobytes()]
    assert not said.outputs[0].HasField("contents")


def test_the_form_can_be_asked_for_and_an_unknown_output_is_refused() -> None:
    request = message(MATRIX.inputs[0], shape=(1, 2), fp32_contents=[1, 2])
    request.outputs.add(name="label").parameters["binary_data"].bool_param = True
    assert answer(request).raw_output_contents[0] == np.array([1], "<i8").tobytes()
    request.outputs.add(name="nope")
    assert "unknown output 'nope'" in refusal(request)
    request = message(MATRIX.inputs[0], shape=(1, 2), raw=b"\0" * 8)
    request.parameters["binary_data_output"].bool_param = False
    assert not answer(request).raw_output_contents


def test_a_half_is_answered_as_fp32_where_it_cannot_be_raw() -> None:
    signature = Signature(MATRIX.inputs, (Tensor("score", "FP16", (-1,)),))
    request = decode(message(MATRIX.inputs[0], shape=(1, 2), fp32_contents=[1, 2]), signature)
    half = InferAnswer([np.array([0.5], np.float16)], None)
    said = v2_grpc.encode(half, request, signature, name="m", version="1")
    assert (said.outputs[0].datatype, list(said.outputs[0].contents.fp32_contents)) == ("FP32", [0.5])


def test_bytes_that_are_no_message_are_refused() -> None:
    for data in (b"\xff", b"\x0a\x02\xff\xff", b"garbage"):
        with pytest.raises(RequestError, match="not a valid ModelInferRequest"):
            v2_grpc.parse(ModelInferRequest, data)


def decoded_or_refused(data: bytes, signature: Signature) -> None:
    """Anything else is a crash."""
    try:
        found = v2_grpc.decode(v2_grpc.received(data), signature, deadline=None)
    except RequestError as refused:
        assert refused.status == 400
    else:
        assert found.rows == len(found.inputs[signature.inputs[0].name])


@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_a_request_or_a_refusal(data: bytes) -> None:
    decoded_or_refused(data, MATRIX)


@given(
    datatype=st.sampled_from([*DATATYPES, "BF16", "", "FP31"]),
    shape=st.lists(st.integers(-2, 3) | st.integers(-(2**63), 2**63 - 1), max_size=3),
    raw=st.none() | st.lists(st.binary(max_size=40), max_size=3),
    fields=st.dictionaries(
        st.sampled_from(sorted(set(v2_grpc.CONTENTS.values()))),
        st.lists(st.integers(0, 1), max_size=4),
        max_size=2,
    ),
    tensor=st.sampled_from([column(name).inputs[0] for name in DATATYPES]),
)
def test_lengths_and_types_that_lie_are_refused(
    datatype: str, shape: list[int], raw: list[bytes] | None, fields: dict[str, list[int]], tensor: Tensor
) -> None:
    bytes_ = fields.pop("bytes_contents", None)
    given_: dict[str, Any] = (
        dict(fields) if bytes_ is None else {**fields, "bytes_contents": [b"x"] * len(bytes_)}
    )
    if "bool_contents" in given_:
        given_["bool_contents"] = [bool(value) for value in given_["bool_contents"]]
    request = message(tensor, shape=shape, datatype=datatype, **given_)
    request.raw_input_contents.extend(raw or ())
    decoded_or_refused(request.SerializeToString(), Signature((tensor,), MATRIX.outputs))


@given(st.data())
def test_a_good_message_that_was_damaged_is_a_request_or_a_refusal(data: st.DataObject) -> None:
    good = bytearray(message(MATRIX.inputs[0], shape=(1, 2), raw=b"\0" * 8).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    decoded_or_refused(bytes(good), MATRIX)
