"""An ONNX model that was made elsewhere, as it is handed over.

In: its bytes, and rows. Out: the model, with its own names and types as the signature, and the rows by these
names. Invariant: what is saved takes such rows; a model with inputs that they have no form for is refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from noria_serving.conversion import Converted, cast
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.base import score_output
from noria_serving.model.onnx import TYPES, OnnxModel, open_session
from noria_serving.model.scoring import labels_alone
from noria_serving.signature import Signature, Tensor

Array = NDArray[Any]


def contents(model: Any) -> bytes | None:
    """The bytes of bytes, of a path or of a proto; None of anything else."""
    if isinstance(model, bytes):
        return model
    if isinstance(model, str | os.PathLike):
        return Path(model).read_bytes()
    return model.SerializeToString(deterministic=True) if hasattr(model, "SerializeToString") else None


def taken(data: bytes, arrays: Mapping[str, Array], task: str) -> tuple[Converted, Mapping[str, Array]]:
    """The model, and the rows by its own names; the width of these, and of the scores, where it leaves that
    open.
    """
    signature = _signature(data, arrays)
    names = [tensor.name for tensor in signature.inputs]
    if len(names) == 1 and len(arrays) == 1:
        arrays = {names[0]: next(iter(arrays.values()))}
    elif set(arrays) != set(names):
        raise NoriaError(Reason.DATA_INVALID, f"the columns of X must be the model's inputs {names[:20]}")
    model = OnnxModel(data, signature)
    if not labels_alone(signature, task):
        place = score_output(signature, task)
        if signature.outputs[place].shape[1:] == (-1,):
            answer = model.predict(cast({name: rows[:1] for name, rows in arrays.items()}, signature))[place]
            outputs = list(signature.outputs)
            outputs[place] = replace(outputs[place], shape=(-1, *answer.shape[1:]))
            model = OnnxModel(data, replace(signature, outputs=tuple(outputs)))
    return Converted("onnx", data, model, None), arrays


def _signature(data: bytes, arrays: Mapping[str, Array]) -> Signature:
    session = open_session(data)
    signature = Signature(
        tuple(_filled(_node(node, "input"), arrays) for node in session.get_inputs()),
        tuple(_node(node, "output") for node in session.get_outputs()),
    )
    wide = [tensor for tensor in signature.inputs if any(size > 1 for size in tensor.shape[1:])]
    if wide and len(signature.inputs) > 1:
        raise NoriaError(
            Reason.MODEL_INVALID,
            f"input {wide[0].name!r} takes {math.prod(wide[0].shape[1:])} numbers a row, and X has one "
            "column for each of several inputs: join them to one matrix in the model, or serve a class of "
            "your own",
        )
    return signature


def _filled(tensor: Tensor, arrays: Mapping[str, Array]) -> Tensor:
    rows = arrays.get(tensor.name, next(iter(arrays.values())) if len(arrays) == 1 else None)
    if rows is None or tensor.shape[1:] != (-1,):
        return tensor
    return replace(tensor, shape=(-1, rows.shape[1]))


def _node(node: Any, role: str) -> Tensor:
    if node.type not in TYPES:
        taken = f"taken are {', '.join(TYPES.values())}: put a Cast there"
        tensors = "export tensors only (skl2onnx: options={'zipmap': False})"
        hint = taken if node.type.startswith("tensor(") else tensors
        raise NoriaError(Reason.MODEL_INVALID, f"{role} {node.name!r} is a {node.type}; {hint}")
    shape = tuple(n if isinstance(n, int) and n > 0 else -1 for n in node.shape)
    if role == "input" and shape[:1] != (-1,):
        raise NoriaError(
            Reason.MODEL_INVALID,
            f"input {node.name!r} of shape {list(shape)} takes no other number of rows; export the model "
            "with a first dimension of any size (torch.onnx.export: dynamic_shapes)",
        )
    return Tensor(node.name, TYPES[node.type], (-1, *shape[1:]))
