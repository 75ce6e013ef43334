"""What the lines of a watch tell: what Kopf does not tell of it, and what is kept from Kopf.

Comes in: responses to lists and watches. Goes out: what changed, when each watch was last heard, and, where a
watch began with everything there is (`sendInitialEvents`, KEP-3157), what that was once a bookmark said that
it is complete. A watch that is cut before tells of changes, and concludes nothing about what is missing.

Where nothing happens a watch is silent until the API server ends it: bookmarks, which come every minute else,
repeat no resourceVersion that the watch began with (KEP-956, `cacheWatcher.process`). So silence means a dead
watch only after that, or once a bookmark came: from then on they come every minute, also where nothing
happens. (etcd that tells how far it is, as kubeadm's does, makes them come for every kind.)
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from sys import intern
from typing import Any, Final, Protocol

import aiohttp

from noria_operator.kube.kinds import Json, Kind
from noria_operator.kube.store import EventType

Stream = tuple[Kind, str | None]
"""One watch: a kind, in one namespace or (None) in all."""

MARKED_SECONDS = 150.0
"""A watch that had a bookmark gets them every minute until it ends: two that did not come mean that the API
server hangs. So does a state that does not come."""
CHANGES: Final = frozenset({"ADDED", "MODIFIED"})
DELETED: Final = "DELETED"
COMPLETE: Final = "k8s.io/initial-events-end"
"""Annotation of the bookmark by which the initial events are complete."""
ANEW: Final = b'{"type":"ERROR","object":{"code":410}}\n'
"""What makes Kopf begin a stream anew, with its state: as if its resourceVersion were too old."""


@dataclass
class State:
    """All that a stream showed when it began, complete with `position`. Kopf's thread writes `uids` and
    `position`, ours counts the news among it.
    """

    stream: Stream
    uids: set[str] = field(default_factory=set)
    position: int = 0
    news: int = 0


class Sink(Protocol):
    """Takes what watches tell, from Kopf's thread."""

    def changed(self, type: EventType, obj: Json, state: State | None) -> None:
        """An object, as the change or (None, with `state`) as a part of all there is."""

    def told(self, state: State) -> None:
        """All of a stream was told by `changed`, or deleted since."""


class Pulse:
    """When each watch last received anything. Written from Kopf's thread, read from ours.

    `relisted` is called for a watch that goes on from a list, or from a state that was not told to its end:
    some deletion may be missing. A stream that began with its state does so again `period` seconds later.
    """

    def __init__(
        self, streams: Sequence[Stream], relisted: Callable[[Stream], None], *, period: float
    ) -> None:
        now = time.monotonic()
        self._heard = dict.fromkeys(streams, now)
        self._listing: set[Stream] = set()
        self._forbidden: set[Stream] = set()
        self._begun: dict[Stream, float] = {}
        self._relisted = relisted
        self._period = period

    def age(self) -> float:
        """Seconds since the watch that is silent for longest received anything; without namespaces in which
        nothing may be watched, while there are others.
        """
        allowed = {stream[1] for stream in self._heard if stream not in self._forbidden}
        heard = (at for stream, at in self._heard.items() if not allowed or stream[1] in allowed)
        return time.monotonic() - min(heard, default=time.monotonic())

    def opened(self, stream: Stream, *, watch: bool, whole: bool) -> None:
        """A response began: a page of a list, or a watch, which is `whole` if it tells all there is first."""
        if whole or not watch:
            self._listing.add(stream)
        if not watch:
            return
        self.beat(stream)
        self._forbidden.discard(stream)
        if whole:
            self._begun[stream] = time.monotonic()
        elif stream in self._listing:
            self._listing.discard(stream)
            self._relisted(stream)

    def forbidden(self, stream: Stream) -> None:
        """A list or watch was refused for want of a right."""
        self._forbidden.add(stream)

    def told(self, stream: Stream) -> None:
        """All there is was told: nothing is missing."""
        self._listing.discard(stream)

    def due(self, stream: Stream) -> bool:
        """Whether a watch that ended should begin with its state again."""
        begun = self._begun.get(stream)
        return begun is not None and time.monotonic() - begun >= self._period

    def beat(self, stream: Stream) -> None:
        """Bytes arrived on a watch."""
        if stream in self._heard:
            self._heard[stream] = time.monotonic()


class Lines:
    """What the lines of one watch tell."""

    def __init__(self, stream: Stream, pulse: Pulse, sink: Sink, *, whole: bool) -> None:
        self._stream = stream
        self._pulse = pulse
        self._sink = sink
        self._state = State(stream) if whole else None
        self._marked = False

    @property
    def waits(self) -> bool:
        """Whether more has to come soon."""
        return self._marked or self._state is not None

    @property
    def due(self) -> bool:
        """Whether the next watch should begin with its state."""
        return self._pulse.due(self._stream)

    def beat(self) -> None:
        """Bytes arrived."""
        self._pulse.beat(self._stream)

    def take(self, line: bytes) -> bool:
        """Hand over what a line tells; False when Kopf has to know it."""
        try:
            event = json.loads(line)
            type, obj = event["type"], event["object"]
        except (ValueError, TypeError, KeyError):
            return False
        if type in CHANGES or type == DELETED:
            self._change(type, obj)
        elif type == "BOOKMARK":
            self._mark(obj.get("metadata") or {})
        return type in CHANGES

    def _change(self, type: EventType, obj: Json) -> None:
        if self._state is not None:
            self._state.uids.add(intern(obj["metadata"]["uid"]))
            if type == "ADDED":
                type = None
        self._sink.changed(type, obj, self._state)

    def _mark(self, meta: Json) -> None:
        # The one by which the state is complete is no promise that more will come.
        if self._state is None or (meta.get("annotations") or {}).get(COMPLETE) != "true":
            self._marked = True
            return
        self._state.position = int(meta["resourceVersion"])
        self._pulse.told(self._stream)
        self._sink.told(self._state)
        self._state = None


class Heard:
    """The content of a watch that tells when bytes arrive, and keeps the lines that are taken to itself. Only
    what reads in chunks is listened to; each chunk that it gives holds whole lines. Raises TimeoutError where
    what has to come stays away.
    """

    def __init__(self, content: aiohttp.StreamReader, lines: Lines) -> None:
        self._content = content
        self._lines = lines

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        begun, chunks = b"", aiter(self._content.iter_chunked(size))
        while True:
            try:
                async with asyncio.timeout(MARKED_SECONDS if self._lines.waits else None):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                break
            self._lines.beat()
            *lines, begun = (begun + chunk).split(b"\n")
            for line in lines:
                if not self._lines.take(line):
                    yield line + b"\n"
        if begun:
            yield begun
        elif self._lines.due:
            yield ANEW

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)
