"""Whose fault is it when a model gives no answer? Pure.

In: the rows, and the reference of the rows that the model was trained on. Out: a sentence about the first
value that is unlike them, or None: then the model itself is at fault. A model that fails on ordinary rows
must show as failing (5xx, which judges a rollout); one that was asked the impossible must not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from noria_serving.projection import Projected
from noria_serving.protocol.inference import Array
from noria_serving.reference import Bins, Reference

FAR: Final = 10.0
"""Times the width (and the size) of what training saw: values a little outside excuse no model."""


def unlike_training(reference: Reference, inputs: Mapping[str, Array]) -> str | None:
    """What in these rows the model has never seen."""
    for bins in reference.features:
        column = _column(bins, inputs[bins.input])
        said = _category(bins, column) if bins.kind == "category" else _number(bins, column)
        if said is not None:
            return f"feature {bins.name!r} {said}"
    return None


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
    beyond = (values < bins.low - margin) | (values > bins.high + margin)
    if beyond.any():
        row = int(beyond.argmax())
        return f"is {values[row]:g} in row {row}; training saw {bins.low:g} to {bins.high:g}"
    return None


def _category(bins: Bins, column: Array) -> str | None:
    if not bins.complete:
        return None
    known = {*bins.values, *bins.known, *([""] if bins.missing else [])}
    for row, value in enumerate(column.tolist()):
        if value not in known:
            return f"is {value!r:.60} in row {row}, which training never saw"
    return None
