"""From a fitted estimator to a file that is safe and fast to serve.

In: the estimator and its rows. Out: format, bytes and signature. ONNX where there is a converter and the
answers on the rows agree (labels equal, probabilities within PARITY); otherwise the library's own safe format
(skops, XGBoost's, LightGBM's), and why. Invariant: equal estimators give equal bytes, because the digest of a
bundle is its identity; so measured times are beside the bytes, never in them.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving import boosters
from noria_serving.archive import normalised
from noria_serving.errors import NoriaError, Reason
from noria_serving.model import lean
from noria_serving.model.base import Backend
from noria_serving.model.formats import open_booster
from noria_serving.model.onnx import OnnxModel
from noria_serving.model.sklearn import PANDAS, open_skops
from noria_serving.model.sklearn_names import makes_frames
from noria_serving.model.tabular import Encoding
from noria_serving.onnx_export import exported
from noria_serving.rows import typed
from noria_serving.signature import DATATYPES, MATRIX, Signature, Tensor

Array = NDArray[Any]
PARITY: Final = 1e-4
PARITY_ROWS: Final = 2000
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Converted:
    """A model file with what it takes and gives."""

    format: str
    data: bytes
    backend: Backend
    parity: float | None
    """Largest difference of a probability or prediction on the rows; None without conversion."""
    reason: str = ""
    """Why it is not ONNX; empty where it is."""
    encoding: Encoding = field(default_factory=Encoding)
    speedup: float | None = None
    """How many times faster one row is answered than by the model that was handed over, measured once."""
    microseconds: float | None = None
    """Duration of one row, measured once."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What the manifest says beside."""


def table(rows: Any) -> tuple[dict[str, Array], list[str]]:
    """(arrays by input name, feature names) of a DataFrame or an array, in natural datatypes."""
    if hasattr(rows, "columns") and hasattr(rows, "iloc"):
        names = [str(name) for name in rows.columns]
        if len(set(names)) != len(names):
            raise NoriaError(Reason.DATA_INVALID, "X has two columns of the same name; rename one")
        return {name: _column(rows.iloc[:, i], name).reshape(-1, 1) for i, name in enumerate(names)}, names
    array = np.asarray(rows)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise NoriaError(
            Reason.DATA_INVALID, "X must be a DataFrame, or an array of numbers of shape (rows, features)"
        )
    matrix = array.astype(np.float64)
    return {MATRIX: matrix}, [f"x{i}" for i in range(matrix.shape[1])]


def _column(series: Any, name: str) -> Array:
    kind = getattr(series.dtype, "kind", "O")
    if kind == "b" and not series.isna().any():
        return np.asarray(series.to_numpy(), dtype=np.bool_)
    if kind in "iu" and not series.isna().any():
        wide = kind == "u" and (series > np.iinfo(np.int64).max).any()
        return np.asarray(series.to_numpy(), dtype=np.uint64 if wide else np.int64)
    if kind in "fiub":
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    values = ["" if missing else value for value, missing in zip(series.tolist(), series.isna(), strict=True)]
    if any(not isinstance(value, str) for value in values):
        if hasattr(series, "cat"):
            raise NoriaError(
                Reason.DATA_INVALID,
                f"column {name!r} has categories that are no text, as which they are sent: before training, "
                f"X[{name!r}] = X[{name!r}].cat.rename_categories(spelling), with spelling from "
                "noria_serving.quality, as Parquet files are read",
            )
        raise NoriaError(
            Reason.DATA_INVALID, f"column {name!r} ({series.dtype}) is neither numbers nor strings"
        )
    return np.array(values, dtype=object)


def cast(arrays: Mapping[str, Array], signature: Signature, *, of: str = "X") -> dict[str, Array]:
    """The same rows in the datatypes that the model takes, and columns in its dimensions. DataInvalid, with
    the column and whose it is (`of`), for what has no place there, as a gap has none among whole numbers.
    """
    fitted = {t: _fitted(arrays[t.name], t, of) for t in signature.inputs}
    return {t.name: array.reshape(t.column) if array.shape[1] == 1 else array for t, array in fitted.items()}


def _fitted(array: Array, tensor: Tensor, of: str) -> Array:
    if array.dtype == DATATYPES[tensor.datatype]:
        return array
    try:
        return typed(tensor.name, array, tensor.datatype)
    except NoriaError as error:
        raise NoriaError(
            error.reason,
            f"{of}: {error.message}; leave such rows out, or let the model take floating-point numbers there "
            "(X[column].astype(float) before training)",
        ) from error


def convert(
    model: Any, rows: Any, arrays: Mapping[str, Array], task: str, *, holdout: Any = None
) -> Converted:
    """The best form of the model that gives the same answers on up to 2000 of the held-out rows, or of the
    rows that it was trained on where there are none.
    """
    subset, sample = sampled(rows, arrays, holdout)
    expected = _expected(model, subset, task)
    best = _as_onnx(model, rows, arrays, task, (sample, expected))
    if isinstance(best, str):
        log.warning("model is not converted to ONNX: %s", best)
        best = replace(_as_it_is(model, rows, arrays, task, best), reason=best)
        gap = difference(best.backend.predict(cast(sample, best.backend.signature)), expected)
        if gap > PARITY:
            raise NoriaError(
                Reason.MODEL_INVALID,
                "the model answers otherwise when its rows come as plain numbers and text; fill gaps in text "
                "columns and convert special pandas dtypes before training",
            )
    one = subset[:1]
    return timed(best, sample, lambda: _expected(model, one, task))


