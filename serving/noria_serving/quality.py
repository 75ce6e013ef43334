"""Metrics of predictions against labels, in numpy alone.

In: scores (or predictions) and labels. Out: a number, possibly NaN: callers turn that into a reason. AUC is
the Mann-Whitney statistic with ties at their mean rank; log-loss is the natural logarithm, probabilities kept
EPSILON away from 0 and 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.contract import CALIBRATION_BINS
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
    won = ranks(scores)[positive].sum() - positives * (positives + 1) / 2
    return float(won / (positives * negatives))


def ranks(values: Array) -> Array:
    """Ranks from 1, ties at their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    found: Array = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return found


def logloss(probabilities: Array) -> float:
    """Mean of -ln p(true class)."""
    return float(losses(probabilities).mean()) if len(probabilities) else float("nan")


def losses(probabilities: Array) -> Array:
    """-ln p(true class) of each row."""
    found: Array = -np.log(np.clip(probabilities, EPSILON, 1 - EPSILON))
    return found


def calibration(scores: Array, positive: Array) -> float:
    """Distance of the mean score from the share of positives; NaN without rows."""
    return float(abs((scores - positive).mean())) if len(scores) else float("nan")


def ece(scores: Array, positive: Array) -> float:
    """Expected calibration error: that distance in each of ten bins of equal width, by rows; NaN without
    rows. The operator has the same of labels (its domain/calibration.py).
    """
    if not len(scores):
        return float("nan")
    bins = np.clip((scores * CALIBRATION_BINS).astype(np.int64), 0, CALIBRATION_BINS - 1)
    return float(np.abs(np.bincount(bins, weights=scores - positive)).sum() / len(scores))


@dataclass(frozen=True)
class Classified:
    """What a classifier said: probabilities (rows, classes), and the index of each row's true class; -1 for
    one that the model does not know, of which it is never right.
    """

    probabilities: Array
    truth: NDArray[np.int64]
    labels_only: bool = False
    """Whether these are none: 1 for the class that was named, 0 for the others."""

    @property
    def binary(self) -> bool:
        return bool(self.probabilities.shape[1] == 2)

    @property
    def right(self) -> Array:
        """Whether the most probable class is the true one, by row."""
        found: Array = self.probabilities.argmax(axis=1) == self.truth
        return found

    @property
    def own(self) -> Array:
        """Probability of the true class, by row."""
        told = self.probabilities[np.arange(len(self.truth)), self.truth]
        found: Array = np.where(self.truth < 0, 0.0, told)
        return found

    def metrics(self) -> dict[str, float]:
        """All of the task, perhaps NaN; of labels alone those that need no probabilities."""
        found = {"accuracy": float(self.right.mean()) if len(self.truth) else float("nan")}
        if self.labels_only:
            return found
        found["logloss"] = logloss(self.own)
        if self.binary:
            found["auc"] = auc(self.probabilities[:, 1], self.truth == 1)
        scored = self.scored
        return found | {"calibration": calibration(*scored), "ece": ece(*scored)}

    @property
    def scored(self) -> tuple[Array, Array]:
        """What scores claim, and whether it was so: that the row is positive, or (of several classes) that it
        is of the predicted one.
        """
        if self.binary:
            return self.probabilities[:, 1], self.truth == 1
        return self.probabilities.max(axis=1), self.right


@dataclass(frozen=True)
class Regressed:
    """What a regression said, and the true values."""

    predicted: Array
    truth: Array

    @property
    def errors(self) -> Array:
        return self.predicted - self.truth

    def metrics(self) -> dict[str, float]:
        """All of the task."""
        errors = self.errors
        return {"rmse": float(np.sqrt(np.mean(errors**2))), "mae": float(np.mean(np.abs(errors)))}


Outcome = Classified | Regressed


def class_indices(labels: Array, classes: Sequence[Any], *, beyond: Iterable[str] = ()) -> NDArray[np.int64]:
    """Labels → positions in the bundle's classes; a label that the model does not know is `DataInvalid`, but
    for those `beyond`, which are -1.
    """
    known = {**positions(classes, binary=len(classes) == 2), **dict.fromkeys(beyond, -1)}
    values, inverse = numbered(labels)
    unknown = [value for value in values if spelling(value) not in known]
    if unknown:
        raise NoriaError(
            Reason.DATA_INVALID, f"labels {unknown[:5]} are not classes of the model {list(known)[:10]}"
        )
    return np.array([known[spelling(value)] for value in values], dtype=np.int64)[inverse]


def numbered(values: Array) -> tuple[list[Any], NDArray[np.intp]]:
    """The values that there are, and the place of each row's among them; texts take no more room than they
    have characters.
    """
    if values.dtype.kind != "O":
        different, places = np.unique(values, return_inverse=True)
        return different.tolist(), places
    known: dict[Any, int] = {}
    found = np.array([known.setdefault(value, len(known)) for value in values.tolist()], np.intp)
    return list(known), found


def positions(classes: Sequence[Any], *, binary: bool) -> dict[str, int]:
    """Of each class by its spelling; two of which neither is called 0 or 1 may be called so too."""
    known = {spelling(value): index for index, value in enumerate(classes)}
    return known if not binary or {"0", "1"} & known.keys() else {**known, "0": 0, "1": 1}


def spelling(label: object) -> str:
    """1, 1.0, True and "1" are one label."""
    if isinstance(label, bool | np.bool_):
        return str(int(label))
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)
