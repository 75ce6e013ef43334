"""Asking Prometheus in the background, so that no pass waits for it.

Comes in: an address and a query. Goes out: the latest answer to it, on a later look. Invariants: a source
that hangs, is away or answers nonsense is an error with a reason, never a number; an answer is bounded in
time and size; no redirect is followed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Any, Final

import aiohttp

from noria_operator.domain.queries import Answer
from noria_operator.domain.query_conditions import Result
from noria_operator.evidence.background import Background

TIMEOUT: Final = 5.0
"""Seconds for one answer."""
SIZE_LIMIT: Final = 256 * 1024
"""Bytes of one answer: some thousand values, where a condition looks at a few."""
AT_ONCE: Final = 16
"""Questions at the same time, over all sources."""


class BadAnswer(ValueError):
    """The source answered something that is no result."""


class QueryReader:
    """Asks, and remembers the latest answer to each question."""

    def __init__(self, now: Callable[[], datetime], *, timeout: float = TIMEOUT) -> None:
        self._now = now
        self._timeout = timeout
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None
        self._answers = Background[Answer]()

    async def close(self) -> None:
        """Give up what is being asked, and close the connections."""
        await self._answers.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def answer(self, key: Hashable) -> Answer | None:
        """The latest answer to a question."""
        return self._answers.latest(key)

    def ask(self, key: Hashable, address: str, query: str) -> None:
        """Ask in the background, unless this is being asked already."""
        self._answers.read(key, lambda: self._answer(address, query))

    async def settled(self) -> None:
        """Wait for what is being asked."""
        await self._answers.settled()

    async def _answer(self, address: str, query: str) -> Answer:
        async with self._gate:
            at = self._now()
            try:
                async with asyncio.timeout(self._timeout):
                    return Answer(at, await self._get(address, query))
            except TimeoutError:
                return Answer(at, error=f"no answer within {self._timeout:g} s")
            except (aiohttp.ClientError, OSError, ValueError) as error:
                return Answer(at, error=f"{type(error).__name__}: {error}"[:256])

    async def _get(self, address: str, query: str) -> Result:
        session = self._session or aiohttp.ClientSession(auto_decompress=False)
        self._session = session
        form = {"query": query, "timeout": f"{self._timeout:g}s"}
        url = f"{address}/api/v1/query"
        plain = {"Accept-Encoding": "identity"}  # what is small when it is packed may be large
        async with session.post(url, data=form, headers=plain, allow_redirects=False) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > SIZE_LIMIT:
                    raise BadAnswer(f"more than {SIZE_LIMIT} bytes")
            return result(response.status, bytes(body))


def result(status: int, body: bytes) -> Result:
    """The numbers in an answer of `/api/v1/query`; raises `BadAnswer`."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadAnswer(f"status {status} without JSON")
    if found.get("status") != "success":
        raise BadAnswer(f"status {status}: {str(found.get('error', 'no success'))[:200]}")
    try:
        return _numbers(found["data"])
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise BadAnswer(f"not understood: {error}") from error


def _numbers(data: dict[str, Any]) -> Result:
    kind, found = data["resultType"], data["result"]
    if kind == "scalar":
        return float(found[1])
    if kind == "vector":
        return tuple(float(sample["value"][1]) for sample in found)
    raise BadAnswer(f"a result of type {kind}; ask for a scalar or an instant vector")
