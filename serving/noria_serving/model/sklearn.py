"""scikit-learn models that have no ONNX form: skops files with trusted types only, pickle only where opted
in.

skops rebuilds objects from a description, type by type; every type must be one that skops trusts or one of
the few scikit-learn internals named here. A pickle runs code when it is read, so it is refused unless the
operator's administrator opted this namespace in (NORIA_ALLOW_CODE=1).
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.errors import NoriaError, Reason
from noria_serving.signature import Signature

Array = NDArray[Any]
TRUSTED: Final = (
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
)
"""Data-only internals of scikit-learn's own estimators that skops does not list as public types."""
MAX_ENTRIES: Final = 20_000
MAX_EXPANDED: Final = 4 * 1024**3


class SklearnModel:
    """An estimator or pipeline behind the signature."""

    def __init__(
        self, estimator: Any, signature: Signature, task: str, *, columns: Sequence[str] | None = None
    ) -> None:
        self.signature = signature
        self._estimator = estimator
        self._classes = task != "regression"
        self._frame = not signature.matrix and hasattr(estimator, "feature_names_in_")
        self._columns = list(columns) if columns else [tensor.name for tensor in signature.inputs]

    def predict(self, inputs: Mapping[str, Array]) -> list[Array]:
        rows = self._table(inputs)
        if not self._classes:
            return [np.asarray(self._estimator.predict(rows), dtype=np.float64).reshape(-1)]
        probabilities = np.asarray(self._estimator.predict_proba(rows), dtype=np.float64)
        labels = np.asarray(self._estimator.classes_)[probabilities.argmax(axis=1)]
        label = self.signature.outputs[0]
        return [labels.astype(object if label.datatype == "BYTES" else np.int64), probabilities]

    def _table(self, inputs: Mapping[str, Array]) -> Any:
        if self.signature.matrix:
            return inputs[self.signature.inputs[0].name]
        arrays = {name: inputs[name].reshape(-1) for name in self._columns}
        if self._frame:
            return frame(arrays)
        return np.column_stack(list(arrays.values()))


def frame(arrays: Mapping[str, Array]) -> Any:
    """A pandas DataFrame: estimators that were fitted on named columns take nothing else."""
    try:
        import pandas  # noqa: PLC0415  only for models that need it
    except ImportError as error:
        raise NoriaError(
            Reason.MISSING_DEPENDENCY,
            "this model was fitted on a DataFrame and has no ONNX form, so serving it needs "
            "pandas in the image",
        ) from error
    return pandas.DataFrame(dict(arrays))


def load_skops(data: bytes) -> Any:
    """Rebuild an estimator from verified skops bytes."""
    _check_zip(data)
    try:
        import skops.io  # noqa: PLC0415  scikit-learn is slow to import
    except ImportError as error:
        raise NoriaError(
            Reason.MISSING_DEPENDENCY, "skops models need: pip install 'noria-ml[server]'"
        ) from error
    try:
        unknown = sorted(set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED))
        estimator = None if unknown else skops.io.loads(data, trusted=list(TRUSTED))
    except Exception as error:
        raise NoriaError(Reason.MODEL_INVALID, f"skops cannot rebuild the model: {error!s:.500}") from error
    if unknown:
        raise NoriaError(
            Reason.FORMAT_REFUSED, f"the skops file holds types that are not trusted: {unknown[:9]}"
        )
    return estimator


def load_pickle(data: bytes) -> Any:
    """Unpickle: only where `check_format` found code allowed."""
    try:
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
            if archive.testzip() is not None:
                raise NoriaError(Reason.MODEL_INVALID, "the skops archive is damaged (checksum)")
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise NoriaError(Reason.MODEL_INVALID, f"the skops archive is damaged: {error}") from error
