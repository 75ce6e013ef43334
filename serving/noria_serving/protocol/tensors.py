"""Tensors of the Open Inference Protocol: what came becomes arrays, and back. Pure.

In: the `inputs` of a request, and the signature. Out: arrays in the datatypes that the model takes.
Invariant: whatever a client sends ends in arrays that fit the signature or in a RequestError that names
the tensor, what was expected and what came; nothing is allocated by the sizes that a request merely claims.

Beyond the protocol, `null` in a floating-point tensor is NaN, and in BYTES the empty string (missing value).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from math import prod
from typing import Any, Final, TypeVar

import numpy as np

from noria_serving.contract import Why
from noria_serving.protocol import mistakes
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import Array
from noria_serving.protocol.mistakes import kind_of, names_of, shown
from noria_serving.protocol.raw import RAW_ONLY, Tail, from_raw, strings
from noria_serving.signature import DATATYPES, Tensor

_FLOAT: Final[frozenset[type]] = frozenset({float, int, type(None)})
_INT: Final[frozenset[type]] = frozenset({int})
_OBJECTS: Final[frozenset[type]] = frozenset({dict})
Entry = TypeVar("Entry")
ELEMENTS: Final[Mapping[str, frozenset[type]]] = {
    "BOOL": frozenset({bool}),
    "BYTES": frozenset({str, type(None)}),
    **{name: _FLOAT for name in ("FP16", "FP32", "FP64")},
    **{name: _INT for name in DATATYPES if "INT" in name},
}
"""What JSON may have for an element of each datatype."""
_FLOATS: Final = frozenset({"FP16", "BF16", "FP32", "FP64"})
_INTEGERS: Final = frozenset(name for name in DATATYPES if "INT" in name)
_NUMBERS: Final = _FLOATS | _INTEGERS
FEW: Final = 64
"""Elements, up to which Python looks at each in less time than numpy takes to begin."""
_SMALL: Final = 65504.0
"""The largest number of float16."""
NARROW: Final = frozenset({"float16", "float32"})
"""What does not hold every number that JSON has."""


def decode_inputs(entries: object, tensors: Sequence[Tensor], tail: Tail | None = None) -> dict[str, Array]:
    """The `inputs` list of a request → one array a tensor of the signature. `tail`: what stands behind the
    JSON.
    """
    if type(entries) is not list or not entries:
        raise mistakes.no_list("inputs", f"with the tensors {names_of(tensors)}", entries)
    if not _OBJECTS.issuperset(map(type, entries)):
        raise mistakes.no_object("input", entries, names_of(tensors))
    named = ((entry.get("name"), entry) for entry in entries)
    return collect(named, tensors, lambda entry, tensor: decode_tensor(entry, tensor, tail))


def collect(
    named: Iterable[tuple[object, Entry]],
    tensors: Sequence[Tensor],
    decode: Callable[[Entry, Tensor], Array],
) -> dict[str, Array]:
    """Entries with their names → one array a tensor of the signature, each given exactly once."""
    by_name = {tensor.name: tensor for tensor in tensors}
    arrays: dict[str, Array] = {}
    for name, entry in named:
        tensor = by_name.get(name) if type(name) is str else None
        if tensor is None:
            raise mistakes.unknown("input", name, names_of(tensors))
        if tensor.name in arrays:
            raise RequestError(f"input {name!r} is given twice", why=Why.INPUTS)
        arrays[tensor.name] = decode(entry, tensor)
    if len(arrays) != len(by_name):
        missing = [name for name in by_name if name not in arrays][:20]
        raise RequestError(f"missing inputs: {missing}", why=Why.INPUTS)
    return arrays


def decode_tensor(entry: Mapping[str, Any], tensor: Tensor, tail: Tail | None = None) -> Array:
    """One tensor of a request → an array of the tensor's datatype and rank."""
    shape = check_shape(entry.get("shape"), tensor)
    size = _binary_size(entry, tensor.name)
    if size is None:
        datatype = check_datatype(entry.get("datatype"), tensor)
        if datatype in RAW_ONLY:
            raise RequestError(
                f"input {tensor.name!r}: {datatype} has no JSON form; send FP32, or binary data"
            )
        if "data" not in entry:
            raise RequestError(f"input {tensor.name!r} has no `data`")
        data = entry["data"]
        if isinstance(data, np.ndarray):
            return _from_floats(data, shape, tensor)
        return from_list(_flatten(data, shape, tensor.name), datatype, shape, tensor)
    datatype = check_datatype(entry.get("datatype"), tensor)
    if tail is None:
        raise RequestError(
            f"input {tensor.name!r} has `binary_data_size`, but the request has no header "
            "Inference-Header-Content-Length to say where the binary data begin"
        )
    if "data" in entry:
        raise RequestError(f"input {tensor.name!r} has both `data` and `binary_data_size`")
    flat_array = from_raw(tail.take(size, tensor.name), datatype, prod(shape), tensor.name)
    return from_array(flat_array, datatype, shape, tensor)


