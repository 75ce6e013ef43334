"""LightGBM models in LightGBM's own text, through its C interface, on one thread.

Every tree is checked before LightGBM's own parser sees the text; `tree_sizes`, the offsets that its parser
jumps by, is left out, so that it reads from start to end.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.errors import NoriaError, Reason
from noria_serving.model.native import open_library
from noria_serving.model.tabular import Answer, Encoding, Table
from noria_serving.model.trees import MAX_TREES, check_tree
from noria_serving.signature import Signature

Array = NDArray[Any]
MAGIC: Final = b"tree\nversion=v"
MAX_FEATURES: Final = 1_000_000
OBJECTIVES: Final = {
    "binary": ("binary", "cross_entropy"),
    "multiclass": ("multiclass", "multiclassova"),
    "regression": (
        "regression",
        "regression_l1",
        "huber",
        "fair",
        "poisson",
        "quantile",
        "mape",
        "gamma",
        "tweedie",
    ),
}
MAX_LINES: Final = 23
"""Of a tree with the first: LightGBM reads no more of them, and no further than an empty one."""
_FIELD: Final = re.compile(rb"([a-z_]+)=([^\n]*)")
_REAL: Final = re.compile(r"-?([0-9.]+(e[-+]?[0-9]+)?|inf|nan)")
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}( -?[0-9]{1,18})*")
_FLOAT64: Final = 1
_OPTIONS: Final = b"num_threads=1 verbosity=-1"


class LightGBMModel:
    """A booster behind the signature."""

    def __init__(
        self, data: bytes, signature: Signature, task: str, *, classes: Sequence[Any], encoding: Encoding
    ) -> None:
        self.signature = signature
        self._width, self._outputs, objective = check(data)
        if objective not in OBJECTIVES[task]:
            raise NoriaError(
                Reason.MODEL_INVALID,
                f"objective {objective!r:.60} gives no {task} predictions; use one of {OBJECTIVES[task]}",
            )
        self._table = Table(signature, encoding, dtype=np.float64)
        self._answer = Answer(signature, task, classes)
        self._library = open_library("lightgbm", "_lightgbm")
        self._library.LGBM_GetLastError.restype = ctypes.c_char_p
        self._handle, iterations = ctypes.c_void_p(), ctypes.c_int()
        text = re.sub(rb"(?m)^tree_sizes=.*\n", b"", data)
        self._call(
            "LGBM_BoosterLoadModelFromString", text, ctypes.byref(iterations), ctypes.byref(self._handle)
        )

    def predict(self, inputs: Mapping[str, Array]) -> list[Array]:
        table = self._table(inputs)
        rows, width = table.shape
        if width != self._width:
            raise ValueError(f"the model takes {self._width} features, not {width}")
        result = np.empty((rows, self._outputs), np.float64)
        written = ctypes.c_int64()
        self._call(
            "LGBM_BoosterPredictForMat",
            self._handle,
            ctypes.c_void_p(table.ctypes.data),
            _FLOAT64,
            ctypes.c_int32(rows),
            ctypes.c_int32(width),
            1,  # row-major
            0,  # predictions, not raw scores
            0,  # from the first tree
            -1,  # to the last
            _OPTIONS,
            ctypes.byref(written),
            ctypes.c_void_p(result.ctypes.data),
        )
        if written.value != result.size:
            raise ValueError(f"LightGBM gave {written.value} numbers for {rows} rows")
        return self._answer(result if self._outputs > 1 else result.reshape(-1))

    def _call(self, name: str, *arguments: Any) -> None:
        if getattr(self._library, name)(*arguments):
            said = (self._library.LGBM_GetLastError() or b"").decode(errors="replace")
            raise NoriaError(Reason.MODEL_INVALID, f"LightGBM refuses: {said:.300}")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.LGBM_BoosterFree(self._handle)


def check(data: bytes) -> tuple[int, int, str]:
    """(number of features, numbers a row, objective) of a model text whose trees are sound."""
    if not data.startswith(MAGIC):
        raise NoriaError(
            Reason.FORMAT_REFUSED, "the model file is not LightGBM's text: its bytes say something else"
        )
    trees, end, _ = data.partition(b"\nend of trees\n")
    if not end or b"\0" in data or b"\r" in trees:
        raise NoriaError(Reason.MODEL_INVALID, "the LightGBM model is damaged: its trees do not end")
    head, *blocks = re.split(rb"\n(?=Tree=)", trees)
    try:
        fields = _fields([line for line in head.split(b"\n") if b"=" in line])
        width, outputs = _number(fields, "max_feature_idx") + 1, _number(fields, "num_tree_per_iteration")
        if not 0 < width <= MAX_FEATURES or len(blocks) > MAX_TREES or not 0 < outputs <= 65_536:
            raise NoriaError(Reason.TOO_LARGE, f"{width} features and {len(blocks)} trees are over the limit")
        if _number(fields, "num_class") != outputs:
            raise NoriaError(Reason.MODEL_INVALID, "the LightGBM model has not one tree a class and round")
        for number, block in enumerate(blocks):
            lines = block.rstrip(b"\n").split(b"\n")
            if len(lines) > MAX_LINES:
                raise NoriaError(Reason.MODEL_INVALID, f"tree {number}: it has too many lines")
            _check_tree(_fields(lines[1:]), width, f"tree {number}")
    except (KeyError, ValueError, OverflowError) as error:
        raise NoriaError(
            Reason.MODEL_INVALID, f"the LightGBM model is damaged: {type(error).__name__}: {error!s:.200}"
        ) from error
    return width, outputs, (fields.get("objective", "").split() or [""])[0]


def _fields(lines: Sequence[bytes]) -> dict[str, str]:
    """Each a name and what it is; ValueError for lines that LightGBM may read in another way."""
    found = [_FIELD.fullmatch(line) for line in lines]
    fields = {match[1].decode(): match[2].decode() for match in found if match}
    if len(fields) != len(lines):
        raise ValueError("a line is no name and value, or a name stands twice")
    return fields


def _number(fields: Mapping[str, str], name: str) -> int:
    (value,) = _numbers(fields[name]).tolist()
    return int(value)


def _numbers(text: str) -> Array:
    """Whole numbers with a blank between two; LightGBM's reader stops where anything else stands."""
    if text and not _WHOLE.fullmatch(text):
        raise ValueError(f"no whole numbers: {text:.40}")
    return np.array(text.split(), np.int64)


