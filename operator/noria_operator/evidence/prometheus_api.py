"""One question to a Prometheus, or to what speaks its API: bounded in time and size, with the source's own
credentials.

Comes in: a source and a query. Goes out: the `data` of the answer, or an exception with a reason for people.
Invariants: no redirect is followed; token and certificate authority are read anew, so that they may rotate,
and no message repeats the token.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from noria_operator.domain.metric_sources import Source

TIMEOUT: Final = 5.0
"""Seconds for one answer."""
SIZE_LIMIT: Final = 256 * 1024
"""Bytes of one answer: some thousand values, where a condition looks at a few."""
AT_ONCE: Final = 16
"""Questions at the same time, over all sources."""

WHOLE: Final = {"partial_response": "false"}
"""Thanos is to answer nothing where one of its stores does not; others do not know the field."""
REMARK: Final = "PromQL "
"""How warnings begin that are about a query: all others are about data that could not be read."""


class BadAnswer(ValueError):
    """The source answered something that is no result, or cannot be asked."""


class PrometheusApi:
    """One HTTP client for all sources; closed by its owner."""

    def __init__(self, *, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(
        self,
        source: Source,
        query: str,
        *,
        at: float | None = None,
        limit: int = SIZE_LIMIT,
        exact: Mapping[str, str] | None = None,
    ) -> Any:
        """The `data` of `/api/v1/query` as of `at` (Unix seconds; None: now). `exact` are further fields of
        a question whose answer may not come with any warning. Raises `BadAnswer`, whatever happens.
        """
        form = {"query": query, "timeout": f"{self._timeout:g}s", **WHOLE, **(exact or {})}
        form |= {"time": f"{at:.3f}"} if at is not None else {}
        try:
            async with self._gate, asyncio.timeout(self._timeout):
                status, body = await self._post(source, form, limit)
        except TimeoutError as error:
            raise BadAnswer(f"no answer within {self._timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise BadAnswer(f"{type(error).__name__}: {error}"[:256]) from error
        return data(status, body, exact=exact is not None)

    async def _post(self, source: Source, form: dict[str, str], limit: int) -> tuple[int, bytes]:
        session = self._session or aiohttp.ClientSession(auto_decompress=False)
        self._session = session
        url, headers = f"{source.address}/api/v1/query", _headers(source)
        trusted = _trusted(source.ca_file) if source.ca_file else True
        async with session.post(
            url, data=form, headers=headers, allow_redirects=False, ssl=trusted
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise BadAnswer(f"more than {limit} bytes")
            return response.status, bytes(body)


def data(status: int, body: bytes, *, exact: bool = False) -> Any:
    """What an answer holds; raises `BadAnswer`, also where the source says that it could not read all of its
    data, or with `exact` anything else that may be wrong with it.
    """
    try:
        found = orjson.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadAnswer(f"status {status} without JSON{_words(body)}")
    if found.get("status") != "success":
        raise BadAnswer(f"status {status}: {str(found.get('error', 'no success'))[:200]}")
    warnings = found.get("warnings") or []
    for warning in map(str, warnings if isinstance(warnings, list) else [warnings]):
        if exact or not warning.startswith(REMARK):
            raise BadAnswer(f"the answer is not whole: {warning[:200]}")
    return found.get("data")


def _words(body: bytes) -> str:
    """What an answer without JSON says, if that is one short line: Mimir without a tenant does so."""
    text = body[:200].decode(errors="replace").strip()
    return f": {text}" if text.isprintable() and text and not text.startswith("<") else ""


def _headers(source: Source) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}  # what is small when it is packed may be large
    if source.tenant:
        headers["X-Scope-OrgID"] = source.tenant
    if source.token_file is not None:
        try:
            token = source.token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadAnswer(f"its token cannot be read: {type(error).__name__}") from error
        if not token or not (token.isascii() and token.isprintable()) or " " in token:
            raise BadAnswer("its token is no bearer token: one line without spaces")
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _trusted(file: Path) -> ssl.SSLContext:
    try:
        now = file.stat()
        return _context(file, now.st_mtime_ns, now.st_ino)
    except OSError as error:  # ssl.SSLError is one
        raise BadAnswer(f"its certificate authority cannot be read: {type(error).__name__}") from error


@lru_cache(maxsize=16)
def _context(file: Path, _mtime: int, _inode: int) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(file))
