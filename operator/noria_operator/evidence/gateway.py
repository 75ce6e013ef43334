"""Asking the proxies of a gateway, each on a connection of its own, which redirect they answer.

Comes in: what the cluster's admin says of the proxies' addresses, the hosts of a route and a path. Goes out:
one answer for each proxy and host. Invariants: only addresses of the admin's are opened, and no redirect is
followed; every question and look-up is bounded in time and number, and nothing of an answer is read but its
head.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from noria_operator.domain.gateway_probes import Answer, Probe, mark_in

Resolve = Callable[[str, int], Coroutine[Any, Any, Sequence[str]]]
"""From host and port to addresses. Raises OSError."""

TIMEOUT: Final = 1.0
"""Seconds for one answer, and for one look-up."""
FRESH: Final = 1.0
"""Seconds for which a look-up stands, also one that found nothing."""
SILENT: Final = 5.0
"""Seconds for which a proxy that gave no answer in time is not asked again: passes of many deployments would
each wait for it."""
AT_ONCE: Final = 32
"""Questions at the same time, over all gateways."""
MOST: Final = 256
"""Questions about one route: proxies by hosts."""


@dataclass(frozen=True, slots=True)
class _Place:
    """One proxy at one of its listeners, asked for one host."""

    scheme: str
    address: str
    port: int
    host: str

    def __str__(self) -> str:
        return f"{self.host} at {self.netloc}"

    @property
    def netloc(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(slots=True)
class _Lookup:
    """One for all who want it. A resolver that hangs holds one thread, however often it is asked."""

    task: asyncio.Task[Sequence[str]]
    began: float
    ended: float = 0.0

    def end(self, task: asyncio.Task[Sequence[str]]) -> None:
        """Nobody may be there any more who waited for it."""
        self.ended = task.get_loop().time()

    def stands(self, now: float) -> bool:
        """Whether another one would tell nothing newer."""
        return not self.task.done() or now - self.ended < FRESH


class GatewayReader:
    """All questions of one process; closed by its owner."""

    def __init__(self, *, timeout: float = TIMEOUT, resolve: Resolve | None = None) -> None:
        self._timeout = timeout
        self._resolve = resolve or resolved
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._lookups: dict[tuple[str, int], _Lookup] = {}
        self._silent: dict[str, float] = {}
        """Until when, by address and port."""
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Give up what is under way."""
        for one in self._lookups.values():
            one.task.cancel()
        self._lookups.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def answers(self, probe: Probe, hosts: Sequence[str], path: str) -> list[Answer]:
        """Of every proxy for each of `hosts`; without any, for the one that the admin says."""
        found = await asyncio.gather(*(self._places(url, hosts or [probe.host]) for url in probe.urls))
        places = [one for each in found if not isinstance(each, Answer) for one in each]
        if len(places) > MOST:
            return [Answer(probe.name, problem=f"{len(places)} proxies by hosts are more than {MOST}")]
        try:
            trusted = _trusted(probe.ca_file)
        except OSError as error:  # ssl.SSLError is one
            problem = f"its certificate authority cannot be read: {type(error).__name__}"
            return [Answer(probe.name, problem=problem)]
        asked = await asyncio.gather(*(self._answer(place, path, trusted) for place in places))
        return [*asked, *(one for one in found if isinstance(one, Answer))]

    async def _places(self, url: str, hosts: Sequence[str]) -> list[_Place] | Answer:
        """Every proxy behind an address of the admin's, or why none is known."""
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        try:
            addresses = await self._addresses(name, port)
        except TimeoutError:
            return Answer(url, problem=f"its name was not resolved within {self._timeout:g} s")
        except (OSError, UnicodeError) as error:  # the latter for a label that is too long
            return Answer(url, problem=f"its name cannot be resolved: {error}")
        return [_Place(parts.scheme, one, port, host or name) for one in addresses for host in hosts]

    async def _addresses(self, name: str, port: int) -> Sequence[str]:
        now, known = asyncio.get_running_loop().time(), self._lookups.get((name, port))
        if known is None or not known.stands(now):
            known = _Lookup(asyncio.create_task(self._resolve(name, port)), now)
            known.task.add_done_callback(known.end)
            self._lookups[name, port] = known
        async with asyncio.timeout_at(known.began + self._timeout):
            return await asyncio.shield(known.task)

    async def _answer(self, place: _Place, path: str, trusted: ssl.SSLContext) -> Answer:
        async with self._gate:  # nobody is silent for having waited here
            return await self._asked(place, path, trusted)

    async def _asked(self, place: _Place, path: str, trusted: ssl.SSLContext) -> Answer:
        where, now = str(place), asyncio.get_running_loop().time()
        if now < self._silent.get(place.netloc, now):
            return Answer(where, problem=f"no answer within {self._timeout:g} s")
        try:
            async with asyncio.timeout(self._timeout):
                status, location = await self._head(place, path, trusted)
        except TimeoutError:
            known = {netloc: until for netloc, until in self._silent.items() if now < until}
            self._silent = known | {place.netloc: now + SILENT}
            return Answer(where, problem=f"no answer within {self._timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(where, problem=f"{type(error).__name__}: {error}"[:200])
        mark = mark_in(location) if 300 <= status < 400 else ""
        return Answer(
            where, mark, "" if mark else f"status {status} without the redirect that the route asks for"
        )

    async def _head(self, place: _Place, path: str, trusted: ssl.SSLContext) -> tuple[int, str]:
        if self._session is None:
            # A connection that is kept may be one to a process that is on its way out.
            connector = aiohttp.TCPConnector(force_close=True, limit=0)
            jar = aiohttp.DummyCookieJar()
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=jar, auto_decompress=False)
        secured = place.scheme == "https"
        async with self._session.head(
            f"{place.scheme}://{place.netloc}{path}",
            headers={"Host": place.host, "User-Agent": "noria-operator"},
            allow_redirects=False,
            ssl=trusted if secured else True,
            server_hostname=place.host if secured else None,
        ) as response:
            return response.status, response.headers.get("Location", "")


async def resolved(name: str, port: int) -> Sequence[str]:
    """All addresses of a name, as the system's resolver tells them."""
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _trusted(file: Path | None) -> ssl.SSLContext:
    """Read anew when the file is another one, so that authorities may change. Raises OSError."""
    if file is None:
        return _system()
    now = file.stat()
    return _context(file, now.st_mtime_ns, now.st_ino)


@lru_cache(maxsize=1)
def _system() -> ssl.SSLContext:
    return ssl.create_default_context()


@lru_cache(maxsize=16)
def _context(file: Path, _mtime: int, _inode: int) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(file))
