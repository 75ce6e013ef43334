"""A server process that dies under load: the next one has its ports, and nobody is refused."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import pytest
from tests.integration.server.process import DEADLINE, REQUEST, Process, free_port, ready
from tests.integration.server.test_grpc_lifecycle import INFERENCE, request

from noria_serving.bundle import Bundle

HEAD = f"POST /v2/models/m/infer HTTP/1.0\r\ncontent-length: {len(REQUEST)}\r\n\r\n".encode()
CLIENTS, DEATHS = 4, 3
"""Clients of each protocol; deaths within a minute, of which none is the last."""


@dataclass
class Load:
    """Clients that connect anew for each request."""

    server: Process
    answers: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    cut_off: list[str] = field(default_factory=list)
    longest: float = 0.0
    over: bool = False

    async def http(self) -> None:
        while not self.over:
            begun = time.monotonic()
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
            except OSError as error:
                self.refused.append(repr(error))
                continue
            try:
                writer.write(HEAD + REQUEST)
                answer = await asyncio.wait_for(reader.read(), DEADLINE)
                self._answered("http", "" if answer.startswith(b"HTTP/1.1 200 ") else repr(answer), begun)
            except OSError as error:
                self.cut_off.append(repr(error))
            writer.close()

    async def grpc(self) -> None:
        options = (("grpc.use_local_subchannel_pool", 1),)
        while not self.over:
            begun = time.monotonic()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{self.server.grpc}", options) as channel:
                try:
                    await channel.unary_unary(f"{INFERENCE}ModelInfer")(request(), timeout=DEADLINE)
                    self._answered("grpc", "", begun)
                except grpc.aio.AioRpcError as error:
                    said = str(error.details())
                    (self.refused if "refused" in said.lower() else self.cut_off).append(said)

    def _answered(self, protocol: str, wrong: str, begun: float) -> None:
        if wrong and wrong != "b''":
            self.refused.append(wrong)
        elif wrong:
            self.cut_off.append("the connection ended")
        else:
            self.answers[protocol] += 1
            self.longest = max(self.longest, time.monotonic() - begun)


@pytest.fixture
async def server(matrix_bundle: Bundle) -> AsyncIterator[Process]:
    port = free_port()
    async with ready(matrix_bundle.path, NORIA_GRPC_PORT=str(port), NORIA_DRAIN_SECONDS="0") as server:
        server.grpc = port
        yield server


async def test_under_load_a_process_that_is_killed_has_a_successor_and_no_connection_is_refused(
    server: Process,
) -> None:
    load = Load(server)
    running = [asyncio.create_task(one()) for one in (load.http, load.grpc) for _ in range(CLIENTS)]
    pids = [server.worker().pid]
    for _ in range(DEATHS):
        answered = Counter(load.answers)
        async with asyncio.timeout(DEADLINE):
            while any(load.answers[one] < answered[one] + 20 for one in ("http", "grpc")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        server.worker().kill()
        async with asyncio.timeout(DEADLINE):
            while await server.status("/v2/health/ready") != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        pids.append(server.worker().pid)
    load.over = True
    await asyncio.gather(*running)
    print(f"{load.answers}, the longest {load.longest:.2f} s; cut off: {load.cut_off}")
    assert load.refused == []
    assert len(load.cut_off) <= DEATHS * 2 * CLIENTS, "what was in flight, and nothing else"
    assert len(set(pids)) == DEATHS + 1
    server.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(DEADLINE):
        _, errors = await server.process.communicate()
    assert server.process.returncode == 0
    said = [entry for line in errors.decode().splitlines() if (entry := json.loads(line)).get("restarts")]
    assert [(entry["ended"], entry["restarts"]) for entry in said] == [
        ("SIGKILL", number) for number in range(1, DEATHS + 1)
    ]


async def test_a_successor_that_is_told_to_end_refuses_at_once_on_both_ports(server: Process) -> None:
    server.worker().kill()
    await server.until("/v2/health/ready", lambda status: status == 200)
    reader, writer = await server.half_a_request()
    server.process.send_signal(signal.SIGTERM)
    await server.until("/v2/health/live", lambda status: status == 0)
    async with asyncio.timeout(DEADLINE):
        while await _listens(server.grpc):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert server.process.returncode is None
    writer.write(REQUEST[-1:])
    async with asyncio.timeout(DEADLINE):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert await server.process.wait() == 0
    writer.close()


async def _listens(port: int) -> bool:
    """False where the connection is refused; one that is held is a failure."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 0.5)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True
