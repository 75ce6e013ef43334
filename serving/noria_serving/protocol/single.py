"""Requests of one row of named columns, which have a tensor for each: all of them looked at together.

In: what a client sent. Out: a Row; or None. Invariant: nothing is refused here, and nothing taken that the
usual way, a tensor at a time, would not take or would read as something else: columns that were sent in one
way for one datatype are given to it as if they were one tensor, and where there is any doubt the answer is
None, and it decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, chain
from operator import itemgetter
from typing import Any, Final, TypeVar

import numpy as np

from noria_serving.columns import Row
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import Array
from noria_serving.protocol.raw import RAW_ONLY, Tail, from_raw
from noria_serving.protocol.tensors import check_datatype, decode_tensor, from_array, from_list
from noria_serving.signature import DATATYPES, Signature, Tensor

Entry = TypeVar("Entry")
Take = Callable[[Sequence[Entry]], tuple[Sequence[Any], Sequence[Any]]]
"""From the entries of some columns: how each was sent, the stated datatype as a rule, and the value or its
bytes. ValueError, TypeError or KeyError for entries of another form, or of another number of rows.
"""
Decode = Callable[[Sequence[Any], Any, Tensor], Array]
"""From what was sent in one way, the values that a tensor of so many rows has."""
Piece = tuple[Mapping[str, Any], memoryview | None]
"""An entry of V2 over HTTP, and what it has behind the JSON."""
_LISTED: Final = itemgetter("datatype", "shape", "data")
_MEMBERS: Final = {4}
"""How many most entries have in JSON: these three and their name, and so no parameters."""
_ONE: Final = {1}
_RANKS: Final = {1, 2}
"""How many dimensions a client may state of a column."""
_INTS: Final = {int}
_LISTS: Final = {list}
_SIZES: Final = frozenset({int, type(None)})
_SAID: Final = frozenset({dict, type(None)})
_COLUMNS: Final = {datatype: Tensor("", datatype, (-1,)) for datatype in DATATYPES}
"""The columns of a datatype, as if each were a row of one tensor."""


def divided(
    named: Sequence[tuple[Any, Entry]],
    signature: Signature,
    take: Take[Entry],
    decode: Decode,
    other: Callable[[Entry, Tensor], Array],
) -> Row | None:
    """From all tensors of a request: the columns among them together, and if these can be taken each of the
    tensors beside them by `other`, whose RequestError is then what the usual way would say too.
    """
    columns = signature.columns
    if columns is None or len(named) != len(signature.inputs):
        return None
    flat: list[Array] = []
    try:
        given = dict(named)
        if given.keys() != columns.names:
            return None
        for datatype, pick in columns.kinds:
            flat.append(_together(*take(pick(given)), _COLUMNS[datatype], decode))
    except (RequestError, TypeError, ValueError, KeyError):
        return None
    row = Row(columns, flat)
    if columns.beside:
        tensors = {tensor.name: tensor for tensor in signature.inputs}
        row.put_beside({name: other(entry, tensors[name]) for name, entry in named if name in columns.beside})
    return row


def _together(sent: Sequence[Any], values: Sequence[Any], tensor: Tensor, decode: Decode) -> Array:
    """By the ways in which they were sent, of which there is one as a rule."""
    ways = {*sent}
    if len(ways) == 1:
        return decode(values, sent[0], tensor)
    array = np.empty(len(values), DATATYPES[tensor.datatype])
    for way in ways:
        places = [at for at, one in enumerate(sent) if one == way]
        array[places] = decode([values[at] for at in places], way, tensor)
    return array


def from_values(values: Sequence[Any], stated: Any, tensor: Tensor) -> Array:
    """From values, as JSON has them, each alone or in a list of one."""
    datatype = check_datatype(stated, tensor)
    if datatype in RAW_ONLY:
        raise ValueError(datatype)
    if list in map(type, values):
        values = [element for (element,) in (one if type(one) is list else [one] for one in values)]
    return from_list(values, datatype, [len(values)], tensor)


def from_bytes(values: Sequence[bytes | memoryview], stated: Any, tensor: Tensor) -> Array:
    """From bytes, of each column as many."""
    datatype, count = check_datatype(stated, tensor), len(values)
    if datatype == "BYTES":
        return np.concatenate([from_raw(value, datatype, 1, "") for value in values])
    if len({*map(len, values)}) != 1:
        raise ValueError(datatype)
    return from_array(from_raw(b"".join(values), datatype, count, ""), datatype, [count], tensor)


def one_row(shapes: Sequence[Any]) -> None:
    """ValueError unless each is of one row: [1] or [1, 1]; TypeError for shapes that are no lists."""
    sizes = [*chain.from_iterable(shapes)]
    if set(sizes) != _ONE or set(map(type, sizes)) != _INTS or not _RANKS.issuperset(map(len, shapes)):
        raise ValueError


def from_entries(entries: object, signature: Signature, tail: Tail | None) -> Row | None:
    """From the `inputs` of V2 over HTTP, in any order, in JSON or behind it in `tail`."""
    if signature.columns is None or type(entries) is not list:
        return None
    try:
        named = [(entry["name"], entry) for entry in entries]
        in_json = tail is None and set(map(len, entries)) == _MEMBERS
        sizes = None if in_json else _binary_sizes(entries)
    except (TypeError, ValueError, KeyError, AttributeError):  # of another form
        return None
    if sizes is None:
        return divided(named, signature, _listed, from_values, decode_tensor)
    ends = [*accumulate([size or 0 for size in sizes])]
    if tail is None or ends[-1] > len(tail.left):
        return None
    pieces: list[tuple[Any, Piece]] = [
        (name, (entry, None if size is None else tail.left[end - size : end]))
        for (name, entry), size, end in zip(named, sizes, ends, strict=True)
    ]
    row = divided(pieces, signature, _cut, _from_either, _piece)
    if row is not None:
        tail.skip(ends[-1])
    return row


def _listed(entries: Sequence[Mapping[str, Any]]) -> tuple[Sequence[Any], Sequence[Any]]:
    """In JSON."""
    datatypes, shapes, data = zip(*map(_LISTED, entries), strict=True)
    one_row(shapes)
    return datatypes, _only(data)


def _only(lists: Sequence[Any]) -> list[Any]:
    """The one element that each has."""
    if not _LISTS.issuperset(map(type, lists)):
        raise ValueError
    return [element for (element,) in lists]


def _cut(pieces: Sequence[Piece]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Behind it, or in it."""
    one_row([entry["shape"] for entry, _ in pieces])
    if any("data" in entry for entry, data in pieces if data is not None):
        raise ValueError
    listed = iter(_only([entry["data"] for entry, data in pieces if data is None]))
    sent = [(entry["datatype"], data is None) for entry, data in pieces]
    return sent, [next(listed) if data is None else data for _, data in pieces]


def _from_either(values: Sequence[Any], way: tuple[Any, bool], tensor: Tensor) -> Array:
    stated, in_json = way
    return from_values(values, stated, tensor) if in_json else from_bytes(values, stated, tensor)


def _piece(piece: Piece, tensor: Tensor) -> Array:
    entry, data = piece
    return decode_tensor(entry, tensor, None if data is None else Tail(data))


def _binary_sizes(entries: Sequence[Mapping[str, Any]]) -> list[int | None] | None:
    """Of each tensor how many bytes behind the JSON its parameters, the others of which change nothing, say
    that it has; None where no tensor has any.
    """
    said = [entry.get("parameters") for entry in entries]
    if not _SAID.issuperset(map(type, said)):
        raise TypeError
    sizes: list[Any] = [one.get("binary_data_size") if one else None for one in said]
    if not _SIZES.issuperset(map(type, sizes)) or min(filter(None, sizes), default=0) < 0:
        raise ValueError
    return None if sizes.count(None) == len(sizes) else sizes
