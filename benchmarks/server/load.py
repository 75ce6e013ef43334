"""The load generator: a process of its own, whose CPU is not counted.

In: a JSON plan on stdin (see `Plan`). Out: one JSON line with completed requests, errors, seconds and
latencies. Closed loop (rate 0): each connection sends again as soon as it is answered. Open loop: requests
are due at fixed times, and latency counts from when one was due, so that a stalled server cannot hide its
queue.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, cast

import uvloop

LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Plan:
    """One measurement."""

    kind: str
    """`http` or `grpc`."""
    host: str
    port: int
    payload: str
    """base64 of the whole HTTP request, or of the serialized ModelInferRequest."""
    seconds: float
    connections: int = 16
    rate: float = 0.0
    """Requests a second in all; 0: closed loop."""

    def line(self) -> str:
        return json.dumps(asdict(self))


class Schedule:
    """When requests are due, what came back."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.latencies: list[float] = []
        self.errors = 0
        self.started = time.perf_counter()
        self.ended = self.started + plan.seconds
        self._sent = 0

    def due(self) -> float:
        """The time of the next request (now, in the closed loop); takes it."""
        self._sent += 1
        return self.started + self._sent / self.plan.rate if self.plan.rate else time.perf_counter()

    def note(self, due: float, *, good: bool) -> None:
        if good:
            self.latencies.append(time.perf_counter() - due)
        else:
            self.errors += 1

    def result(self, seconds: float) -> dict[str, Any]:
        return {
            "requests": len(self.latencies),
            "errors": self.errors,
            "seconds": seconds,
            "latencies": sorted(self.latencies),
        }


class Connection(asyncio.Protocol):
    """One keep-alive connection. Answers are told apart by their Content-Length alone (it is cheap), those
    in chunks (of KServe, to binary tensors) by the last one.
    """

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._buffer = b""
        self._waiting: deque[asyncio.Future[bool]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def send(self) -> asyncio.Future[bool]:
        """One request; the future tells whether the answer was a 200."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.transport.write(self._request)
        return waiter

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        if at < 0 and b"\r\ntransfer-encoding: chunked" in head:
            whole = self._buffer.endswith(LAST_CHUNK)
        else:
            length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            whole = len(self._buffer) >= end + 4 + length
        if whole:
            self._buffer = b""
            self._waiting.popleft().set_result(head.startswith(b"http/1.1 200"))

    def connection_lost(self, exc: Exception | None) -> None:
        while self._waiting:
            self._waiting.popleft().set_exception(ConnectionError("the server closed the connection"))


async def _http(plan: Plan) -> list[Any]:
    """One function a connection, each sending one request."""
    request = base64.b64decode(plan.payload)
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: Connection(request), plan.host, plan.port)
        for _ in range(plan.connections)
    ]
    return [protocol.send for _, protocol in opened]


async def _grpc(plan: Plan) -> list[Any]:
    import grpc  # noqa: PLC0415  only where it is measured

    request = base64.b64decode(plan.payload)

    def caller() -> Any:
        # Without an own pool, channels to one address share one connection.
        channel = grpc.aio.insecure_channel(
            f"{plan.host}:{plan.port}",
            options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)],
        )
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

        async def send() -> bool:
            try:
                await method(request)
            except grpc.RpcError:
                return False
            return True

        return send

    return [caller() for _ in range(plan.connections)]


async def _work(schedule: Schedule, send: Any) -> None:
    while True:
        due = schedule.due()
        if due >= schedule.ended:
            return
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        schedule.note(due, good=await send())


async def generate(plan: Plan) -> dict[str, Any]:
    """Carry out a plan."""
    senders = await (_grpc(plan) if plan.kind == "grpc" else _http(plan))
    schedule = Schedule(plan)
    await asyncio.gather(*(_work(schedule, send) for send in senders))
    return schedule.result(time.perf_counter() - schedule.started)


def main() -> None:
    plan = Plan(**json.loads(sys.stdin.read()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(json.dumps(runner.run(generate(plan))) + "\n")


if __name__ == "__main__":
    main()
