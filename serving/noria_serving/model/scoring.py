"""What is counted of a model's answers: of each row a score, and of several classes which one was predicted.

In: the arrays that a model gave. Out: numbers. Invariants: this is the only place that says how they follow
from an answer, so that serving, evaluation and the frozen bins cannot differ; a model that gives labels alone
has the score 1 of the class that it names and 0 of all others, which are no probabilities: what needs these
(`contract.OF_PROBABILITIES`) is refused by name wherever it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria_serving.contract import CONFUSION_CLASSES
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.base import score_output, scores
from noria_serving.quality import spelling
from noria_serving.signature import Signature

Array = NDArray[Any]


Scored = tuple[Array, Array | None]
"""One entry a row: P(positive class), the score of the predicted class, or the predicted value; and of
several classes the position of the predicted one. A plain tuple, as one is made for every request.
"""


def said(scored: Scored) -> Array:
    """The class or number that was predicted; of two classes the score of the positive one."""
    values, called = scored
    return values if called is None else called


def labels_alone(signature: Signature, task: str) -> bool:
    """Whether a classifier gives one label a row and nothing else."""
    if task == "regression" or len(signature.outputs) > 1:
        return False
    (output,) = signature.outputs
    return output.shape in ((-1,), (-1, 1)) and not output.datatype.startswith("FP")


class Scoring:
    """How answers of one model are read."""

    def __init__(self, signature: Signature, task: str, classes: Sequence[Any]) -> None:
        self.task = task
        self.labels_only = labels_alone(signature, task)
        self.output = 0 if self.labels_only else score_output(signature, task)
        """Position of the output that carries probabilities, the prediction, or labels alone."""
        self._size = len(classes)
        width = signature.outputs[self.output].shape[1:]
        self.calls = task == "multiclass" and width == (self._size,) and self._size <= CONFUSION_CLASSES
        """Whether there are scores of several classes, of which it is counted which is predicted."""
        self._places: dict[Any, int] = {spelling(value): place for place, value in enumerate(classes)}
        self._single: dict[int, Array] = {}
        """By position, answers of one row: most are, and making an array takes longer than all else here."""
        self._certain = np.ones(1)

    def read(self, outputs: Sequence[Array]) -> Scored:
        """NoriaError for a label that is none of the classes."""
        output = outputs[self.output]
        if self.labels_only:
            places = self._placed(output)
            if self.task == "binary":
                return places, None
            return self._certain if len(places) == 1 else np.ones(len(places)), places
        if self.task == "multiclass":
            return scores(output, self.task), output.reshape(len(output), -1).argmax(axis=1)
        return scores(output, self.task), None

    def by_class(self, outputs: Sequence[Array]) -> Array:
        """Of a classifier, a score of each class: [rows, classes]."""
        output = outputs[self.output]
        if self.labels_only:
            places = self._placed(output)
            found = np.zeros((len(places), self._size))
            found[np.arange(len(places)), places] = 1.0
            return found
        told = np.asarray(output, dtype=np.float64).reshape(len(output), -1)
        return np.column_stack([1 - told[:, 0], told[:, 0]]) if told.shape[1] == 1 else told

    def _placed(self, labels: Array) -> Array:
        """Positions of labels among the classes."""
        if labels.size == 1:
            place = self._place(labels.item())
            known = self._single.get(place)
            if known is None:
                known = self._single[place] = np.array([place])
            return known
        return np.array([self._place(label) for label in labels.reshape(-1).tolist()], dtype=np.int64)

    def _place(self, label: Any) -> int:
        place = self._places.get(label)
        if place is None:
            place = self._places.get(spelling(label))
            if place is None:
                raise NoriaError(
                    Reason.MODEL_INVALID, f"label {label!r:.60} is none of the classes that noria.json lists"
                )
            self._places[label] = place  # so many more at most as there are classes
        return place
