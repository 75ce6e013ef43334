"""Input tensors ↔ the plain number tables of boosters, and their raw scores → labels and probabilities.

A category column is sent as text and looked up in the list of the training rows (encoding.json); what is not
in the list is a missing value, as in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.errors import NoriaError, Reason
from noria_serving.signature import Signature

SCHEMA: Final = "noria.encoding/v1"
Array = NDArray[Any]


@dataclass(frozen=True)
class Encoding:
    """How rows become numbers."""

    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Input → its categories, in the order of their codes."""
    missing: float | None = None
    """A number that stands for a missing value beside NaN."""

    def as_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {"schema": SCHEMA}
        if self.categories:
            document["categories"] = {name: list(values) for name, values in self.categories.items()}
        if self.missing is not None:
            document["missing"] = self.missing
        return document


def parse_encoding(document: Any) -> Encoding:
    """Read encoding.json."""
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise NoriaError(Reason.MANIFEST_INVALID, f"encoding.json: schema must be {SCHEMA!r}")
    categories, missing = document.get("categories", {}), document.get("missing")
    texts = isinstance(categories, dict) and all(
        isinstance(values, list) and all(isinstance(value, str) for value in values)
        for values in categories.values()
    )
    if not texts or not (missing is None or type(missing) in (int, float)):
        raise NoriaError(Reason.MANIFEST_INVALID, "encoding.json: lists of text and a number are allowed")
    return Encoding(categories, missing)


class Table:
    """Makes one table of numbers from the input tensors."""

    def __init__(self, signature: Signature, encoding: Encoding, *, dtype: Any) -> None:
        self._names = [tensor.name for tensor in signature.inputs]
        self._dtype = np.dtype(dtype)
        self._missing = encoding.missing
        self._codes = {
            name: {value: float(code) for code, value in enumerate(values)}
            for name, values in encoding.categories.items()
        }
        unknown = [
            tensor.name
            for tensor in signature.inputs
            if tensor.datatype == "BYTES" and tensor.name not in self._codes
        ]
        if unknown:
            raise NoriaError(Reason.MODEL_INVALID, f"encoding.json lists no categories for {unknown[:9]}")

    def __call__(self, inputs: Mapping[str, Array]) -> Array:
        columns = [self._column(name, inputs[name]) for name in self._names]
        table = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
        table = np.ascontiguousarray(table, self._dtype)
        if self._missing is not None:
            table = np.where(table == self._missing, np.nan, table).astype(self._dtype)
        return table

    def _column(self, name: str, array: Array) -> Array:
        rows = array.reshape(len(array), -1)
        codes = self._codes.get(name)
        if codes is None:
            return rows.astype(self._dtype, copy=False)
        numbers = [codes.get(value, np.nan) for value in rows.reshape(-1).tolist()]
        return np.array(numbers, self._dtype).reshape(rows.shape)


class Answer:
    """Turns a booster's scores into the tensors of the signature."""

    def __init__(self, signature: Signature, task: str, classes: Sequence[Any]) -> None:
        self._task = task
        tensors = signature.outputs
        if task == "regression":
            self._dtype = np.float32 if tensors[0].datatype == "FP32" else np.float64
            return
        self._dtype = np.float32 if tensors[-1].datatype == "FP32" else np.float64
        text = tensors[0].datatype == "BYTES"
        self._labels = labels_of(classes, text=text)

    def __call__(self, scores: Array) -> list[Array]:
        """scores: predictions, P(positive), or one column a class."""
        if self._task == "regression":
            return [scores.reshape(-1).astype(self._dtype, copy=False)]
        if scores.ndim == 1 or scores.shape[1] == 1:
            positive = scores.reshape(-1)
            scores = np.stack([1 - positive, positive], axis=1)
        return [self._labels[scores.argmax(axis=1)], scores.astype(self._dtype, copy=False)]


def labels_of(classes: Sequence[Any], *, text: bool) -> Array:
    """The classes of a bundle, as its label is sent: text, or whole numbers."""
    try:
        return np.array([str(c) if text else int(c) for c in classes], object if text else np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise NoriaError(
            Reason.MANIFEST_INVALID, f"`classes` are not whole numbers, as labels are here: {error!s:.200}"
        ) from error
