"""Slices: the rows of a data set told apart by one column, such as a carrier or a range of ages.

In: what somebody asked for (`$NORIA_SLICES`, or `save(slices=…)`), and the column's values in the training
rows. Out: a Slicing, frozen in reference.json: a few groups and which of them a value belongs to. Invariants:
every value belongs to exactly one group, also a missing one and one that training never saw; there are at
most MOST_GROUPS groups, so that whatever counts by them is bounded; every replica tells rows apart in the
same way, and so does the evaluation, whose numbers are of a file: what a model takes in single precision is
told apart in it, as it comes to servers.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, repeat
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.contract import SLICE_MOST_VALUES, SLICINGS
from noria_serving.errors import NoriaError, Reason
from noria_serving.quality import spelling
from noria_serving.signature import DATATYPES

OTHER: Final = "other"
MISSING: Final = "missing"
QUARTILES: Final = (0.25, 0.5, 0.75)
COARSE: Final = ("FP16", "FP32")
"""Datatypes in which 0.1 is another number than in files."""
Array = NDArray[Any]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """What is wanted: groups at `bounds`, one a value, or (with neither) what the training rows suggest."""

    feature: str
    bounds: tuple[float, ...] = ()
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slicing:
    """One column's groups: ranges between `bounds` (a value on one belongs below it), or `values` and the
    other ones; missing values are the last group.
    """

    feature: str
    input: str
    column: int
    numeric: bool
    bounds: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    datatype: str = ""
    """In which the model takes the numbers."""

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Names for people and for Prometheus, in the order of codes."""
        if not self.bounds:
            return (*self.values, OTHER, MISSING)
        ends = ["", *_spelled(self.bounds), ""]
        return (*(f"{low}..{high}" for low, high in pairwise(ends)), MISSING)

    @property
    def size(self) -> int:
        """Number of groups."""
        return len(self.groups)

    @cached_property
    def code(self) -> Callable[[Any], int]:
        """One value as numpy's `item()` gives it → its group."""
        missing, bounds, table = self.size - 1, self._bounds, self._table
        if bounds:
            return lambda value: bisect_left(bounds, value) if value == value else missing  # noqa: PLR0124  NaN
        other = missing - 1
        if self.numeric:
            return lambda value: table.get(value, other) if value == value else missing  # noqa: PLR0124
        return lambda value: table.get(str(value), other)

    def codes(self, values: Array) -> Codes:
        """A column → the group of each of its values."""
        if not self.numeric:
            texts = map(str, values.tolist())
            return np.fromiter(map(self._table.get, texts, repeat(self.size - 2)), np.int64, len(values))
        numbers = self._taken(values)
        if self.bounds:
            found = np.searchsorted(np.array(self._bounds), numbers, side="left").astype(np.int64)
        else:
            found = np.full(len(numbers), self.size - 2, dtype=np.int64)
            for value, place in self._table.items():
                found[numbers == value] = place
        found[np.isnan(numbers)] = self.size - 1
        return found

    def grouped(self, tally: Mapping[str, int]) -> list[int]:
        """Of a column of texts, how often it holds each → how many belong to each group."""
        found, other = [0] * self.size, self.size - 2
        for text, times in tally.items():
            found[self._table.get(text, other)] += times
        return found

    @cached_property
    def _table(self) -> dict[Any, int]:
        if self.numeric:
            numbers = self._taken(np.array([float(value) for value in self.values]))
            return {value: place for place, value in enumerate(numbers.tolist())}
        return {**{value: place for place, value in enumerate(self.values)}, "": self.size - 1}

    @cached_property
    def _bounds(self) -> list[float]:
        return list(self._taken(np.array(self.bounds)).tolist())

    def _taken(self, numbers: Array) -> NDArray[np.float64]:
        """Numbers as the model takes them."""
        if self.datatype in COARSE:
            with np.errstate(over="ignore"):
                numbers = numbers.astype(DATATYPES[self.datatype], copy=False)
        return numbers.astype(np.float64)

    def document(self) -> dict[str, Any]:
        """As reference.json has it."""
        shared = {"feature": self.feature, "input": self.input, "column": self.column}
        told = {"bounds": list(self.bounds)} if self.bounds else {"values": list(self.values)}
        kind = {"datatype": self.datatype} if self.datatype else {}
        return {**shared, "numeric": self.numeric, **kind, **told, "groups": list(self.groups)}


def _spelled(bounds: Sequence[float]) -> list[str]:
    """Bounds in twelve digits; where these do not tell them apart, in as many as it takes."""
    short = [f"{bound:.12g}" for bound in bounds]
    return short if len(set(short)) == len(short) else [repr(bound) for bound in bounds]


def asked(text: str | None) -> tuple[Asked, ...]:
    """`$NORIA_SLICES` → what is wanted."""
    try:
        return wanted(json.loads(text or "[]"))
    except ValueError as error:
        raise NoriaError(Reason.CONFIGURATION, f"NORIA_SLICES is not JSON: {error!s:.200}") from error


def wanted(entries: Sequence[Mapping[str, Any] | str]) -> tuple[Asked, ...]:
    """Names of columns, or `{"feature": …, "bounds": […]}`, or `{"feature": …, "values": […]}`, → Asked."""
    found = [_asked({"feature": entry} if isinstance(entry, str) else entry) for entry in entries]
    if len(found) > SLICINGS or len({one.feature for one in found}) != len(found):
        raise NoriaError(Reason.CONFIGURATION, f"slices: at most {SLICINGS} columns, each once")
    return tuple(found)


