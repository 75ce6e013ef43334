"""The caller of the model: one HTTP request a flight, and the truth afterwards, through the deployment's
Service.

In: request bodies; tokens with labels. Out: an Answer for each request. Invariant: one attempt each, never a
retry, so that every failure a user would have seen is seen here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from examples.flights.names import UNKNOWN

OK: Final = 200
TIMEOUT_SECONDS: Final = 10
VERSION_HEADER: Final = "Noria-Version"
"""The ModelVersion that answered, `<model>-<number>`; also on its errors."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; status 0 means no response. score and token only with status 200."""

    status: int
    version: str
    """The number of the version that answered, or UNKNOWN."""
    milliseconds: float
    score: float = 0.0
    token: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Truth:
    """An outcome to report."""

    token: str
    late: int


class Client:
    """Keeps its connections open; used inside `async with`."""

    def __init__(self, url: str, model: str, *, connections: int) -> None:
        self._infer = f"{url}/v2/models/{model}/infer"
        self._feedback = f"{url}/v2/models/{model}/feedback"
        self._connections = connections

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            headers={"Content-Type": "application/json"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, body: bytes) -> Answer:
        """Send one flight."""
        started = time.perf_counter()
        try:
            async with self._session.post(self._infer, data=body) as response:
                content = await response.read()
                status, header = response.status, response.headers.get(VERSION_HEADER, "")
        except (TimeoutError, aiohttp.ClientError) as error:
            return Answer(0, UNKNOWN, _since(started), detail=f"{type(error).__name__}: {error}")
        return read_answer(status, content, _since(started), header=header)

    async def report(self, truths: Sequence[Truth]) -> list[str]:
        """Post a batch of outcomes; what became of each: `matched`, or why not."""
        items = [{"token": truth.token, "labels": [truth.late]} for truth in truths]
        try:
            async with self._session.post(self._feedback, data=json.dumps({"items": items})) as response:
                status, content = response.status, await response.read()
        except (TimeoutError, aiohttp.ClientError) as error:
            return [type(error).__name__] * len(items)
        if status != OK:
            return [str(status)] * len(items)
        return [str(entry["result"]) for entry in json.loads(content)["results"]]


def read_answer(status: int, content: bytes, milliseconds: float, *, header: str = "") -> Answer:
    """The response of `infer`; a 200 that cannot be understood counts as a failure with status -200."""
    text = content.decode(errors="replace")
    try:
        document: Any = json.loads(text)
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    version = header.rpartition("-")[2] or UNKNOWN
    if status != OK:
        return Answer(status, version, milliseconds, detail=text)
    try:
        probabilities = next(o["data"] for o in document["outputs"] if o["name"] == "probabilities")
        token = document["parameters"]["feedback_token"]
        return Answer(status, version, milliseconds, score=float(probabilities[1]), token=str(token))
    except (KeyError, IndexError, StopIteration, TypeError, ValueError) as error:
        return Answer(-OK, version, milliseconds, detail=f"not understood ({error!r}): {text}")


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
