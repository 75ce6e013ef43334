"""Pods that a Prometheus must tell of: those that are ready, and those of which it told in a window before.

Comes in: a window, the pods of an answer, those of the cluster. Goes out: which ones a source must have
samples of, or why its counts cannot be taken. Invariant: a window is never counted without a pod that it was
counted with. A querier over several stores (Thanos) leaves out one that is away, and says nothing of it: pods
that are ready would be missed, those that went would not.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any, Final

from noria_operator.domain.promql_samples import WrongCounts
from noria_operator.domain.server_pods import counts_ready
from noria_operator.domain.training_times import moment
from noria_operator.recent import Recent

Json = dict[str, Any]
Place = tuple[str, str]

UNSCRAPED: Final = 120.0
"""Seconds for which a pod may be ready and not scraped yet, an interval or two. What it counts meanwhile is
not lost: a window counts all of a process that is younger than five minutes when it begins.
"""
MAX_WINDOWS: Final = 1024
"""Windows of which pods are remembered; those that were not looked at for longest go first."""


class KnownPods:
    """Remembers them, by window."""

    def __init__(self) -> None:
        self._known = Recent[tuple[str, str, float], frozenset[str]](MAX_WINDOWS)

    def check(self, place: Place, since: float, told: AbstractSet[str]) -> None:
        """Raise `WrongCounts` where a pod is missing that was told of before."""
        key = (*place, since)
        known = self._known.get(key, frozenset())
        self._known[key] = known | told
        if missing := sorted(known - told):
            raise WrongCounts(
                f"it no longer tells of {', '.join(missing[:3])} in this window: is a store of it away, or "
                "are samples kept for a shorter time?"
            )

    def forget(self, place: Place) -> None:
        """The ModelDeployment is gone."""
        self._known.forget(lambda key: key[:2] == place)


def expected(pods: Iterable[Json], namespace: str, at: float) -> set[str]:
    """Names of pods that had been ready for so long at a moment that the source must have samples of them."""
    return {
        pod["metadata"]["name"]
        for pod in pods
        if pod["metadata"]["namespace"] == namespace
        and counts_ready(pod)
        and _ready_since(pod) <= at - UNSCRAPED
    }


def _ready_since(pod: Json) -> float:
    times = [
        moment(one["lastTransitionTime"]).timestamp()
        for one in pod["status"]["conditions"]
        if one["type"] == "Ready" and one.get("lastTransitionTime")
    ]
    return max(times, default=0.0)
