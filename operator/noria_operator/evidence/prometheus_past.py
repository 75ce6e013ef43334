"""Windows that were over long ago, from a Prometheus that remembers them: the same time of earlier weeks.

Comes in: how a window is counted, and which windows are asked for. Goes out: their totals, or why there are
none. Invariants: nothing waits for the source; what was read once is not read again; a window that can never
be read is left out, and one that the source has forgotten is empty.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from noria_operator.domain.drift.season import Span
from noria_operator.domain.metric_sources import Source
from noria_operator.domain.promql_samples import WrongCounts
from noria_operator.evidence.background import Background
from noria_operator.evidence.growth import Row
from noria_operator.evidence.prometheus_look import Look, look
from noria_operator.evidence.server import Place, Totals

Counting = Callable[[tuple[str, str], float, float], Awaitable[dict[str, Row]]]
"""What pods of a ModelDeployment counted between two moments; raises what an answer that is none raises."""
LONGEST: Final = 60.0
"""Seconds for all answers about one time of earlier weeks."""


class Past:
    """Asks one source about windows before the one that began at a place."""

    def __init__(self, source: Source, counting: Counting) -> None:
        self._source, self._counting = source, counting
        self._looks = Background[Look[tuple[Totals, ...]]]()

    async def close(self) -> None:
        """Give up what is being asked."""
        await self._looks.close()

    async def settled(self) -> None:
        """Wait for what is being asked."""
        await self._looks.settled()

    def windows(self, place: Place, spans: Sequence[Span]) -> tuple[Totals, ...] | None:
        """Their totals, without those that can never be told; None until the source has answered."""
        known = self._looks.latest(place)
        if known is None or known.problem:
            self._looks.read(
                place,
                lambda: look(self._read(place[:2], spans), longest=LONGEST, about=" about earlier weeks"),
                every=self._source.interval,
            )
        return known.found if known else None

    def problem(self, place: Place) -> str:
        """Why they cannot be read; empty: they can, or nobody knows or asks."""
        known = self._looks.latest(place)
        return known.problem if known else ""

    async def _read(self, place: tuple[str, str], spans: Sequence[Span]) -> tuple[Totals, ...]:
        delay, found = self._source.delay.total_seconds(), []
        for begin, end in spans:
            try:
                counts = await self._counting(place, begin.timestamp() - delay, end.timestamp() - delay)
            except WrongCounts:
                continue
            found.append(Totals(counts, until=end))
        return tuple(found)
