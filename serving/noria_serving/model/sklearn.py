"""scikit-learn models that have no ONNX form: skops files with trusted types only, pickle only where opted
in.

skops rebuilds objects from a description, type by type; every type must be one that skops trusts, a public
estimator of scikit-learn, or one of the few of its internals named here. A pickle runs code when it is read,
so it is refused unless the operator's administrator opted this namespace in (NORIA_ALLOW_CODE=1).
"""

from __future__ import annotations

import importlib
import inspect
import io
import pickle
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from itertools import takewhile
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.errors import NoriaError, Reason
from noria_serving.model import lean, sklearn_names, sklearn_trees
from noria_serving.model.scoring import labels_alone
from noria_serving.model.sklearn_trees import parts_of
from noria_serving.signature import Signature
from noria_serving.zips import check_method

Array = NDArray[Any]
TRUSTED: Final = (
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
)
"""Data-only internals of scikit-learn's own estimators that skops does not list as public types; a Bunch is a
dictionary, of what votes by its name."""
_LABELS_APART: Final = frozenset({"FixedThresholdClassifier", "TunedThresholdClassifierCV", "NuSVC", "SVC"})
"""Estimators whose label need not be that of the largest probability: they have a threshold, or vote."""
_NOT_PUBLIC: Final = frozenset(
    {"tests", "externals", "setup", "conftest", "experimental", "estimator_checks"}
)
"""Parts of scikit-learn's that hold no public estimators: `all_estimators` leaves out the same."""
MAX_ENTRIES: Final = 20_000
MAX_EXPANDED: Final = 4 * 1024**3
PANDAS: Final = "pip install 'noria-ml[server,pandas]'"
_importing = Lock()
"""Held by whoever has or may have scikit-learn's modules imported."""


class SklearnModel:
    """An estimator or pipeline behind the signature."""

    def __init__(
        self, estimator: Any, signature: Signature, task: str, *, columns: Sequence[str] | None = None
    ) -> None:
        self.signature = signature
        self._estimator = estimator
        self._classes = task != "regression"
        self._labels_only = labels_alone(signature, task)
        self._labels_apart = _labels_apart(estimator)
        self.frame = not signature.matrix and hasattr(estimator, "feature_names_in_")
        """Whether rows become a DataFrame, which needs pandas."""
        self._columns = list(columns) if columns else [tensor.name for tensor in signature.inputs]

    def predict(self, inputs: Mapping[str, Array]) -> list[Array]:
        try:
            return self._answer(self._table(inputs))
        except ImportError as error:  # of what a step makes its rows into
            hint = f": {PANDAS}" if "pandas" in str(error) else ""
            raise NoriaError(
                Reason.MISSING_DEPENDENCY, f"serving this model needs more: {error}{hint}"
            ) from error

    def _answer(self, rows: Any) -> list[Array]:
        if not self._classes:
            return [np.asarray(self._estimator.predict(rows), dtype=np.float64).reshape(-1)]
        label = object if self.signature.outputs[0].datatype == "BYTES" else np.int64
        if self._labels_only:
            return [np.asarray(self._estimator.predict(rows)).reshape(-1).astype(label)]
        labels = self._estimator.predict(rows.copy()) if self._labels_apart else None
        probabilities = np.asarray(self._estimator.predict_proba(rows), dtype=np.float64)
        if labels is None:
            labels = np.asarray(self._estimator.classes_)[probabilities.argmax(axis=1)]
        return [np.asarray(labels).reshape(-1).astype(label), probabilities]

    def _table(self, inputs: Mapping[str, Array]) -> Any:
        if self.signature.matrix:
            return inputs[self.signature.inputs[0].name].copy()  # a step with copy=False writes into it
        arrays = {name: inputs[name].reshape(-1) for name in self._columns}
        if self.frame:
            return frame(arrays)
        return np.column_stack(list(arrays.values()))


def _labels_apart(estimator: Any) -> bool:
    """Whether the label need not be that of the largest probability: by what a pipeline ends in and what that
    holds, unless it averages the probabilities of these.
    """
    last = estimator
    while hasattr(last, "steps"):
        last = last.steps[-1][1]
    averages = type(last).__name__ == "CalibratedClassifierCV" or getattr(last, "voting", "") == "soft"
    return not averages and any(type(one).__name__ in _LABELS_APART for one in parts_of(last))


