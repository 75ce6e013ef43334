"""Bodies of the Open Inference Protocol V2 over HTTP, with its extension for binary tensors.

In: a request's body, and how much of it is JSON. Out: an InferRequest, or a RequestError whose sentence the
client gets; an answer's body and headers. Invariants: every byte of a body belongs to a tensor or to the
JSON; no answer holds a null.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from noria_serving import contract
from noria_serving.protocol import large, mistakes, single
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import Array, InferAnswer, InferRequest
from noria_serving.protocol.mistakes import kind_of, shown
from noria_serving.protocol.raw import DTYPES, Tail, from_raw, single_text, to_raw
from noria_serving.protocol.tensors import decode_inputs, encode_tensor, from_array
from noria_serving.signature import Signature, Tensor

Headers = list[tuple[bytes, bytes]]
JSON: Final = (b"content-type", b"application/json")
BINARY: Final = (b"content-type", b"application/octet-stream")
LENGTH_HEADER: Final = b"inference-header-content-length"
EMPTY: Final[Mapping[str, Any]] = {}


def parse_object(body: bytes | memoryview) -> dict[str, Any]:
    """A body that must be a JSON object."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise mistakes.no_json(body, error) from error
    if type(document) is not dict:
        raise RequestError(f"the body must be a JSON object, not {kind_of(document)}")
    return document


def decode(body: bytes, signature: Signature, *, json_length: bytes | None = None) -> InferRequest:
    """An infer body → InferRequest. `json_length`: the header Inference-Header-Content-Length."""
    if json_length is None:
        return _decode(large.parse(body, len(signature.inputs)) or parse_object(body), signature, None)
    if not json_length.isdigit() or len(json_length) > 18:
        raise RequestError("the header Inference-Header-Content-Length must be a number of bytes")
    length = int(json_length)
    if length > len(body):
        raise RequestError(
            f"Inference-Header-Content-Length is {length}, but the whole body has {len(body)} bytes"
        )
    if length == 0:
        return _decode_body(body, signature)
    view = memoryview(body)
    tail = Tail(view[length:])
    request = _decode(parse_object(view[:length]), signature, tail)
    tail.end()
    return request


def _decode(document: Mapping[str, Any], signature: Signature, tail: Tail | None) -> InferRequest:
    identifier = document.get("id")
    if identifier is not None and type(identifier) is not str:
        raise RequestError(f"`id` must be a string, not {kind_of(identifier)}")
    parameters = _parameters(document, "")
    entries = document.get("inputs")
    row = single.from_entries(entries, signature, tail)
    inputs = row or decode_inputs(entries, signature.inputs, tail)
    raw_default = flag_of(parameters, "binary_data_output", default=False)
    outputs, raw = wanted_outputs(document.get("outputs"), signature.outputs, raw_default)
    finite = tuple(index for index in outputs if index not in raw) if raw else outputs
    rows = 1 if row and not row.columns.beside else rows_of(inputs)
    return InferRequest(inputs, rows, outputs, identifier, raw, finite, deadline_of(parameters))


