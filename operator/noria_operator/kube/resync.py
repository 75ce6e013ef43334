"""The cache compared with all there is: whenever a watch begins with that, every ten minutes.

Watches lose events: a deletion between two lists is never told, and a proxy may swallow anything. What is
there and not in the cache is taken over like an event, so whatever depends on it is woken. Where watches do
not tell all there is (an API server that does not do it, a state that was cut off), complete lists do. A list
that fails is tried again and changes nothing; a truncated one is never compared. Where all there is stands at
an earlier resourceVersion than before, etcd was restored from a snapshot: the cache is of a time that never
was, so `restored` is called instead.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence, Set

from noria_operator.kube import metrics
from noria_operator.kube.client import Client
from noria_operator.kube.errors import ApiError, Forbidden
from noria_operator.kube.kinds import Kind
from noria_operator.kube.store import Store
from noria_operator.kube.stream import State, Stream
from noria_operator.kube.watch import PERIOD

log = logging.getLogger(__name__)

RETRY = 5.0
FORBIDDEN = 60.0
"""Seconds until a list is tried again for which there is no right: somebody has to give it."""
PATIENCE = 1.5
"""Periods after which a stream is listed that has not told its state meanwhile."""


class Resync:
    """Compares one stream at a time. `done` is called when a periodic round is over, `restored` when the
    cluster went back to an earlier state.
    """

    def __init__(
        self,
        client: Client,
        store: Store,
        selectors: Mapping[Kind, str | None],
        streams: Sequence[Stream],
        *,
        done: Callable[[], object],
        restored: Callable[[], object],
        period: float = PERIOD,
    ) -> None:
        self._client = client
        self._store = store
        self._selectors = selectors
        self._streams = list(streams)
        self._done = done
        self._restored = restored
        self._period = period
        self._wanted: dict[Stream, None] = {}
        self._again: dict[Stream, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()
        self._complete: set[Stream] = set()
        self._told: dict[Stream, float] = {}
        self._stood: dict[tuple[Stream, bool], int] = {}
        """Where the last list of each stream stood, and the last state (true): lists are asked for one after
        the other, and so are states."""
        self.complete = asyncio.Event()
        """Set once every stream was compared."""

    def request(self, stream: Stream) -> None:
        """Compare this stream soon."""
        if later := self._again.pop(stream, None):
            later.cancel()
        self._wanted[stream] = None
        self._wake.set()

    def told(self, state: State) -> None:
        """Compare with what a watch began with, of which all that is there is in the store already."""
        self._told[state.stream] = asyncio.get_running_loop().time()
        self._compared(state.stream, state.uids, state.position, news=state.news, told=True)

    async def run(self) -> None:
        """Serve requests, and every `period` seconds compare what no watch did; ends only when cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._serve())
            tasks.create_task(self._tick())

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._wanted:
                stream = next(iter(self._wanted))
                del self._wanted[stream]
                try:
                    await self._compare(stream)
                except ApiError as error:
                    log.warning("A list failed and is repeated", extra=_about(stream) | {"error": str(error)})
                    pause = FORBIDDEN if isinstance(error, Forbidden) else RETRY
                    later = asyncio.get_running_loop().call_later(pause, self.request, stream)
                    self._again[stream] = later

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._period)
            late = asyncio.get_running_loop().time() - PATIENCE * self._period
            for stream in self._streams:
                if self._told.get(stream, -math.inf) < late:
                    self.request(stream)
            self._done()

    async def _compare(self, stream: Stream) -> None:
        kind, namespace = stream
        listing = await self._client.listing(kind, namespace, labels=self._selectors[kind])
        news = sum(self._store.observe(None, obj) for obj in listing.items)
        uids = {obj["metadata"]["uid"] for obj in listing.items}
        self._compared(stream, uids, listing.position, news=news, told=False)

    def _compared(self, stream: Stream, uids: Set[str], position: int, *, news: int, told: bool) -> None:
        stood = self._stood.get((stream, told), 0)
        if 0 < position < stood:
            self._restored()
            return
        self._stood[stream, told] = max(position, stood)
        kind, namespace = stream
        self._store.listed(kind, namespace, position)
        repaired = news + self._store.prune(kind, namespace, uids, position)
        if stream in self._complete and repaired:
            metrics.RESYNC_REPAIRS.labels(kind.kind).inc(repaired)
            log.info("Lost events were made up for", extra=_about(stream) | {"objects": repaired})
        self._complete.add(stream)
        if self._complete.issuperset(known for known in self._streams if known[0] == kind):
            self._store.mark_synced(kind)
        if self._complete.issuperset(self._streams):
            self.complete.set()


def _about(stream: Stream) -> dict[str, str]:
    return {"kind": stream[0].kind, "namespace": stream[1] or ""}
