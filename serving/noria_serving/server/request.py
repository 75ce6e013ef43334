"""Bodies of the V2 protocol: bytes become a Request that fits the signature, documents become bytes.

In: a request's body. Out: a Request, or a BadRequest whose sentence the client gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from noria_serving.protocol import Arrays, BadRequest, decode_inputs, kind_of
from noria_serving.signature import Signature, Tensor


@dataclass(frozen=True, slots=True)
class Request:
    """An inference request that fits the signature."""

    id: str | None
    inputs: Arrays
    rows: int
    outputs: tuple[int, ...]
    """Positions of the wanted outputs in the signature."""


def parse_object(body: bytes) -> dict[str, Any]:
    """A body that must be a JSON object."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from error
    if type(document) is not dict:
        raise BadRequest(f"the body must be a JSON object, not {kind_of(document)}")
    return document


def parse_request(body: bytes, signature: Signature) -> Request:
    """An infer body → Request."""
    document = parse_object(body)
    identifier = document.get("id")
    if identifier is not None and type(identifier) is not str:
        raise BadRequest(f"`id` must be a string, not {kind_of(identifier)}")
    if type(document.get("parameters", {})) is not dict:
        raise BadRequest("`parameters` must be an object")
    inputs = decode_inputs(document.get("inputs"), signature.inputs)
    rows = _rows(inputs)
    return Request(identifier, inputs, rows, _wanted(document.get("outputs"), signature.outputs))


def _rows(inputs: Arrays) -> int:
    counts = {array.shape[0] for array in inputs.values()}
    if len(counts) != 1:
        raise BadRequest(f"all inputs must have the same number of rows, not {sorted(counts)}")
    return int(counts.pop())


def _wanted(entries: object, tensors: Sequence[Tensor]) -> tuple[int, ...]:
    if entries is None or entries == []:
        return tuple(range(len(tensors)))
    if type(entries) is not list:
        raise BadRequest("`outputs` must be a list")
    names = [tensor.name for tensor in tensors]
    wanted = []
    for entry in entries:
        name = entry.get("name") if type(entry) is dict else None
        if name not in names:
            raise BadRequest(f"unknown output {name!r:.100}: the model gives {names}")
        wanted.append(names.index(name))
    return tuple(dict.fromkeys(wanted))


def render(document: Mapping[str, Any]) -> bytes:
    """A response body; numpy arrays in it are written as lists."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
