"""Quality of a classifier of several classes, from counts of labels.

Comes in: labels by the score of the predicted class and whether it was the true one, and of up to
`CONFUSION_CLASSES` classes by true and predicted class. Goes out: a metric and its variance. F1, precision
and recall are means over the classes that occur (scikit-learn's `macro`), so that a rare class counts as a
frequent one; their variance is by the delta method (Takahashi et al., "Confidence interval for micro-averaged
F1 and macro-averaged F1 scores", Applied Intelligence 2022).

Invariants: counts alone decide; what needs the probabilities of all classes (auc, log loss, Brier) is told
where they are counted (`class_scores`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isqrt
from typing import Final

from noria_operator.domain.quality import Labels

Part = tuple[float, float, float, float]
"""A class' value, and how it grows with its hits, its labels and its predictions."""


@dataclass(frozen=True, slots=True)
class Classes:
    """Labelled rows: `called` by the score of the predicted class, positive where it was right; `table` by
    true class (row) and predicted class, empty where there are too many classes. None is of servers of an
    earlier release, which tell a table from the first label of a class that they know. `scores`: what the
    scores of all classes add up to, empty where there are none or too many; None: of servers of an earlier
    release, which do not count them. `names` of the classes in the table; empty where nobody tells.
    """

    called: Labels = field(default_factory=Labels.none)
    table: tuple[float, ...] | None = ()
    scores: tuple[int, ...] | None = ()
    names: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """Number of labels."""
        return self.called.samples

    @property
    def right(self) -> int:
        """Labels that were as predicted."""
        return round(sum(self.called.positives))

    def as_labels(self) -> Labels:
        """As of two classes, right and wrong, of which right is always called: for shares of right ones."""
        ends = [[0.0] * len(side) for side in (self.called.negatives, self.called.positives)]
        ends[0][-1], ends[1][-1] = self.samples - self.right, self.right
        return Labels.of(*ends)


def macro(metric: str, table: Sequence[float]) -> tuple[float, float] | None:
    """(value, variance) of the mean over classes; None without a label. To the variance comes what one label
    more of each class moves: two labels without a mistake do not say that the class has none.
    """
    size, total = isqrt(len(table)), sum(table)
    if not total:
        return None
    shares = [[count / total for count in table[at : at + size]] for at in range(0, len(table), size)]
    actual, predicted = [sum(row) for row in shares], [sum(column) for column in zip(*shares, strict=True)]
    occur = [one for one in range(size) if actual[one] or predicted[one]]
    parts = {one: MACRO[metric](shares[one][one], actual[one], predicted[one]) for one in occur}
    mean = squares = 0.0
    for row in occur:
        for column in occur:
            slope = parts[row][2] + parts[column][3] + (parts[row][1] if row == column else 0.0)
            slope /= len(occur)
            mean += shares[row][column] * slope
            squares += shares[row][column] * slope**2
    value = sum(part[0] for part in parts.values()) / len(occur)
    told = ((_BEHIND[metric](actual[one], predicted[one]), actual[one] + predicted[one]) for one in occur)
    more = sum((1 / max(1.0, (own or other) * total) / len(occur)) ** 2 for own, other in told)
    return value, max(0.0, squares - mean**2) / total + more


def _f1(hits: float, actual: float, predicted: float) -> Part:
    both = actual + predicted
    down = -2 * hits / both**2
    return 2 * hits / both, 2 / both, down, down


def _precision(hits: float, _: float, predicted: float) -> Part:
    if not predicted:
        return 0.0, 0.0, 0.0, 0.0
    return hits / predicted, 1 / predicted, 0.0, -hits / predicted**2


def _recall(hits: float, actual: float, _: float) -> Part:
    if not actual:
        return 0.0, 0.0, 0.0, 0.0
    return hits / actual, 1 / actual, -hits / actual**2, 0.0


MACRO: Final[dict[str, Callable[[float, float, float], Part]]] = {
    "f1": _f1,
    "precision": _precision,
    "recall": _recall,
}
"""Means over classes, of (hits, labels, predictions) of one."""
_BEHIND: Final[dict[str, Callable[[float, float], float]]] = {
    "f1": lambda actual, predicted: (actual + predicted) / 2,
    "precision": lambda _, predicted: predicted,
    "recall": lambda actual, _: actual,
}
"""What is behind the value of a class, of (labels, predictions)."""
OF_CALLS: Final = ("accuracy", "calibration", "ece")
"""Metrics that need no table."""
