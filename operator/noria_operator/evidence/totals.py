"""What model servers counted in a window, as questions about it need it.

Comes in: summed counts by place. Goes out: labels, columns, groups and numbers of one version. Invariant:
nothing is read here and nothing remembered; what nobody counts is empty or None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from noria_operator.domain.drift.columns import Seen
from noria_operator.domain.fairness import Group, Slicing
from noria_operator.domain.performance import Labelled
from noria_operator.domain.predictions import Called, Outputs
from noria_operator.domain.quality import Labels
from noria_operator.domain.slice_quality import SliceLabels
from noria_operator.evidence import windows
from noria_operator.evidence.growth import Vector


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of a window, and the uids of pods that could not be read this time."""

    counts: Vector
    unread: tuple[str, ...] = ()
    until: datetime | None = None
    """Where the window ends; None: now."""
    whole: bool = True
    """Whether all of it is known: servers may have forgotten its beginning, or have ended before it was read,
    and who counts may have begun later."""

    def labels(self, version: str) -> Labels:
        """Labels joined with predictions of `version` (a ModelVersion's name)."""
        return windows.labels(self.counts, version)

    def joined(self, version: str, metric: str = "") -> Labelled:
        """Labels joined with predictions of `version`, as what it predicts has them."""
        return windows.joined(self.counts, version, metric)

    def task(self, version: str) -> str:
        """What `version` predicts: binary, multiclass or regression; empty where its servers do not tell."""
        return windows.task(self.counts, version)

    def outputs(self, version: str) -> Outputs | None:
        """Predictions of `version` in bins that versions have in common; None where nobody counts them."""
        return windows.outputs(self.counts, version)

    def called(self, version: str) -> Called | None:
        """Predicted classes of `version`, where they are counted; None of any other."""
        return windows.called(self.counts, version)

    def median_delay(self) -> timedelta | None:
        """Half of the labels came within this time."""
        return windows.median_delay(self.counts)

    def longest_delay(self) -> timedelta | None:
        """Nearly all labels, 19 of 20, came within this time."""
        return windows.longest_delay(self.counts)

    def seen(self, version: str) -> dict[str, Seen]:
        """What pods of `version` took and predicted, by column, in its frozen bins."""
        return windows.seen(self.counts, version)

    def groups(self, version: str, slicings: Sequence[Slicing]) -> dict[str, tuple[Group, ...]]:
        """Rows and labels of `version` by group, by feature."""
        return windows.groups(self.counts, version, slicings)

    def slice_labels(self, version: str, slicings: Sequence[Slicing]) -> SliceLabels:
        """Labels joined with predictions of `version`, by slice."""
        return windows.slice_labels(self.counts, version, slicings)

    def predicted(self, version: str) -> Seen | None:
        """What pods of `version` predicted, in its frozen bins; None where none did."""
        return windows.predicted(self.counts, version)

    def rows(self) -> int:
        """Predicted rows, of all versions."""
        return windows.rows(self.counts)

    def labelled(self) -> int:
        """Labelled rows, of all versions."""
        return windows.labelled(self.counts)

    def number(self, place: str) -> int:
        """One count, such as `predictions` or `malformed/flights-3`."""
        return sum(self.counts.get(place, ()))
