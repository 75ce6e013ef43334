"""Answers to rows that a model did not learn from, as it will be served.

In: the converted model, and the rows with their labels as training code has them. Out: what it answers, and
one label a row. Invariant: the rows are the model's own inputs, or they are refused with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from noria_serving import conversion
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.scoring import Scored, Scoring

Array = NDArray[Any]


def answered(
    converted: conversion.Converted, scoring: Scoring, inputs: Mapping[str, Array], rows: Any, labels: Any
) -> tuple[Scored, Any] | None:
    """rows: like X; inputs: of X, by the model's names. None without labels."""
    if labels is None:
        return None
    if rows is None:
        raise NoriaError(Reason.DATA_INVALID, "holdout_y are the labels of holdout: give both")
    table, _ = conversion.table(rows)
    if len(table) == len(inputs) == 1:  # an ONNX model's own name of its only input
        table = dict(zip(inputs, table.values(), strict=True))
    if set(table) != set(inputs) or len(labels) != len(next(iter(table.values()))):
        text = "holdout must have the columns of X, and a label in holdout_y each"
        raise NoriaError(Reason.DATA_INVALID, text)
    shape = converted.backend.signature
    return scoring.read(converted.backend.predict(conversion.cast(table, shape, of="holdout"))), labels
