"""Custom queries: asked in the background, so that no pass waits for them.

Comes in: a source and a query. Goes out: the latest answer to it, on a later look. Invariants: a source
that hangs, is away or answers nonsense is an error with a reason, never a number.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Any

from noria_operator.domain.metric_sources import Source
from noria_operator.domain.queries import Answer
from noria_operator.domain.query_conditions import Result
from noria_operator.evidence.background import Background
from noria_operator.evidence.prometheus_api import TIMEOUT, BadAnswer, PrometheusApi


class QueryReader:
    """Asks, and remembers the latest answer to each question."""

    def __init__(self, now: Callable[[], datetime], *, timeout: float = TIMEOUT) -> None:
        self._now = now
        self._api = PrometheusApi(timeout=timeout)
        self._answers = Background[Answer]()

    async def close(self) -> None:
        """Give up what is being asked, and close the connections."""
        await self._answers.close()
        await self._api.close()

    def answer(self, key: Hashable) -> Answer | None:
        """The latest answer to a question."""
        return self._answers.latest(key)

    def ask(
        self, key: Hashable, source: Source, query: str, *, then: Callable[[], None] = lambda: None
    ) -> None:
        """Ask in the background, unless this is being asked already; `then` is called once it is answered."""
        self._answers.read(key, lambda: self._answer(source, query), then=then)

    async def settled(self) -> None:
        """Wait for what is being asked."""
        await self._answers.settled()

    async def _answer(self, source: Source, query: str) -> Answer:
        at = self._now()
        try:
            return Answer(at, numbers(await self._api.ask(source, query)))
        except BadAnswer as error:
            return Answer(at, error=str(error))


def numbers(found: Any) -> Result:
    """The numbers in the `data` of an answer; raises `BadAnswer`."""
    try:
        kind, samples = found["resultType"], found["result"]
        if kind == "scalar":
            return float(samples[1])
        if kind == "vector":
            return tuple(float(sample["value"][1]) for sample in samples)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise BadAnswer(f"not understood: {error}") from error
    raise BadAnswer(f"a result of type {kind}; ask for a scalar or an instant vector")
