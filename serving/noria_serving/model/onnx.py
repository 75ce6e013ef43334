"""ONNX models on ONNX Runtime, one thread: for models of this size threads cost more than they give, and a
pod's CPU share is one of many. Loaded from verified bytes; a model that refers to files beside it is refused.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.errors import NoriaError, Reason
from noria_serving.model.external import has_external
from noria_serving.signature import Signature

Array = NDArray[Any]
BEGIN: Final = 32
TYPES: Final[Mapping[str, str]] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


class OnnxModel:
    """A session whose inputs and outputs are those of the signature, by position: converters rename what they
    must.
    """

    concurrent: Final = True
    """ONNX Runtime promises that `run` may be called by several threads."""

    def __init__(self, model: bytes | Path, signature: Signature) -> None:
        self.signature = signature
        session = open_session(model)
        inputs = [TYPES.get(node.type) for node in session.get_inputs()]
        outputs = [TYPES.get(node.type) for node in session.get_outputs()]
        if inputs != [t.datatype for t in signature.inputs]:
            raise NoriaError(
                Reason.MODEL_INVALID, f"the model takes {inputs}, which the signature contradicts"
            )
        if outputs != [t.datatype for t in signature.outputs]:
            raise NoriaError(
                Reason.MODEL_INVALID, f"the model gives {outputs}, which the signature contradicts"
            )
        self._run = session.run
        self._outputs = [node.name for node in session.get_outputs()]
        self._inputs = [(t.name, n.name) for t, n in zip(signature.inputs, session.get_inputs(), strict=True)]

    def predict(self, inputs: Mapping[str, Array]) -> list[Array]:
        return [
            np.asarray(x)
            for x in self._run(self._outputs, {node: inputs[name] for name, node in self._inputs})
        ]


def open_session(model: bytes | Path) -> Any:
    """An ONNX Runtime session on one CPU thread, from bytes or from a file of this process alone."""
    if isinstance(model, bytes):
        _check(model)
    else:
        with model.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _check(content)
    try:
        import onnxruntime  # noqa: PLC0415  slow to import: after the port answers
    except ImportError as error:
        raise NoriaError(
            Reason.MISSING_DEPENDENCY, "ONNX models need: pip install 'noria-ml[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise NoriaError(Reason.MODEL_INVALID, f"ONNX Runtime refuses the model: {error!s:.500}") from error


def _check(model: bytes | mmap.mmap) -> None:
    if not looks_like_onnx(model[:BEGIN]):
        raise NoriaError(Reason.FORMAT_REFUSED, "the model file is not ONNX: its bytes say something else")
    try:
        elsewhere = has_external(model)
    except ValueError as error:
        raise NoriaError(Reason.FORMAT_REFUSED, f"the model file is not ONNX: {error}") from error
    if elsewhere:
        raise NoriaError(
            Reason.FORMAT_REFUSED, "the ONNX model keeps tensors in other files; save it as one file"
        )


def looks_like_onnx(data: bytes) -> bool:
    """ONNX has no magic number; every file in use starts with field 1, `ir_version`, a small varint. ONNX
    Runtime's own format has one, at the fifth byte, and may begin so, too.
    """
    return len(data) > 16 and data[0] == 0x08 and 1 <= data[1] <= 32 and data[4:8] != b"ORTM"