def timed(converted: Converted, sample: Mapping[str, Array], original: Callable[[], object]) -> Converted:
    """With the durations of the first row; `original` answers it by the model that was handed over."""
    single = cast({name: array[:1] for name, array in sample.items()}, converted.backend.signature)
    before = _seconds(original)
    after = _seconds(lambda: converted.backend.predict(single))
    return replace(converted, speedup=before / after, microseconds=after * 1e6)


def sampled(rows: Any, arrays: Mapping[str, Array], holdout: Any) -> tuple[Any, Mapping[str, Array]]:
    """Up to 2000 of the held-out rows, or of the training ones, on which both forms are compared."""
    if holdout is None:
        log.warning(
            "the model is compared on rows that it was trained on; give holdout= rows that it never saw"
        )
    else:
        held, _ = table(holdout)
        if {n: a.shape[1] for n, a in held.items()} != {n: a.shape[1] for n, a in arrays.items()}:
            raise NoriaError(Reason.DATA_INVALID, "holdout must have the columns of X, in the same order")
        rows, arrays = holdout, cast(held, Signature(inputs_of(arrays, "FP64"), ()), of="holdout")
    count = len(next(iter(arrays.values())))
    picked = np.unique(np.linspace(0, count - 1, min(count, PARITY_ROWS)).astype(int))
    subset = rows.iloc[picked] if hasattr(rows, "iloc") else np.asarray(rows)[picked]
    return subset, {name: array[picked] for name, array in arrays.items()}


def _as_onnx(
    model: Any,
    rows: Any,
    arrays: Mapping[str, Array],
    task: str,
    proof: tuple[Mapping[str, Array], list[Array]],
) -> Converted | str:
    """The model as ONNX, or why not."""
    sample, expected = proof
    encoded = boosters.encoding(model, rows)
    if boosters.family(model) is not None and not hasattr(model, "steps"):
        if encoded.categories or encoded.missing is not None:
            return "category columns and a number for missing values have no ONNX form"
        model = boosters.without_names(model)
    reasons = []
    for precision, form in product(("FP32", "FP64"), (model, _columns_joined(model, rows, arrays))):
        if form is None:
            continue
        try:
            candidate = _to_onnx(form, arrays, task, precision)
            parity = difference(
                candidate.backend.predict(cast(sample, candidate.backend.signature)), expected
            )
        except NoriaError as error:
            if error.reason == Reason.MISSING_DEPENDENCY:
                return error.message
            reasons.append(f"{precision}: {steady(error)}")
            continue
        except Exception as error:  # every converter raises its own kinds; the fallback is always there
            reasons.append(f"{precision}: {steady(error)}")
            continue
        if parity <= PARITY:
            return replace(candidate, parity=parity)
        reasons.append(f"{precision}: answers differ by {parity:.2g}")
    return "; ".join(dict.fromkeys(reasons))[:1000]


def steady(error: Exception) -> str:
    """An error's first words without addresses: the reason is in the bundle, whose digest is its identity."""
    return re.sub(r"0x[0-9a-fA-F]+", "0x…", str(error))[:200]


def _seconds(call: Callable[[], object]) -> float:
    """Of one call on one thread, as a server runs it: the median of nine, after one that warms up."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415  comes with scikit-learn, which `save` needs

    times = []
    with threadpool_limits(1):
        for _ in range(10):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
    return float(np.median(times[1:]))


def _as_it_is(model: Any, rows: Any, arrays: Mapping[str, Array], task: str, why: str) -> Converted:
    """The model in its library's own format; `why`: it is not converted."""
    family = boosters.family(model)
    if family is None:
        held = sorted({type(one).__name__ for one in boosters.held_by(model)})
        if held:
            raise NoriaError(
                Reason.MODEL_INVALID,
                f"{type(model).__name__} holds {', '.join(held)}, for which skops has no safe form, and has "
                f"no ONNX form that answers alike ({why}); hand over a bare booster or a class of your own",
            )
        return _to_skops(model, arrays, task)
    if hasattr(model, "steps"):
        raise NoriaError(
            Reason.MODEL_INVALID,
            f"this pipeline ends in {family} and gives other answers as ONNX; where a step before makes a "
            "sparse matrix, let it make a dense one (OneHotEncoder(sparse_output=False)): boosters take the "
            "zeros that a sparse matrix leaves out for missing values",
        )
    encoded = boosters.encoding(model, rows)
    precision = "FP32" if family == "xgboost" else "FP64"
    outputs = _outputs(model, task, precision)
    if task == "regression":
        outputs = (Tensor("prediction", precision, (-1,)),)
    signature = Signature(inputs_of(arrays, precision), outputs)
    form, data = boosters.native(model)
    classes = tuple(getattr(model, "classes_", ())) if task != "regression" else ()
    backend = open_booster(form, data, signature, task, classes=classes, encoding=encoded)
    return Converted(form, data, backend, None, encoding=encoded)


