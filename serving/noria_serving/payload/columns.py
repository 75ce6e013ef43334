"""What a file of predictions holds: every number and text that the model took and gave, but what is redacted.

In: a signature, the frozen bins that name its columns, names to leave out. Out: Columns. Invariant: a name
that hides nothing is refused: what it was meant for would be written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from noria_serving.errors import NoriaError, Reason
from noria_serving.reference import Reference
from noria_serving.signature import Signature, Tensor

ID: Final = "id"
"""Redacts what a client calls its request."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Without redacted ones."""

    inputs: Sequence[tuple[str, str, int]]
    """(name, tensor, its column)."""
    outputs: Sequence[tuple[str, int]]
    """(name, its number)."""
    request: bool = True
    """Whether the client's own id is written."""


def chosen(signature: Signature, reference: Reference, redact: Sequence[str]) -> Columns:
    """All columns; `redact`: names of features, embeddings, tensors, or ID."""
    known, inputs = {ID, *(tensor.name for tensor in signature.outputs)}, []
    for tensor in signature.inputs:
        for column, (name, group) in enumerate(_named(tensor, reference)):
            names = {name, group, tensor.name}
            known |= names
            if names.isdisjoint(redact):
                inputs.append((f"input.{name}", tensor.name, column))
    unknown = [name for name in redact if name not in known]
    if unknown:
        raise NoriaError(
            Reason.CONFIGURATION,
            f"the payload log should leave out {unknown[:5]}, which the model neither takes nor gives; what "
            f"it has is {sorted(known)[:20]}",
        )
    outputs = [
        (f"output.{tensor.name}", index)
        for index, tensor in enumerate(signature.outputs)
        if tensor.name not in redact
    ]
    return Columns(inputs, outputs, request=ID not in redact)


def _named(tensor: Tensor, reference: Reference) -> Iterator[tuple[str, str]]:
    """Of each column of a tensor: its name, and that of the embedding which it is a part of, else its own."""
    if -1 in tensor.shape[1:]:
        return  # rows differ in size
    width = math.prod(tensor.shape[1:])
    names = {column: tensor.name if width == 1 else f"{tensor.name}.{column}" for column in range(width)}
    groups: dict[int, str] = {}
    for bins in reference.features:
        if bins.input != tensor.name:
            continue
        if bins.projection is None:
            names[bins.column] = bins.name
            continue
        embedding = bins.name.rpartition("[")[0]
        for index in range(bins.projection.width):
            groups[bins.column + index] = embedding
            names[bins.column + index] = f"{embedding}.{index}"
    yield from ((names[column], groups.get(column, names[column])) for column in range(width))
