"""A fitted estimator as ONNX, by skl2onnx and the converters of XGBoost and LightGBM.

In: the estimator, and what it shall take and give. Out: the model's bytes, the same for equal estimators.
Whether it answers alike is for `conversion` to see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from noria_serving import boosters
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.scoring import labels_alone
from noria_serving.model.sklearn_trees import parts_of
from noria_serving.signature import Signature, Tensor

BOOSTER_OPSETS: Final = {"": 18, "ai.onnx.ml": 3}
"""The newest that the converters of XGBoost and LightGBM write."""


def exported(model: Any, signature: Signature, task: str, precision: str) -> bytes:
    """The model with the tensors of `signature`; `precision`: datatype of numbers that are not whole. Raises
    NoriaError without the converters, and whatever they raise.
    """
    try:
        from skl2onnx import convert_sklearn  # noqa: PLC0415  heavy; only where a model is handed over
        from skl2onnx.common import data_types  # noqa: PLC0415
        from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs  # noqa: PLC0415
    except ImportError as error:
        raise NoriaError(
            Reason.MISSING_DEPENDENCY, f"{error}; the converter needs: pip install 'noria-ml[train]'"
        ) from error

    kinds = {
        "FP32": data_types.FloatTensorType,
        "FP64": data_types.DoubleTensorType,
        "INT64": data_types.Int64TensorType,
        "BOOL": data_types.BooleanTensorType,
        "BYTES": data_types.StringTensorType,
    }
    boosters.register_converters()

    def typed(tensors: Sequence[Tensor]) -> list[tuple[str, Any]]:
        return [(t.name, kinds[t.datatype]([None, *t.shape[1:]])) for t in tensors]

    alone = labels_alone(signature, task)
    options = {id(_last(model)): {}} if alone else {id(model): {"zipmap": False}}
    beside = [("beside", kinds[precision]([None, None]))] if alone else []
    with _plain_integers(), _as_converters_like(model):
        proto = convert_sklearn(
            model,
            "noria",
            typed(signature.inputs),
            final_types=[*typed(signature.outputs), *beside],
            options=None if task == "regression" else options,
            target_opset=BOOSTER_OPSETS if boosters.held_by(model) else None,
        )
    if alone:  # converters give what a margin is, too: no probability, and nobody asked for it
        proto = select_model_inputs_outputs(proto, outputs=[signature.outputs[0].name])
    imports = sorted(proto.opset_import, key=lambda one: str(one.domain))  # else in the order of a set
    del proto.opset_import[:]
    proto.opset_import.extend(imports)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _last(model: Any) -> Any:
    """The estimator at the end of a pipeline: by it converters look for options, of which a pipeline would
    give it one that some have not.
    """
    while hasattr(model, "steps"):
        model = model.steps[-1][1]
    return model


def _plain(item: Any) -> Any:
    value = item.item() if isinstance(item, np.generic) else item
    return int(value) if isinstance(value, bool) else value


@contextmanager
def _as_converters_like(model: Any) -> Iterator[None]:
    """Without what converters refuse though no prediction depends on it: the form in which votes are given to
    a next step, weights that are a list, and names of columns in boosters that an ensemble holds.
    """
    before: list[tuple[Any, str, Any]] = []

    def put(holder: Any, name: str, value: Any) -> None:
        before.append((holder, name, getattr(holder, name)))
        setattr(holder, name, value)

    try:
        for part in parts_of(model):
            if type(part).__name__ == "VotingClassifier":
                put(part, "flatten_transform", False)
                put(part, "weights", None if part.weights is None else np.asarray(part.weights))
        for one in boosters.held_by(model):
            if boosters.family(one) == "xgboost" and one.__sklearn_is_fitted__():
                put(one.get_booster(), "feature_names", None)
        yield
    finally:
        for holder, name, value in reversed(before):
            setattr(holder, name, value)


@contextmanager
def _plain_integers() -> Iterator[None]:
    """skl2onnx 1.20 hands numpy integers and booleans of tree ensembles to onnx, whose newer releases refuse
    them.
    """
    from skl2onnx.common import _container  # noqa: PLC0415

    original = _container.make_node

    def make_node(*args: Any, **attributes: Any) -> Any:
        for key, value in attributes.items():
            if isinstance(value, list):
                attributes[key] = [_plain(item) for item in value]
        return original(*args, **attributes)

    _container.make_node = make_node
    try:
        yield
    finally:
        _container.make_node = original
