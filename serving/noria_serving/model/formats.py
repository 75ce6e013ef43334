"""Which model formats there are, and how each is opened. A format that is not here is refused by its name.

Formats that run code on loading need the consent of the administrator, given by namespace; all others are
data, whose bytes are checked before a runtime sees them. Runtimes are imported when a model needs them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from noria_serving import contract
from noria_serving.artifact import Artifact
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.base import Backend
from noria_serving.model.tabular import Encoding, parse_encoding
from noria_serving.signature import Signature

FORMATS: Final = ("onnx", "skops", "xgboost", "lightgbm", "pickle")


def check_format(name: str) -> None:
    if name not in FORMATS:
        raise NoriaError(Reason.FORMAT_REFUSED, f"format {name!r} is not on the allow-list {list(FORMATS)}")


def open_model(artifact: Artifact, signature: Signature, *, allow_pickle: bool) -> Backend:
    """The model of a bundle, behind its signature."""
    manifest = artifact.manifest
    check_format(manifest.format)
    if manifest.format in ("skops", "pickle"):
        return _estimator(artifact, signature, allow_pickle=allow_pickle)
    if manifest.format == "onnx":
        from noria_serving.model.onnx import OnnxModel  # noqa: PLC0415

        with artifact.content(manifest.model) as model:
            return OnnxModel(model, signature)
    data = artifact.read(manifest.model)
    encoding = Encoding()
    if contract.ENCODING in manifest.files:
        encoding = parse_encoding(_json(artifact.read(contract.ENCODING)))
    return open_booster(
        manifest.format, data, signature, manifest.task, classes=manifest.classes, encoding=encoding
    )


def open_booster(
    name: str, data: bytes, signature: Signature, task: str, *, classes: Sequence[Any], encoding: Encoding
) -> Backend:
    """A model of XGBoost or LightGBM."""
    if name == "xgboost":
        from noria_serving.model.xgboost import XGBoostModel  # noqa: PLC0415

        return XGBoostModel(data, signature, task, classes=classes, encoding=encoding)
    from noria_serving.model.lightgbm import LightGBMModel  # noqa: PLC0415

    return LightGBMModel(data, signature, task, classes=classes, encoding=encoding)


def _estimator(artifact: Artifact, signature: Signature, *, allow_pickle: bool) -> Backend:
    from noria_serving.model.sklearn import SklearnModel, load_pickle, load_skops  # noqa: PLC0415

    manifest = artifact.manifest
    if manifest.format == "pickle" and not allow_pickle:
        load_pickle(b"", allowed=False)
    data = artifact.read(manifest.model)
    estimator = load_skops(data) if manifest.format == "skops" else load_pickle(data, allowed=allow_pickle)
    return SklearnModel(estimator, signature, manifest.task)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NoriaError(Reason.MANIFEST_INVALID, f"{contract.ENCODING} is not JSON: {error}") from error
