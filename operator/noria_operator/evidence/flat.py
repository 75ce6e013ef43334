"""A document of `/counters` as counts by place, flattened family by family when somebody asks.

Comes in: the body of an answer. Goes out: its counts. Invariants: what is no document of counts is refused
when it comes, not when it is asked; a window that only waits for its end costs no flattening.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from noria_operator.evidence.growth import Families, Row
from noria_serving.contract import FAMILIES, places_of


class Flat(Families):
    """The counts of one document. Raises AttributeError, KeyError, OverflowError, TypeError or ValueError
    where that is none.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body
        self._known: dict[str, dict[str, Row]] = {}
        for family in FAMILIES:
            if not (family in _REGULAR and _whole(body.get(family, {}))):
                self.family(family)

    def family(self, name: str) -> Mapping[str, Row]:
        """Its rows by place; none of what is no family."""
        known = self._known.get(name)
        if known is None:
            known = dict(places_of(self._body, name)) if name in FAMILIES else {}
            self._known[name] = known
        return known

    def __getitem__(self, place: str) -> Row:
        return self.family(place.partition("/")[0])[place]

    def __iter__(self) -> Iterator[str]:
        for name in FAMILIES:
            yield from self.family(name)

    def __len__(self) -> int:
        return sum(len(self.family(name)) for name in FAMILIES)


_REGULAR = frozenset(FAMILIES) - {"task", "outputs", "errors", "slice_errors"}
"""Families whose rows are named as they are nested: others say more than numbers."""
_INT = frozenset({int})


def _whole(value: Any) -> bool:
    """Whether these are whole numbers, or rows of them, by name and name: then flattening cannot fail."""
    if type(value) is not dict:
        return False
    for one in value.values():
        kind = type(one)
        if kind is list:
            if not _INT.issuperset(map(type, one)):
                return False
        elif kind is not int and not _whole(one):
            return False
    return True
