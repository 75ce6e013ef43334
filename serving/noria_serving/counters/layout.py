"""Where the numbers of a request lie when its arrays are written one after the other.

In: the first request of its kind. Out: what takes the numbers and texts out of the next ones, and turns what
was kept of many requests into columns. Invariant: requests of one layout have the same tensors of the same
datatypes and widths, in whatever order they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from noria_serving.columns import Picker, Row, picker

Array = NDArray[Any]
Inputs = Mapping[str, Array]
Place = tuple[str, int]
"""A tensor and the column in it."""
Taking = tuple[Picker, Picker | None, int, bool, Picker | None]
"""What takes a request's numbers and its texts, how many bytes its numbers have with the prediction, whether
the columns of a Row are these and no others, in this order, and what takes those that stand beside its
columns: in one place, as each look-up costs every request."""
join: Final = cast("Callable[[Iterable[Any]], bytes]", b"".join)
"""Of anything that has a buffer, which the stubs do not know."""
SCORES: Final = "\0scores"
"""The prediction, as if it were one more tensor; no tensor is called so."""


class Layout:
    """Where the numbers of a request lie when its arrays are written one after the other: of one row, or of
    several rows of tensors that have a column each.
    """

    def __init__(self, wanted: Sequence[Place], inputs: Inputs, scores: Array) -> None:
        self.rows = len(scores)
        self.texts = [name for name, array in inputs.items() if array.dtype.kind in "OUS"]
        counted = {source for source, _ in wanted}
        names = [name for name in inputs if name in counted and name not in self.texts]
        fields = _fields({name: inputs[name] for name in names}, self.rows)
        self.kinds = [kind for _, kind, _ in fields]
        kept: list[Any] = [(name, kind, (len(places), self.rows)) for name, kind, places in fields]
        self.record = np.dtype([*kept, (SCORES, scores.dtype, (self.rows,))])
        columns: set[str] = {*inputs.columns.order} if type(inputs) is Row else set()
        others = [name for name in names if name not in columns]
        as_rows = type(inputs) is Row and columns == {*names, *self.texts}.difference(others)
        beside = picker(others) if others else None
        texts = picker(self.texts) if self.texts else None
        self.taking: Taking = picker(names), texts, self.record.itemsize, as_rows, beside
        self._moves = [_move(wanted, name, places) for name, _, places in fields]

    def told(self, said: list[str], wanted: Sequence[Place]) -> list[list[str]]:
        """The texts of each of `wanted`, a list of its own; none where requests have none of it."""
        width = len(self.texts)
        if self.rows == 1 or not said:
            found = {name: said[place::width] for place, name in enumerate(self.texts)}
        else:
            columns = np.array(said, object).reshape(-1, width, self.rows).transpose(1, 0, 2)
            found = dict(zip(self.texts, columns.reshape(width, -1).tolist(), strict=True))
        return [found.get(name, []) for name, _ in wanted]

    def unpack(self, packed: Sequence[bytes], numbers: Array) -> Array:
        """Write the numbers into the rows of `numbers`, a column for each row that came; the predictions."""
        requests = np.frombuffer(join(packed), dtype=self.record)
        for field, targets, columns in self._moves:
            values = requests[field].transpose(1, 0, 2)
            numbers[targets] = values.reshape(len(values), -1)[columns]
        return requests[SCORES].reshape(-1)


class Pack:
    """What was copied of requests of as many rows each."""

    __slots__ = ("layout", "packed", "said", "taking")

    def __init__(self, layout: Layout) -> None:
        self.layout, self.taking = layout, layout.taking
        self.packed: list[bytes] = []
        """The numbers of each request."""
        self.said: list[str] = []
        """Their texts, one request after the other."""

    @property
    def stays(self) -> bool:
        """Whether its layout is for the next requests, too, should the next one be a Row."""
        return self.layout.rows > 1 or self.taking[3]

    def forget(self) -> None:
        """The texts of a request whose numbers were not copied."""
        del self.said[len(self.packed) * len(self.layout.texts) * self.layout.rows :]


def _fields(arrays: Inputs, rows: int) -> list[tuple[str, Any, list[Place]]]:
    """Neighbours of one datatype as one field: its name, its datatype, what stands in it."""
    fields: list[tuple[str, Any, list[Place]]] = []
    for name, array in arrays.items():
        places = [(name, column) for column in range(array.size // rows)]
        if fields and fields[-1][1] == array.dtype:
            fields[-1][2].extend(places)
        else:
            fields.append((f"f{len(fields)}", array.dtype, places))
    return fields


def _move(wanted: Sequence[Place], field: str, places: Sequence[Place]) -> tuple[str, Any, Any]:
    found = {place: index for index, place in enumerate(places)}
    pairs = [(row, found[place]) for row, place in enumerate(wanted) if place in found]
    return field, span([row for row, _ in pairs]), span([column for _, column in pairs])


def span(indices: list[int]) -> Any:
    """Indices as a slice where they follow each other: copying is faster then."""
    if indices and indices == list(range(indices[0], indices[-1] + 1)):
        return slice(indices[0], indices[-1] + 1)
    return indices
