"""Quality by slice: labels of each group of each column, and what is remembered of a slice.

Comes in: four counts a slice and window, or sums over its scores, summed over pods. Goes out: labels of which
a metric is measured, and a memory that fits into status. Invariants: labels of a slice that has too few of
them wait for more, so a rare slice is judged later and never on less; a slice is known by column and group,
so that its best value outlives a version, but for `other`, which is whatever a version has no name for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Final, Self

from noria_operator.domain.lost import Stretch
from noria_operator.domain.performance import Errors, Labelled, of_labels_alone
from noria_operator.domain.quality import Labels
from noria_operator.domain.slice_scores import SCORED, SliceScores
from noria_operator.domain.tasks import BINARY, MULTICLASS, REGRESSION
from noria_serving.contract import NO_PROBABILITIES, SCORE_BINS

Json = dict[str, Any]
Counts = tuple[int, ...]

NONE: Final[Counts] = (0, 0, 0, 0)
OTHER: Final = "other"
TOLD: Final[Mapping[str, tuple[str, ...]]] = {
    BINARY: ("accuracy", "f1", "precision", "recall", "expectedCost", *SCORED),
    MULTICLASS: ("accuracy", "calibration", "ece"),
    REGRESSION: ("rmse", "mae"),
}
"""Metrics by slice, by what the model predicts: four counts tell them, those of SCORED sums over scores."""


@dataclass(frozen=True, slots=True)
class SliceLabels:
    """Labelled rows of a window by slice, such as `carrier=AA`, empty ones too. Of a classifier: by label and
    then by prediction (tn, fp, fn, tp); of several classes each row is called, and positive where that was
    right. Of a regression: rows, errors over and under the label, and their squares, in `unit`.
    """

    counts: Mapping[str, Counts]
    task: str
    samples: int = 0
    """Labels of the window, of all slices."""
    unit: float = 1.0
    scores: Mapping[str, Counts] = field(default_factory=dict)
    """Sums over scores, of a classifier; empty where its servers are of a release that tells none."""
    scored: bool = True
    """Whether the model gives probabilities."""

    def rows(self, metric: str) -> Mapping[str, Counts]:
        """What tells the metric, by slice."""
        return self.scores if metric in SCORED else self.counts

    def joined(self, metric: str, counts: Counts) -> Labelled | SliceScores:
        """Of four counts, as labels whose scores are 0 or 1: enough for shares of them."""
        if metric in SCORED:
            return SliceScores(counts)
        if self.task == REGRESSION:
            rows, over, under, squared = counts
            return Errors(rows, over, under, squared, unit=self.unit)
        negatives, positives = [0] * SCORE_BINS, [0] * SCORE_BINS
        negatives[0], negatives[-1], positives[0], positives[-1] = counts
        return Labels.of(negatives, positives)


def unsuitable(metric: str, labels: SliceLabels) -> str:
    """Why such counts never tell the metric, and what to ask for instead; empty where they can."""
    good, of = TOLD.get(labels.task, ()), f"a {labels.task} model"
    if not labels.scored:
        good, of = of_labels_alone(good), f"{of} that {NO_PROBABILITIES}"
    if metric in good or not good:
        return ""
    return f"{metric} by slice cannot be told of {of}; use one of {', '.join(good)}"


@dataclass(frozen=True, slots=True)
class Slice:
    """What is remembered of one: labels that wait, its windows on this version, the best level it ever held,
    windows in a row that are worse, and (value, low, high, labels) of the last one, with what bins of its
    scores hide where they do.
    """

    waiting: Counts = ()
    held: Stretch = field(default_factory=Stretch)
    lost: Stretch = field(default_factory=Stretch)
    best: float | None = None
    streak: int = 0
    last: tuple[float, ...] = ()

    @classmethod
    def of(cls, state: Json) -> Self:
        """As it was written into status."""
        return cls(
            tuple(state.get("waiting", ())),
            Stretch(*state.get("held", ())),
            Stretch(*state.get("lost", ())),
            state.get("best"),
            state.get("streak", 0),
            tuple(state.get("last", ())),
        )

    @property
    def state(self) -> Json:
        """For status: what there is, in nine digits."""
        told: Json = {"waiting": list(self.waiting)} if any(self.waiting) else {}
        told |= {name: _short(astuple(one)) for name, one in self._stretches() if one.windows}
        told |= {} if self.best is None else {"best": float(f"{self.best:.9g}")}
        told |= {"streak": self.streak} if self.streak else {}
        return told | ({"last": _short(self.last)} if self.last else {})

    def _stretches(self) -> tuple[tuple[str, Stretch], ...]:
        return ("held", self.held), ("lost", self.lost)

    def with_labels(self, counts: Counts) -> Slice:
        """With those of one window more."""
        waiting = self.waiting or (0,) * len(counts)
        return replace(self, waiting=tuple(a + b for a, b in zip(waiting, counts, strict=True)))


def _short(numbers: tuple[float, ...]) -> list[float]:
    return [number if isinstance(number, int) else float(f"{number:.9g}") for number in numbers]


def outlives(known: Mapping[str, Slice]) -> dict[str, Slice]:
    """What is left of the memory when another version is served."""
    return {
        name: Slice(best=one.best)
        for name, one in known.items()
        if one.best is not None and not name.endswith(f"={OTHER}")
    }
