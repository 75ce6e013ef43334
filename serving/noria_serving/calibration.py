"""Labels of held-out rows by score: frozen where a classifier is trained, so that scores of rows without
labels can be taken for the probabilities that they turned out to be.

In: scores of rows that the model did not learn from, as it will be served, and their labels. Out: how many
negatives and positives lie in each of GRID_BINS equal bins of [0, 1], the very bins in which predictions are
counted (of several classes: how often the predicted one was wrong and right). Invariants: rows without a
score or a label are left out, and what is frozen has the same size whatever the number of rows. Labels of the
rows that a model learned from are none of this: it is surer of these than of those to come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving.contract import GRID_BINS
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.scoring import Scored
from noria_serving.quality import numbered, positions, spelling

Array = NDArray[Any]
_MISSING: Final = ("", "nan", "None", "<NA>")
"""Of a label that is no class: none is known."""


@dataclass(frozen=True)
class Calibration:
    """One entry a bin; a score on a bound counts above it."""

    negatives: tuple[int, ...]
    positives: tuple[int, ...]

    @property
    def samples(self) -> int:
        """Number of labels."""
        return sum(self.negatives) + sum(self.positives)

    def as_json(self) -> dict[str, Any]:
        """As it stands in reference.json."""
        return {"negatives": list(self.negatives), "positives": list(self.positives)}


def of_classes(scored: Scored, labels: Any, classes: Sequence[Any]) -> Calibration:
    """By what a classifier of these classes answered. Of several, a label that is none of them is one more
    mistake; of two, or where no label is known at all, it is `DataInvalid`.
    """
    scores, called = scored
    given = np.asarray(labels)
    if given.size != len(scores):
        raise NoriaError(Reason.DATA_INVALID, "holdout_y must have one label a row, the name of a class")
    known = positions(classes, binary=called is None)
    values, inverse = numbered(given.reshape(-1))
    names = [spelling(value) for value in values]
    strange = [name for name in names if name not in known and name not in _MISSING]
    if strange and (called is None or not known.keys() & set(names)):
        raise NoriaError(
            Reason.DATA_INVALID,
            f"holdout_y: {strange[0]!r:.60} is not one of the model's classes {list(classes)[:10]}",
        )
    told = np.array([name in known or name not in _MISSING for name in names], dtype=bool)[inverse]
    truth = np.array([known.get(name, -1) for name in names], dtype=np.int64)[inverse]
    return measured(scores[told], (truth == (1 if called is None else called))[told])


def of_rows(scores: Array, called: Array | None, labels: Array) -> Calibration:
    """By rows of a file: their labels are 0 or 1, or of several classes names, as those `called` are."""
    names = list(map(spelling, labels.tolist()))
    if called is None:
        kept, positive = [name in ("0", "1") for name in names], [name == "1" for name in names]
    else:
        kept = [name not in _MISSING for name in names]
        positive = [name == spelling(own) for name, own in zip(names, called.tolist(), strict=True)]
    known = np.array(kept, dtype=bool)
    return measured(scores[known], np.array(positive, dtype=bool)[known])


def measured(scores: Array, positive: Array) -> Calibration:
    """By score, and whether it came true."""
    kept = ~np.isnan(scores)
    places = np.clip(np.floor(scores[kept].astype(np.float64) * GRID_BINS), 0, GRID_BINS - 1).astype(np.int64)
    sides = (np.bincount(places[positive[kept] == side], minlength=GRID_BINS) for side in (False, True))
    return Calibration(*(tuple(map(int, side)) for side in sides))


def parse(entry: Mapping[str, Any]) -> Calibration:
    """Read what `as_json` wrote; KeyError, TypeError or ValueError where it is malformed."""
    negatives, positives = (tuple(int(count) for count in entry[name]) for name in ("negatives", "positives"))
    if not negatives or len(negatives) != len(positives) or min(negatives + positives) < 0:
        raise ValueError("labels by score are as many counts of negatives as of positives")
    return Calibration(negatives, positives)