def _asked(entry: Mapping[str, Any]) -> Asked:
    bounds = tuple(float(bound) for bound in entry.get("bounds") or ())
    values = tuple(spelling(value) for value in entry.get("values") or ())
    if (bounds and values) or max(len(bounds), len(values)) > SLICE_MOST_VALUES:
        raise NoriaError(
            Reason.CONFIGURATION,
            f"slices of {entry['feature']!r}: give bounds or values, at most {SLICE_MOST_VALUES} of them",
        )
    if any(low >= high for low, high in pairwise(bounds)) or not all(map(math.isfinite, bounds)):
        raise NoriaError(Reason.CONFIGURATION, f"slices of {entry['feature']!r}: bounds must grow")
    return Asked(str(entry["feature"]), bounds, tuple(dict.fromkeys(v for v in values if v not in _TAKEN)))


_TAKEN: Final = (OTHER, MISSING, "")
"""What groups are called that every slicing has; values of these names belong to `other`, or are missing."""


def freeze(wish: Asked, values: Array, *, source: tuple[str, int] = ("", 0)) -> Slicing:
    """The groups of a column, by its values in the training rows."""
    numeric = values.dtype.kind not in "OUS"
    datatype = _NAMES.get(values.dtype.name, "") if numeric else ""
    if wish.bounds:
        if not numeric:
            text = f"slices of {wish.feature!r}: bounds are for numbers, and it holds text; give values"
            raise NoriaError(Reason.CONFIGURATION, text)
        return Slicing(wish.feature, *source, True, bounds=wish.bounds, datatype=datatype)
    if wish.values:
        if numeric and not all(map(_is_number, wish.values)):
            text = f"slices of {wish.feature!r}: it holds numbers, and values are {list(wish.values)}"
            raise NoriaError(Reason.CONFIGURATION, text)
        return Slicing(wish.feature, *source, numeric, values=wish.values, datatype=datatype)
    return replace(_suggested(wish.feature, values, source), datatype=datatype)


_NAMES: Final = {dtype: datatype for datatype, dtype in DATATYPES.items()}


def _suggested(feature: str, values: Array, source: tuple[str, int]) -> Slicing:
    """The most frequent values, in order; quarters of numbers that have more values than that."""
    if values.dtype.kind in "OUS":
        tally = Counter(str(value) for value in values.tolist())
        ranked = sorted(tally.keys() - set(_TAKEN), key=lambda value: (-tally[value], value))
        return Slicing(feature, *source, False, values=tuple(sorted(ranked[:SLICE_MOST_VALUES])))
    numbers = values.astype(np.float64)
    present = numbers[np.isfinite(numbers)]
    distinct = np.unique(present)
    if len(distinct) <= SLICE_MOST_VALUES:
        # As few digits as tell it from others of its precision.
        digits = distinct.astype(values.dtype) if values.dtype.kind == "f" else distinct
        return Slicing(feature, *source, True, values=tuple(spelling(float(str(one))) for one in digits))
    bounds = np.unique(np.quantile(present, QUARTILES))
    return Slicing(feature, *source, True, bounds=tuple(map(float, bounds)))


def parse(entries: Iterable[Mapping[str, Any]]) -> tuple[Slicing, ...]:
    """Those of reference.json; raises KeyError, TypeError or ValueError."""
    found = tuple(_parsed(entry) for entry in entries)
    if len(found) > SLICINGS:
        raise ValueError(f"more than {SLICINGS} slicings")
    return found


def _parsed(entry: Mapping[str, Any]) -> Slicing:
    bounds = tuple(float(bound) for bound in entry.get("bounds", ()))
    values = tuple(str(value) for value in entry.get("values", ()))
    if max(len(bounds), len(values)) > SLICE_MOST_VALUES:
        raise ValueError(f"slices of {entry['feature']!r} have too many groups")
    if any(low >= high for low, high in pairwise(bounds)):
        raise ValueError(f"bounds of slices of {entry['feature']!r} must grow")
    numeric = bool(entry["numeric"])
    if numeric:
        tuple(map(float, values))
    source = str(entry["feature"]), str(entry["input"]), int(entry["column"])
    return Slicing(*source, numeric, bounds, values, str(entry.get("datatype", "")))


def of_rows(slicings: Sequence[Slicing], inputs: Mapping[str, Array], rows: int) -> bytes:
    """The groups of a few rows, row by row: what their token carries."""
    if rows == 1:
        try:
            return bytes([one.code(inputs[one.input].item(one.column)) for one in slicings])
        except IndexError:
            pass  # the row lacks a column
    columns = [one.codes(_column(inputs[one.input], rows, one.column)) for one in slicings]
    return np.stack(columns, axis=1).astype(np.uint8).tobytes() if columns else b""


def _column(array: Array, rows: int, column: int) -> Array:
    """Missing values where a model that takes rows of any width got narrower ones."""
    flat = array.reshape(rows, -1)
    if column < flat.shape[1]:
        return flat[:, column]
    return np.full(rows, "", dtype=object) if array.dtype.kind in "OUS" else np.full(rows, np.nan)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
