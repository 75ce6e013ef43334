"""The API server client: asynchronous, small, and the only place where the operator talks to the API server
except for Kopf's watches.

In: a `Kind`, a name, plain JSON. Out: plain JSON or a typed error. Server-side apply is the way to write
whatever may change; `create` is for what is written once, `update` for the Lease alone. Requests that the
server turned away for the moment (429, 5xx, lost connections) are sent again a few times, with the server's
own Retry-After where it gives one; whoever calls sees an error only when that did not help.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import aiohttp

from noria_operator.kube import metrics, requests
from noria_operator.kube.clock import ServerTime
from noria_operator.kube.errors import ApiError, Gone, NotFound, Unavailable, error_of
from noria_operator.kube.kinds import LEASE, Json, Kind
from noria_operator.kube.login import Endpoint
from noria_operator.kube.requests import Labels, Propagation, Request

log = logging.getLogger(__name__)

CONNECTIONS = 64
TIMEOUT = 10.0
"""Seconds for one request, connecting included; a LIST page may take three times as long."""
TRIES = 5
FIRST_DELAY = 0.2
"""Seconds before the first retry; doubled for each further one, ±20 %."""
LONGEST_DELAY = 10.0

Items = list[Json]


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete list: it shows everything that happened to its kind up to `position`, deletions included."""

    items: Items
    position: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one attempt: HTTP status, decoded body, Retry-After in seconds and Date where there
    was one.
    """

    status: int
    body: Any
    retry_after: float | None = None
    date: datetime | None = None


class Client:
    """Talks to one API server. Use as `async with Client(endpoint) as client`, or call `close()`.

    All methods raise `ApiError` subclasses; `NotFound` on delete is success.
    """

    def __init__(self, endpoint: Endpoint, *, rand: random.Random | None = None) -> None:
        self._endpoint = endpoint
        self._random = rand or random.Random()
        self._session: aiohttp.ClientSession | None = None
        self._fence: Callable[[], None] | None = None
        self.time = ServerTime()
        """What time it is where the answers come from."""

    def fence(self, check: Callable[[], None]) -> None:
        """Call `check` before every attempt to write (except to a Lease); it raises when we may not."""
        self._fence = check

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, kind: Kind, namespace: str, name: str) -> Json:
        return await self._call(requests.get(kind, namespace, name))

    async def list(self, kind: Kind, namespace: str | None = None, *, labels: Labels | None = None) -> Items:
        """All objects of a kind: complete, or an error; never the first pages only.

        `apiVersion` and `kind` are filled in, since the API server leaves them out of list items.
        """
        return (await self.listing(kind, namespace, labels=labels)).items

    async def listing(
        self, kind: Kind, namespace: str | None = None, *, labels: Labels | None = None
    ) -> Listing:
        """As `list`, with the resourceVersion that the list stands for."""
        for _ in range(3):
            try:
                return await self._pages(kind, namespace, labels)
            except Gone:
                continue  # the list took longer than the server keeps its snapshot
        raise Unavailable(0, "Expired", f"the list of {kind.plural} expired three times while being read")

    async def served(self, kind: Kind, namespace: str | None = None) -> None:
        """Raise `NotFound` where the API server does not know the kind."""
        await self._call(requests.list_page(kind, namespace, limit=1))

    async def create(self, kind: Kind, namespace: str, body: Json) -> Json:
        return await self._call(requests.create(kind, namespace, body))

    async def apply(
        self, kind: Kind, namespace: str, body: Json, *, manager: str = "noria", force: bool = True
    ) -> Json:
        """Server-side apply: `body` holds exactly the fields that `manager` owns."""
        return await self._call(requests.apply(kind, namespace, body, manager=manager, force=force))

    async def apply_status(
        self, kind: Kind, namespace: str, name: str, status: Json, *, resource_version: str | None = None
    ) -> Json:
        """Server-side apply on the status subresource: the whole status each time.

        With `resource_version` the write fails with `Conflict` when the object changed since then.
        """
        request = requests.apply_status(kind, namespace, name, status, resource_version=resource_version)
        return await self._call(request)

    async def merge(self, kind: Kind, namespace: str, name: str, body: Json) -> Json:
        """JSON merge patch; for people's commands and tests, controllers apply instead."""
        return await self._call(requests.merge(kind, namespace, name, body))

    async def update(self, kind: Kind, namespace: str, body: Json) -> Json:
        """Replace an object, guarded by the resourceVersion in `body`."""
        return await self._call(requests.update(kind, namespace, body))

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        propagation: Propagation = "Background",
    ) -> Json | None:
        """Delete one object, only if it still has this `uid` when one is given (else `Conflict`).

        Returns the server's answer (the object where finalizers keep it), None if it was gone already.
        """
        try:
            return await self._call(requests.delete(kind, namespace, name, uid=uid, propagation=propagation))
        except NotFound:
            return None

    async def send(self, request: Request) -> Answer:
        """One attempt, no retry. Raises `Unavailable` when there is no answer. Tests inject faults here."""
        session = self._opened()
        seconds = TIMEOUT * 3 if request.verb == "list" else TIMEOUT
        try:
            async with session.request(
                request.method,
                self._endpoint.server + request.path,
                params=dict(request.params),
                data=request.encoded(),
                headers={**self._endpoint.headers(), "Content-Type": request.content_type},
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                text, headers = await response.text(), response.headers
                retry_after, date = _seconds(headers.get("Retry-After")), _dated(headers.get("Date"))
                return Answer(response.status, _decoded(text), retry_after, date)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(0, type(error).__name__, f"{request.method} {request.path}: {error}") from error

    async def _call(self, request: Request) -> Json:
        for attempt in range(1, TRIES + 1):
            failure, retry_after = await self._attempt(request)
            if not isinstance(failure, ApiError):
                return failure
            if failure.status == 401 and attempt == 1:
                self._endpoint.token.expire()
                continue
            if attempt == TRIES or not _passing(failure):
                raise failure
            metrics.API_RETRIES.labels(request.verb, request.kind.kind).inc()
            await asyncio.sleep(self._delay(attempt, retry_after))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _attempt(self, request: Request) -> tuple[Json | ApiError, float | None]:
        if self._fence is not None and request.writes and request.kind != LEASE:
            self._fence()
        started = time.perf_counter()
        failure: ApiError | None
        try:
            answer = await self.send(request)
        except Unavailable as error:
            answer, failure = Answer(0, None), error
        else:
            failure = None if 200 <= answer.status < 300 else error_of(answer.status, answer.body)
            if failure is None and not isinstance(answer.body, dict):
                text = f"{request.method} {request.path}: the answer is no JSON object; is a proxy between?"
                failure = Unavailable(0, "NoObject", text)
        if failure is None and answer.date is not None:
            # Of good answers alone: a proxy that answers in the server's place has another clock.
            self.time.heard(answer.date)
        metrics.API_SECONDS.labels(request.verb, request.kind.kind, str(answer.status)).observe(
            time.perf_counter() - started
        )
        return (failure or answer.body), answer.retry_after

    def _delay(self, attempt: int, retry_after: float | None) -> float:
        if retry_after is not None:
            return min(retry_after, LONGEST_DELAY) + self._random.uniform(0, FIRST_DELAY)
        return float(FIRST_DELAY * 2 ** (attempt - 1) * self._random.uniform(0.8, 1.2))

    async def _pages(self, kind: Kind, namespace: str | None, labels: Labels | None) -> Listing:
        items: Items = []
        token: str | None = None
        while True:
            page = await self._call(requests.list_page(kind, namespace, labels, token))
            items += [requests.typed(kind, item) for item in page["items"]]
            token = page["metadata"].get("continue")
            if not token:
                return Listing(items, int(page["metadata"].get("resourceVersion") or 0))

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=self._endpoint.tls)
            self._session = aiohttp.ClientSession(
                connector=connector, headers={"User-Agent": "noria-operator"}
            )
        return self._session


def _passing(error: ApiError) -> bool:
    """Whether the same request may succeed a moment later."""
    return error.status in {0, 429} or error.status >= 500


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text[:1000]


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isdigit() else None


def _dated(header: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return date if date.tzinfo else None
