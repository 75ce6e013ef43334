"""Which processes pods had within a window, by samples of a Prometheus.

Comes in: pods that one process was not in all the time, the window. Goes out: the life of each process.
Invariants: a sample is asked for once, as long as an operator lives: what earlier looks at the window told is
kept, and only what came since is read; answers are bounded, so many pods take several.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from noria_operator.domain import promql_counts as promql
from noria_operator.domain.promql_samples import SAMPLES_AT_ONCE, Life, by_pod, joined, lives, packed
from noria_operator.recent import Recent

Place = tuple[str, str]
Ask = Callable[[str, float, str], Awaitable[Any]]
"""A query, the moment it is asked as of, the type of its result."""

MAX_WINDOWS: Final = 1024
"""Windows of which lives are kept; those that were not looked at for longest go first."""


@dataclass(slots=True)
class _Known:
    """What is known of a window's pods, up to a moment."""

    until: float
    pods: frozenset[str] = frozenset()
    lives: list[Life] = field(default_factory=list)


class Lives:
    """Remembers what it heard, by window."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known = Recent[tuple[str, str, float], _Known](MAX_WINDOWS)

    async def of(self, place: Place, pods: Sequence[str], since: float, until: float) -> list[Life]:
        """The processes of `pods` that had samples from `since` to `until`."""
        key = (*place, since)
        known = self._known.get(key)
        if known is None or known.until > until:  # samples beyond the end of a shorter window are not its own
            known = _Known(since)
        again = sorted(known.pods.intersection(pods))
        fresh = sorted(set(pods) - known.pods)
        found = known.lives
        for some, begin in ((fresh, since), (again, known.until)):
            for group in await self._groups(place, some, until - begin, until):
                query = promql.samples(*place, group, seconds=until - begin)
                found = joined(found, lives(await self._ask(query, until, "matrix")))
        # Pods that were not asked about this time are asked about anew, whole, when they are.
        wanted = frozenset(pods)
        kept = [one for one in found if one.pod in wanted]
        # Only now, so that a question that fails takes nothing away.
        self._known[key] = _Known(until, wanted, kept)
        return kept

    def forget(self, place: Place) -> None:
        """The ModelDeployment is gone."""
        self._known.forget(lambda key: key[:2] == place)

    async def _groups(
        self, place: Place, pods: Sequence[str], length: float, until: float
    ) -> Iterator[tuple[str, ...]]:
        if not pods:
            return iter(())
        if len(pods) * length <= SAMPLES_AT_ONCE:  # also where each is scraped every second
            return iter([tuple(pods)])
        query = promql.sampled(*place, pods, seconds=length)
        return packed(by_pod(await self._ask(query, until, "vector")))
