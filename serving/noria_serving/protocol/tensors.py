"""Tensors of the Open Inference Protocol in JSON: what came becomes arrays, and back. Pure.

In: the `inputs` of a request, and the signature. Out: arrays in the datatypes that the model takes.
Invariant: whatever a client sends ends in arrays that fit the signature or in a RequestError that names
the tensor, what was expected and what came; nothing is allocated by the sizes that a request merely claims.

Beyond the protocol, `null` in a floating-point tensor is NaN, and in BYTES the empty string (missing value).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np

from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import Array
from noria_serving.signature import DATATYPES, Tensor

_FLOAT: Final[frozenset[type]] = frozenset({float, int, type(None)})
_INT: Final[frozenset[type]] = frozenset({int})
_ELEMENTS: Final[Mapping[str, frozenset[type]]] = {
    "BOOL": frozenset({bool}),
    "BYTES": frozenset({str, type(None)}),
    **{name: _FLOAT for name in ("FP32", "FP64")},
    **{name: _INT for name in DATATYPES if "INT" in name},
}
_FLOATS: Final = frozenset({"FP16", "FP32", "FP64"})
_INTEGERS: Final = frozenset(name for name in DATATYPES if "INT" in name)


def decode_inputs(entries: object, tensors: Sequence[Tensor]) -> dict[str, Array]:
    """The `inputs` list of a request → one array a tensor of the signature."""
    if type(entries) is not list or not entries:
        raise RequestError(f"`inputs` must be a list with the tensors {names_of(tensors)}")
    by_name = {tensor.name: tensor for tensor in tensors}
    arrays: dict[str, Array] = {}
    for entry in entries:
        name = entry.get("name") if type(entry) is dict else None
        tensor = by_name.get(name) if type(name) is str else None
        if tensor is None:
            raise RequestError(f"unknown input {name!r:.100}: the model takes {names_of(tensors)}")
        if tensor.name in arrays:
            raise RequestError(f"input {name!r} is given twice")
        arrays[tensor.name] = decode_tensor(entry, tensor)
    if len(arrays) != len(by_name):
        raise RequestError(f"missing inputs: {[name for name in by_name if name not in arrays][:20]}")
    return arrays


def decode_tensor(entry: Mapping[str, Any], tensor: Tensor) -> Array:
    """One tensor of a request → an array of the tensor's datatype and rank."""
    datatype = entry.get("datatype")
    shape = _shape(entry.get("shape"), tensor)
    _check_datatype(datatype, tensor)
    if "data" not in entry:
        raise RequestError(f"input {tensor.name!r} has no `data`")
    flat = _flatten(entry["data"], shape, tensor.name)
    if not _ELEMENTS[str(datatype)].issuperset(map(type, flat)):
        wrong = next(x for x in flat if type(x) not in _ELEMENTS[str(datatype)])
        raise RequestError(f"input {tensor.name!r} is {datatype} but its data holds {kind_of(wrong)}")
    return _build(flat, str(datatype), tensor).reshape(
        (shape[0], *tensor.shape[1:]) if len(tensor.shape) > 1 else shape[:1]
    )


def _build(flat: Sequence[Any], datatype: str, tensor: Tensor) -> Array:
    target = tensor.datatype
    if datatype == "BYTES":
        array = np.empty(len(flat), dtype=object)
        array[:] = [value or "" for value in flat]
        return array
    numbers = _numbers(flat, DATATYPES[datatype if datatype not in _FLOATS else target], DATATYPES[target])
    if numbers is None:
        raise RequestError(
            f"input {tensor.name!r} holds a number outside the range of {datatype} or {target}"
        )
    return numbers


def _numbers(flat: Sequence[Any], given: str, target: str) -> Array | None:
    """The numbers as `target`; None where one of them has no place in `given` or in `target`."""
    with np.errstate(over="ignore"):
        try:
            array = np.array(flat, dtype=given)
        except OverflowError:
            return None
        result = array if given == target else array.astype(target)
    if target in ("float16", "float32"):
        return None if np.isinf(result).any() else result
    return None if result.dtype.kind in "iu" and given != target and (result != array).any() else result


def _check_datatype(datatype: object, tensor: Tensor) -> None:
    if type(datatype) is not str or datatype not in DATATYPES:
        raise RequestError(
            f"input {tensor.name!r}: unknown datatype {datatype!r:.60}; it must be {tensor.datatype}"
        )
    if datatype == "FP16":
        raise RequestError(f"input {tensor.name!r}: FP16 has no JSON form; send FP32")
    if datatype == tensor.datatype:
        return
    fits = (
        (datatype in _FLOATS or datatype in _INTEGERS)
        if tensor.datatype in _FLOATS
        else (datatype in _INTEGERS and tensor.datatype in _INTEGERS)
    )
    if not fits:
        raise RequestError(f"input {tensor.name!r} must be {tensor.datatype}, not {datatype}")


def _shape(shape: object, tensor: Tensor) -> list[int]:
    """The claimed shape, if it fits the tensor's; a column may leave out its trailing 1."""
    if type(shape) is not list or any(type(n) is not int or not 0 <= n < 2**31 for n in shape):
        raise RequestError(f"input {tensor.name!r}: `shape` must be a list of whole numbers from 0 to 2^31-1")
    expected = tensor.shape
    full = [*shape, 1] if len(shape) == 1 and expected[1:] == (1,) else shape
    if len(full) != len(expected) or any(
        want not in (-1, have) for want, have in zip(expected, full, strict=True)
    ):
        raise RequestError(f"input {tensor.name!r}: shape must be {list(expected)}, not {shape!r:.100}")
    if full[0] == 0:
        raise RequestError(f"input {tensor.name!r} has no rows")
    return shape


def _flatten(data: object, shape: Sequence[int], name: str) -> list[Any]:
    """Nested or flat, row-major data → a flat list of exactly as many elements as the shape says."""
    if type(data) is not list:
        raise RequestError(f"input {name!r}: `data` must be a list, not {kind_of(data)}")
    flat: list[Any] = data
    dims: list[int] = []
    while flat and type(flat[0]) is list:
        lengths = {len(x) if type(x) is list else -1 for x in flat}
        if len(lengths) != 1 or len(dims) > len(shape):
            raise RequestError(f"input {name!r}: nested `data` is ragged")
        dims.append(len(flat) if not dims else len(flat) // _product(dims))
        flat = list(chain.from_iterable(flat))
    count = _product(shape)
    if len(flat) != count:
        raise RequestError(
            f"input {name!r}: shape {list(shape)} needs {count} elements, `data` holds {len(flat)}"
        )
    if dims and dims != list(shape[: len(dims)]):
        raise RequestError(f"input {name!r}: `data` is nested as {dims}…, shape says {list(shape)}")
    return flat


def _product(values: Sequence[int]) -> int:
    result = 1
    for value in values:
        result *= value
    return result


def names_of(tensors: Sequence[Tensor]) -> list[str]:
    return [tensor.name for tensor in tensors][:20]


def kind_of(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def encode_tensor(tensor: Tensor, array: Array) -> dict[str, Any]:
    """An array as a tensor of a response, data flat."""
    flat = np.ascontiguousarray(array).reshape(-1)
    data: Any = flat.tolist() if flat.dtype.kind in "OUSe" else flat
    return {"name": tensor.name, "shape": list(array.shape), "datatype": tensor.datatype, "data": data}
