"""XGBoost models in XGBoost's own JSON or UBJSON, through its C interface, on one thread.

The document is read and every tree checked before XGBoost's own parser sees it. Raw scores become labels and
probabilities as XGBoost's scikit-learn classes do it.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.errors import NoriaError, Reason
from noria_serving.model import xgboost_tree
from noria_serving.model.native import open_library
from noria_serving.model.tabular import Answer, Encoding, Table
from noria_serving.model.trees import MAX_TREES
from noria_serving.model.ubj import parse
from noria_serving.model.xgboost_tree import numbers
from noria_serving.signature import Signature

Array = NDArray[Any]
MAX_FEATURES: Final = 1_000_000
MAX_SETS: Final = 8 * 1024**3
"""Bits of all sets of categories, which XGBoost makes as large as their largest code."""
BOOSTERS: Final = ("gbtree", "dart")
OBJECTIVES: Final = {
    "binary": ("binary:logistic",),
    "multiclass": ("multi:softprob", "multi:softmax"),
    "regression": ("reg:", "count:", "survival:"),
}
"""Task → objectives whose predictions are what the task promises."""


class XGBoostModel:
    """A booster behind the signature."""

    def __init__(
        self, data: bytes, signature: Signature, task: str, *, classes: Sequence[Any], encoding: Encoding
    ) -> None:
        self.signature = signature
        width, objective = check(data)
        if not objective.startswith(OBJECTIVES[task]):
            raise NoriaError(
                Reason.MODEL_INVALID,
                f"objective {objective!r} gives no {task} predictions; use one of {OBJECTIVES[task]}",
            )
        self._width = width
        self._table = Table(signature, encoding, dtype=np.float32)
        self._answer = Answer(signature, task, classes)
        self._margins = objective == "multi:softmax"  # asks for the class, but probabilities are promised
        self._library = open_library("xgboost", "xgboost")
        self._library.XGBGetLastError.restype = ctypes.c_char_p
        self._handle = ctypes.c_void_p()
        self._call("XGBoosterCreate", None, ctypes.c_uint64(0), ctypes.byref(self._handle))
        self._call("XGBoosterLoadModelFromBuffer", self._handle, data, ctypes.c_uint64(len(data)))
        for name, value in ((b"nthread", b"1"), (b"device", b"cpu")):
            self._call("XGBoosterSetParam", self._handle, name, value)
        self._options = json.dumps(
            {
                "type": 1 if self._margins else 0,
                "training": False,
                "iteration_begin": 0,
                "iteration_end": 0,
                "missing": float("nan"),
                "strict_shape": True,
                "cache_id": 0,
            }
        ).encode()

    def predict(self, inputs: Mapping[str, Array]) -> list[Array]:
        table = self._table(inputs)
        if table.shape[1] != self._width:
            raise ValueError(f"the model takes {self._width} features, not {table.shape[1]}")
        scores = self._scores(table)
        if self._margins:
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores /= scores.sum(axis=1, keepdims=True)
        return self._answer(scores)

    def _scores(self, table: Array) -> Array:
        interface = {
            "data": [table.ctypes.data, True],
            "shape": table.shape,
            "typestr": table.dtype.str,
            "version": 3,
        }
        shape, result = ctypes.POINTER(ctypes.c_uint64)(), ctypes.POINTER(ctypes.c_float)()
        dimensions = ctypes.c_uint64()
        self._call(
            "XGBoosterPredictFromDense",
            self._handle,
            json.dumps(interface).encode(),
            self._options,
            None,
            ctypes.byref(shape),
            ctypes.byref(dimensions),
            ctypes.byref(result),
        )
        sizes = [shape[i] for i in range(dimensions.value)]
        return np.ctypeslib.as_array(result, (int(np.prod(sizes)),)).reshape(sizes[0], -1).copy()

    def _call(self, name: str, *arguments: Any) -> None:
        if getattr(self._library, name)(*arguments):
            said = (self._library.XGBGetLastError() or b"").decode(errors="replace").split("\n")[0]
            raise NoriaError(Reason.MODEL_INVALID, f"XGBoost refuses: {said:.300}")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.XGBoosterFree(self._handle)


def check(data: bytes) -> tuple[int, str]:
    """(number of features, objective) of a model file whose trees are sound."""
    document = _document(data)
    try:
        learner = document["learner"]
        width = int(learner["learner_model_param"]["num_feature"])
        objective, booster = str(learner["objective"]["name"]), learner["gradient_booster"]
        if booster["name"] not in BOOSTERS:
            raise NoriaError(
                Reason.FORMAT_REFUSED, f"booster {booster['name']!r:.40} is not one of {list(BOOSTERS)}"
            )
        trees = (booster["gbtree"] if booster["name"] == "dart" else booster)["model"]["trees"]
        if not 0 < width <= MAX_FEATURES or len(trees) > MAX_TREES:
            raise NoriaError(Reason.TOO_LARGE, f"{width} features and {len(trees)} trees are over the limit")
        _check_order(booster, learner["learner_model_param"])
        bits = sum(xgboost_tree.check(tree, width, f"tree {number}") for number, tree in enumerate(trees))
        if bits > MAX_SETS:
            raise NoriaError(
                Reason.TOO_LARGE, f"its sets of categories take {bits // 8} bytes, over the limit"
            )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise NoriaError(
            Reason.MODEL_INVALID, f"the XGBoost model lacks a part: {type(error).__name__}: {error!s:.200}"
        ) from error
    return width, objective


def _document(data: bytes) -> Any:
    try:
        if data[:1] == b"{" and data[1:2] in b"LIliU":
            return parse(data)
        if data[:1] == b"{" and data[1:2] in b'"\n\r\t ':
            return json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise NoriaError(Reason.MODEL_INVALID, f"the XGBoost model is damaged: {error!s:.200}") from error
    raise NoriaError(
        Reason.FORMAT_REFUSED, "the model file is not XGBoost's JSON or UBJSON: its bytes say something else"
    )


def _check_order(booster: Mapping[str, Any], param: Mapping[str, Any]) -> None:
    """Which output each tree adds to, which trees are of a round, and how much each counts."""
    dart = booster["name"] == "dart"
    model = (booster["gbtree"] if dart else booster)["model"]
    count, outputs = len(model["trees"]), max(int(param.get(name, 0)) for name in ("num_class", "num_target"))
    adds, rounds = numbers(model["tree_info"]), numbers(model.get("iteration_indptr", [0, count]))
    sound = (
        sorted(int(tree["id"]) for tree in model["trees"]) == list(range(count))
        and len(adds) == count
        and ((adds >= 0) & (adds < max(1, outputs))).all()
        and (rounds[0], rounds[-1]) == (0, count)
        and (np.diff(rounds) >= 0).all()
        and (not dart or len(booster["weight_drop"]) == count)
    )
    if not sound:
        raise NoriaError(Reason.MODEL_INVALID, "the trees of the XGBoost model do not add up; it is damaged")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; two readers need not mean the same one of two values of a key, or spell it alike."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found
