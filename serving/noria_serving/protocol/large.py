"""Large JSON bodies of numbers, parsed without a Python object for each number.

In: the bytes of a body. Out: what orjson makes of them, but for the `data` of inputs, which are flat: arrays
of float64, and lists of one number; or None. Invariant: nothing is refused here, and nothing taken that
orjson would not take or would read as something else: where there is any doubt the answer is None, and the
usual way decides. So it is for names that stand twice, escapes in texts, anything but numbers in `data`, and
`data` of another shape than stated.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any, Final

import numpy as np

from noria_serving.protocol.inference import Array

LARGE: Final = 8 * 1024
"""Bytes. What is smaller is parsed as fast as what it takes to look twice."""
EACH: Final = 768
"""Bytes more for each further input, of which columns have many: with fewer, looking at each takes longer."""
KEPT: Final = 4 * 1024**2
"""Bytes of a body up to which the parser's memory is kept for the next one: else the system takes and gives
it each time, which costs as much as the parsing.
"""
_FLOATS: Final = ("FP32", "FP64")


class _Doubt(Exception):
    """The usual way is to decide."""


def parse(body: bytes, tensors: int = 1) -> dict[str, Any] | None:
    """The body's object, if all of its inputs are numbers for floats, in a list or in a list of rows.

    tensors: how many inputs the model takes.
    """
    if len(body) < LARGE + EACH * (tensors - 1) or not body.startswith(b"{") or b"\\" in body:
        return None
    try:
        document = (_parser() if len(body) <= KEPT else _parser.__wrapped__()).parse(body)
        whole = _members(document, apart="inputs")
        entries = list(document["inputs"])
        inputs = [_members(entry, apart="data") for entry in entries]
        lists = _lists(whole) + _lists(inputs)
        for entry, known in zip(entries, inputs, strict=True):
            known["data"], more = _numbers(entry["data"], known)
            lists += more
    except (_Doubt, ValueError, TypeError, KeyError, AttributeError, RuntimeError):
        return None
    # As many as were met: so none is hidden deeper in the data.
    if np.count_nonzero(np.frombuffer(body, np.uint8) == ord("[")) != lists:
        return None
    return {**whole, "inputs": inputs}


@cache
def _parser() -> Any:
    import simdjson  # noqa: PLC0415  only where it is of use

    return simdjson.Parser()


def _members(proxy: Any, *, apart: str) -> dict[str, Any]:
    """All members but one, as Python objects."""
    names = list(proxy.keys())
    if len(set(names)) != len(names):
        raise _Doubt
    return {name: _plain(proxy[name]) for name in names if name != apart}


def _plain(value: Any) -> Any:
    if hasattr(value, "as_list"):
        return value.as_list()
    return value.as_dict() if hasattr(value, "as_dict") else value


def _numbers(data: Any, known: dict[str, Any]) -> tuple[Array | list[float], int]:
    """(the numbers, how many lists they stand in)."""
    shape = known["shape"]
    if known["datatype"] not in _FLOATS or not all(type(size) is int for size in shape):
        raise _Doubt
    numbers: Array = np.frombuffer(data.as_buffer(of_type="d"))
    if not len(numbers) or len(numbers) != prod(shape):
        raise _Doubt
    flat = numbers if len(numbers) > 1 else numbers.tolist()
    if not hasattr(next(iter(data)), "as_list"):
        return flat, 1
    if len(shape) != 2 or len(data) != shape[0] or {len(row) for row in data} != {shape[1]}:
        raise _Doubt
    return flat, 1 + len(data)


def _lists(value: Any) -> int:
    """How many lists there are in it, itself included."""
    if isinstance(value, dict):
        return sum(map(_lists, value.values()))
    return 1 + sum(map(_lists, value)) if isinstance(value, list) else 0
