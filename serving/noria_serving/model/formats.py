"""Which model formats there are, and how each is opened. A format that is not here is refused by its name.

Formats that run code of their own need the consent of the administrator, given by namespace; all others are
data, whose bytes are checked before a runtime sees them. Runtimes are imported when a model needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from noria_serving import contract
from noria_serving.artifact import Artifact
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.base import Backend
from noria_serving.model.tabular import Encoding, parse_encoding
from noria_serving.signature import Signature

FORMATS: Final = ("onnx", "skops", "xgboost", "lightgbm", *contract.CODE_FORMATS)


def check_format(name: str, *, allow_code: bool) -> None:
    """`FormatRefused` for a format that is not known, or that runs code where nobody allowed that."""
    if name not in FORMATS:
        raise NoriaError(Reason.FORMAT_REFUSED, f"format {name!r} is not on the allow-list {list(FORMATS)}")
    if name in contract.CODE_FORMATS and not allow_code:
        raise NoriaError(
            Reason.FORMAT_REFUSED,
            f"format {name!r} runs code of its own, so it is refused: save it as onnx or skops, or let "
            "the administrator add the namespace to allowCodeNamespaces of the chart (by hand: --allow-code)",
        )


def open_model(artifact: Artifact, signature: Signature, *, allow_code: bool) -> Backend:
    """The model of a bundle, behind its signature."""
    manifest = artifact.manifest
    check_format(manifest.format, allow_code=allow_code)
    if manifest.format in ("skops", "pickle"):
        return _estimator(artifact, signature)
    if manifest.format == "python":
        from noria_serving.model.python import open_python  # noqa: PLC0415

        name, digest = str(manifest.document.get("class")), manifest.files[manifest.model]
        with artifact.content(manifest.model) as archive:
            return open_python(archive, digest, name, signature, manifest.classes)
    if manifest.format == "onnx":
        from noria_serving.model.onnx import OnnxModel  # noqa: PLC0415

        with artifact.content(manifest.model) as model:
            return OnnxModel(model, signature)
    if manifest.format == "torch":
        from noria_serving.model.torch import TorchModel  # noqa: PLC0415

        with artifact.content(manifest.model) as program:
            return TorchModel(program, signature, manifest.task, classes=manifest.classes)
    data = artifact.read(manifest.model)
    encoding = Encoding()
    if contract.ENCODING in manifest.files:
        encoding = parse_encoding(artifact.document(contract.ENCODING))
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


def _estimator(artifact: Artifact, signature: Signature) -> Backend:
    from noria_serving.model.sklearn import SklearnModel, load_pickle, open_skops  # noqa: PLC0415

    manifest = artifact.manifest
    data = artifact.read(manifest.model)
    if manifest.format == "skops":
        return open_skops(data, signature, manifest.task)
    return SklearnModel(load_pickle(data), signature, manifest.task)
