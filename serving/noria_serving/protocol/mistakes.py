"""The sentences of refusals: which tensor, what was expected, what came. Pure.

In: what came, and what the model takes. Out: RequestErrors, or their words. Invariants: whatever came is
shown in a few words, however large it is, and takes no memory for each of its parts. Nothing here is called
for a request that is in order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from noria_serving.contract import Why
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import Array
from noria_serving.signature import DATATYPES, Tensor

_FEW: Final = 8
"""Elements of a list that are shown."""
_VERBS: Final = {"input": "takes", "output": "gives"}
_LONG: Final = 60
"""Characters of a value that are shown."""


def kind_of(value: object) -> str:
    """A value of JSON in words."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value)) or f"the number {value!r:.40}"


def shown(value: object) -> str:
    """A value as it stood in JSON, or its beginning."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list) and any(isinstance(one, list | dict) for one in value[:_FEW]):
        return f"a list of {len(value)} that are not numbers"
    some = value[:_FEW] if isinstance(value, list) else value
    text = json.dumps(some, ensure_ascii=False, separators=(",", ":"), default=repr)
    cut = isinstance(value, list) and len(value) > _FEW
    return f"{text[:-1]},…]" if cut else text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def names_of(tensors: Sequence[Tensor]) -> list[str]:
    """Names, of which the first are enough to tell."""
    return [tensor.name for tensor in tensors][:20]


def no_list(field: str, holding: str, value: object) -> RequestError:
    """`field` was to be a list, and not an empty one."""
    came = "it is missing" if value is None else "it is empty" if value == [] else f"it is {kind_of(value)}"
    return RequestError(f"`{field}` must be a list {holding}; {came}")


def unknown(what: str, name: object, known: Sequence[str]) -> RequestError:
    """An input or output that the model has not; known are those it has."""
    has = f"the model {_VERBS[what]} {list(known)}"
    if type(name) is not str:
        return RequestError(f"each {what} needs its `name` as a string, not {shown(name)}; {has}")
    why = Why.INPUTS if what == "input" else Why.FORM
    return RequestError(f"unknown {what} {name!r:.100}: {has}", why=why)


def no_object(what: str, entries: Sequence[Any], known: Sequence[str]) -> RequestError:
    """One of the inputs or outputs is no object."""
    wrong = next(entry for entry in entries if type(entry) is not dict)
    has = f"the model {_VERBS[what]} {list(known)}"
    return RequestError(f"each {what} must be an object with its `name`, not {shown(wrong)}; {has}")


def bad_shape(shape: object, tensor: Tensor) -> RequestError:
    """A shape that is none."""
    return RequestError(
        f"input {tensor.name!r}: `shape` must be a list of whole numbers from 0 to 2^31-1 that fits "
        f"{list(tensor.shape)}, not {shown(shape)}",
        why=Why.SHAPE,
    )


def wrong_element(
    index: int, value: object, datatype: str, shape: Sequence[int], tensor: Tensor
) -> RequestError:
    """An element of another kind than the datatype says."""
    came = kind_of(value) if isinstance(value, dict | list | None) else f"{kind_of(value)}, {shown(value)},"
    where = place(index, shape)
    said = f"input {tensor.name!r} is {datatype} but its data holds {came} at {where}"
    return RequestError(said, why=Why.VALUE)


def place(index: int, shape: Sequence[int]) -> list[int]:
    """Where the element stands that comes at this index of flat data."""
    return [int(at) for at in np.unravel_index(index, tuple(shape))] if shape else []


def too_large(flat: Sequence[Any], datatype: str, tensor: Tensor) -> RequestError:
    """One of these whole numbers has no place in the stated datatype."""
    range_ = np.iinfo(DATATYPES[datatype])
    return out_of_range(next(x for x in flat if not range_.min <= x <= range_.max), datatype, tensor)


def lost(array: Array, places: Array, datatype: str, tensor: Tensor) -> RequestError:
    """The numbers at these `places` (a mask) of an array have no place in the datatype."""
    return out_of_range(array.reshape(-1)[int(places.argmax())].item(), datatype, tensor)


def out_of_range(value: float, datatype: str, tensor: Tensor) -> RequestError:
    """A number that has no place in the datatype."""
    broken = "INT" in datatype and isinstance(value, float) and not value.is_integer()
    fault = "no whole number" if broken else f"outside the range of {datatype}"
    return RequestError(f"input {tensor.name!r} holds {value!r:.40}, which is {fault}", why=Why.VALUE)


def ragged(rows: Sequence[Any], shape: Sequence[int], name: str) -> RequestError:
    """Data nested in lists of which two are of unlike lengths, or deeper than the shape."""
    sizes = (f"a list of {len(row)}" if type(row) is list else kind_of(row) for row in rows)
    unlike = next((pair for pair in pairwise(sizes) if pair[0] != pair[1]), None)
    came = f"{unlike[1]} stands beside {unlike[0]}" if unlike else "it is nested deeper than that"
    said = f"input {name!r}: nested `data` is ragged: shape says {list(shape)}, {came}"
    return RequestError(said, why=Why.SHAPE)


def no_json(body: bytes | memoryview, error: ValueError) -> RequestError:
    """Not JSON, perhaps only because of numbers that it does not have."""
    text = bytes(body)
    odd = next((word for word in (b"NaN", b"Infinity") if word in text), None)
    hint = (
        f"; JSON has no {odd.decode()}: write null for a missing number, or send binary data" if odd else ""
    )
    return RequestError(f"the body is not valid JSON: {error}{hint}")