def _check_tree(fields: Mapping[str, str], width: int, where: str) -> None:
    leaves, values = _number(fields, "num_leaves"), fields["leaf_value"].split(" ")
    names = ("left_child", "right_child", "split_feature", "decision_type")
    left, right, features, kinds = (_numbers(fields.get(name, "")) for name in names)
    inner = leaves - 1
    lengths = {len(left), len(right), len(features), len(kinds)} if inner > 0 else {inner}
    if leaves < 1 or lengths != {inner} or len(values) != leaves:
        raise NoriaError(Reason.MODEL_INVALID, f"{where}: its arrays differ in length; the file is damaged")
    both = np.concatenate([left, right])
    if inner and (both.min() < -leaves or _number({"is_linear": "0", **fields}, "is_linear")):
        raise NoriaError(Reason.MODEL_INVALID, f"{where}: a leaf is missing, or a leaf holds a linear model")
    check_tree(nodes=inner, children=both[both >= 0], features=features, width=width, where=where)
    _check_categories(fields, kinds, where)


def _check_categories(fields: Mapping[str, str], kinds: Array, where: str) -> None:
    """Categorical splits name a set of categories by its number; the sets lie in one list of words."""
    bounds, words = (_numbers(fields.get(name, "")) for name in ("cat_boundaries", "cat_threshold"))
    count, thresholds = _number(fields, "num_cat"), fields.get("threshold", "").split(" ")
    if (kinds & 1).any() and (len(thresholds) != len(kinds) or not all(map(_REAL.fullmatch, thresholds))):
        raise NoriaError(Reason.MODEL_INVALID, f"{where}: its thresholds are no numbers, or too few")
    sets = _numbers(" ".join(thresholds[place] for place in np.flatnonzero(kinds & 1)))
    sound = len(bounds) == (count + 1 if count else 0) and (
        not count or (bounds[0] == 0 and bounds[-1] == len(words) and (np.diff(bounds) >= 0).all())
    )
    if not sound or (sets.size and (sets.min() < 0 or sets.max() >= count)):
        raise NoriaError(Reason.MODEL_INVALID, f"{where}: its category sets do not add up")
