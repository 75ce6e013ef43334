"""Bodies of the Open Inference Protocol V2 over HTTP.

In: a request's body. Out: an InferRequest, or a RequestError whose sentence the client gets; an answer's
body and headers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from noria_serving import contract
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import Array, InferAnswer, InferRequest
from noria_serving.protocol.tensors import decode_inputs, encode_tensor, kind_of
from noria_serving.signature import Signature, Tensor

Headers = list[tuple[bytes, bytes]]


def parse_object(body: bytes) -> dict[str, Any]:
    """A body that must be a JSON object."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not valid JSON: {error}") from error
    if type(document) is not dict:
        raise RequestError(f"the body must be a JSON object, not {kind_of(document)}")
    return document


def decode(body: bytes, signature: Signature) -> InferRequest:
    """An infer body → InferRequest."""
    document = parse_object(body)
    identifier = document.get("id")
    if identifier is not None and type(identifier) is not str:
        raise RequestError(f"`id` must be a string, not {kind_of(identifier)}")
    if type(document.get("parameters", {})) is not dict:
        raise RequestError("`parameters` must be an object")
    inputs = decode_inputs(document.get("inputs"), signature.inputs)
    outputs = _wanted(document.get("outputs"), signature.outputs)
    return InferRequest(inputs, _rows(inputs), outputs, identifier, finite=outputs)


def encode(
    answer: InferAnswer, request: InferRequest, signature: Signature, *, name: str, version: str
) -> tuple[bytes, Headers]:
    """(body, headers) of a 200."""
    document: dict[str, Any] = {"model_name": name, "model_version": version}
    if request.id is not None:
        document["id"] = request.id
    if answer.token is not None:
        document["parameters"] = {contract.FEEDBACK_PARAMETER: answer.token}
    document["outputs"] = [
        encode_tensor(signature.outputs[index], answer.outputs[index]) for index in request.outputs
    ]
    return render(document), []


def _rows(inputs: Mapping[str, Array]) -> int:
    counts = {array.shape[0] for array in inputs.values()}
    if len(counts) != 1:
        raise RequestError(f"all inputs must have the same number of rows, not {sorted(counts)}")
    return int(counts.pop())


def _wanted(entries: object, tensors: Sequence[Tensor]) -> tuple[int, ...]:
    if entries is None or entries == []:
        return tuple(range(len(tensors)))
    if type(entries) is not list:
        raise RequestError("`outputs` must be a list")
    names = [tensor.name for tensor in tensors]
    wanted = []
    for entry in entries:
        name = entry.get("name") if type(entry) is dict else None
        if name not in names:
            raise RequestError(f"unknown output {name!r:.100}: the model gives {names}")
        wanted.append(names.index(name))
    return tuple(dict.fromkeys(wanted))


def render(document: Mapping[str, Any]) -> bytes:
    """A JSON body; numpy arrays in it are written as lists."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
