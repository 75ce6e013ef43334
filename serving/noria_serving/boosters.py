"""XGBoost and LightGBM models on their way into a bundle: their own safe formats, and their ONNX converters.

In: a fitted estimator of either library's scikit-learn classes, or a Booster. Out: bytes that
model/xgboost.py and model/lightgbm.py read. Trees after the best iteration of an early stop are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from noria_serving.errors import NoriaError, Reason
from noria_serving.model.sklearn_trees import reached
from noria_serving.model.tabular import Encoding

FAMILIES: Final = ("xgboost", "lightgbm")


def family(model: Any) -> str | None:
    """The library that the model, or the last step of a pipeline, comes from."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    roots = {kind.__module__.partition(".")[0] for kind in type(last).__mro__}
    return next((name for name in FAMILIES if name in roots), None)


def held_by(model: Any) -> list[Any]:
    """The models of either library that it is, or that it holds, as an ensemble does."""
    return [one for one in reached(model) if not hasattr(one, "steps") and family(one) is not None]


def estimator(model: Any) -> Any:
    """A Booster of XGBoost as the scikit-learn estimator that predicts the same; anything else as it is."""
    if family(model) is None or not type(model).__name__.endswith("Booster"):
        return model
    if family(model) == "lightgbm":
        raise NoriaError(
            Reason.DATA_INVALID,
            "a LightGBM Booster does not say what its labels are; hand over the LGBMClassifier or "
            "LGBMRegressor that holds it",
        )
    from xgboost import XGBClassifier, XGBRegressor  # noqa: PLC0415  only where such a model is handed over

    config = json.loads(model.save_config())["learner"]
    objective = config["objective"]["name"]
    wrapped = (XGBClassifier if objective.startswith(("binary:", "multi:")) else XGBRegressor)()
    wrapped.load_model(bytearray(model.save_raw("ubj")))
    return wrapped


def native(model: Any) -> tuple[str, bytes]:
    """(format, bytes) of a bare estimator."""
    name = family(model)
    if name == "xgboost":
        booster = model.get_booster()
        best = _best(model)
        raw = (booster if best is None else booster[: best + 1]).save_raw("ubj")
        return "xgboost", bytes(raw)
    return "lightgbm", str(model.booster_.model_to_string()).encode()


def encoding(model: Any, rows: Any) -> Encoding:
    """Categories of the columns of X, and the number that stands for a missing one."""
    categories: Mapping[str, list[str]] = {
        str(name): [str(value) for value in rows[name].cat.categories]
        for name in getattr(rows, "columns", ())
        if hasattr(rows[name], "cat")
    }
    missing = getattr(model, "missing", None)
    if missing is None or math.isnan(missing):
        return Encoding(categories)
    return Encoding(categories, float(missing))


def without_names(model: Any) -> Any:
    """A copy whose features are numbered: the ONNX converter of XGBoost takes no names."""
    if family(model) != "xgboost":
        return model
    copy = type(model)()
    booster = model.get_booster()
    best = _best(model)
    copy.load_model(bytearray((booster if best is None else booster[: best + 1]).save_raw("ubj")))
    copy.get_booster().feature_names = None
    return copy


def _best(model: Any) -> int | None:
    try:
        return int(model.best_iteration)
    except AttributeError:  # no early stop
        return None


def register_converters() -> None:
    """Tell skl2onnx about the estimators of both libraries, as far as they are installed."""
    from skl2onnx import update_registered_converter  # noqa: PLC0415
    from skl2onnx.common.shape_calculator import (  # noqa: PLC0415
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    classifier = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    for kind, convert, is_classifier in _converters():
        update_registered_converter(
            kind,
            f"Noria{kind.__name__}",
            calculate_linear_classifier_output_shapes
            if is_classifier
            else calculate_linear_regressor_output_shapes,
            convert,
            options=classifier if is_classifier else None,
        )


def _converters() -> list[tuple[Any, Any, bool]]:
    found: list[tuple[Any, Any, bool]] = []
    try:
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import (  # type: ignore[import-untyped]  # noqa: PLC0415
            convert_xgboost,
        )
        from xgboost import XGBClassifier, XGBRegressor  # noqa: PLC0415

        found += [(XGBClassifier, convert_xgboost, True), (XGBRegressor, convert_xgboost, False)]
    except ImportError:
        pass
    try:
        from lightgbm import LGBMClassifier, LGBMRegressor  # noqa: PLC0415
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import (  # type: ignore[import-untyped]  # noqa: PLC0415
            convert_lightgbm,
        )

        found += [(LGBMClassifier, convert_lightgbm, True), (LGBMRegressor, convert_lightgbm, False)]
    except ImportError:
        pass
    return found
