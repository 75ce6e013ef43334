"""The shape of a decision tree, checked before native code walks it.

Runtimes follow child and feature numbers without looking at bounds, so a crafted file could read foreign
memory or never end. In: the numbers as arrays. Invariant: from the root every path ends in a leaf, and no
number leads outside the tree or the row.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.errors import NoriaError, Reason

MAX_TREES: Final = 100_000
Array = NDArray[Any]


def check_tree(*, nodes: int, children: Array, features: Array, width: int, where: str) -> None:
    """children: all node numbers that inner nodes lead to (leaves that are no nodes left out)."""
    if nodes < 0 or (children.size and (children.min() <= 0 or children.max() >= nodes)):
        raise damaged(where, "a child leads out of the tree")
    if np.unique(children).size != children.size:
        raise damaged(where, "two branches meet")
    if features.size and (features.min() < 0 or features.max() >= width):
        raise NoriaError(
            Reason.MODEL_INVALID, f"{where}: a split reads a feature beyond the {width} that the model has"
        )


def damaged(where: str, what: str) -> NoriaError:
    """The error of a file whose numbers do not go together."""
    return NoriaError(Reason.MODEL_INVALID, f"{where}: {what}; the file is damaged")
