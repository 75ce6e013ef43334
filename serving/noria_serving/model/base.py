"""What every backend offers: arrays by input name go in, arrays in the order of the signature's outputs come
out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from noria_serving.errors import NoriaError, Reason
from noria_serving.signature import Signature

Array = NDArray[Any]


class Backend(Protocol):
    """A loaded model. `predict` may be called from one thread at a time and raises what the model raises."""

    signature: Signature

    def predict(self, inputs: Mapping[str, Array]) -> list[Array]: ...


def concurrent(backend: Backend) -> bool:
    """Whether `predict` may be called from several threads at once: a backend says so by an attribute
    `concurrent` that is true.
    """
    return bool(getattr(backend, "concurrent", False))


def blocks(backend: Backend) -> bool:
    """Whether `predict` may wait for something else than the CPU, and so never runs on the event loop: a
    backend says so by an attribute `blocks` that is true.
    """
    return bool(getattr(backend, "blocks", False))


def close(backend: Backend) -> None:
    """Let a backend that has a `close` give back what it holds; it is not asked any more."""
    getattr(backend, "close", lambda: None)()


def score_output(signature: Signature, task: str) -> int:
    """Position of the output that carries probabilities (or, for regression, the prediction)."""
    if task == "regression":
        return 0
    names = [tensor.name for tensor in signature.outputs]
    if "probabilities" in names:
        return names.index("probabilities")
    for index, tensor in reversed(list(enumerate(signature.outputs))):
        if tensor.datatype.startswith("FP"):
            return index
    raise NoriaError(Reason.MODEL_INVALID, f"a {task} model needs an output of probabilities; it has {names}")


def scores(output: Array, task: str) -> Array:
    """One number a row: P(positive class), the probability of the likeliest class, or the predicted value."""
    if output.ndim == 1:
        return output
    flat = output.reshape(len(output), -1)
    if task == "multiclass":
        return np.asarray(flat.max(axis=1))
    return np.ascontiguousarray(flat[:, -1] if task == "binary" else flat[:, 0])
