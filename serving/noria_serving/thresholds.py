"""A threshold that was tuned, as the fixed one that it is once it is found.

In: a fitted model. Out: the same, or one that predicts the same and can be saved: scikit-learn's
TunedThresholdClassifierCV keeps the scorer that it tuned by, which no safe format takes.
"""

from __future__ import annotations

import copy
from typing import Any, Final

import numpy as np

from noria_serving.errors import NoriaError, Reason
from noria_serving.model.sklearn_trees import parts_of

TUNED: Final = "TunedThresholdClassifierCV"
_COMPARED: Final = 2000
"""Rows on which both must agree."""


def fixed(model: Any, rows: Any, labels: Any) -> Any:
    """The model with a fixed threshold at its end; `rows`, `labels`: those that it was trained on. NoriaError
    where it holds a tuned one elsewhere.
    """
    made = _end_fixed(model, rows, labels)
    if any(type(part).__name__ == TUNED for part in parts_of(made)):
        raise NoriaError(
            Reason.MODEL_INVALID,
            f"{TUNED} has no safe form here: train the model anew with FixedThresholdClassifier and the "
            "threshold that was found (best_threshold_) in its place",
        )
    if made is not model and not np.array_equal(
        made.predict(rows[:_COMPARED]), model.predict(rows[:_COMPARED])
    ):
        raise NoriaError(
            Reason.MODEL_INVALID,
            f"{TUNED} answers otherwise as FixedThresholdClassifier(FrozenEstimator(model.estimator_), "
            "threshold=model.best_threshold_): hand over a FixedThresholdClassifier that answers as you want",
        )
    return made


def _end_fixed(model: Any, rows: Any, labels: Any) -> Any:
    if hasattr(model, "steps"):
        *steps, (name, last) = model.steps
        end = _end_fixed(last, rows, labels)
        if end is last:
            return model
        made = copy.copy(model)
        made.steps = [*steps, (name, end)]
        return made
    if type(model).__name__ != TUNED or not hasattr(model, "best_threshold_"):
        return model
    from sklearn.frozen import FrozenEstimator  # noqa: PLC0415  slow to import
    from sklearn.model_selection import FixedThresholdClassifier  # noqa: PLC0415

    return FixedThresholdClassifier(
        FrozenEstimator(model.estimator_),
        threshold=model.best_threshold_,
        pos_label=model._curve_scorer._get_pos_label(),
        response_method=model.response_method,
    ).fit(rows, labels)
