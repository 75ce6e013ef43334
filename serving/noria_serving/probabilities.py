"""Whether what a classifier answers is a probability of each class, asked when it is handed over.

In: its answers to the rows of training. Out: nothing, or a NoriaError that says what to do. Invariant:
logits, or the numbers of another output, are never frozen, counted and judged as probabilities. One-vs-rest
models have a probability of each class by itself, so nothing is asked of sums; a row may have none (NaN).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.errors import NoriaError, Reason
from noria_serving.model.scoring import Scoring
from noria_serving.signature import Signature

Array = NDArray[Any]
ROUNDING: Final = 1e-3
"""How far beyond 0 and 1 a probability may be."""


def check(outputs: Sequence[Array], signature: Signature, scoring: Scoring, classes: Sequence[Any]) -> None:
    """NoriaError for a classifier whose output that is counted holds something else."""
    if scoring.task == "regression" or scoring.labels_only:
        return
    name, told = signature.outputs[scoring.output].name, outputs[scoring.output].astype(np.float64)
    width = told[0].size
    if width != len(classes) and (width, scoring.task) != (1, "binary"):
        raise _no_probabilities(
            f"output {name!r} has {width} numbers a row, and there are {len(classes)} classes, "
            f"{list(classes)[:20]}: hand over rows of each class that the model knows"
        )
    if (beyond := (told < -ROUNDING) | (told > 1 + ROUNDING)).any():
        raise _no_probabilities(
            f"output {name!r} holds {told[beyond][0]:g}, which is no probability: put a Softmax behind it (a "
            "Sigmoid where it is one number a row)"
        )


def _no_probabilities(what: str) -> NoriaError:
    return NoriaError(
        Reason.MODEL_INVALID,
        f"{what}; probabilities are read from the output `probabilities`, or else from the last one of "
        "floating-point numbers",
    )