def _decode_body(body: bytes, signature: Signature) -> InferRequest:
    """A body that is nothing but the model's only input; the answer is binary too, as Triton's is."""
    if len(signature.inputs) != 1:
        names = [tensor.name for tensor in signature.inputs][:20]
        raise RequestError(f"only a model with one input takes a raw body; this one takes {names}")
    tensor = signature.inputs[0]
    if any(size == -1 for size in tensor.shape[1:]):
        raise RequestError(f"input {tensor.name!r} has more than one variable dimension: send its shape")
    if tensor.datatype == "BYTES":
        if any(size != 1 for size in tensor.shape[1:]):
            raise RequestError(f"input {tensor.name!r} takes more than one element of BYTES: send its shape")
        array, rows = single_text(body, tensor.name), 1
    else:
        width = DTYPES[tensor.datatype].itemsize
        for size in tensor.shape[1:]:
            width *= size
        rows = len(body) // width if width else 0
        if not rows or rows * width != len(body):
            raise RequestError(
                f"input {tensor.name!r}: a row has {width} bytes, which {len(body)} bytes are no multiple of"
            )
        array = from_raw(body, tensor.datatype, len(body) // DTYPES[tensor.datatype].itemsize, tensor.name)
    inputs = {tensor.name: from_array(array, tensor.datatype, (rows, *tensor.shape[1:]), tensor)}
    outputs = tuple(range(len(signature.outputs)))
    return InferRequest(inputs, rows, outputs, raw=frozenset(outputs))


def rows_of(inputs: Mapping[str, Array]) -> int:
    """The number of rows, which all inputs must share, and which are of something: of rows without an element
    there may be any number, for no bytes at all.
    """
    shapes = {array.shape for array in inputs.values()}
    if any(0 in shape for shape in shapes):
        empty = next(name for name, array in inputs.items() if not array.size)
        raise RequestError(f"input {empty!r} has no elements")
    counts = {shape[0] for shape in shapes}
    if len(counts) != 1:
        raise RequestError(f"all inputs must have the same number of rows, not {sorted(counts)}")
    return int(counts.pop())


def wanted_outputs(
    entries: object, tensors: Sequence[Tensor], raw_default: bool
) -> tuple[tuple[int, ...], frozenset[int]]:
    """(positions of the wanted outputs, those of them that are wanted as raw bytes)."""
    if entries is None or entries == []:
        everything = tuple(range(len(tensors)))
        return everything, frozenset(everything if raw_default else ())
    if type(entries) is not list:
        raise RequestError(f"`outputs` must be a list of outputs by name, not {shown(entries)}")
    names = [tensor.name for tensor in tensors]
    wanted: dict[int, bool] = {}
    for entry in entries:
        if type(entry) is not dict:
            raise mistakes.no_object("output", entries, names)
        name = entry.get("name")
        if name not in names:
            raise mistakes.unknown("output", name, names)
        parameters = _parameters(entry, f"output {name!r}: ")
        wanted[names.index(name)] = flag_of(parameters, "binary_data", default=raw_default)
    return tuple(wanted), frozenset(index for index, raw in wanted.items() if raw)


def _parameters(holder: Mapping[str, Any], whose: str) -> Mapping[str, Any]:
    """What a request or a wanted output says beside the protocol's own fields; null means nothing."""
    parameters: dict[str, Any] | None = holder.get("parameters")
    if parameters is None:
        return EMPTY
    if type(parameters) is not dict:
        raise RequestError(f"{whose}`parameters` must be an object, not {shown(parameters)}")
    return parameters


def flag_of(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """A parameter that is true or false."""
    value = parameters.get(name, default)
    if type(value) is not bool:
        raise RequestError(f"the parameter `{name}` must be true or false, not {kind_of(value)}")
    return value


def deadline_of(parameters: Mapping[str, Any]) -> float | None:
    """From Triton's parameter `timeout`, microseconds; 0 means none."""
    timeout = parameters.get("timeout")
    if timeout is None:
        return None
    if type(timeout) is not int or timeout < 0:
        raise RequestError(f"the parameter `timeout` must be microseconds, not {kind_of(timeout)}")
    return time.monotonic() + timeout / 1e6 if timeout else None


def encode(
    answer: InferAnswer, request: InferRequest, signature: Signature, *, name: str, version: str
) -> tuple[bytes, Headers]:
    """(body, headers) of a 200."""
    document: dict[str, Any] = {"model_name": name, "model_version": version}
    if request.id is not None:
        document["id"] = request.id
    if answer.token is not None:
        document["parameters"] = {contract.FEEDBACK_PARAMETER: answer.token}
    tensors, arrays = signature.outputs, answer.outputs
    if not request.raw:
        document["outputs"] = [encode_tensor(tensors[index], arrays[index]) for index in request.outputs]
        return render(document), [JSON]
    pieces: list[bytes] = [b""]
    document["outputs"] = outputs = []
    for index in request.outputs:
        if index not in request.raw:
            outputs.append(encode_tensor(tensors[index], arrays[index]))
            continue
        data = to_raw(arrays[index], tensors[index].datatype)
        outputs.append(_raw_tensor(tensors[index], arrays[index], len(data)))
        pieces.append(data)
    pieces[0] = render(document)
    return b"".join(pieces), [BINARY, (LENGTH_HEADER, str(len(pieces[0])).encode())]


def _raw_tensor(tensor: Tensor, array: Array, size: int) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(array.shape),
        "datatype": tensor.datatype,
        "parameters": {"binary_data_size": size},
    }


def render(document: Mapping[str, Any]) -> bytes:
    """A JSON body; numpy arrays in it are written as lists."""
    try:
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:  # of words that are no Unicode, which models may give
        plain = json.dumps(
            document, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=np.ndarray.tolist
        )
        return plain.encode(errors="replace")
