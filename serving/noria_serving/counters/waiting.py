"""Rows of answered requests, until somebody counts them.

In: the arrays of one request at a time. Out: all of their values: predictions, a row for each numeric
feature, a list for each feature of text. Invariant: the numbers of requests of one row, which most are, and
of a few rows of named columns, are copied at once, into a few bytes: keeping their many small arrays costs
ten times as much (measured), in the caches and the allocator's free lists that they do not go back to. Those
of a Row lie side by side already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np

from noria_serving.columns import Row
from noria_serving.counters.layout import SCORES, Array, Inputs, Layout, Pack, join, span
from noria_serving.reference import Reference

_item: Final[Callable[[Array], str]] = np.ndarray.item
"""The one text of an array."""
FEW: Final = 16
"""Rows of a request that are copied at once where each column is a tensor; an array of more costs little."""
BLOCK: Final = 256
"""Rows that are turned into columns at a time: as many as stay in the processor's nearest cache."""


class Waiting:
    """What was answered and not counted yet."""

    def __init__(self, reference: Reference) -> None:
        places = [((bins.input, bins.column), bins.kind) for bins in reference.features]
        self.numbers = [place for place, kind in places if kind == "numeric"]
        self.texts = [place for place, kind in places if kind == "category"]
        self._moves = [self._move(source) for source in dict.fromkeys(source for source, _ in self.numbers)]
        self._widths: dict[str, int] = {}
        """How many columns of each tensor are counted, the last one and all before it."""
        for source, column in (*self.numbers, *self.texts):
            self._widths[source] = max(self._widths.get(source, 0), column + 1)
        self._most = FEW if len(self._widths) > 1 and set(self._widths.values()) == {1} else 1
        """How many rows a request may have to be copied at once."""
        self._packs: dict[int, Pack] = {}
        """By how many rows a request has."""
        self._several: list[Inputs] = []
        """The other requests."""
        self.requests = 0
        self.rows = 0

    def add(self, inputs: Inputs, scores: Array) -> int:
        """inputs: as the model took them; scores: one a row. The number of rows that wait now."""
        count = len(scores)
        self.requests += 1
        self.rows += count
        if count <= self._most and (pack := self._packs.get(count) or self._fits(inputs, scores)):
            pick, pick_texts, size, as_rows, beside = pack.taking
            numbers: Iterable[Array]
            said: Iterable[str] = ()
            try:
                if as_rows and type(inputs) is Row:
                    numbers, said = inputs.numbers, inputs.texts
                    if beside:
                        numbers = chain(numbers, beside(inputs))
                else:
                    numbers = pick(inputs)
                    if pick_texts:
                        said = _texts(pick_texts(inputs), count)
                packed = join([*numbers, scores])
                if len(packed) == size:
                    pack.said.extend(said)
                    pack.packed.append(packed)
                    return self.rows
            except (BufferError, TypeError, ValueError):  # a view with gaps, or more texts than rows
                pack.forget()
        self._several.append({**inputs, SCORES: scores})
        return self.rows

    def _fits(self, inputs: Inputs, scores: Array) -> Pack | None:
        """Take the layout of the first request of so many rows that has everything; no texts side by side."""
        count = len(scores)
        if any(a.dtype.kind in "OUS" and a.size > count for a in inputs.values()):
            return None
        if any(inputs[source].size < width * count for source, width in self._widths.items()):
            return None
        if count > 1 and any(inputs[source].size > count for source in self._widths):
            self._most = 1  # there are columns beside those that are counted
            return None
        self._packs[count] = Pack(Layout(self.numbers, inputs, scores))
        return self._packs[count]

    def take(self) -> tuple[Array, Array, list[list[str]]]:
        """(predictions as one row, a row for each of `numbers`, a list for each of `texts`); then nothing
        waits any more. Numbers are float32 where all fit into that: these are sorted in half the time.
        """
        packs = [pack for pack in self._packs.values() if pack.packed]
        columns = self._columns()
        kinds = {columns[source].dtype for source, *_ in self._moves if columns}
        kinds.update(*(pack.layout.kinds for pack in packs))
        numbers = np.empty((len(self.numbers), self.rows), _common(kinds))
        scored = [columns[SCORES].dtype] if columns else []
        scores = np.empty(
            (1, self.rows), _common([*scored, *(pack.layout.record[SCORES].base for pack in packs)])
        )
        texts: list[list[str]] = [[] for _ in self.texts]
        start = 0
        for pack in packs:
            end = start + len(pack.packed) * pack.layout.rows
            scores[0, start:end] = pack.layout.unpack(pack.packed, numbers[:, start:end])
            for values, said in zip(texts, pack.layout.told(pack.said, self.texts), strict=True):
                values.extend(said)
            start = end
        if columns:
            scores[0, start:] = columns[SCORES][:, 0]
            for source, targets, chosen in self._moves:
                for first in range(0, len(columns[source]), BLOCK):
                    rows = columns[source][first : first + BLOCK]
                    numbers[targets, start + first : start + first + len(rows)] = rows.T[chosen]
            for values, (source, column) in zip(texts, self.texts, strict=True):
                values.extend(map(str, columns[source][:, column].tolist()))
        self._several, self.requests, self.rows = [], 0, 0
        self._packs = {count: Pack(pack.layout) for count, pack in self._packs.items() if pack.stays}
        return scores, numbers, texts

    def _move(self, tensor: str) -> tuple[str, Any, Any]:
        """Which columns of a tensor go to which of `numbers`."""
        pairs = [(row, column) for row, (source, column) in enumerate(self.numbers) if source == tensor]
        return tensor, span([row for row, _ in pairs]), span([column for _, column in pairs])

    def _columns(self) -> dict[str, Array]:
        """The rows of the requests that were not copied at once, by tensor."""
        if not self._several:
            return {}
        return {
            source: _joined(_even([inputs[source] for inputs in self._several], width))
            for source, width in (*self._widths.items(), (SCORES, 1))
        }