def from_list(flat: Sequence[Any], datatype: str, shape: Sequence[int], tensor: Tensor) -> Array:
    """As many elements as the shape needs → an array in the tensor's datatype and rank."""
    elements = ELEMENTS[datatype]
    if not elements.issuperset(map(type, flat)):
        flat = [_whole(x) for x in flat] if datatype in _INTEGERS else flat
        at = next((at for at, x in enumerate(flat) if type(x) not in elements), None)
        if at is not None:
            raise mistakes.wrong_element(at, flat[at], datatype, shape, tensor)
    if datatype == "BYTES":
        return strings([value or "" for value in flat]).reshape(_full(shape, tensor))
    try:
        array = np.array(flat, dtype="float64" if datatype in _FLOATS else DATATYPES[datatype])
    except OverflowError:
        raise mistakes.too_large(flat, datatype, tensor) from None
    if datatype in _FLOATS:
        return _from_floats(array, shape, tensor)
    return _cast(array, tensor).reshape(_full(shape, tensor))


def _whole(value: Any) -> Any:
    """3.0 is a whole number: so clients write one that comes out of a table of floats."""
    return int(value) if type(value) is float and value.is_integer() else value


def _from_floats(wide: Array, shape: Sequence[int], tensor: Tensor) -> Array:
    """As many float64 as the shape needs → an array in the tensor's datatype and rank."""
    array, target = wide, DATATYPES[tensor.datatype]
    if target in NARROW:
        array, lost = narrowed(wide, target)
        if lost is not None:
            raise mistakes.lost(wide, lost, tensor.datatype, tensor)
    elif tensor.datatype in _INTEGERS:
        array = _cast(wide, tensor)
    return array.reshape(_full(shape, tensor))


def narrowed(wide: Array, target: str) -> tuple[Array, Array | None]:
    """Finite float64, and NaN, in one of NARROW; and which have no place in it, where some have not."""
    if _are_small(wide):
        return wide.astype(target), None
    with np.errstate(over="ignore"):
        narrow = wide.astype(target)
    infinite = np.isinf(narrow)
    return narrow, infinite if infinite.any() else None


def from_array(flat: Array, datatype: str, shape: Sequence[int], tensor: Tensor) -> Array:
    """The same from a flat array, which is copied; NaN and infinity stay what they are."""
    if datatype == "BYTES":
        return flat.reshape(_full(shape, tensor))
    return _cast(flat.astype(DATATYPES.get(datatype, "float32")), tensor).reshape(_full(shape, tensor))


def _cast(array: Array, tensor: Tensor) -> Array:
    """In the tensor's datatype; a number that has no place in it is refused."""
    target = DATATYPES[tensor.datatype]
    if array.dtype == target:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(target)
    if target in NARROW:
        lost = np.isinf(result) & ~np.isinf(array)
    elif result.dtype.kind in "iu":
        lost = result != array
    else:
        return result
    if lost.any():
        raise mistakes.lost(array, lost, tensor.datatype, tensor)
    return result


def all_finite(array: Array) -> bool:
    """Whether no element is NaN or infinite."""
    flat = array.reshape(-1)
    return (flat.size <= FEW and math.isfinite(sum(flat.tolist()))) or bool(np.isfinite(flat).all())


def _are_small(array: Array) -> bool:
    """Whether it is known, without much ado, that each number has a place even in float16."""
    if not 0 < array.size <= FEW:
        return False
    numbers: list[float] = array.tolist()
    return min(numbers) >= -_SMALL and max(numbers) <= _SMALL


