"""Asking the model servers of champion and challenger for their newest answers, and pairing these.

Comes in: the pods of both. Goes out: what was paired so far, on a later look. Invariants: servers keep
answers only while they are asked here, and they are asked only while the challenger gets copies; nothing is
written anywhere, and what a reader had not yet told when its process ended is lost, not counted twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any, Final

from noria_operator.domain.disagreement import Paired
from noria_operator.evidence.background import Background
from noria_operator.evidence.fetch import Fetcher, address
from noria_operator.evidence.pairing import ARMS, Join, parse
from noria_serving.contract import ANSWERS_PATH, COUNTERS_PORT

Json = dict[str, Any]
Place = tuple[str, str, str, str, float]
"""Namespace, ModelDeployment, revisions of champion and challenger, and when their comparison began."""
MAX_JOINS: Final = 1024
"""Comparisons in memory; the one that was not read for longest goes first, and begins again."""
_OLD: Final[Json] = {}
"""What stands for the 404 of a server that knows nothing of answers."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The pods of both versions."""

    champion: Sequence[Json]
    challenger: Sequence[Json]


class PairReader:
    """Reads model server pods; remembers what has no partner yet."""

    def __init__(
        self,
        fetcher: Fetcher | None = None,
        *,
        port: int = COUNTERS_PORT,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._fetcher = fetcher or Fetcher()
        self._port, self._clock = port, clock
        self._joins: dict[Place, Join] = {}
        self._looks = Background[Paired](clock)

    async def close(self) -> None:
        """Give up what is being read, and close all connections."""
        await self._looks.close()
        await self._fetcher.close()

    async def settled(self) -> None:
        """Wait for what is being read."""
        await self._looks.settled()

    def latest(self, place: Place) -> Paired | None:
        """What was paired; None before the first time."""
        return self._looks.latest(place)

    def read(self, place: Place, servers: Servers, *, tolerance: float, every: timedelta) -> None:
        """Read in the background, `every` so often at most."""
        self._looks.read(place, lambda: self._look(place, servers, tolerance), every=every)

    async def _look(self, place: Place, servers: Servers, tolerance: float) -> Paired:
        at = self._clock()
        join = self._join(place, at)
        asked = [(arm, pod) for arm in ARMS for pod in getattr(servers, arm) if address(pod)]
        tellings = await asyncio.gather(*(self._ask(join, pod) for _, pod in asked))
        heard, old = set(), set()
        for (arm, pod), told in zip(asked, tellings, strict=True):
            if told is _OLD:
                old.add(arm)
            elif told is not None:
                heard.add(arm)
                join.take(arm, pod["metadata"]["uid"], told, now=at, tolerance=tolerance)
        silent = next((arm for arm in ARMS if arm in old - heard), "")
        return join.paired(readable=len(heard | old) == len(ARMS), untold=silent)

    async def _ask(self, join: Join, pod: Json) -> Any:
        url = f"http://{address(pod)}:{self._port}{ANSWERS_PATH}{join.question(pod['metadata']['uid'])}"
        return await self._fetcher.json(url, missing=_OLD, read=_told)

    def _join(self, place: Place, now: float) -> Join:
        for other in self._joins.values():
            other.forget(now)
        join = self._joins.pop(place, None) or Join()
        self._joins[place] = join
        if len(self._joins) > MAX_JOINS:
            del self._joins[next(iter(self._joins))]
        return join


def _told(body: Any) -> Any:
    return body if body is _OLD else parse(body)
