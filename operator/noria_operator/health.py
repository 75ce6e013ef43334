"""/healthz, /readyz and /metrics of the operator.

Answers come from what is known already: a probe never waits. An operator whose watches are silent or whose
queue does not move is blind or stuck, whatever else it answers, and says so with 503 and the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import Metric

from noria_operator.judgements import Judgements
from noria_operator.kube import metrics
from noria_operator.kube.kinds import Kind
from noria_operator.kube.store import Store
from noria_operator.state_metrics.collector import Objects
from noria_operator.state_metrics.text import text

WATCH_STALE = 360.0
"""Seconds of silence after which an operator is not ready; a watch lasts 300 at most, and may be silent for
all of them."""
WATCH_DEAD = 600.0
"""Seconds of silence after which it had better be restarted; longer, since a restart empties the cache."""
QUEUE_STALLED = 180.0
"""Seconds that a key may be worked on, or that keys may wait with none taken; a pass takes 60 at most."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the health of the operator is read from; each is a cheap function."""

    watch_age: Callable[[], float]
    queue_stalled: Callable[[], float]
    leading: Callable[[], bool]
    blind: Callable[[], bool]
    """Whether nothing is heard of the lease."""
    store: Store
    kinds: tuple[Kind, ...]
    now: Callable[[], datetime]
    """By the clock that decisions go by."""

    def dead(self) -> list[str]:
        """Why it should be restarted; empty: it should not."""
        return [*self._silent(WATCH_DEAD), *self._stuck()]

    def unready(self) -> list[str]:
        """Why it should get no requests from routers; empty: it may."""
        missing = [kind.plural for kind in self.kinds if not self.store.synced(kind)]
        unsynced = [f"not listed yet: {', '.join(missing)}"] if missing else []
        deaf = ["the API server tells nothing of the lease"] if self.blind() else []
        return [*unsynced, *deaf, *self._silent(WATCH_STALE), *self._stuck()]

    def _silent(self, limit: float) -> Iterable[str]:
        age = self.watch_age()
        return [f"a watch has been silent for {age:.0f} s"] if age > limit else []

    def _stuck(self) -> Iterable[str]:
        stalled = self.queue_stalled() if self.leading() else 0.0
        return [f"the queue has not moved for {stalled:.0f} s"] if stalled > QUEUE_STALLED else []


def app(vitals: Vitals) -> web.Application:
    """The three endpoints as an aiohttp application."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(vitals.dead())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(vitals.unready())

    judgements = Judgements(vitals.store, vitals.leading, vitals.now)
    objects = Objects(vitals.store, vitals.leading, vitals.now)

    async def exposition(_: web.Request) -> web.Response:
        metrics.WATCH_AGE.set(vitals.watch_age())
        told = await objects.gathered()
        body = await asyncio.to_thread(_written, judgements.collect(), told)  # so that it holds up nobody
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes(
        [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", exposition)]
    )
    return application


def _written(told: Iterable[Metric], objects: Iterable[str]) -> bytes:
    """The process's own metrics, and those."""
    return generate_latest() + text(told) + "".join(objects).encode()


def _answer(problems: list[str]) -> web.Response:
    return web.Response(text="\n".join(problems) or "ok", status=503 if problems else 200)
