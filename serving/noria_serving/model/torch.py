"""PyTorch's exported programs on one CPU thread: one table of numbers in, predictions or probabilities out.

Reading one can run code (torch.export.load falls back to pickle, and evaluates expressions that stand in the
file), so the format needs the administrator's consent.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria_serving.errors import NoriaError, Reason
from noria_serving.model.tabular import Answer, Encoding, Table
from noria_serving.signature import DATATYPES, Signature

Array = NDArray[Any]


class TorchModel:
    """A program behind the signature; number columns are put side by side."""

    def __init__(
        self, program: bytes | Path, signature: Signature, task: str, *, classes: Sequence[Any]
    ) -> None:
        self.signature = signature
        self._torch = library()
        self._torch.set_num_threads(1)
        self._run = self._opened(program)
        self._table = Table(signature, Encoding(), dtype=DATATYPES[signature.outputs[-1].datatype])
        self._answer = Answer(signature, task, classes)

    def predict(self, inputs: Mapping[str, Array]) -> list[Array]:
        with self._torch.inference_mode():
            scores = self._run(self._torch.tensor(self._table(inputs)))
        return self._answer(np.asarray(scores))

    def _opened(self, program: bytes | Path) -> Any:
        try:
            stream = io.BytesIO(program) if isinstance(program, bytes) else program.open("rb")
            with stream:
                return self._torch.export.load(stream).module()
        except Exception as error:
            raise NoriaError(
                Reason.MODEL_INVALID, f"PyTorch cannot read the exported program: {error!s:.500}"
            ) from error


def library() -> Any:
    """PyTorch, where it is installed."""
    try:
        import torch  # noqa: PLC0415  large and slow to import
    except ImportError as error:
        raise NoriaError(
            Reason.MISSING_DEPENDENCY, "PyTorch programs need: pip install 'noria-ml[torch]'"
        ) from error
    return torch
