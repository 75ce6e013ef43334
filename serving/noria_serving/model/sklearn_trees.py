"""The trees within an estimator of scikit-learn, checked before its compiled code walks them.

In: an estimator that skops rebuilt, whose arrays are what a file says. Out: nothing, or `ModelInvalid`.
Invariant: no number that scikit-learn's trees, gradient boosting and histogram gradient boosting follow
without a look at bounds leads out of a tree or of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from noria_serving.errors import NoriaError, Reason
from noria_serving.model import sklearn_parts
from noria_serving.model.trees import check_tree, damaged

_LEAF: Final = -1
_ROWS: Final = 3
_COLUMNS: Final = 2**20
"""Of boosted trees: what a file says is not to decide how much memory a look at it takes."""


def check(estimator: Any) -> None:
    """Look at all that it is made of."""
    boosted: list[tuple[Any, str]] = []
    try:
        for number, one in enumerate(parts_of(estimator)):
            parts, where = vars(one), f"part {number} ({type(one).__name__})"
            sklearn_parts.check(one, where)
            if "tree_" in parts:
                _tree(one, one.n_features_in_, where)
            if "_predictors" in parts:
                _histograms(one, where)
            elif "estimators_" in parts and "init_" in parts:
                _boosted(one, where)
                boosted.append((one, where))
        for one, where in boosted:  # when everything that they begin with is known to be sound
            _begun(one, where)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise NoriaError(
            Reason.MODEL_INVALID, f"the model lacks a part: {type(error).__name__}: {error!s:.200}"
        ) from error


def parts_of(estimator: Any) -> Iterator[Any]:
    """Every object of scikit-learn's that it reaches, once."""
    return filter(_is_part, reached(estimator))


def _is_part(one: Any) -> bool:
    return type(one).__module__.startswith("sklearn.") and hasattr(one, "__dict__")


def reached(estimator: Any) -> Iterator[Any]:
    """The same, with what these hold of others: numbers, texts, models of other libraries."""
    ahead: list[Any] = [estimator]
    seen: set[int] = set()
    while ahead:
        one = ahead.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            ahead += one.values()
        elif isinstance(one, list | tuple | set):
            ahead += one
        elif isinstance(one, np.ndarray):
            ahead += one.reshape(-1).tolist() if one.dtype == object else ()
        else:
            ahead += vars(one).values() if _is_part(one) else ()
            yield one


def _tree(holder: Any, width: int, where: str) -> None:
    tree = holder.tree_
    left, right = tree.children_left, tree.children_right
    inner = left != _LEAF
    if tree.n_features != width:
        raise damaged(where, "its tree reads rows of another width")
    if not tree.node_count:
        raise damaged(where, "its tree has no root")
    children = np.concatenate([left[inner], right[inner]])
    check_tree(
        nodes=tree.node_count, children=children, features=tree.feature[inner], width=width, where=where
    )


def _boosted(model: Any, where: str) -> None:
    """Gradient boosting hands its rows to trees past the estimators that hold these."""
    if model.estimators_.ndim != 2 or model.estimators_.shape[1] != model.n_trees_per_iteration_:
        raise damaged(where, "it has not one tree an output and round")
    for holder in model.estimators_.reshape(-1).tolist():
        _tree(holder, model.n_features_in_, where)
        if holder.tree_.value[0].size != 1:
            raise damaged(where, "a tree has not one value a node")
    if model.init_ != "zero" and any("init_" in vars(one) for one in parts_of(model.init_)):
        raise damaged(where, "it begins with what begins with something else")


def _begun(model: Any, where: str) -> None:
    """The trees add to what the first estimator says, as though it had a number for each of theirs."""
    if model.n_features_in_ > _COLUMNS:
        raise damaged(where, f"it takes more than {_COLUMNS} columns")
    rows = np.zeros((_ROWS, model.n_features_in_), dtype=np.float32)
    if model._raw_predict_init(rows).shape != (_ROWS, model.n_trees_per_iteration_):
        raise damaged(where, "it begins with other outputs than its trees have")


def _histograms(model: Any, where: str) -> None:
    """What comes before splits by category has no form that skops and we trust, so none are expected."""
    if model._preprocessor is not None:
        raise damaged(where, "it changes rows before they are split")
    width, predictors = model.n_features_in_, [one for round_ in model._predictors for one in round_]
    if np.any(model._bin_mapper.is_categorical_) or any(
        one.nodes["is_categorical"].any() for one in predictors
    ):
        raise damaged(where, "it splits by category")
    for predictor in predictors:
        if not len(predictor.nodes):
            raise damaged(where, "a tree has no root")
        inner = predictor.nodes[predictor.nodes["is_leaf"] == 0]
        children = np.concatenate([inner["left"], inner["right"]]).astype(np.int64)
        features = inner["feature_idx"].astype(np.int64)
        check_tree(nodes=len(predictor.nodes), children=children, features=features, width=width, where=where)
