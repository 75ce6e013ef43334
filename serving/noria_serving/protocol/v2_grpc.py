"""Messages of the Open Inference Protocol over gRPC.

In: the bytes of a ModelInferRequest. Out: an InferRequest, or a RequestError whose sentence the client gets;
a ModelInferResponse. Invariants: the same checks as over HTTP decide what is taken; a request with raw
tensors is answered with raw tensors, one with typed contents with typed contents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError, Message

from noria_serving import contract
from noria_serving.protocol import apart, mistakes, single
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import Array, InferAnswer, InferRequest
from noria_serving.protocol.inference_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)
from noria_serving.protocol.raw import RAW_ONLY, from_raw, strings, text, to_raw
from noria_serving.protocol.tensors import check_datatype, check_shape, collect, from_array
from noria_serving.protocol.v2 import EMPTY, deadline_of, flag_of, rows_of, wanted_outputs
from noria_serving.signature import DATATYPES, Signature, Tensor

Input = ModelInferRequest.InferInputTensor
Raw = tuple[Input, bytes | memoryview]
CONTENTS: Final[Mapping[str, str]] = {
    "BOOL": "bool_contents",
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
}
"""Datatype → the field of InferTensorContents that holds its elements."""


def parse(kind: type[Message], data: bytes) -> Any:
    """A message of this kind; RequestError for bytes that are none."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise RequestError(f"this is not a valid {kind.DESCRIPTOR.name}: {error}") from error


class Received(NamedTuple):
    """A request for inference, before anything of it was checked."""

    message: ModelInferRequest
    raw: Sequence[bytes | memoryview]
    """Its raw tensors, which the message of a large one does not have."""
    data: bytes
    """All of it, as it came."""


def received(data: bytes) -> Received:
    """From the bytes of a ModelInferRequest; RequestError for bytes that are none."""
    parts = apart.split(data)
    if parts is not None:
        return Received(parse(ModelInferRequest, parts[0]), parts[1], data)
    message = parse(ModelInferRequest, data)
    return Received(message, message.raw_input_contents, data)


def decode(request: Received, signature: Signature, *, deadline: float | None) -> InferRequest:
    """→ InferRequest. `deadline`: the call's own, as time.monotonic()."""
    message, raw_inputs = request.message, request.raw
    inputs = _inputs(message, raw_inputs, signature)
    parameters = plain(message.parameters)
    raw_default = flag_of(parameters, "binary_data_output", default=bool(raw_inputs))
    entries = [{"name": entry.name, "parameters": plain(entry.parameters)} for entry in message.outputs]
    outputs, raw = wanted_outputs(entries, signature.outputs, raw_default)
    stated = deadline_of(parameters)
    deadlines = [moment for moment in (stated, deadline) if moment is not None]
    # A response is raw as a whole or not at all.
    return InferRequest(
        inputs,
        rows_of(inputs),
        outputs,
        message.id or None,
        frozenset(outputs) if raw else frozenset(),
        (),
        min(deadlines, default=None),
    )


def plain(parameters: Mapping[str, InferParameter]) -> Mapping[str, Any]:
    """Parameters as values; one without a value is left out."""
    if not parameters:
        return EMPTY
    chosen = {name: (value, value.WhichOneof("parameter_choice")) for name, value in parameters.items()}
    return {name: getattr(value, choice) for name, (value, choice) in chosen.items() if choice is not None}


def _inputs(
    message: ModelInferRequest, raw: Sequence[bytes | memoryview], signature: Signature
) -> dict[str, Array]:
    entries = message.inputs
    if not raw:
        typed = [(entry.name, entry) for entry in entries]
        row = single.divided(typed, signature, _typed_columns, single.from_values, _typed)
        return row or collect(typed, signature.inputs, _typed)
    if len(raw) != len(entries):
        raise RequestError(f"raw_input_contents has {len(raw)} entries for {len(entries)} inputs")
    for entry in entries:
        if entry.HasField("contents"):
            raise RequestError(
                f"input {entry.name!r:.100} has both contents and raw_input_contents; send one of the two"
            )
    named = [(entry.name, (entry, data)) for entry, data in zip(entries, raw, strict=True)]
    row = single.divided(named, signature, _raw_columns, single.from_bytes, _raw)
    return row or collect(named, signature.inputs, _raw)


