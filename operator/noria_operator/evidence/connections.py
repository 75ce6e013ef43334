"""GET over connections that are kept: a pod is asked again where it was asked before.

Comes in: where to ask, and the bytes of a request. Goes out: the answer. Invariants: a connection carries one
question at a time, and is never used again after an answer that was bad, late or given up; what nobody asks
for a while is closed.

A library for HTTP does far more for a request than thousands of small answers from known places need: that
was half of what reading them cost (`python -m benchmarks.scrape`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from time import monotonic
from typing import Final, cast
from urllib.parse import urlsplit

from noria_operator.evidence.answer import Answer, BadAnswer, Reading

Place = tuple[str, int]
"""Host and port."""

REMEMBERED: Final = 4096
"""Requests that are not written out again: most are the same every few seconds."""
_TARGET: Final = re.compile(r"/[!-~]*")
_VALUE: Final = re.compile(r"[!-~]+")


class Lost(ConnectionError):
    """The connection ended before the answer did; `silent`: before anything came."""

    def __init__(self, *, silent: bool) -> None:
        super().__init__("the connection was closed before the answer was whole")
        self.silent = silent


def request(url: str, headers: Mapping[str, str] | None = None) -> tuple[Place, bytes]:
    """Where to ask, and what. Raises ValueError for what is no plain address of HTTP."""
    return _request(url, tuple((headers or {}).items()))


@lru_cache(REMEMBERED)
def _request(url: str, headers: tuple[tuple[str, str], ...]) -> tuple[Place, bytes]:
    if not _VALUE.fullmatch(url):
        raise ValueError("the address has characters that no address has")
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or "@" in parts.netloc:
        raise ValueError("the address is not of the form http://host:port/path")
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    told = {"Host": parts.netloc, "Accept-Encoding": "identity", **dict(headers)}
    if not _TARGET.fullmatch(target) or not all(map(_VALUE.fullmatch, (*told, *told.values()))):
        raise ValueError("the request has characters that no request has")
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return (parts.hostname, parts.port or 80), f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode()


class _Connection(asyncio.Protocol):
    """One connection to a place; `gone` is called when it ends."""

    def __init__(self, place: Place, gone: Callable[[_Connection], None], limit: int) -> None:
        self.place = place
        self._gone, self._limit = gone, limit
        self._transport: asyncio.Transport | None = None
        self._asked: asyncio.Future[Answer] | None = None
        self._reading: Reading | None = None
        self._silent = True
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether it is open on this side."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, question: bytes) -> Answer:
        """The answer. Raises BadAnswer or Lost."""
        if self._transport is None or not self.usable:
            raise Lost(silent=True)
        self._asked = asyncio.get_running_loop().create_future()
        self._reading, self._silent = Reading(self._limit), True
        self._transport.write(question)
        try:
            return await self._asked
        finally:
            self._asked = self._reading = None

    def close(self) -> None:
        """End it, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._reading is None or self._asked is None or self._asked.done():
            self.close()  # nothing was asked
            return
        self._silent = False
        try:
            answer = self._reading.take(data)
        except BadAnswer as error:
            self._asked.set_exception(error)
            return
        if answer is not None:
            self._asked.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(Lost(silent=self._silent))
        self._gone(self)


class Connections:
    """All connections of a process. One is closed when nobody asked for `kept` seconds, and at once where
    `most` wait to be asked again; answers have `limit` bytes at most.
    """

    def __init__(self, *, kept: float, most: int, limit: int, clock: Callable[[], float] = monotonic) -> None:
        self._kept, self._most, self._limit, self._clock = kept, most, limit, clock
        self._open: set[_Connection] = set()
        self._idle: dict[Place, list[_Connection]] = {}
        self._waiting = 0
        self._sweep: asyncio.TimerHandle | None = None

    async def get(self, place: Place, question: bytes) -> Answer:
        """The answer from there, on a connection that is free or on a new one. Raises OSError, BadAnswer."""
        while (known := self._free(place)) is not None:
            try:
                return await self._ask(known, question)
            except Lost as lost:
                # The other side may close what was idle just when it is asked: nothing came, so asking again
                # asks the same.
                if not lost.silent:
                    raise
        return await self._ask(await self._opened(place), question)

    def close(self) -> None:
        """End all of them; what is under way is lost."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in list(self._open):
            connection.close()

    async def _ask(self, connection: _Connection, question: bytes) -> Answer:
        kept = False
        try:
            answer = await connection.ask(question)
            kept = answer.kept and connection.usable
        finally:
            if not kept:
                connection.close()
        if kept:
            self._keep(connection)
        return answer

    async def _opened(self, place: Place) -> _Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(place, self._gone, self._limit), *place
        )
        if connection.usable:  # else it has gone already, and nobody would take it out again
            self._open.add(connection)
        return connection

    def _free(self, place: Place) -> _Connection | None:
        """The one that was used last, which is the likeliest to be open."""
        idle = self._idle.get(place)
        if not idle:
            return None
        found = idle.pop()
        self._waiting -= 1
        if not idle:
            del self._idle[place]
        return found

    def _keep(self, connection: _Connection) -> None:
        if self._waiting >= self._most:
            connection.close()
            return
        connection.idle_since = self._clock()
        self._idle.setdefault(connection.place, []).append(connection)
        self._waiting += 1
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._kept, self._swept)

    def _gone(self, connection: _Connection) -> None:
        self._open.discard(connection)
        idle = self._idle.get(connection.place, [])
        if connection in idle:
            idle.remove(connection)
            self._waiting -= 1
            if not idle:
                del self._idle[connection.place]

    def _swept(self) -> None:
        """Close what was not asked for long."""
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(self._kept / 2, self._swept) if self._idle else None
        now = self._clock()
        for connection in [one for each in self._idle.values() for one in each]:
            if now - connection.idle_since >= self._kept:
                connection.close()
