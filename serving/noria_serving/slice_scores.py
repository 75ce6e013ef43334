"""Challenger against champion, on all rows and slice by slice.

In: what both said of the same rows, and each row's group. Out: by metric the standard error of their
difference on all rows, and of each group its rows, the metric of both, and that error. Invariant: the error
is that of the paired difference (both models meet the same rows, so what makes a row hard for both cancels
out), and a pair of models in which a metric is not defined is left out.

Each metric is a mean of one number a row, or to first order: its influence function. Of the area under the
curve these are the structural components of DeLong, DeLong & Clarke-Pearson (Biometrics 44, 1988); of the
RMSE (e² - MSE) / 2 RMSE. For the accuracy two rows are added on which the models disagree, one each way
(Agresti & Min, Statistics in Medicine 24, 2005): without them few disagreements look surer than they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from noria_serving import result
from noria_serving.bundle import decimal
from noria_serving.errors import NoriaError, Reason
from noria_serving.quality import Classified, Outcome, Regressed, losses, ranks
from noria_serving.slices import Codes, Slicing

Array = NDArray[Any]
NAME: Final = 32
"""Characters of a group's name in a result."""
Influence = tuple[float, Array]
"""A metric, and by how much each row moves it (their mean is 0)."""
Measure = Callable[[Any], Influence | None]
"""Of an Outcome; None where the metric is not defined."""


class Compared(NamedTuple):
    """One group by one metric, numbers as decimal strings; no champion, no comparison."""

    feature: str
    group: str
    rows: int
    metric: str
    challenger: str
    champion: str | None = None
    error: str | None = None


def errors(names: Iterable[str], challenger: Outcome, champion: Outcome) -> dict[str, str]:
    """Standard error of the difference of both on all rows, of those of the metrics that have one; of one row
    there is none.
    """
    if type(champion) is not type(challenger):
        return {}
    known = _measures(challenger).keys() & _measures(champion).keys()
    found: dict[str, str] = {}
    for name in names:
        pair = [_measures(one)[name](one) for one in (challenger, champion)] if name in known else []
        influences = [one[1] for one in pair if one is not None]
        if len(influences) == 2 and len(influences[0]) > 1:
            found[name] = decimal(_error(influences[0] - influences[1], name))
    return found


def compare(
    columns: Iterable[tuple[Slicing, Codes]],
    metrics: Sequence[str],
    challenger: Outcome,
    champion: Outcome | None,
) -> list[Compared]:
    """All groups of all columns that have rows, by each metric (default: accuracy, or MAE)."""
    known = _measures(challenger)
    names = list(metrics) or [next(iter(known))]
    if unknown := [name for name in names if name not in known]:
        raise NoriaError(Reason.CONFIGURATION, f"no {unknown} by slice; there are {sorted(known)}")
    chosen, models = [(name, known[name]) for name in names], (challenger, champion)
    return [
        found
        for slicing, codes in columns
        for code, group in enumerate(slicing.groups)
        for metric in chosen
        if (found := _compared((slicing.feature, group), metric, codes == code, models))
    ]


def _measures(outcome: Outcome) -> Mapping[str, Measure]:
    if isinstance(outcome, Regressed):
        return REGRESSION
    return LABELS_ALONE if outcome.labels_only else CLASSIFICATION


def _compared(
    named: tuple[str, str], metric: tuple[str, Measure], rows: Array, models: tuple[Outcome, Outcome | None]
) -> Compared | None:
    (name, measure), (challenger, champion) = metric, models
    count = int(np.count_nonzero(rows))
    own = measure(_part(challenger, rows)) if count else None
    if own is None or not np.isfinite(own[0]):
        return None
    told = (named[0][:128], named[1][:NAME], count, name, decimal(own[0]))
    alike = champion is not None and type(champion) is type(challenger) and name in _measures(champion)
    other = measure(_part(champion, rows)) if alike else None
    if other is None or not np.isfinite(other[0]):
        return Compared(*told)
    return Compared(*told, decimal(other[0]), decimal(_error(own[1] - other[1], name)))


def _error(differences: Array, metric: str) -> float:
    """Standard error of the mean of what the models differ by, row by row."""
    if metric == "accuracy":
        differences = np.concatenate([differences, [1.0, -1.0]])
    count = len(differences)
    return float(np.sqrt(np.sum((differences - differences.mean()) ** 2) / (count * max(1, count - 1))))


def fitted(document: Mapping[str, Any], found: Sequence[Compared], limit: int) -> dict[str, Any]:
    """The document with as many groups as fit into so many bytes; those with the fewest rows go first."""
    ranked = sorted(range(len(found)), key=lambda index: -found[index].rows)
    for kept in range(len(found), -1, -1):
        told = [list(found[index]) for index in sorted(ranked[:kept])]
        whole = {**document, "slices": told, "slicesLeftOut": len(found) - kept}
        if len(result.canonical(whole)) <= limit:
            return whole
    return dict(document)


def _part(outcome: Any, rows: Array) -> Any:
    if isinstance(outcome, Regressed):
        return Regressed(outcome.predicted[rows], outcome.truth[rows])
    return replace(outcome, probabilities=outcome.probabilities[rows], truth=outcome.truth[rows])


def _mean(values: Array) -> Influence:
    middle = float(values.mean())
    return middle, values - middle


def _rmse(outcome: Regressed) -> Influence:
    squares = outcome.errors**2
    mean = float(squares.mean())
    root = float(np.sqrt(mean))
    return root, (squares - mean) / (2 * root or 1.0)


def _auc(outcome: Classified) -> Influence | None:
    if not outcome.binary:
        return None
    positive, scores = outcome.truth == 1, outcome.probabilities[:, 1]
    hits, rest = int(np.count_nonzero(positive)), int(np.count_nonzero(~positive))
    if not hits or not rest:
        return None
    within = np.empty(len(scores))
    for part in (positive, ~positive):
        within[part] = ranks(scores[part])
    beaten = ranks(scores) - within  # rows of the other class below this one, ties as half
    placed = np.where(positive, beaten / rest, 1 - beaten / hits)
    area = float(placed[positive].mean())
    return area, (placed - area) * np.where(positive, len(scores) / hits, len(scores) / rest)


CLASSIFICATION: Final[Mapping[str, Measure]] = {
    "accuracy": lambda one: _mean(one.right.astype(np.float64)),
    "logloss": lambda one: _mean(losses(one.own)),
    "auc": _auc,
}
LABELS_ALONE: Final[Mapping[str, Measure]] = {"accuracy": CLASSIFICATION["accuracy"]}
REGRESSION: Final[Mapping[str, Measure]] = {
    "mae": lambda one: _mean(np.abs(one.errors)),
    "rmse": _rmse,
}
