"""Reading JSON from pods: a few at a time, each for a second at most.

Comes in: URLs of pods. Goes out: the parsed body, or None for a pod that could not be read. Invariant: what
a pod sends is bounded in size and time, and a pod that cannot be read is never mistaken for one that
counted nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

logger = logging.getLogger(__name__)

TIMEOUT = 1.0
"""Seconds for one pod."""
SIZE_LIMIT = 8 * 1024 * 1024
"""Bytes of one answer."""
AT_ONCE = 64
"""Pods read at the same time, over all namespaces."""
KEPT_ALIVE = 60.0
"""Seconds for which a connection waits for the next question: longer than the time between two readings."""


class Fetcher:
    """One HTTP client for the process; closed by its owner."""

    def __init__(self, *, timeout: float = TIMEOUT, at_once: int = AT_ONCE) -> None:
        self._timeout = timeout
        self._gate = asyncio.Semaphore(at_once)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def json(
        self, url: str, *, headers: Mapping[str, str] | None = None, missing: Any | None = None
    ) -> Any | None:
        """The body of a 200 answer as JSON, `missing` for a 404; None else, with a line in the log."""
        async with self._gate:
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._get(url, headers, missing)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                logger.info(
                    "pod not readable", extra={"url": url, "error": f"{type(error).__name__}: {error}"}
                )
                return None

    async def _get(self, url: str, headers: Mapping[str, str] | None, missing: Any | None) -> Any:
        session = self._session or _session()
        self._session = session
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            if response.status == 404 and missing is not None:
                return missing
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > SIZE_LIMIT:
                    raise ValueError(f"more than {SIZE_LIMIT} bytes")
            return orjson.loads(body)


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(keepalive_timeout=KEPT_ALIVE)
    return aiohttp.ClientSession(connector=connector, auto_decompress=False)


def address(pod: Mapping[str, Any]) -> str | None:
    """The pod's IP as it stands in a URL; None before it has one."""
    ip = (pod.get("status") or {}).get("podIP")
    if not ip:
        return None
    return f"[{ip}]" if ":" in ip else str(ip)
