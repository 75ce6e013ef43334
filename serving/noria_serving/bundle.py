"""How training code hands over a model: `save(model, X, y)`, then `publish()`. See docs/bundle.md.

In: a fitted model and the rows that it was trained on. Out: a directory of plain files and, from `publish`,
the training container's result. Invariants: the manifest is written last, so a directory without it is no
bundle; the same model and rows give the same digest; what is saved has been loaded and has reproduced its own
golden answers.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving import (
    boosters,
    calibration,
    contract,
    conversion,
    held_out,
    onnx_import,
    packing,
    probabilities,
    prove,
    reference,
    residuals,
    result,
    thresholds,
    tracing,
)
from noria_serving.artifact import Artifact, DirectorySource, sha256
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.base import close
from noria_serving.model.loaded import GOLDEN_SCHEMA, load_artifact
from noria_serving.model.scoring import Scoring, said
from noria_serving.objects import is_store, open_store, upload
from noria_serving.protocol.tensors import encode_tensor
from noria_serving.signature import Signature
from noria_serving.slices import asked, wanted

__all__ = ["Bundle", "save"]

GOLDEN_ROWS: Final = 8
GOLDEN_TOLERANCE: Final = 1e-4
VOLUMES: Final = "/noria/volumes/"
Array = NDArray[Any]


@dataclass(frozen=True)
class Bundle:
    """A complete bundle on disk."""

    path: Path
    digest: str
    format: str
    name: str
    metrics: Mapping[str, str]
    signature: Mapping[str, Any]
    reference: Mapping[str, Any]
    card: str = ""
    files: Sequence[str] = field(default_factory=tuple)
    speed: Mapping[str, str] = field(default_factory=dict)
    """`speedup` over the model that was handed over and `microseconds` of one row, as measured by `save`: in
    the run's result, not in the bundle, because equal models must have equal digests.
    """

    def publish(
        self, *, uri: str | None = None, data: Sequence[Mapping[str, Any]] = (), git: str | None = None
    ) -> str:
        """Upload where the output is a store, write the training run's result; gives the artifact's URI.

        `data`: what was read, as `{"name", "digest", "rows"}` each. `git`: the commit of the training code
        (default: $NORIA_GIT). The result is written last: without it the run counts as failed.
        """
        target = uri or os.environ.get(contract.ENV_OUTPUT_URI) or _volume_uri(self.path)
        document: dict[str, Any] = {
            "schema": contract.RESULT_SCHEMA,
            "artifact": {"uri": target, "digest": self.digest, "format": self.format},
            "metrics": dict(self.metrics),
            "signature": self.signature,
            "reference": self.reference,
            "speed": dict(self.speed),
            "data": [dict(item) for item in data],
            "git": git if git is not None else os.environ.get("NORIA_GIT", ""),
            "card": self.card,
        }
        try:
            self._hand_over(target)
            result.write(_fitted(document))
        except NoriaError as error:
            result.write_error(contract.RESULT_SCHEMA, error)  # the run's condition names the cause
            raise
        return target

    def _hand_over(self, target: str) -> None:
        """Bring the files, and their signature if there is one, to where the result will say they are, the
        manifest last.
        """
        signed = (self.path / contract.MODEL_SIGNATURE).exists()
        names = [*self.files, *([contract.MODEL_SIGNATURE] if signed else []), contract.MANIFEST]
        output = Path(os.environ.get(contract.ENV_OUTPUT) or self.path)
        if is_store(target):
            store = open_store(target)
            for name in names:
                upload(store, name, self.path / name)
        elif target.startswith("pvc://") and output.absolute() != self.path.absolute():
            output.mkdir(parents=True, exist_ok=True)
            for name in names:
                shutil.copyfile(self.path / name, output / name)


def save(
    model: Any,
    X: Any,
    y: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    name: str = "model",
    metrics: Mapping[str, float] | None = None,
    task: str | None = None,
    card: str = "",
    holdout: Any = None,
    holdout_y: Any = None,
    embeddings: Mapping[str, range] | None = None,
    files: Sequence[packing.File] = (),
    slices: Sequence[Mapping[str, Any] | str] | None = None,
) -> Bundle:
    """Write a bundle to `path` (default: $NORIA_OUTPUT).

    model: a fitted classifier, regressor or pipeline of scikit-learn, XGBoost or LightGBM (or a search for
    one, such as GridSearchCV; or an XGBoost Booster), a PyTorch module, an ONNX model as bytes or path, or a
    class of your own (PythonModel).
    X, y: the training rows (DataFrame or 2-d array) and labels; bins and golden rows come from them.
    metrics: the trainer's own figures, recorded as claims.
    task: binary, multiclass or regression; needed with an ONNX model, a PyTorch module or a class.
    card: a few sentences about the model for its ModelVersion.
    holdout: rows that the model was not trained on, like X; converted forms are compared on them.
    holdout_y: their labels. A regression's errors by prediction are then theirs, else those of X and y; by
    those of a classifier its scores are calibrated where quality is estimated before labels come.
    embeddings: columns of X, an array, that are one vector each, by a name: {"text": range(4, 772)}.
    files: with a class, the files and folders that it needs beside its own module or package.
    slices: columns by which served rows are told apart (see docs/slices.md; default: $NORIA_SLICES).
    """
    target = Path(path or os.environ.get(contract.ENV_OUTPUT) or "bundle")
    model = boosters.estimator(getattr(model, "best_estimator_", model))  # what a search found predicts alone
    table, names = conversion.table(X)
    if not len(y) or len(y) != len(next(iter(table.values()))):
        raise NoriaError(Reason.DATA_INVALID, "X and y must have the same number of rows, at least one")
    model = thresholds.fixed(model, X, y)
    kind = task or _task(model)
    converted, arrays, classes = _converted(model, X, y, table, kind, holdout=holdout, files=files)
    shape = converted.backend.signature
    inputs = conversion.cast(arrays, shape)
    scoring = Scoring(shape, kind, classes)
    claims = _decimals(metrics or {})
    if scoring.labels_only:
        _refuse_probabilities(claims)
    outputs = converted.backend.predict(inputs)
    _refuse_by_batch(shape, outputs, len(y))
    probabilities.check(outputs, shape, scoring, classes)
    scored = scoring.read(outputs)
    prediction = said(scored) if scoring.labels_only else scored[0]
    apart = asked(os.environ.get(contract.ENV_SLICES)) if slices is None else wanted(slices)
    bins = reference.build(
        shape, inputs, prediction, names=names, embeddings=embeddings, apart=apart,
        classes=classes if scoring.labels_only else (),
    )  # fmt: skip
    if scoring.calls and scored[1] is not None:
        bins["called"] = reference.by_class(scored[1], classes)
    labels = None if scoring.labels_only else holdout_y
    known = held_out.answered(converted, scoring, arrays, holdout, labels)
    if kind == "regression" and bins["prediction"]["kind"] == "numeric":
        if usual := reference.usual(prediction):
            bins["prediction"]["usual"] = usual
        (told, _), truth, whose = (*known, residuals.HELD_OUT) if known else (scored, y, residuals.TRAINING)
        bins["errors"] = residuals.measured(bins["prediction"]["edges"], told, truth, of=whose).as_json()
    elif known is not None and kind != "regression":
        bins["calibration"] = calibration.of_classes(*known, classes).as_json()
    documents = {
        contract.SIGNATURE: shape.as_json(),
        contract.REFERENCE: bins,
        contract.GOLDEN: _golden(converted, inputs, _tolerance(prediction, kind)),
        contract.METRICS: {
            "metrics": claims,
            "parity": None if converted.parity is None else f"{converted.parity:.1e}",
            "conversion": {"heldOut": holdout is not None, "notConverted": converted.reason},
        },
    }
    if converted.encoding.categories or converted.encoding.missing is not None:
        documents[contract.ENCODING] = converted.encoding.as_json()
    contents = {name: result.canonical(document) for name, document in documents.items()}
    contents["model." + converted.format] = converted.data
    about = {"name": name, "format": converted.format, "task": kind, "classes": classes, **converted.about}
    about |= {contract.LABELS_ONLY: True} if scoring.labels_only else {}
    digest = _write(target, contents, {**about, "model": "model." + converted.format})
    close(converted.backend)
    if converted.format in contract.CODE_FORMATS:
        prove.elsewhere(target, digest)
    else:
        load_artifact(Artifact(DirectorySource(target), digest=digest))
    summary = {
        "digest": sha256(contents[contract.REFERENCE]),
        "features": len(bins["features"]),
        "samples": len(y),
    }
    speed = {"speedup": converted.speedup, "microseconds": converted.microseconds}
    return Bundle(
        target, digest, converted.format, name, claims, shape.as_json(), summary, card,
        tuple(sorted(contents)), {what: f"{value:.3g}" for what, value in speed.items() if value is not None},
    )  # fmt: skip


def _converted(
    model: Any,
    rows: Any,
    y: Any,
    arrays: Mapping[str, Array],
    task: str,
    *,
    holdout: Any,
    files: Sequence[packing.File],
) -> tuple[conversion.Converted, Mapping[str, Array], list[Any]]:
    if packing.is_own(model):
        classes = _labels_of(y, task)
        return packing.packed(model, files, arrays, task, classes), arrays, classes
    if tracing.is_module(model):
        classes = _labels_of(y, task)
        _, sample = conversion.sampled(rows, arrays, holdout)
        return tracing.traced(model, sample, task, classes), arrays, classes
    if files:
        raise NoriaError(Reason.DATA_INVALID, "files= is for a class of your own; leave it out")
    data = onnx_import.contents(model)
    if data is None:
        if not hasattr(model, "predict"):
            raise NoriaError(Reason.DATA_INVALID, f"a {type(model).__name__} has no predict: it is no model")
        classes = [] if task == "regression" else _classes(getattr(model, "classes_", ()), task)
        return conversion.convert(model, rows, arrays, task, holdout=holdout), arrays, classes
    converted, arrays = onnx_import.taken(data, arrays, task)
    return converted, arrays, _labels_of(y, task)


def _labels_of(y: Any, task: str) -> list[Any]:
    """The labels, sorted."""
    return [] if task == "regression" else _classes(np.unique(np.asarray(y)), task)


def _task(model: Any) -> str:
    classes = getattr(model, "classes_", None)
    if classes is not None:
        return "binary" if len(classes) == 2 else "multiclass"
    if hasattr(model, "predict") and not isinstance(model, type):
        return "regression"
    raise NoriaError(
        Reason.DATA_INVALID,
        "give task='binary', 'multiclass' or 'regression' with an ONNX model, a PyTorch module or a "
        "class of your own",
    )


def _classes(values: Any, task: str) -> list[Any]:
    """Labels as they are served: whole numbers (1.0 is one), truth values or text."""
    labels = [value.item() if isinstance(value, np.generic) else value for value in values]
    if odd := [label for label in labels if isinstance(label, float) and not label.is_integer()]:
        raise NoriaError(
            Reason.DATA_INVALID,
            f"labels are whole numbers, truth values or text, and {odd[0]} is none of these: leave out rows "
            "without a label, make text of it (y.astype(str)), or give task='regression'",
        )
    if task == "binary" and len(labels) != 2:
        raise NoriaError(
            Reason.DATA_INVALID,
            f"task='binary' is of two classes, and there are {len(labels)}: {labels[:20]}; hand over rows of "
            "both, or give task='multiclass'",
        )
    return [int(label) if isinstance(label, float) else label for label in labels]


def _refuse_probabilities(claims: Mapping[str, str]) -> None:
    """Of a model that gives labels alone: what is claimed of scores is not of what will be served."""
    if wrong := [name for name in claims if name in contract.OF_PROBABILITIES]:
        raise NoriaError(
            Reason.DATA_INVALID,
            f"metrics: the model {contract.NO_PROBABILITIES}, and {', '.join(wrong)} is of these; leave it "
            "out, or give the model probabilities with sklearn.calibration.CalibratedClassifierCV",
        )


def _golden(converted: conversion.Converted, inputs: Mapping[str, Array], tolerance: float) -> dict[str, Any]:
    usable = np.flatnonzero(_without_infinity(inputs))
    if not len(usable):
        raise NoriaError(
            Reason.DATA_INVALID, "every row of X has an infinite number in it; a model needs one row without"
        )
    places = np.linspace(0, len(usable) - 1, min(len(usable), GOLDEN_ROWS)).astype(int)
    picked = usable[np.unique(places)]
    rows = {name: array[picked] for name, array in inputs.items()}
    signature: Signature = converted.backend.signature
    outputs = converted.backend.predict(rows)
    return {
        "schema": GOLDEN_SCHEMA,
        "tolerance": tolerance,
        "inputs": [_plain(encode_tensor(t, rows[t.name])) for t in signature.inputs],
        "outputs": [_plain(encode_tensor(t, a)) for t, a in zip(signature.outputs, outputs, strict=True)],
    }


def _tolerance(prediction: Array, task: str) -> float:
    """Of a regression whose numbers are tiny a share of these."""
    if task != "regression":
        return GOLDEN_TOLERANCE
    known = prediction[np.isfinite(prediction)].astype(np.float64)
    return GOLDEN_TOLERANCE * min(1.0, conversion.reach(known)) if known.size else GOLDEN_TOLERANCE


def _refuse_by_batch(signature: Signature, outputs: Sequence[Array], rows: int) -> None:
    """An output that is of all rows together: V1 answers row by row, and so does the payload log."""
    for tensor, output in zip(signature.outputs, outputs, strict=True):
        if output.shape[:1] != (rows,):
            raise NoriaError(
                Reason.MODEL_INVALID,
                f"output {tensor.name!r} of shape {list(output.shape)} has not a value for each of {rows} "
                "rows: leave it out of the model",
            )


def _without_infinity(inputs: Mapping[str, Array]) -> Array:
    """Which rows JSON can carry, missing values as null."""
    kept = np.ones(len(next(iter(inputs.values()))), dtype=bool)
    for array in inputs.values():
        if array.dtype.kind == "f":
            kept &= ~np.isinf(array.reshape(len(array), -1)).any(axis=1)
    return kept


def _plain(tensor: dict[str, Any]) -> dict[str, Any]:
    data = tensor["data"].tolist() if isinstance(tensor["data"], np.ndarray) else tensor["data"]
    return {**tensor, "data": [None if isinstance(x, float) and math.isnan(x) else x for x in data]}


def _decimals(metrics: Mapping[str, float]) -> dict[str, str]:
    claims = {}
    for name, value in metrics.items():
        if not np.isfinite(value):
            raise NoriaError(Reason.METRIC_UNDEFINED, f"metric {name!r} is {value}; leave it out or fix it")
        claims[name] = decimal(float(value))
    return claims


def decimal(value: float) -> str:
    """A finite number as a plain decimal string: of six places, and of as many more as six significant digits
    take, but of no more than the operator reads.
    """
    leading = math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:.{min(15, max(6, 5 - leading))}f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def _write(target: Path, files: Mapping[str, bytes], about: Mapping[str, Any]) -> str:
    """All files, then the manifest; leftovers of an earlier attempt go first. Gives the digest."""
    target.mkdir(parents=True, exist_ok=True)
    for late in (contract.MANIFEST, contract.MODEL_SIGNATURE):
        (target / late).unlink(missing_ok=True)
    for leftover in target.iterdir():
        if leftover.name not in files:
            raise NoriaError(
                Reason.FILES_DIFFER, f"{leftover} is in the way: save into a directory of its own"
            )
    for name, content in files.items():
        (target / name).write_bytes(content)
    digests = {name: sha256(content) for name, content in files.items()}
    manifest = result.canonical({"schema": contract.BUNDLE_SCHEMA, **about, "files": digests})
    (target / contract.MANIFEST).write_bytes(manifest)
    return sha256(manifest)


def _volume_uri(path: Path) -> str:
    absolute = str(path.absolute())
    return "pvc://" + absolute.removeprefix(VOLUMES) if absolute.startswith(VOLUMES) else absolute


def _fitted(document: dict[str, Any]) -> dict[str, Any]:
    """Within the limit: a long card is cut first, then the signature goes (the bundle has both in full)."""
    if len(result.canonical(document)) > contract.RESULT_LIMIT:
        document = {**document, "card": document["card"][:256]}
    if len(result.canonical(document)) > contract.RESULT_LIMIT:
        del document["signature"]
    return document
