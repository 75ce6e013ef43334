"""Large gRPC requests are taken apart into what protobuf would read, or left to it."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from noria_serving.protocol import apart, v2_grpc
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference_pb2 import ModelInferRequest

TENSORS = st.lists(st.integers(0, 3000).map(bytes) | st.just(bytes(20_000)), max_size=4)


def request(raw: list[bytes]) -> bytes:
    message = ModelInferRequest(model_name="m", id="q", raw_input_contents=raw)
    message.parameters["a"].string_param = "x"
    for index in range(len(raw)):
        message.inputs.add(name=f"input-{index}", datatype="UINT8", shape=[len(raw[index])])
    return message.SerializeToString()


def put_together(rest: bytes, raw: list[memoryview]) -> ModelInferRequest:
    message = ModelInferRequest.FromString(rest)
    assert not message.raw_input_contents
    message.raw_input_contents.extend(map(bytes, raw))
    return message


@given(TENSORS)
def test_a_large_request_is_taken_apart_and_a_small_one_left_alone(raw: list[bytes]) -> None:
    data = request(raw)
    parts = apart.split(data)
    assert (parts is None) == (len(data) < apart.LARGE)
    if parts is not None:
        assert list(parts[1]) == raw
        assert put_together(*parts) == ModelInferRequest.FromString(data)


@given(
    raw=TENSORS,
    changes=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), max_size=3),
    size=st.integers(0, 60),
    more=st.binary(max_size=12),
)
def test_what_protobuf_refuses_or_reads_otherwise_is_left_to_it(
    raw: list[bytes], changes: list[tuple[int, int]], size: int, more: bytes
) -> None:
    data = bytearray(request([*raw, bytes(apart.LARGE)]))
    for place, value in changes:
        data[place] = value
    given_ = bytes(data[: len(data) - size]) + more
    parts = apart.split(given_)
    if parts is None:
        return
    try:
        whole = ModelInferRequest.FromString(given_)
    except DecodeError:
        with pytest.raises(DecodeError):
            ModelInferRequest.FromString(parts[0])
    else:
        assert put_together(*parts) == whole


@pytest.mark.parametrize(
    "data",
    [
        b"\x3a" + b"\xff" * 2**20,  # a length without an end
        b"\x3a\x00" * 2**20,  # tensors without number
        b"\xba\x00" + bytes(2**20),  # the field's number written in a longer way
        b"\x3a\x80\x80\x80\x80\x80\x00" + bytes(2**20),
        b"\x3b" + bytes(2**20),
        b"\x00" * 2**20,
    ],
)
def test_doubtful_bytes_are_left_to_protobuf(data: bytes) -> None:
    assert apart.split(data) is None


def test_a_large_request_is_received_as_a_small_one_is() -> None:
    for size in (3, apart.LARGE):
        data = request([bytes(size), b"ab"])
        message, raw, whole = v2_grpc.received(data)
        assert (message.id, [bytes(each) for each in raw]) == ("q", [bytes(size), b"ab"])
        assert whole is data
    with pytest.raises(RequestError, match="not a valid ModelInferRequest"):
        v2_grpc.received(b"\x0a\x02\xff\xff" + request([bytes(apart.LARGE)]))