def _raw_columns(pairs: Sequence[Raw]) -> tuple[Sequence[str], Sequence[Any]]:
    single.one_row([entry.shape for entry, _ in pairs])
    return [entry.datatype for entry, _ in pairs], [data for _, data in pairs]


def _typed_columns(entries: Sequence[Input]) -> tuple[Sequence[str], Sequence[Any]]:
    single.one_row([entry.shape for entry in entries])
    return [entry.datatype for entry in entries], [*map(_only, entries)]


def _only(entry: Input) -> Any:
    """The one element of typed contents; ValueError or KeyError where they are of another form."""
    ((descriptor, values),) = entry.contents.ListFields()
    if descriptor.name != CONTENTS[entry.datatype]:
        raise ValueError(descriptor.name)
    (value,) = values
    return value if entry.datatype != "BYTES" else value.decode()


def _raw(pair: Raw, tensor: Tensor) -> Array:
    entry, data = pair
    shape = check_shape(list(entry.shape), tensor)
    datatype = check_datatype(entry.datatype, tensor)
    return from_array(from_raw(data, datatype, prod(shape), tensor.name), datatype, shape, tensor)


def _typed(entry: Input, tensor: Tensor) -> Array:
    shape = check_shape(list(entry.shape), tensor)
    datatype = check_datatype(entry.datatype, tensor)
    if datatype in RAW_ONLY:
        raise RequestError(
            f"input {tensor.name!r}: {datatype} has no typed contents; send FP32, or raw_input_contents"
        )
    field, count = CONTENTS[datatype], prod(shape)
    given = [descriptor.name for descriptor, _ in entry.contents.ListFields()]
    if given != [field]:
        raise RequestError(
            f"input {tensor.name!r}: the elements of {datatype} stand in contents.{field} alone, "
            f"not in {given or 'nothing'}"
        )
    values = getattr(entry.contents, field)
    if len(values) != count:
        raise RequestError(
            f"input {tensor.name!r}: shape {shape} needs {count} elements, {field} holds {len(values)}"
        )
    return from_array(_flat(values, datatype, tensor), datatype, shape, tensor)


def _flat(values: Any, datatype: str, tensor: Tensor) -> Array:
    if datatype == "BYTES":
        return strings([text(value, tensor.name) for value in values])
    wide: Array = np.asarray(values)  # through the buffer protocol
    narrow = wide.astype(DATATYPES[datatype], copy=False)
    # The fields of INT8, INT16 and their like are wider than these.
    if narrow is not wide and (unlike := narrow != wide).any():
        raise mistakes.lost(wide, unlike, datatype, tensor)
    return narrow


def encode(
    answer: InferAnswer, request: InferRequest, signature: Signature, *, name: str, version: str
) -> ModelInferResponse:
    """The message of an answer."""
    message = ModelInferResponse(model_name=name, model_version=version, id=request.id or "")
    if answer.token is not None:
        message.parameters[contract.FEEDBACK_PARAMETER].string_param = answer.token
    for index in request.outputs:
        tensor, array = signature.outputs[index], answer.outputs[index]
        if request.raw:
            message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=array.shape)
            message.raw_output_contents.append(to_raw(array, tensor.datatype))
        else:
            datatype = "FP32" if tensor.datatype in RAW_ONLY else tensor.datatype
            output = message.outputs.add(name=tensor.name, datatype=datatype, shape=array.shape)
            _fill(output.contents, array, datatype)
    return message


def _fill(contents: InferTensorContents, array: Array, datatype: str) -> None:
    values = array.reshape(-1).tolist()
    if datatype == "BYTES":
        values = [value if type(value) is bytes else str(value).encode(errors="replace") for value in values]
    getattr(contents, CONTENTS[datatype]).extend(values)
