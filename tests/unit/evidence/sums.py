"""Sums and differences of all counts at once, which those that are made when somebody asks have to equal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import zip_longest

from noria_operator.evidence.growth import Row, Vector


def add(vectors: Iterable[Vector]) -> dict[str, Row]:
    """The sum; rows of different length are aligned at their beginning."""
    rows = defaultdict[str, list[Row]](list)
    for vector in vectors:
        for place, row in vector.items():
            rows[place].append(row)
    return {place: tuple(map(sum, zip_longest(*each, fillvalue=0))) for place, each in rows.items()}


def subtract(newer: Vector, older: Vector) -> dict[str, Row]:
    """Growth from `older` to `newer` of one process; never below zero."""
    return {place: _grown(row, older.get(place, ())) for place, row in newer.items()}


def _grown(newer: Row, older: Row) -> Row:
    return tuple(max(0, now - before) for now, before in zip_longest(newer, older, fillvalue=0))
