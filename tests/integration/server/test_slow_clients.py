"""Clients that are slow to send or slow to read: none of them holds a connection for longer than stated."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.integration.server.process import DEADLINE, REQUEST, Process, free_port, ready

from noria_serving.bundle import Bundle

HEAD = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: m\r\ncontent-length: %d\r\n"
ROWS = 400_000
SIZES = {"binary_data_size": ROWS * 12}
TENSOR = {"name": "input-0", "shape": [ROWS, 3], "datatype": "FP32", "parameters": SIZES}
LARGE = json.dumps({"inputs": [TENSOR]}).encode()


@pytest.fixture
async def server(matrix_bundle: Bundle) -> AsyncIterator[Process]:
    counters = free_port()
    limits = {"NORIA_DRAIN_SECONDS": "0", "NORIA_TRANSFER_SECONDS": "1"}
    async with ready(matrix_bundle.path, **limits, NORIA_COUNTERS_PORT=str(counters)) as server:
        server.counters = counters
        yield server
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            assert await server.process.wait() == 0


async def answered(server: Process, *parts: bytes) -> bytes:
    """Send so much and no more; everything until the server ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    async with asyncio.timeout(DEADLINE):
        answer = await reader.read()
    writer.close()
    return answer


async def lost(server: Process, reason: str) -> float:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{server.counters}/metrics")).text
    line = next(line for line in text.splitlines() if f'_lost_total{{reason="{reason}"}}' in line)
    return float(line.rsplit(" ", 1)[1])


async def test_a_request_that_never_becomes_whole_is_408_and_counted(server: Process) -> None:
    whole = HEAD % len(REQUEST) + b"\r\n" + REQUEST
    slow = [
        answered(server, HEAD % 9),
        answered(server, HEAD % len(REQUEST) + b"\r\n" + REQUEST[:-1]),
        answered(server, HEAD % 9 + b"expect: 100-continue\r\n\r\n"),
    ]
    for answer in await asyncio.gather(*slow):
        head, _, body = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 "), answer
        assert list(json.loads(body)) == ["error"]
    after = await answered(server, whole + whole[:30])
    assert (after.count(b"HTTP/1.1 200"), after.count(b"HTTP/1.1 408")) == (1, 1)
    assert await answered(server) == b""
    refused = (HEAD % 9).replace(b"/m/", b"/other/") + b"\r\n" + b"x"
    assert b" 408 " in await answered(server, refused), "its rest is waited for as long as any"
    assert await lost(server, "slow_request") == 6


async def test_an_answer_that_is_not_taken_ends_the_connection_and_is_counted(server: Process) -> None:
    tensors = b"\0" * (ROWS * 12)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = HEAD % (len(LARGE) + len(tensors)) + b"inference-header-content-length: %d\r\n\r\n" % len(
            LARGE
        )
        await asyncio.to_thread(client.sendall, head + LARGE + tensors)
        async with asyncio.timeout(DEADLINE):
            while not await lost(server, "slow_answer"):  # noqa: ASYNC110  another process gives us no event
                await asyncio.sleep(0.05)
    assert await server.status("/v2/health/ready") == 200