def _columns_joined(model: Any, rows: Any, arrays: Mapping[str, Array]) -> Any:
    """The estimator behind a step that puts number columns side by side: converters of bare estimators take
    one matrix.
    """
    if len(arrays) == 1 or any(array.dtype.kind == "O" for array in arrays.values()):
        return None
    from sklearn.compose import ColumnTransformer  # noqa: PLC0415
    from sklearn.pipeline import Pipeline  # noqa: PLC0415

    columns = ColumnTransformer([("columns", "passthrough", list(rows.columns))]).fit(rows)
    return Pipeline([("columns", columns), ("model", model)])


def inputs_of(arrays: Mapping[str, Array], precision: str) -> tuple[Tensor, ...]:
    """The input tensors of the rows; `precision`: datatype of numbers that are not whole."""
    names = {"f": precision, "i": "INT64", "u": "INT64", "b": "BOOL", "O": "BYTES"}
    return tuple(Tensor(name, names[a.dtype.kind], (-1, a.shape[1])) for name, a in arrays.items())


def _outputs(model: Any, task: str, precision: str) -> tuple[Tensor, ...]:
    if task == "regression":
        return (Tensor("prediction", precision, (-1, 1) if precision != "skops" else (-1,)),)
    datatype = "BYTES" if np.asarray(model.classes_).dtype.kind in "OUS" else "INT64"
    label, size = Tensor("label", datatype, (-1,)), len(model.classes_)
    if not hasattr(model, "predict_proba"):
        return (label,)
    return (label, Tensor("probabilities", precision, (-1, size)))


def _to_onnx(model: Any, arrays: Mapping[str, Array], task: str, precision: str) -> Converted:
    signature = Signature(inputs_of(arrays, precision), _outputs(model, task, precision))
    data = exported(model, signature, task, precision)
    return Converted("onnx", data, OnnxModel(data, signature), None)


def _to_skops(model: Any, arrays: Mapping[str, Array], task: str) -> Converted:
    skops = lean.whole()
    outputs = _outputs(model, task, "FP64")
    if task == "regression":
        outputs = (Tensor("prediction", "FP64", (-1,)),)
    signature = Signature(inputs_of(arrays, "FP64"), outputs)
    try:
        data = normalised(skops.dumps(model))
    except Exception as error:
        raise NoriaError(
            Reason.MODEL_INVALID,
            f"{type(model).__name__} has neither an ONNX nor a skops form: {error!s:.300}",
        ) from error
    backend = open_skops(data, signature, task)
    if backend.frame or makes_frames(model):
        log.warning(
            "the model reads columns by name or as text, or makes DataFrames, so serving it needs pandas: %s",
            PANDAS,
        )
    return Converted("skops", data, backend, None)


def _expected(model: Any, rows: Any, task: str) -> list[Array]:
    labels = np.asarray(model.predict(rows.copy()))  # a step with copy=False writes into its rows
    if labels.size != len(rows):
        raise NoriaError(
            Reason.MODEL_INVALID,
            f"the model predicts {labels.size / len(rows):g} values a row, and one is served: train and "
            "hand over a model for each, or serve a class of your own that has all of them",
        )
    if task == "regression":
        return [labels.astype(np.float64).reshape(-1)]
    if not hasattr(model, "predict_proba"):
        return [_names(labels)]
    return [labels, np.asarray(model.predict_proba(rows), dtype=np.float64)]


def difference(actual: Sequence[Array], expected: Sequence[Array]) -> float:
    """Largest difference of the numbers, 0 of labels alone; infinite where one differs. Of probabilities it
    is absolute, of a regression's numbers relative above 1, and at most to what they reach over.
    """
    alone = expected[-1].dtype.kind == "U"
    if (alone or len(expected) == 2) and not np.array_equal(_names(actual[0]), _names(expected[0])):
        return float("inf")
    if alone:
        return 0.0
    left, right = actual[-1].reshape(-1).astype(np.float64), expected[-1].reshape(-1)
    size = np.maximum(1.0, np.abs(right))
    if len(expected) == 1:
        size = np.minimum(size, reach(right))
    gaps = np.abs(left - right) / size
    return float(gaps.max()) if np.isfinite(gaps).all() else float("inf")


def reach(numbers: Array) -> float:
    """What is large among a regression's numbers, of which all may be tiny: their range, or a tenth of their
    size where they hardly differ; 1 of zeros.
    """
    return max(float(np.ptp(numbers)), float(np.abs(numbers).max()) / 10) or 1.0


def _names(labels: Array) -> Array:
    """Labels as text; a boolean, and a float that is whole, is the number that ONNX makes of it."""
    flat = labels.reshape(-1)
    whole = flat.dtype.kind == "b" or (flat.dtype.kind == "f" and np.array_equal(flat, flat.round()))
    return (flat.astype(np.int64) if whole else flat).astype(str)
