"""Rows of answered requests, until somebody counts them.

In: the arrays of one request at a time. Out: all of their values: predictions, a row for each numeric
feature, a list for each feature of text. Invariant: the numbers of requests of one row, which most are, are
copied at once, into a few bytes: keeping their many small arrays costs ten times as much (measured), in the
caches and the allocator's free lists that they do not go back to. Those of a Row lie side by side already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from noria_serving.columns import Picker, Row, picker
from noria_serving.reference import Reference

Array = NDArray[Any]
Inputs = Mapping[str, Array]
Place = tuple[str, int]
"""A tensor and the column in it."""
Taking = tuple[Picker, Picker | None, int, bool, Picker | None]
"""What takes a request's numbers and its texts, how many bytes its numbers have with the prediction, whether
the columns of a Row are these and no others, in this order, and what takes those that stand beside its
columns: in one place, as each look-up costs every request."""
_join: Final = cast("Callable[[Iterable[Any]], bytes]", b"".join)
"""Of anything that has a buffer, which the stubs do not know."""
_item: Final[Callable[[Array], str]] = np.ndarray.item
"""The one text of an array."""
SCORES: Final = "\0scores"
"""The prediction, as if it were one more tensor; no tensor is called so."""
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
        self._layout = Layout(self.numbers, {}, np.empty(0))
        self._taking: Taking | None = None
        """Of the layout, once there is one."""
        self._packed: list[bytes] = []
        self._said: list[str] = []
        """Texts of the requests of one row, one request after the other."""
        self._several: list[Inputs] = []
        self._rows_of_several = 0

    @property
    def requests(self) -> int:
        return len(self._packed) + len(self._several)

    @property
    def rows(self) -> int:
        return len(self._packed) + self._rows_of_several

    def add(self, inputs: Inputs, scores: Array) -> int:
        """inputs: as the model took them; scores: one a row. The number of rows that wait now."""
        if len(scores) == 1 and (taking := self._taking or self._fits(inputs, scores)):
            pick, pick_texts, size, as_rows, beside = taking
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
                        said = map(_item, pick_texts(inputs))
                packed = _join([*numbers, scores])
                if len(packed) == size:
                    self._said.extend(said)
                    singles = self._packed
                    singles.append(packed)
                    return len(singles) + self._rows_of_several
            except (BufferError, TypeError, ValueError):  # a view with gaps, or more texts than one
                del self._said[len(self._packed) * len(self._layout.texts) :]
        self._several.append({**inputs, SCORES: scores})
        self._rows_of_several += len(scores)
        return self.rows

    def _fits(self, inputs: Inputs, scores: Array) -> Taking | None:
        """Take the layout of the first request of one row that has everything, and no texts side by side."""
        if any(a.dtype.kind in "OUS" and a.size > 1 for a in inputs.values()):
            return None
        if any(inputs[source].size < width for source, width in self._widths.items()):
            return None
        self._layout = Layout(self.numbers, inputs, scores)
        self._taking = self._layout.taking
        return self._taking

    def take(self) -> tuple[Array, Array, list[list[str]]]:
        """(predictions as one row, a row for each of `numbers`, a list for each of `texts`); then nothing
        waits any more. Numbers are float32 where all fit into that: these are sorted in half the time.
        """
        singles, layout = len(self._packed), self._layout
        columns = self._columns()
        kinds = {columns[source].dtype for source, *_ in self._moves if columns}
        kinds.update(layout.kinds if singles else ())
        numbers = np.empty((len(self.numbers), self.rows), _common(kinds))
        scored = [columns[SCORES].dtype] if columns else []
        scores = np.empty((1, self.rows), _common([*scored, layout.record[SCORES]] if singles else scored))
        if singles:
            scores[0, :singles] = layout.unpack(self._packed, numbers[:, :singles])
        texts = layout.told(self._said, self.texts)
        if columns:
            scores[0, singles:] = columns[SCORES][:, 0]
            for source, targets, chosen in self._moves:
                for start in range(0, len(columns[source]), BLOCK):
                    rows = columns[source][start : start + BLOCK]
                    numbers[targets, singles + start : singles + start + len(rows)] = rows.T[chosen]
            for values, (source, column) in zip(texts, self.texts, strict=True):
                values.extend(map(str, columns[source][:, column].tolist()))
        self._packed, self._said, self._several, self._rows_of_several = [], [], [], 0
        if self._taking and not self._taking[3]:
            self._taking = None  # should the next one be a Row
        return scores, numbers, texts

    def _move(self, tensor: str) -> tuple[str, Any, Any]:
        """Which columns of a tensor go to which of `numbers`."""
        pairs = [(row, column) for row, (source, column) in enumerate(self.numbers) if source == tensor]
        return tensor, _span([row for row, _ in pairs]), _span([column for _, column in pairs])

    def _columns(self) -> dict[str, Array]:
        """The rows of all requests but those of one row, by tensor."""
        if not self._several:
            return {}
        return {
            source: _joined(_even([inputs[source] for inputs in self._several], width))
            for source, width in (*self._widths.items(), (SCORES, 1))
        }


class Layout:
    """Where the numbers of a request of one row lie when its arrays are written one after the other."""

    def __init__(self, wanted: Sequence[Place], inputs: Inputs, scores: Array) -> None:
        self.texts = [name for name, array in inputs.items() if array.dtype.kind in "OUS"]
        counted = {source for source, _ in wanted}
        names = [name for name in inputs if name in counted and name not in self.texts]
        fields = _fields({name: inputs[name] for name in names})
        self.kinds = [kind for _, kind, _ in fields]
        kept: list[Any] = [(name, kind, (len(places),)) for name, kind, places in fields]
        self.record = np.dtype([*kept, (SCORES, scores.dtype)])
        columns: set[str] = {*inputs.columns.order} if type(inputs) is Row else set()
        others = [name for name in names if name not in columns]
        as_rows = columns == {*names, *self.texts}.difference(others)
        beside = picker(others) if others else None
        texts = picker(self.texts) if self.texts else None
        self.taking: Taking = picker(names), texts, self.record.itemsize, as_rows, beside
        self._moves = [_move(wanted, name, places) for name, _, places in fields]

    def told(self, said: list[str], wanted: Sequence[Place]) -> list[list[str]]:
        """The texts of each of `wanted`, a list of its own; none where requests have none of it."""
        places = {name: index for index, name in enumerate(self.texts)}
        return [said[places[name] :: len(places)] if name in places else [] for name, _ in wanted]

    def unpack(self, packed: Sequence[bytes], numbers: Array) -> Array:
        """Write the numbers into the rows of `numbers`, a column for each of `packed`; the predictions."""
        rows = np.frombuffer(_join(packed), dtype=self.record)
        for field, targets, columns in self._moves:
            numbers[targets] = rows[field].T[columns]
        return rows[SCORES]


def _common(kinds: Iterable[Any]) -> Any:
    return np.float32 if all(np.can_cast(kind, np.float32) for kind in kinds) else np.float64


def _fields(arrays: Inputs) -> list[tuple[str, Any, list[Place]]]:
    """Neighbours of one datatype as one field: its name, its datatype, what stands in it."""
    fields: list[tuple[str, Any, list[Place]]] = []
    for name, array in arrays.items():
        places = [(name, column) for column in range(array.size)]
        if fields and fields[-1][1] == array.dtype:
            fields[-1][2].extend(places)
        else:
            fields.append((f"f{len(fields)}", array.dtype, places))
    return fields


def _move(wanted: Sequence[Place], field: str, places: Sequence[Place]) -> tuple[str, Any, Any]:
    found = {place: index for index, place in enumerate(places)}
    pairs = [(row, found[place]) for row, place in enumerate(wanted) if place in found]
    return field, _span([row for row, _ in pairs]), _span([column for _, column in pairs])


def _span(indices: list[int]) -> Any:
    """As a slice where they follow each other: copying is faster then."""
    if indices and indices == list(range(indices[0], indices[-1] + 1)):
        return slice(indices[0], indices[-1] + 1)
    return indices


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
    return np.frombuffer(_join(arrays), dtype=first.dtype).reshape(-1, width)
