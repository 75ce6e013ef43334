"""One row of named columns, in memory: the values of each datatype side by side, and each column a view.

Models that were trained on a table have a tensor for each column, and are asked for one row more often than
for anything else. To make an array for each, and to copy each, takes several times as long as to do both once
for all columns of a datatype; to keep an array for each takes many times the room of what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Picker = Callable[[Mapping[str, Any]], tuple[Any, ...]]


class Columns:
    """The columns of a table, by what they hold."""

    def __init__(self, datatypes: Mapping[str, str], rank: int, beside: Iterable[str] = ()) -> None:
        """datatypes: of each column by its name; rank: how many dimensions each has; beside: the names of the
        tensors that are no columns of these.
        """
        kinds = dict.fromkeys(datatypes.values())
        named = {kind: [name for name, of in datatypes.items() if of == kind] for kind in kinds}
        self.kinds = [(kind, picker(names)) for kind, names in named.items()]
        """Each datatype, and what takes its columns out of all."""
        self.order = [name for names in named.values() for name in names]
        self.places = {
            name: (number, place)
            for number, names in enumerate(named.values())
            for place, name in enumerate(names)
        }
        """Of each column: the number of its datatype, and where it stands among the values of that."""
        self.shape = (-1, *[1] * rank)
        """Of the values of a datatype: an array for each column."""
        self.beside = frozenset(beside)
        self.names = self.beside.union(datatypes)
        """Of all inputs of the model."""


class Row(dict[str, Array]):
    """Arrays of one row by their columns, in the order of Columns; then those of the tensors beside them."""

    def __init__(self, columns: Columns, flat: Sequence[Array]) -> None:
        """flat: the values of each of `columns.kinds`."""
        views: list[Array] = []
        for values in flat:
            views.extend(values.reshape(columns.shape))
        super().__init__(zip(columns.order, views, strict=True))
        self.columns, self._flat = columns, flat
        self._beside: Mapping[str, Array] = {}
        self.numbers = [values for values in flat if values.dtype != object]
        """What the views of numbers are of."""
        self.texts: list[str] = [
            text for values in flat if values.dtype == object for text in values.tolist()
        ]

    def put_beside(self, arrays: Mapping[str, Array]) -> None:
        """Those of `columns.beside`."""
        self._beside = arrays
        self.update(arrays)

    def packed(self) -> Packed:
        """Without the views."""
        return Packed(self.columns, self._flat, self._beside)


class Packed:
    """A Row to be kept: of a column there is an array only while somebody looks at it."""

    __slots__ = ("_beside", "_columns", "_flat")

    def __init__(self, columns: Columns, flat: Sequence[Array], beside: Mapping[str, Array]) -> None:
        """flat: the values of each of `columns.kinds`."""
        self._columns, self._flat, self._beside = columns, flat, beside

    @property
    def arrays(self) -> Sequence[Array]:
        """All that is kept."""
        return [*self._flat, *self._beside.values()]

    def value(self, name: str, column: int) -> Array:
        """That of a tensor and the column in it, in an array of one dimension."""
        if name in self._beside:
            return self._beside[name].reshape(-1)[column : column + 1]
        number, place = self._columns.places[name]
        return self._flat[number][place : place + 1]


def picker(names: Sequence[str]) -> Picker:
    """What takes these out of a mapping, as a tuple of any length."""
    if len(names) > 1:
        return itemgetter(*names)
    if not names:
        return lambda _: ()
    (only,) = names
    return lambda given: (given[only],)  # which itemgetter gives as it is
