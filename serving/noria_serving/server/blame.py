"""Whose fault is it when a model gives no answer? Pure.

In: the rows, and the reference of the rows that the model was trained on. Out: a sentence about the first
value that is unlike them, or None: then the model itself is at fault. A model that fails on ordinary rows
must show as failing (5xx, which judges a rollout); one that was asked the impossible must not.

Between the two are values that are new, and no wonder: a thirteenth month, the greatest distance so far, a
text that is not among those kept of very many. There the model itself tells: it is not at fault if it answers
the same rows with values of training in their place, and fails on them as they came once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from noria_serving.projection import Projected
from noria_serving.protocol.inference import Array
from noria_serving.reference import Bins, Reference

FAR: Final = 10.0
"""Times the width (and the size) of what training saw: values a little outside excuse no model."""


class Doubt(NamedTuple):
    """New values that may be why a model gave no answer."""

    said: str
    """Of the first of them."""
    inputs: dict[str, Array]
    """The same rows with values of training in their place: the nearest number, the most frequent text."""


def unlike_training(reference: Reference, inputs: Mapping[str, Array]) -> str | None:
    """What in these rows the model has never seen."""
    for bins in reference.features:
        said = _absent(bins, inputs[bins.input])
        if said is None:
            column = _column(bins, inputs[bins.input])
            said = _category(bins, column) if bins.kind == "category" else _number(bins, column)
        if said is not None:
            return f"feature {bins.name!r} {said}"
    return None


def doubtful(reference: Reference, inputs: Mapping[str, Array]) -> Doubt | None:
    """What in rows that are not unlike those of training is new all the same."""
    said, likened = "", dict(inputs)
    for bins in reference.features:
        if bins.projection is not None:
            continue  # of many numbers: none of them is the odd one
        column = _column(bins, inputs[bins.input])
        new = _new_texts(bins, column) if bins.kind == "category" else _outside(bins, column)
        if not new.any():
            continue
        said = said or f"feature {bins.name!r} {_told(bins, column, int(new.argmax()))}"
        if likened[bins.input] is inputs[bins.input]:
            likened[bins.input] = inputs[bins.input].copy()
        flat = likened[bins.input].reshape(len(column), -1)
        if bins.kind == "category":
            flat[new, bins.column] = bins.values[0]
        else:
            flat[new, bins.column] = np.clip(column[new].astype(np.float64), bins.low, bins.high)
    return Doubt(said, likened) if said else None


def _absent(bins: Bins, array: Array) -> str | None:
    """Where a model takes rows of any width: whether these end before the feature does."""
    width, end = array.size // len(array), bins.column + (bins.projection.width if bins.projection else 1)
    return f"is not in rows of {width} columns" if width < end else None


def _column(bins: Bins, array: Array) -> Array:
    """A value a row; of an embedding its length, or what else is counted of it."""
    flat = array.reshape(len(array), -1)
    if bins.projection is None:
        return flat[:, bins.column]
    vectors = flat[:, bins.column : bins.column + bins.projection.width]
    return Projected([bins.projection])(vectors.astype(np.float64).T).reshape(-1)


def _number(bins: Bins, column: Array) -> str | None:
    values = column.astype(np.float64)
    missing = np.isnan(values)
    if not bins.missing and missing.any():
        return f"is missing in row {missing.argmax()}, and was never missing in training"
    margin = FAR * max(bins.high - bins.low, abs(bins.low), abs(bins.high), 1.0)
    beyond = _outside(bins, column, margin)
    return _told(bins, column, int(beyond.argmax())) if beyond.any() else None


def _category(bins: Bins, column: Array) -> str | None:
    new = _new_texts(bins, column)
    return _told(bins, column, int(new.argmax())) if bins.complete and new.any() else None


def _outside(bins: Bins, column: Array, margin: float = 0.0) -> Array:
    """Which numbers are out of the range of training by more than that."""
    values = column.astype(np.float64)
    return np.asarray((values < bins.low - margin) | (values > bins.high + margin))


def _new_texts(bins: Bins, column: Array) -> Array:
    """Which texts are none of those that are kept of training."""
    known = {*bins.values, *bins.known, *([""] if bins.missing else [])}
    return np.array([value not in known for value in column.tolist()])


def _told(bins: Bins, column: Array, row: int) -> str:
    if bins.kind != "category":
        return f"is {float(column[row]):g} in row {row}; training saw {bins.low:g} to {bins.high:g}"
    never = "which training never saw" if bins.complete else "which is none of those known of training"
    return f"is {column[row]!r:.60} in row {row}, {never}"
