"""The typed inputs and outputs of a model, as they stand in signature.json, in the registry and in V2
metadata.

Datatypes are those of the Open Inference Protocol. A model that was trained on named columns has one input
tensor a column, shape [-1, 1]; one trained on a plain array has a single matrix `input-0`, shape [-1, F].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from noria_serving.columns import Columns
from noria_serving.errors import NoriaError, Reason

MATRIX: Final = "input-0"
DATATYPES: Final[Mapping[str, str]] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}
"""Protocol datatype → numpy dtype."""
_COLUMN: Final = ((-1, 1), (-1,))
"""Shapes of a column."""


@dataclass(frozen=True)
class Tensor:
    """One input or output; -1 in `shape` is a variable dimension, the first one being the rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def column(self) -> tuple[int, ...]:
        """The shape of rows that hold one value each."""
        return (-1, 1) if len(self.shape) > 1 else (-1,)

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True)
class Signature:
    """All inputs and outputs, in the order in which the model takes and gives them."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def matrix(self) -> bool:
        """Whether one tensor carries all features side by side."""
        return len(self.inputs) == 1 and len(self.inputs[0].shape) == 2 and self.inputs[0].shape[1] != 1

    @property
    def texts(self) -> list[str]:
        """Names of the inputs that are text."""
        return [tensor.name for tensor in self.inputs if tensor.datatype == "BYTES"]

    @cached_property
    def columns(self) -> Columns | None:
        """How the inputs lie in memory that are one number or text a row, in as many dimensions; None where
        there are none, or only one beside others.
        """
        single = [tensor for tensor in self.inputs if tensor.shape in _COLUMN and tensor.datatype != "FP16"]
        ((rank, _),) = Counter(len(tensor.shape) for tensor in single).most_common(1) or [(0, 0)]
        datatypes = {tensor.name: tensor.datatype for tensor in single if len(tensor.shape) == rank}
        beside = [tensor.name for tensor in self.inputs if tensor.name not in datatypes]
        if not datatypes or (beside and len(datatypes) == 1):
            return None
        return Columns(datatypes, rank, beside)

    def as_json(self) -> dict[str, Any]:
        return {"inputs": [t.as_json() for t in self.inputs], "outputs": [t.as_json() for t in self.outputs]}


def parse(document: object) -> Signature:
    """Read signature.json; anything malformed is `ManifestInvalid`."""
    if not isinstance(document, dict):
        raise NoriaError(Reason.MANIFEST_INVALID, "signature.json is not an object")
    return Signature(_tensors(document, "inputs"), _tensors(document, "outputs"))


def _tensors(document: Mapping[str, Any], key: str) -> tuple[Tensor, ...]:
    entries = document.get(key)
    if not isinstance(entries, list) or not entries:
        raise NoriaError(
            Reason.MANIFEST_INVALID, f"signature.json: `{key}` must be a list with at least one tensor"
        )
    tensors = tuple(_tensor(entry, key) for entry in entries)
    if len({t.name for t in tensors}) != len(tensors):
        raise NoriaError(Reason.MANIFEST_INVALID, f"signature.json: names in `{key}` must differ")
    return tensors


def _tensor(entry: object, key: str) -> Tensor:
    if isinstance(entry, dict):
        name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
        if isinstance(name, str) and name and str(datatype) in DATATYPES and _is_shape(shape):
            return Tensor(name, str(datatype), tuple(shape or ()))
    raise NoriaError(Reason.MANIFEST_INVALID, f"signature.json: malformed tensor in `{key}`: {entry!r:.200}")


def _is_shape(shape: object) -> bool:
    return isinstance(shape, Sequence) and len(shape) > 0 and all(type(n) is int and n >= -1 for n in shape)
