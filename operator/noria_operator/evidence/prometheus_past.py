"""Windows that were over long ago, from a Prometheus that remembers them: the same time of earlier weeks.

Comes in: how a window is counted, which windows are asked for, and by whom. Goes out: their totals, or why
there are none. Invariants: nothing waits for the source; what was read once for somebody is not read again; a
window that can never be read is left out, and one that the source has forgotten is empty; triggers whose
windows began together, but are of other lengths or time zones, are told of their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from noria_operator.domain.drift.season import Span
from noria_operator.domain.metric_sources import Source
from noria_operator.domain.promql_samples import WrongCounts
from noria_operator.evidence.background import Background, Look
from noria_operator.evidence.growth import Row
from noria_operator.evidence.prometheus_look import look
from noria_operator.evidence.totals import Totals

Counting = Callable[[tuple[str, str], float, float], Awaitable[dict[str, Row]]]
"""What pods of a ModelDeployment counted between two moments; raises what an answer that is none raises."""
LONGEST: Final = 60.0
"""Seconds for all answers about one time of earlier weeks."""


class Past:
    """Asks one source about windows that are over."""

    def __init__(self, source: Source, counting: Counting) -> None:
        self._source, self._counting = source, counting
        self._looks = Background[Look[tuple[Totals, ...]]]()

    async def close(self) -> None:
        """Give up what is being asked."""
        await self._looks.close()

    async def settled(self) -> None:
        """Wait for what is being asked."""
        await self._looks.settled()

    def windows(self, place: tuple[str, str], spans: Sequence[Span], asker: str) -> Look[tuple[Totals, ...]]:
        """Their totals, without those that can never be told, or why they cannot be read; nothing until the
        source has answered.
        """
        # Ends move with each look at a window that is open, some seconds: what was asked for first is told.
        key = place, asker, tuple(begin for begin, _ in spans)
        known = self._looks.latest(key)
        if known is None or known.problem:
            self._looks.read(
                key,
                lambda: look(self._read(place, spans), longest=LONGEST, about=" about earlier weeks"),
                every=self._source.interval,
            )
        return known or Look()

    async def _read(self, place: tuple[str, str], spans: Sequence[Span]) -> tuple[Totals, ...]:
        delay, found = self._source.delay.total_seconds(), []
        for begin, end in spans:
            try:
                counts = await self._counting(place, begin.timestamp() - delay, end.timestamp() - delay)
            except WrongCounts:
                continue
            found.append(Totals(counts, until=end))
        return tuple(found)
