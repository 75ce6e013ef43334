"""One attempt to send one message to one receiver.

Comes in: a target and an occurrence. Goes out: an `Answer`. Invariants: address and key are read from their
files for every attempt, so that they may rotate; neither is ever logged; what a receiver answers is not read
beyond its status, and a redirect is not followed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp

from noria_operator.domain.notification_messages import body_of, key_of, signature
from noria_operator.domain.notification_targets import InvalidTarget, Target, checked_url
from noria_operator.domain.notifications import Occurrence
from noria_operator.kube.clock import Clock

TIMEOUT = 10.0
"""Seconds for one attempt."""
REFUSED = frozenset({400, 413, 415, 422})
"""Answers that this message will get again however often it is sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt ended: `problem` is empty when the receiver took it; `refused` says that no further
    attempt can help; `retry_after` is in seconds.
    """

    problem: str = ""
    refused: bool = False
    retry_after: float | None = None


class Sender:
    """One HTTP client for all receivers; closed by its owner."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, target: Target, one: Occurrence) -> Answer:
        """Send it; never raises for what files, network or receiver do."""
        try:
            url, headers, body = self._prepared(target, one)
        except InvalidTarget as error:
            return Answer(str(error))
        except (OSError, UnicodeDecodeError) as error:
            return Answer(f"its address or key cannot be read: {type(error).__name__}")
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._post(url, headers, body)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Only the kind of error: its text may hold the address, which for Slack is the secret.
            return Answer(f"no answer: {type(error).__name__}")

    def _prepared(self, target: Target, one: Occurrence) -> tuple[str, dict[str, str], bytes]:
        url = target.url if target.url_file is None else checked_url(target.url_file.read_text())
        content_type, body = body_of(one, target.format)
        headers = {"Content-Type": content_type, "User-Agent": "noria-operator", "webhook-id": one.id}
        if target.key_file is not None:
            key = key_of(target.key_file.read_text())
            headers |= signature(key, one.id, self._clock.now(), body)
        return url, headers, body

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        session = self._session or aiohttp.ClientSession(auto_decompress=False)
        self._session = session
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            if 200 <= response.status < 300:
                return Answer()
            after = response.headers.get("Retry-After", "")
            seconds = float(after) if after.isascii() and after.isdigit() and len(after) < 9 else None
            return Answer(f"it answered {response.status}", response.status in REFUSED, seconds)
