"""Requests of one row of named columns, which have a tensor for each: all of them looked at together.

In: what a client sent. Out: a Row; or None. Invariant: nothing is refused here, and nothing taken that the
usual way, a tensor at a time, would not take or would read as something else: where there is any doubt the
answer is None, and the usual way decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, chain
from operator import itemgetter
from typing import Any, Final, TypeVar

import numpy as np

from noria_serving.columns import Columns, Row
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import Array
from noria_serving.protocol.raw import DTYPES, Tail, from_raw, strings
from noria_serving.protocol.tensors import ELEMENTS, NARROW, decode_tensor, narrowed
from noria_serving.signature import DATATYPES, Signature, Tensor

Entry = TypeVar("Entry")
_HEAD: Final = itemgetter("name", "shape", "datatype")
_DATA: Final = itemgetter("data")
_PARAMETERS: Final = itemgetter("parameters")
_MEMBERS: Final = {4}
"""How many most entries have: these three and their data, and so no parameters."""
_ONE: Final = {1}
_INTS: Final = {int}
_NAMES: Final = frozenset({str})
_LISTS: Final = {list}
_FLOATS: Final = frozenset({"FP32", "FP64"})
_SAID: Final = {dict, type(None)}


def divided(
    named: Sequence[tuple[str, Entry]],
    signature: Signature,
    decode: Callable[[Columns, Sequence[Entry]], Row | None],
    other: Callable[[Entry, Tensor], Array],
) -> Row | None:
    """From all tensors of a request: the columns among them by `decode`, and if that takes them each of the
    tensors beside them by `other`, whose RequestError is then what the usual way would say too.
    """
    columns = signature.columns
    if columns is None or len(named) != len(signature.inputs):
        return None
    others = {name: entry for name, entry in named if name in columns.beside}
    row = decode(columns, [entry for name, entry in named if name not in columns.beside])
    if row is None or others.keys() != columns.beside:
        return None
    if others:
        tensors = {tensor.name: tensor for tensor in signature.inputs}
        row.put_beside({name: other(entry, tensors[name]) for name, entry in others.items()})
    return row


def from_entries(entries: object, signature: Signature, tail: Tail | None) -> Row | None:
    """From the `inputs` of V2 over HTTP, in any order: columns in JSON, whatever stands beside them; or
    nothing but columns, all behind it in `tail`.
    """
    columns = signature.columns
    if columns is None or type(entries) is not list:
        return None
    if not columns.beside:
        return decode(entries, columns, tail)
    try:
        named = [(entry["name"], entry) for entry in entries]
    except (TypeError, KeyError):
        return None
    if not _NAMES.issuperset(type(name) for name, _ in named):
        return None
    return divided(
        named,
        signature,
        lambda among, kept: decode(kept, among, None),
        lambda entry, tensor: decode_tensor(entry, tensor, tail),
    )


def decode(entries: Sequence[Any], columns: Columns, tail: Tail | None) -> Row | None:
    """From entries of nothing but columns."""
    if len(entries) != len(columns.order):
        return None
    try:
        names, shapes, datatypes = zip(*map(_HEAD, entries), strict=True)
        in_json = tail is None or "data" in entries[0]
        whole = fits(names, shapes, datatypes, columns)
        if in_json and not whole:
            whole = fits(names, shapes, _in_json(names, datatypes, columns), columns)
        if not whole:
            return None
        if tail is not None and not in_json:
            return _from_tail(names, entries, columns, tail)
        if set(map(len, entries)) == _MEMBERS or _none_is_binary(entries):
            return _from_lists(names, [*map(_DATA, entries)], columns)
    except (TypeError, ValueError, KeyError):  # of another form
        pass
    return None


def fits(names: Sequence[Any], shapes: Sequence[Any], datatypes: Sequence[Any], columns: Columns) -> bool:
    """Whether these are all columns, and each of one row: [1], or [1, 1] where a column has two dimensions.

    TypeError for names that are none, and shapes that are no lists.
    """
    if dict(zip(names, datatypes, strict=True)) != columns.datatypes:
        return False
    sizes = [*chain.from_iterable(shapes)]
    return (
        set(sizes) == _ONE and set(map(type, sizes)) == _INTS and columns.lengths.issuperset(map(len, shapes))
    )


def _in_json(names: Sequence[str], datatypes: Sequence[Any], columns: Columns) -> Sequence[Any]:
    """The stated datatypes; a column's own where JSON has the same numbers for both. KeyError for a name that
    is no column's.
    """
    wanted = columns.datatypes
    return [
        wanted[name] if one in _FLOATS and wanted[name] in _FLOATS else one
        for name, one in zip(names, datatypes, strict=True)
    ]


def _from_lists(names: Sequence[str], data: Sequence[Any], columns: Columns) -> Row | None:
    """ValueError for a list that has not one element."""
    if set(map(type, data)) != _LISTS:
        return None
    return from_values({name: value for name, (value,) in zip(names, data, strict=True)}, columns)


def from_values(values: Mapping[str, Any], columns: Columns) -> Row | None:
    """From the value of each column, as JSON has it."""
    flat: list[Array] = []
    for datatype, pick in columns.kinds:
        row = pick(values)
        if not ELEMENTS[datatype].issuperset(map(type, row)):
            return None
        if datatype == "BYTES":
            flat.append(strings([value or "" for value in row]))
            continue
        try:
            flat.append(_numbers(row, DATATYPES[datatype]))
        except OverflowError:
            return None
    return Row(columns, flat)


def _numbers(row: Sequence[Any], target: str) -> Array:
    """OverflowError where one of them has no place in that."""
    if target not in NARROW:
        return np.array(row, target)
    narrow, lost = narrowed(np.array(row, np.float64), target)
    if lost is not None:
        raise OverflowError
    return narrow


def from_bytes(values: Mapping[str, bytes | memoryview], columns: Columns) -> Row | None:
    """From the bytes of each column."""
    flat: list[Array] = []
    for datatype, pick in columns.kinds:
        row = pick(values)
        try:
            if datatype == "BYTES":
                flat.append(np.concatenate([from_raw(value, datatype, 1, "") for value in row]))
            elif {DTYPES[datatype].itemsize}.issuperset(map(len, row)):
                joined = from_raw(b"".join(row), datatype, len(row), "")
                flat.append(joined.astype(DATATYPES[datatype]))
            else:
                return None
        except RequestError:
            return None
    return Row(columns, flat)


def _none_is_binary(entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no tensor's parameters, the others of which change nothing, say that it stands in the tail."""
    said = [entry.get("parameters") for entry in entries]
    return _SAID.issuperset(map(type, said)) and all(
        one is None or one.get("binary_data_size") is None for one in said
    )


def _from_tail(
    names: Sequence[str], entries: Sequence[Mapping[str, Any]], columns: Columns, tail: Tail
) -> Row | None:
    """KeyError and TypeError for entries without parameters, or with some of another form."""
    sizes: list[Any] = [said["binary_data_size"] for said in map(_PARAMETERS, entries)]
    if any("data" in entry for entry in entries) or set(map(type, sizes)) != _INTS or min(sizes) < 0:
        return None
    left, ends = tail.left, [*accumulate(sizes)]
    if ends[-1] > len(left):
        return None
    pieces = [left[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    row = from_bytes(dict(zip(names, pieces, strict=True)), columns)
    if row is not None:
        tail.skip(ends[-1])
    return row
