"""The cache compared with complete lists: after every (re)listing of a watch, and every ten minutes.

Watches lose events: a deletion between two lists is never told, and a proxy may swallow anything. What a list
shows and the cache does not is taken over like an event, so whatever depends on it is woken. A list that
fails is tried again and changes nothing; a truncated one is never compared.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from noria_operator.kube import metrics
from noria_operator.kube.client import Client
from noria_operator.kube.errors import ApiError
from noria_operator.kube.kinds import Kind
from noria_operator.kube.store import Store
from noria_operator.kube.watch import Stream

log = logging.getLogger(__name__)

PERIOD = 600.0
RETRY = 5.0


class Resync:
    """Compares one stream at a time. `done` is called when a periodic round is over."""

    def __init__(
        self,
        client: Client,
        store: Store,
        selectors: Mapping[Kind, str | None],
        streams: Sequence[Stream],
        *,
        done: Callable[[], object],
        period: float = PERIOD,
    ) -> None:
        self._client = client
        self._store = store
        self._selectors = selectors
        self._streams = list(streams)
        self._done = done
        self._period = period
        self._wanted: dict[Stream, None] = {}
        self._wake = asyncio.Event()
        self._complete: set[Stream] = set()
        self.complete = asyncio.Event()
        """Set once every stream was compared."""

    def request(self, stream: Stream) -> None:
        """Compare this stream soon."""
        self._wanted[stream] = None
        self._wake.set()

    async def run(self) -> None:
        """Serve requests, and every `period` seconds compare everything; ends only when cancelled."""
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
                    asyncio.get_running_loop().call_later(RETRY, self.request, stream)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._period)
            for stream in self._streams:
                self.request(stream)
            self._done()

    async def _compare(self, stream: Stream) -> None:
        kind, namespace = stream
        before = self._store.snapshot(kind, namespace)
        listing = await self._client.listing(kind, namespace, labels=self._selectors[kind])
        self._store.listed(kind, namespace, listing.position)
        repaired = self._store.repair(kind, before, listing.items)
        if stream in self._complete and repaired:
            metrics.RESYNC_REPAIRS.labels(kind.kind).inc(len(repaired))
            log.info("Lost events were made up for", extra=_about(stream) | {"objects": len(repaired)})
        self._complete.add(stream)
        if self._complete.issuperset(known for known in self._streams if known[0] == kind):
            self._store.mark_synced(kind)
        if self._complete.issuperset(self._streams):
            self.complete.set()


def _about(stream: Stream) -> dict[str, str]:
    return {"kind": stream[0].kind, "namespace": stream[1] or ""}
