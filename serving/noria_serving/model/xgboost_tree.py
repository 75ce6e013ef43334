"""A tree of XGBoost, as its file has it, checked before XGBoost's own loader sees it.

In: the object of a tree. Out: how many bits its sets of categories take. Invariant: no number that the loader
or a prediction follows without a look at bounds leads out of its array: of nodes, parents, features, sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.errors import NoriaError, Reason
from noria_serving.model.trees import check_tree, damaged

Array = NDArray[Any]
MOST_CATEGORIES: Final = 2**24
"""Codes are single precision in XGBoost's rows, which does not tell larger ones apart."""
_NOBODY: Final = (-1, 2**31 - 1)
"""The parent of a root, in some version."""


def check(tree: Mapping[str, Any], width: int, where: str) -> int:
    """NoriaError for a tree that is not sound. width: features of a row; where: what the error calls it."""
    left, right = numbers(tree["left_children"]), numbers(tree["right_children"])
    features, parents = numbers(tree["split_indices"]), numbers(tree["parents"])
    arrays = (left, right, features, parents, tree["split_conditions"], tree["default_left"])
    if {len(array) for array in arrays} != {int(tree["tree_param"]["num_nodes"])} or not len(left):
        raise damaged(where, "its arrays differ in length")
    if int(tree["tree_param"].get("size_leaf_vector", 0)) > 1:
        raise NoriaError(
            Reason.MODEL_INVALID, f"{where}: its leaves hold vectors; train one tree for each output"
        )
    inner = left != -1
    if (right[~inner] != -1).any():
        raise damaged(where, "a node has one child")
    children = np.concatenate([left[inner], right[inner]])
    check_tree(nodes=len(left), children=children, features=features[inner], width=width, where=where)
    places = np.flatnonzero(inner)
    known = np.isin(parents, _NOBODY) | ((parents >= 0) & (parents < len(left)))
    if not known.all() or (parents[children] != np.concatenate([places, places])).any():
        raise damaged(where, "a node has another parent than the node whose child it is")
    return _bits(tree, len(left), where) if "split_type" in tree else 0


def _bits(tree: Mapping[str, Any], nodes: int, where: str) -> int:
    """Of the sets of categories: each a part of one list, whose largest code decides how large it gets."""
    places, codes = numbers(tree["categories_nodes"]), numbers(tree["categories"])
    starts, sizes = numbers(tree["categories_segments"]), numbers(tree["categories_sizes"])
    sound = (
        len(tree["split_type"]) == nodes
        and len(places) == len(starts) == len(sizes)
        and _within(places, 0, nodes - 1)
        and _within(starts, 0, len(codes))
        and _within(sizes, 1, len(codes))
        and _within(starts + sizes, 0, len(codes))
        and _within(codes, 0, MOST_CATEGORIES - 1)
    )
    if not sound:
        raise damaged(where, "its category sets do not add up")
    return len(places) * (int(codes.max()) + 1) if len(codes) else 0


def numbers(values: Any) -> Array:
    """Whole numbers, from a list or from an array."""
    return np.asarray(values, np.int64)


def _within(values: Array, low: int, high: int) -> bool:
    return not values.size or (bool(values.min() >= low) and bool(values.max() <= high))
