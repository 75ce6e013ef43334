"""Faults between the operator and the API server, put in by hand.

`Faults` is one struct of optional functions around each attempt to send a request, as in controller-runtime's
interceptor; `FaultyClient` is the real client with them. `Proxy` cuts the connections of the watches.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from noria_operator.kube.client import Answer, Client
from noria_operator.kube.kinds import LEASE
from noria_operator.kube.login import Endpoint
from noria_operator.kube.requests import Request


class Crash(BaseException):
    """The operator is gone from one instant to the next. No `except Exception` may survive it."""


@dataclass
class Faults:
    """What happens around each attempt. Both may raise."""

    before: Callable[[Request], Answer | None] | None = None
    """An answer given here is taken instead of sending the request."""
    after: Callable[[Request, Answer], None] | None = None
    """Called with the answer before the operator sees it: what is raised here hides a write that happened."""


class FaultyClient(Client):
    """The operator's client, with faults."""

    def __init__(self, endpoint: Endpoint, faults: Faults) -> None:
        super().__init__(endpoint)
        self.faults = faults

    async def send(self, request: Request) -> Answer:
        if self.faults.before is not None:
            answer = self.faults.before(request)
            if answer is not None:
                return answer
        answer = await super().send(request)
        if self.faults.after is not None:
            self.faults.after(request, answer)
        return answer


@dataclass
class CrashAfter:
    """Stops the operator right after its `write`-th successful write; the lease does not count.

    With `write=None` it only counts. From the crash on no request gets through, as from a dead process.
    """

    write: int | None = None
    written: list[str] = field(default_factory=list)
    crashed: bool = False

    def faults(self) -> Faults:
        return Faults(before=self._before, after=self._after)

    def _before(self, request: Request) -> Answer | None:
        if self.crashed:
            raise Crash
        return None

    def _after(self, request: Request, answer: Answer) -> None:
        if self.crashed:
            raise Crash
        if request.writes and request.kind != LEASE and 200 <= answer.status < 300:
            self.written.append(f"{request.verb} {request.path}")
            if len(self.written) == self.write:
                self.crashed = True
                raise Crash


def status_answer(code: int, reason: str, *, retry_after: float | None = None) -> Answer:
    """A refusal as the API server words it."""
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "injected"}
    return Answer(code, body, retry_after)


class Proxy:
    """A TCP proxy in front of the API server whose connections can be cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.refusing = False
        self.connections = 0

    async def start(self) -> int:
        """Listen on loopback; returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection, in the middle of whatever is on it."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        self.connections += 1
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        self._open |= {writer, upstream_writer}
        pumps = [
            asyncio.create_task(_pump(reader, upstream_writer)),
            asyncio.create_task(_pump(upstream_reader, writer)),
        ]
        self._tasks.update(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, upstream_writer):
            end.transport.abort()
            self._open.discard(end)
        self._tasks.difference_update(pumps)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
