"""A model server as a process of its own, with real sockets and signals, and the simplest request to it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from tools.ports import free_port

import noria_serving

DEADLINE = 20.0
REQUEST = json.dumps(
    {"inputs": [{"name": "input-0", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
).encode()


class Process:
    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process, self.port, self.counters = process, port, 0
        self.grpc = 0
        """Where it takes gRPC, if it does."""
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE)

    def worker(self) -> psutil.Process:
        """The process that serves; `process` is its supervisor."""
        return psutil.Process(self.process.pid).children()[0]

    async def status(self, path: str) -> int:
        """HTTP status, or 0 when nobody accepts."""
        try:
            return (await self.client.get(path)).status_code
        except httpx.TransportError:
            return 0

    async def until(self, path: str, accepted: Callable[[int], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not accepted(await self.status(path)):  # noqa: ASYNC110  another process gives us no event
                await asyncio.sleep(0.01)

    async def half_a_request(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A request whose last byte is still to come."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"POST /v2/models/m/infer HTTP/1.1\r\nhost: m\r\ncontent-length: {len(REQUEST)}\r\n\r\n"
        writer.write(head.encode() + REQUEST[:-1])
        await writer.drain()
        return reader, writer


@asynccontextmanager
async def started(
    bundle: Path,
    *,
    arguments: Sequence[str] = ("-m", "noria_serving.main"),
    port: int | None = None,
    **environment: str,
) -> AsyncIterator[Process]:
    """One that was started just now, and is ended afterwards where the test has not ended it.

    `port`: where it listens by its arguments.
    """
    port = port or free_port()
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(noria_serving.__file__).parents[1]),
        "NORIA_BUNDLE": str(bundle), "NORIA_MODEL": "m", "NORIA_HOST": "127.0.0.1",
        "NORIA_PORT": str(port), "NORIA_COUNTERS_PORT": "0", "NORIA_GRPC_PORT": "off", **environment,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=env, stderr=asyncio.subprocess.PIPE
    )
    server = Process(process, port)
    try:
        yield server
    finally:
        await server.client.aclose()
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def ready(bundle: Path, **how: Any) -> AsyncIterator[Process]:
    """One that was `started` so, and is ready."""
    async with started(bundle, **how) as server:
        await server.until("/v2/health/ready", lambda status: status == 200)
        yield server
