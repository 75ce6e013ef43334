"""A version's frozen bins over recorded rows: where the values of a row are counted.

Comes in: reference.json of a bundle, which columns the rows have, the texts of a row. Goes out: places in a
vector of counts, and the vector as the window that servers would have told. Invariants: a row is counted as
noria_serving counts it (tests compare both): a value on an edge goes to the lower bin, infinity is out of
range, no number and no text are missing; what the rows cannot have (embeddings, columns that were not
recorded) is named in `left_out` and watched by nobody.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from noria_operator.domain.costs import spelled
from noria_operator.domain.drift import columns
from noria_operator.domain.drift.columns import Column, Reference, Seen
from noria_operator.domain.fairness import MISSING
from noria_serving.contract import BESIDE, KNOWN_CATEGORIES

Json = dict[str, Any]
Places = Callable[[str], tuple[int, ...]]
"""Where in its column's counts a text is counted; ValueError for one without a place."""

_TRUTHS: Final = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True, slots=True)
class Cells:
    """Where one row is counted: in its version's vector, and its group of each slicing."""

    places: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()


NOWHERE: Final = Cells()
"""Of a row whose version has no bins."""


class Bins:
    """The bins of one version. `reference` has the columns that recorded rows have, `left_out` names the
    others.
    """

    def __init__(
        self, document: Mapping[str, Any], recorded: Collection[str], *, named: bool = False
    ) -> None:
        """`document` is reference.json; raises KeyError, TypeError or ValueError for what is none. `named`:
        rows say which of several classes was predicted.
        """
        every = columns.parse(document)
        if every.prediction.edges is None:
            raise ValueError("its predictions are classes, and a history has scores or numbers")
        entries = {str(one["name"]): one for one in document["features"]}
        kept = [one for one in every.columns if one.name in recorded and _countable(entries[one.name])]
        slicings = [one for one in document.get("slices", ()) if one["feature"] in recorded]
        self.reference: Reference = replace(
            every,
            columns=tuple(kept),
            slices=tuple(one for one in every.slices if one.feature in recorded),
            called=every.called if named else None,
        )
        known = {one.name for one in kept}
        self.left_out = [one.name for one in every.columns if one.name not in known]
        self._columns = [*kept, *self.reference.predictions]
        self._places = [*(_places(one, entries[one.name]) for one in kept), _numbers(every.prediction)]
        if self.reference.called is not None:
            self._places.append(_classes(document["called"]))
        single = {one.name for one in every.columns if one.edges is not None and _is_single(one)}
        self._codes = [
            (str(one["feature"]), _codes(one, single=str(one["feature"]) in single)) for one in slicings
        ]
        self._starts = list(_starts(self._columns))
        self.size = self._starts[-1] + _width(self._columns[-1])

    def cells(self, values: Mapping[str, str], prediction: float, called: str = "") -> Cells:
        """Where a row is counted; ValueError names the column of a text that it cannot hold."""
        found: list[int] = []
        said = [repr(prediction), called][: len(self.reference.predictions)]
        texts = [*(values[one.name] for one in self.reference.columns), *said]
        for column, start, places, text in zip(self._columns, self._starts, self._places, texts, strict=True):
            try:
                found += (start + place for place in places(text))
            except ValueError:
                where = "numbers where the version was trained"
                raise ValueError(f"column {column.name} holds {text!r:.40}, and {where}") from None
        groups = tuple(code(values[feature]) for feature, code in self._codes)
        return Cells(tuple(found), groups)

    def seen(self, vector: Sequence[int]) -> dict[str, Seen]:
        """The columns, the predictions among them, of what was counted in such a vector."""
        places = zip(self._columns, self._starts, strict=True)
        return {column.name: _seen(column, start, vector) for column, start in places}

    def predicted(self, vector: Sequence[int]) -> Seen:
        """The predictions alone."""
        place = len(self.reference.columns)
        return _seen(self._columns[place], self._starts[place], vector)


