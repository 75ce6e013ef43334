"""Reading JSON from pods: a few at a time, each for a second at most.

Comes in: URLs of pods. Goes out: the parsed body, or None for a pod that could not be read. Invariants: what
a pod sends is bounded in size and time, and a pod that cannot be read is never mistaken for one that
counted nothing; the loop, which renews the lease, does not wait for a large answer to be parsed.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from noria_operator.domain.pod_status import ended
from noria_operator.evidence.answer import Answer
from noria_operator.evidence.connections import Connections, request

logger = logging.getLogger(__name__)

TIMEOUT = 1.0
"""Seconds for one pod."""
SIZE_LIMIT = 8 * 1024 * 1024
"""Bytes of one answer."""
LARGE = 64 * 1024
"""Bytes of an answer that is parsed in a thread, one at a time: of some 300 features and more."""
AT_ONCE = 64
"""Pods read at the same time, over all namespaces."""
KEPT_ALIVE = 60.0
"""Seconds for which a connection waits for the next question: longer than the time between two readings."""
MOST_KEPT = 8192
"""Connections that wait at the same time."""


class Fetcher:
    """All reading of one process; closed by its owner."""

    def __init__(self, *, timeout: float = TIMEOUT, at_once: int = AT_ONCE) -> None:
        self._timeout = timeout
        self._gate = asyncio.Semaphore(at_once)
        self._large = asyncio.Lock()
        self._connections = Connections(kept=KEPT_ALIVE, most=_most(), limit=SIZE_LIMIT)

    async def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    async def json(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        missing: Any | None = None,
        limit: int = SIZE_LIMIT,
        read: Callable[[Any], Any] = lambda body: body,
    ) -> Any | None:
        """What `read` makes of the body of a 200 answer as JSON, which has `limit` bytes at most, and of
        `missing` for a 404; None else, with a line in the log.
        """
        async with self._gate:
            try:
                async with asyncio.timeout(self._timeout):
                    answer = await self._connections.get(*request(url, headers))
                if len(answer.body) <= LARGE:
                    return read(_parsed(answer, missing, limit))
                async with self._large:
                    return await asyncio.to_thread(lambda: read(_parsed(answer, missing, limit)))
            except (OSError, TimeoutError, ValueError) as error:
                logger.info(
                    "pod not readable", extra={"url": url, "error": f"{type(error).__name__}: {error}"}
                )
                return None


def _parsed(answer: Answer, missing: Any | None, limit: int) -> Any:
    if len(answer.body) > limit:
        raise ValueError(f"more than {limit} bytes")
    if answer.status == 404 and missing is not None:
        return missing
    if answer.status != 200:
        raise ValueError(f"status {answer.status}")
    return orjson.loads(answer.body)


def _most() -> int:
    """Connections that may wait: each is a file, of which the process needs some for everything else."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_KEPT if files == resource.RLIM_INFINITY else min(MOST_KEPT, files // 2)


def address(pod: dict[str, Any]) -> str | None:
    """The pod's IP as it stands in a URL; None before it has one, and once it has ended: an evicted pod keeps
    the IP that it had, which others get.
    """
    ip = (pod.get("status") or {}).get("podIP")
    if not ip or ended(pod):
        return None
    return f"[{ip}]" if ":" in ip else str(ip)