def _texts(arrays: Iterable[Array], count: int) -> Iterable[str]:
    """All of them, one array after the other; ValueError for an array of more than so many, or of fewer."""
    if count == 1:
        return map(_item, arrays)
    return chain.from_iterable([array.reshape(count).tolist() for array in arrays])


def _common(kinds: Iterable[Any]) -> Any:
    return np.float32 if all(np.can_cast(kind, np.float32) for kind in kinds) else np.float64


def _even(arrays: list[Array], width: int) -> list[Array]:
    """Rows of models that take any width, each cut to so many columns; what it lacks is missing."""
    found = {array.size // len(array) for array in arrays}
    if len(found) == 1 and min(found) >= width:
        return arrays
    return [_wide(array.reshape(len(array), -1)[:, :width], width) for array in arrays]


def _wide(rows: Array, width: int) -> Array:
    if rows.shape[1] == width:
        return rows
    text = rows.dtype.kind in "OUS"
    filled = np.full((len(rows), width), "" if text else np.nan, dtype=object if text else np.float64)
    filled[:, : rows.shape[1]] = rows
    return filled


def _joined(arrays: Sequence[Array]) -> Array:
    """Rows of all arrays as one (rows, columns) matrix.

    Many requests have few rows, so the cost is that of touching each array: joining their buffers takes a
    quarter of what np.concatenate does.
    """
    first = arrays[0]
    if len(arrays) == 1:
        return first.reshape(len(first), -1)
    width = first.size // len(first)
    if first.dtype.kind in "OUS" or any(a.dtype != first.dtype or not a.flags.c_contiguous for a in arrays):
        flat = list(chain.from_iterable([a.ravel().tolist() for a in arrays]))
        return np.array(flat, dtype=object).reshape(-1, width)
    return np.frombuffer(join(arrays), dtype=first.dtype).reshape(-1, width)
