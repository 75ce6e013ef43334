"""Bodies of the V1 protocol, TensorFlow Serving's row format: `{"instances": […]}` → `{"predictions": […]}`.

In: instances, each a row: a list of values, an object by input name, or a bare value where there is only one.
Out: an InferRequest; then one prediction a row: a bare one where the model has one output, else an object by
output name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from noria_serving.columns import Row
from noria_serving.contract import Why
from noria_serving.protocol import single
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import Array, InferAnswer, InferRequest
from noria_serving.protocol.mistakes import kind_of, names_of, no_list
from noria_serving.protocol.tensors import decode_tensor
from noria_serving.protocol.v2 import parse_object, render, rows_of
from noria_serving.signature import Signature, Tensor


def decode(body: bytes, signature: Signature) -> InferRequest:
    """A predict body → InferRequest."""
    instances = parse_object(body).get("instances")
    if type(instances) is not list or not instances:
        raise no_list("instances", f"of rows with the inputs {names_of(signature.inputs)}", instances)
    alone = len(signature.inputs) == 1 and type(instances[0]) is not dict
    columns = [instances] if alone else _columns(instances, signature)
    inputs = _single(columns, signature) or {
        tensor.name: _tensor(column, tensor) for tensor, column in zip(signature.inputs, columns, strict=True)
    }
    outputs = tuple(range(len(signature.outputs)))
    return InferRequest(inputs, rows_of(inputs), outputs, finite=outputs, by_row=True)


def _single(columns: list[list[Any]], signature: Signature) -> Row | None:
    """All columns at once, where that is of use."""
    if len(columns[0]) > 1:
        return None
    named = [
        (tensor.name, (tensor.datatype, column))
        for tensor, column in zip(signature.inputs, columns, strict=True)
    ]
    return single.divided(
        named,
        signature,
        lambda entries: ([kind for kind, _ in entries], [value for _, (value,) in entries]),
        single.from_values,
        lambda entry, tensor: _tensor(entry[1], tensor),
    )


def _tensor(column: list[Any], tensor: Tensor) -> Array:
    return decode_tensor(_entry(tensor.datatype, tensor.shape, column), tensor)


def _entry(datatype: str, shape: tuple[int, ...], column: list[Any]) -> dict[str, Any]:
    """A column of values as V2 would send it."""
    inner = [_size(column, depth) if size == -1 else size for depth, size in enumerate(shape)][1:]
    json_datatype = "FP32" if datatype == "FP16" else datatype
    return {"shape": [len(column), *inner], "datatype": json_datatype, "data": column}


def _size(column: list[Any], depth: int) -> int:
    """How long the first list at this depth is."""
    value: Any = column
    for _ in range(depth):
        value = value[0] if type(value) is list and value else None
    return len(value) if type(value) is list else 1


def _columns(instances: list[Any], signature: Signature) -> list[list[Any]]:
    names = [tensor.name for tensor in signature.inputs]
    known = set(names)
    columns: list[list[Any]] = [[] for _ in names]
    for number, row in enumerate(instances):
        if type(row) is dict:
            if row.keys() != known:
                raise RequestError(
                    f"instance {number}: missing inputs {sorted(known - row.keys())[:20]}, "
                    f"unknown {sorted(row.keys() - known)[:20]}",
                    why=Why.INPUTS,
                )
            values = [row[name] for name in names]
        elif type(row) is list and len(row) == len(names):
            values = row
        else:
            raise RequestError(
                f"instance {number} must be an object, or a list of {len(names)} values, for {names[:20]}; "
                f"it is {kind_of(row)}",
                why=Why.INPUTS,
            )
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    return columns


def encode(answer: InferAnswer, signature: Signature) -> bytes:
    """The body of a 200."""
    columns = [_rows(array) for array in answer.outputs]
    if len(columns) == 1:
        return render({"predictions": columns[0]})
    names = [tensor.name for tensor in signature.outputs]
    predictions = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return render({"predictions": predictions})


def _rows(array: Array) -> list[Any]:
    """One value a row: a bare one where a row holds one."""
    rows = array.reshape(len(array), -1)
    kept = rows[:, 0] if rows.shape[1] == 1 else array
    return (kept.astype(np.float32) if kept.dtype == np.float16 else kept).tolist()  # type: ignore[no-any-return]