def _starts(every: Sequence[Column]) -> Iterator[int]:
    at = 0
    for column in every:
        yield at
        at += _width(column)


def _width(column: Column) -> int:
    return len(column.bins) + len(BESIDE)


def _seen(column: Column, start: int, vector: Sequence[int]) -> Seen:
    end = start + len(column.bins)
    return Seen(tuple(vector[start:end]), *vector[end : end + len(BESIDE)])


def _countable(entry: Json) -> bool:
    """An embedding's columns are made of many others, by a matrix that is no part of the reference."""
    return entry["kind"] in ("numeric", "category")


def _places(column: Column, entry: Json) -> Places:
    return _texts(column, entry) if column.edges is None else _numbers(column)


def _texts(column: Column, entry: Json) -> Places:
    """The bins of the values, then `other` for what training knew without a bin of its own."""
    other, missing, known = len(column.bins) - 1, len(column.bins), entry.get("known", ())
    unseen = missing + 1 if len(known) < KNOWN_CATEGORIES else other
    table = {str(value): other for value in known}
    table |= {str(value): place for place, value in enumerate(entry["values"])}
    table[""] = missing
    return lambda text: (table.get(text, unseen),)


def _numbers(column: Column) -> Places:
    edges, size = column.edges or (), len(column.bins)
    single = _is_single(column)

    def places(text: str) -> tuple[int, ...]:
        value = number(text)
        if math.isnan(value):
            return (size,)
        value = rounded(value, "FP32") if single else value
        beyond = (size + 2,) if value < column.low else (size + 3,) if value > column.high else ()
        return (bisect_left(edges, value), *beyond)

    return places


def number(text: str) -> float:
    """What a text is as a number: truths are one and zero, nothing is NaN."""
    word = text.strip().lower()
    if word in ("", "none", "null", "na"):
        return math.nan
    return _TRUTHS[word] if word in _TRUTHS else float(word)


def _is_single(column: Column) -> bool:
    """A server takes a column of float32 as it is, so that 0.7 is what is nearest to it there; the extremes
    of such a column tell.
    """
    return all(rounded(end, "FP32") == end for end in (column.low, column.high))


def rounded(value: float, datatype: str) -> float:
    """What a number is in single or half precision; in others as it is."""
    form = {"FP16": "e", "FP32": "f"}.get(datatype)
    try:
        return float(struct.unpack(form, struct.pack(form, value))[0]) if form else value
    except OverflowError:
        return math.copysign(math.inf, value)


def _classes(named: Iterable[str]) -> Places:
    """One that is none of these is unseen, as a text that training did not have."""
    table = {spelled(name): (place,) for place, name in enumerate(sorted(named))}
    return lambda text: table.get(text, (len(table) + 1,))


def _codes(entry: Json, *, single: bool) -> Callable[[str], int]:
    """Which group of a slicing a text belongs to; of ranges a value on a bound belongs below it. `single`:
    the precision of the numbers that the model takes, where a bundle of an earlier release does not say it.
    """
    groups = [str(one) for one in entry["groups"]]
    missing = len(groups) - 1
    if groups[-1] != MISSING:
        raise ValueError(f"the last group of {entry['feature']!r} must be {MISSING!r}")
    if not entry["numeric"]:
        table = {str(value): place for place, value in enumerate(entry["values"])} | {"": missing}
        return lambda text: table.get(text, missing - 1)
    datatype = str(entry.get("datatype", "FP32" if single else ""))
    bounds = [rounded(float(one), datatype) for one in entry.get("bounds", ())]
    numbers = {rounded(float(one), datatype): place for place, one in enumerate(entry.get("values", ()))}

    def code(text: str) -> int:
        value = rounded(number(text), datatype)
        if math.isnan(value):
            return missing
        return bisect_left(bounds, value) if bounds else numbers.get(value, missing - 1)

    return code
