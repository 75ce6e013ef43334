"""Counts by place: sums of differences, row by row.

Comes in: what processes counted, by its place in a document of `/counters`. Goes out: what they counted
together, or since a moment. Invariants: growth is never below zero; what nobody asks for is not computed.
"""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, reduce
from itertools import zip_longest

Row = tuple[int, ...]
Vector = Mapping[str, Row]
"""Counts by their place in the document, such as `scores/flight-delay-3/negatives`."""


class Families(Mapping[str, tuple[int, ...]]):
    """Counts that know which places begin alike."""

    @abstractmethod
    def family(self, name: str) -> Iterable[str]:
        """The places whose first part is `name`."""

    def opened(self) -> Families:
        """The same for many questions, which is not kept."""
        return self


def opened(counts: Vector) -> Vector:
    """The same for many questions."""
    return counts.opened() if isinstance(counts, Families) else counts


def family(counts: Vector, name: str) -> Iterable[str]:
    """The places whose first part is `name`."""
    if isinstance(counts, Families):
        return counts.family(name)
    return [place for place in counts if place.partition("/")[0] == name]


def below(counts: Vector, prefix: str) -> list[str]:
    """The places that begin with `prefix`, such as `features/m-3/`."""
    return [place for place in family(counts, prefix.partition("/")[0]) if place.startswith(prefix)]


class Growth(Families):
    """What several processes counted since each one's baseline, added up place by place when somebody asks: a
    trigger that looks at labels leaves a thousand features alone. Rows of different length are aligned at
    their beginning.
    """

    def __init__(self, parts: Sequence[tuple[Vector, Vector]]) -> None:
        self._kept = parts
        self._known: dict[str, tuple[int, ...]] = {}
        self._families: dict[str, dict[str, None]] = {}

    def opened(self) -> Growth:
        return Growth(self._kept)

    @cached_property
    def _parts(self) -> Sequence[tuple[Vector, Vector]]:
        return [(opened(newer), opened(older)) for newer, older in self._kept]

    def __getitem__(self, place: str) -> tuple[int, ...]:
        known = self._known.get(place)
        if known is None:
            rows = [
                _grown(newer[place], older.get(place, ())) for newer, older in self._parts if place in newer
            ]
            if not rows:
                raise KeyError(place)
            known = self._known[place] = reduce(_added, rows)
        return known

    def family(self, name: str) -> Iterable[str]:
        known = self._families.get(name)
        if known is None:
            found = {place: None for newer, _ in self._parts for place in family(newer, name)}
            known = self._families[name] = found
        return known

    def __iter__(self) -> Iterator[str]:
        return iter({place: None for newer, _ in self._parts for place in newer})

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _grown(newer: Row, older: Row) -> Row:
    if len(newer) == len(older):
        grown = tuple(map(operator.sub, newer, older))
        return grown if not grown or min(grown) >= 0 else tuple(max(0, count) for count in grown)
    return tuple(max(0, now - before) for now, before in zip_longest(newer, older, fillvalue=0))


def _added(one: Row, other: Row) -> Row:
    if len(one) == len(other):
        return tuple(map(operator.add, one, other))
    return tuple(map(sum, zip_longest(one, other, fillvalue=0)))
