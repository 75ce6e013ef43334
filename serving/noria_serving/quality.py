"""Metrics of predictions against labels, in numpy alone.

In: scores (or predictions) and labels. Out: a number, possibly NaN: callers turn that into a reason. AUC is
the Mann-Whitney statistic with ties at their mean rank; log-loss is the natural logarithm, probabilities kept
EPSILON away from 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.errors import NoriaError, Reason

Array = NDArray[Any]
EPSILON: Final = 1e-7
DEFAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "binary": ("auc", "logloss", "accuracy"),
    "multiclass": ("accuracy", "logloss"),
    "regression": ("rmse", "mae"),
}


def auc(scores: Array, positive: Array) -> float:
    """Area under the ROC curve; NaN when there is one class only."""
    positives = int(np.count_nonzero(positive))
    negatives = len(positive) - positives
    if not positives or not negatives or not np.isfinite(scores).all():
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[inverse][positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def logloss(probabilities: Array) -> float:
    """Mean of -ln p(true class)."""
    return (
        float(-np.log(np.clip(probabilities, EPSILON, 1 - EPSILON)).mean())
        if len(probabilities)
        else float("nan")
    )


def classification(probabilities: Array, truth: Array) -> dict[str, float]:
    """`probabilities`: (rows, classes); `truth`: index of the true class of each row."""
    own = probabilities[np.arange(len(truth)), truth]
    metrics = {
        "accuracy": float((probabilities.argmax(axis=1) == truth).mean()) if len(truth) else float("nan"),
        "logloss": logloss(own),
    }
    if probabilities.shape[1] == 2:
        metrics["auc"] = auc(probabilities[:, 1], truth == 1)
    return metrics


def regression(predicted: Array, truth: Array) -> dict[str, float]:
    errors = predicted - truth
    return {"rmse": float(np.sqrt(np.mean(errors**2))), "mae": float(np.mean(np.abs(errors)))}


def class_indices(labels: Array, classes: Sequence[Any]) -> NDArray[np.int64]:
    """Labels → positions in the bundle's classes; a label that the model does not know is `DataInvalid`."""
    known = {spelling(value): index for index, value in enumerate(classes)}
    if len(classes) == 2 and not {"0", "1"} & set(known):
        known.update({"0": 0, "1": 1})
    values, inverse = np.unique(
        labels.astype(str) if labels.dtype.kind == "O" else labels, return_inverse=True
    )
    unknown = [value for value in values.tolist() if spelling(value) not in known]
    if unknown:
        raise NoriaError(
            Reason.DATA_INVALID, f"labels {unknown[:5]} are not classes of the model {list(known)[:10]}"
        )
    return np.array([known[spelling(value)] for value in values.tolist()], dtype=np.int64)[inverse]


def spelling(label: object) -> str:
    """1, 1.0, True and "1" are one label."""
    if isinstance(label, bool | np.bool_):
        return str(int(label))
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)
