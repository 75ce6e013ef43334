"""Pods that a Prometheus told of in a window: whoever stops telling of one has not got all that it had.

Comes in: a window, the pods of an answer. Goes out: nothing, or why its counts cannot be taken. Invariant: a
window is never counted without a pod that it was counted with. A querier over several stores (Thanos) leaves
out one that is away, and says nothing of it: pods that are there now would be missed, those that went would
not.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from noria_operator.domain.promql_samples import WrongCounts

Place = tuple[str, str]

MAX_WINDOWS: Final = 1024
"""Windows of which pods are remembered; those that were not looked at for longest go first."""


class KnownPods:
    """Remembers them, by window."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, float], frozenset[str]] = {}

    def check(self, place: Place, since: float, told: AbstractSet[str]) -> None:
        """Raise `WrongCounts` where a pod is missing that was told of before."""
        key = (*place, since)
        known = self._known.pop(key, frozenset())
        self._known[key] = known | told
        if len(self._known) > MAX_WINDOWS:
            del self._known[next(iter(self._known))]
        if missing := sorted(known - told):
            raise WrongCounts(
                f"it no longer tells of {', '.join(missing[:3])} in this window: is a store of it away, or "
                "are samples kept for a shorter time?"
            )

    def forget(self, place: Place) -> None:
        """The ModelDeployment is gone."""
        self._known = {key: known for key, known in self._known.items() if key[:2] != place}
