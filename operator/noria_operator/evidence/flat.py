"""A document of `/counters` as counts by place, kept in few bytes and flattened when somebody asks.

Comes in: the body of an answer. Goes out: its counts. Invariants: what is no document of counts is refused
when it comes, not when it is asked; a window that only waits for its end costs no flattening, and keeps no
object for each count: a thousand models have a million of these. Any image may answer in a server's place, so
what a document grows to is bounded, and large ones are read in a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from noria_operator.evidence.growth import Families, Row
from noria_operator.recent import Recent
from noria_serving.contract import FAMILIES, places_of

_CROSSED: Final = ("outputs", "errors", "slice_errors")
"""Families that need certain names, or what another part of the document says of the same names."""
_DIGITS: Final = b"0123456789"
_MOST_SHAPES: Final = 8192
_WHOLE = Recent[int, bool](_MOST_SHAPES)
"""Shapes of documents in which all counts are whole numbers. Those of one process mostly differ in their
digits alone, and what differs from such a document in nothing else, and has the same families, cannot hold
anything else; but it may hold longer names.
"""
_SHAPES: Final = threading.Lock()
ROOM: Final = 16 * 1024 * 1024
"""Characters in the places of one document, and EACH more for each place. 10,000 features, the most that a
server counts, take eight million where their names are short, and all where they have 150 characters."""
EACH: Final = 128


def counts_of(body: Mapping[str, Any]) -> Families:
    """The counts of one document. Raises AttributeError, KeyError, OverflowError, TypeError or ValueError
    where that is none.
    """
    flat = Flat(body)
    for family in filter(body.get, _CROSSED):
        flat.family(family)
    packed = orjson.dumps(body)
    shape = hash((*body, packed.translate(None, _DIGITS)))
    with _SHAPES:
        whole = _WHOLE.used(shape) is not None
    if not whole or _room(body) > ROOM:
        if Flat(orjson.loads(packed)) != flat:
            return flat
        if _in_whole_numbers(body):
            with _SHAPES:
                _WHOLE[shape] = True
    return Packed(bytes(memoryview(packed)))  # a copy: what orjson gives holds on to all that it wrote in


class Flat(Families):
    """Counts that are flattened family by family."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body
        self._known: dict[str, dict[str, Row]] = {}
        self._room = ROOM

    def family(self, name: str) -> Mapping[str, Row]:
        """Its rows by place; none of what is no family. Raises ValueError where there is more than ROOM."""
        known = self._known.get(name)
        if known is None:
            known = dict(self._places(name)) if name in FAMILIES else {}
            self._known[name] = known
        return known

    def _places(self, name: str) -> Iterator[tuple[str, Row]]:
        for place, row in places_of(self._body, name):
            self._room -= len(place) + EACH
            if self._room < 0:
                raise ValueError("more places than any server counts")
            yield place, row

    def __getitem__(self, place: str) -> Row:
        return self.family(place.partition("/")[0])[place]

    def __iter__(self) -> Iterator[str]:
        for name in FAMILIES:
            yield from self.family(name)

    def __len__(self) -> int:
        return sum(len(self.family(name)) for name in FAMILIES)


class Packed(Families):
    """Counts that are kept: who has many questions opens them first."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    def opened(self) -> Flat:
        return Flat(orjson.loads(self._packed))

    def family(self, name: str) -> Iterable[str]:
        return self.opened().family(name)

    def __getitem__(self, place: str) -> Row:
        return self.opened()[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self.opened())

    def __len__(self) -> int:
        return len(self.opened())


_INT: Final = frozenset({int})
_NAMES: Final = frozenset({"task", "classes"})
"""Families that are told in words."""
_LONGEST: Final = 64
"""Characters of a family's name, of a unit of errors, of what says that there are labels alone, together."""


def _in_whole_numbers(body: Mapping[str, Any]) -> bool:
    """Whether it stays a document, whatever its digits are."""
    named = type(body.get("task", "")) is str and type(body.get("outputs", {})) is dict
    named = named and all(type(name) is str for name in body.get("classes", ()))
    return named and all(_whole(body.get(family, {})) for family in FAMILIES if family not in _NAMES)


def _whole(value: Any) -> bool:
    """Whether this is a whole number, or rows of them, or those by name and name."""
    kind = type(value)
    if kind is dict:
        return all(map(_whole, value.values()))
    return kind is int or (kind is list and _INT.issuperset(map(type, value)))


def _room(body: Mapping[str, Any]) -> int:
    """What the places of one in whole numbers take of ROOM at most."""
    before = len(str(body["version"])) + _LONGEST
    names = [str(body.get("task", "")), *map(str, body.get("classes", ()))]
    counted = sum(_taken({"": body.get(family, 0)}, before) for family in FAMILIES if family not in _NAMES)
    return counted + sum(before + 1 + len(name) + EACH for name in names)


def _taken(rows: Mapping[str, Any], before: int) -> int:
    taken = 0
    for name, row in rows.items():
        length = before + 1 + len(name)
        taken += _taken(row, length) if isinstance(row, dict) else length + EACH
    return taken