def frame(arrays: Mapping[str, Array]) -> Any:
    """A pandas DataFrame: estimators that read columns by name take nothing else."""
    try:
        import pandas  # noqa: PLC0415  only for models that need it
    except ImportError as error:
        raise NoriaError(
            Reason.MISSING_DEPENDENCY,
            f"this model reads its columns by name or as text, so serving it needs pandas: {PANDAS}",
        ) from error
    return pandas.DataFrame(dict(arrays))


def open_skops(data: bytes, signature: Signature, task: str) -> SklearnModel:
    """A model of verified skops bytes, that takes a DataFrame only where it reads columns by name."""
    return SklearnModel(sklearn_names.numbered(load_skops(data), signature), signature, task)


def load_skops(data: bytes) -> Any:
    """Rebuild an estimator from verified skops bytes."""
    _check_zip(data)
    try:
        skops = _skops()
    except ImportError as error:
        raise NoriaError(
            Reason.MISSING_DEPENDENCY, "skops models need: pip install 'noria-ml[sklearn]'"
        ) from error
    try:
        doubtful = skops.get_untrusted_types(data=data)
        unknown = [name for name in doubtful if name not in TRUSTED and not is_estimator(name)]
        estimator = None if unknown else skops.loads(data, trusted=[*TRUSTED, *doubtful])
    except Exception as error:
        raise NoriaError(Reason.MODEL_INVALID, f"skops cannot rebuild the model: {error!s:.500}") from error
    if unknown:
        raise NoriaError(
            Reason.FORMAT_REFUSED, f"the skops file holds types that are not trusted: {unknown[:9]}"
        )
    sklearn_trees.check(estimator)
    return estimator


def _skops() -> Any:
    """skops.io, lean (lean.py), unless somebody has imported all of it."""
    with _importing:
        if "skops.io" in sys.modules:
            return importlib.import_module("skops.io")  # once it is whole: another thread may be at it
        return lean.skops()


def is_estimator(name: str) -> bool:
    """Whether `all_estimators` would list this type; imports scikit-learn's own public modules alone."""
    from sklearn.base import BaseEstimator  # noqa: PLC0415

    module, _, kind = name.rpartition(".")
    parts = module.split(".")
    if parts[0] != "sklearn" or not _NOT_PUBLIC.isdisjoint(parts) or kind.startswith("_"):
        return False
    public = ".".join(takewhile(lambda part: not part.startswith("_"), parts))
    try:
        found = getattr(importlib.import_module(public), kind, None)
    except ImportError:
        return False
    return (
        inspect.isclass(found)
        and found.__module__ == module
        and issubclass(found, BaseEstimator)
        and found is not BaseEstimator
        and not inspect.isabstract(found)
    )


def load_pickle(data: bytes) -> Any:
    """Unpickle: only where `check_format` found code allowed."""
    try:
        with _importing:
            return pickle.loads(data)
    except Exception as error:
        raise NoriaError(Reason.MODEL_INVALID, f"the pickle cannot be read: {error!s:.500}") from error


def _check_zip(data: bytes) -> None:
    if not data.startswith(b"PK\x03\x04"):
        raise NoriaError(Reason.FORMAT_REFUSED, "the model file is not skops: its bytes say something else")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            names = {entry.filename for entry in entries}
            if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > MAX_EXPANDED:
                raise NoriaError(Reason.TOO_LARGE, "the skops archive expands over the limit")
            if "schema.json" not in names or any("/" in n or "\\" in n or n.startswith(".") for n in names):
                raise NoriaError(Reason.FORMAT_REFUSED, "the archive is not a skops file")
            for entry in entries:
                check_method(entry)
            if archive.testzip() is not None:
                raise NoriaError(Reason.MODEL_INVALID, "the skops archive is damaged (checksum)")
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise NoriaError(Reason.MODEL_INVALID, f"the skops archive is damaged: {error}") from error