def check_datatype(datatype: object, tensor: Tensor) -> str:
    """The stated datatype, if the tensor's may hold what it has: any number for a number, else the same."""
    if datatype == tensor.datatype:
        return tensor.datatype
    if type(datatype) is not str or (datatype not in DATATYPES and datatype not in RAW_ONLY):
        raise RequestError(
            f"input {tensor.name!r}: unknown datatype {datatype!r:.60}; it must be {tensor.datatype}"
        )
    if datatype not in _NUMBERS or tensor.datatype not in _NUMBERS:
        raise RequestError(
            f"input {tensor.name!r} must be {tensor.datatype}, not {datatype}", why=Why.DATATYPE
        )
    return datatype


def check_shape(shape: object, tensor: Tensor) -> list[int]:
    """The claimed shape, if it fits the tensor's; a column may have a trailing 1 or leave it out."""
    if type(shape) is not list or not _INT.issuperset(map(type, shape)) or not _sizes(shape):
        raise mistakes.bad_shape(shape, tensor)
    expected, full = tensor.shape, _full(shape, tensor)
    if len(full) != len(expected) or not all(map(_fits, expected, full)):
        raise RequestError(
            f"input {tensor.name!r}: shape must be {list(expected)}, not {shape[:FEW]!r:.100}", why=Why.SHAPE
        )
    if full[0] == 0:
        raise RequestError(f"input {tensor.name!r} has no rows", why=Why.SHAPE)
    return shape


def _sizes(shape: list[int]) -> bool:
    return not shape or (min(shape) >= 0 and max(shape) < 2**31)


def _fits(want: int, have: int) -> bool:
    return want in (-1, have)


def _full(shape: Sequence[int], tensor: Tensor) -> Sequence[int]:
    """As the model takes it."""
    expected = tensor.shape
    if len(shape) == len(expected):
        return shape
    if len(shape) == 1 and expected[1:] == (1,):
        return [*shape, 1]
    return shape[:1] if len(expected) == 1 and shape[1:] == [1] else shape


def _binary_size(entry: Mapping[str, Any], name: str) -> int | None:
    parameters = entry.get("parameters")
    if parameters is None:
        return None
    if type(parameters) is not dict:
        raise RequestError(f"input {name!r}: `parameters` must be an object, not {shown(parameters)}")
    size = parameters.get("binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise RequestError(f"input {name!r}: `binary_data_size` must be a number of bytes, not {shown(size)}")
    return size


def _flatten(data: object, shape: Sequence[int], name: str) -> list[Any]:
    """Nested or flat, row-major data → a flat list of exactly as many elements as the shape says."""
    if type(data) is not list:
        raise RequestError(f"input {name!r}: `data` must be a list, not {kind_of(data)}")
    flat: list[Any] = data
    dims: list[int] = []
    while flat and type(flat[0]) is list:
        lengths = {len(x) if type(x) is list else -1 for x in flat}
        if len(lengths) != 1 or len(dims) > len(shape):
            raise mistakes.ragged(flat, shape, name)
        dims.append(len(flat) if not dims else len(flat) // prod(dims))
        flat = list(chain.from_iterable(flat))
    count = prod(shape)
    if len(flat) != count:
        raise RequestError(
            f"input {name!r}: shape {list(shape)} needs {count} elements, `data` holds {len(flat)}"
        )
    if dims and dims != list(shape[: len(dims)]):
        raise RequestError(f"input {name!r}: `data` is nested as {dims}…, shape says {list(shape)}")
    return flat


def encode_tensor(tensor: Tensor, array: Array) -> dict[str, Any]:
    """An array as a tensor of a response, data flat. FP16 has no JSON form: it is sent as FP32."""
    flat = np.ascontiguousarray(array).reshape(-1)
    datatype = tensor.datatype
    if datatype == "FP16":
        datatype, flat = "FP32", flat.astype(np.float32)
    data: Any = flat.tolist() if flat.dtype.kind in "OUSe" else flat
    return {"name": tensor.name, "shape": list(array.shape), "datatype": datatype, "data": data}
