"""A model server as a process: how it goes under load, and what is done about a prediction without end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.integration.server.process import DEADLINE, REQUEST, Process, ready, started

from noria_serving.bundle import Bundle

HEAD = f"POST /v2/models/m/infer HTTP/1.1\r\nhost: m\r\ncontent-length: {len(REQUEST)}\r\n\r\n".encode()
DRAIN, MARGIN = 2.0, 0.5
"""Seconds. Within the margin of the window's end a request may already meet the closed port."""
HUNG = """
import dataclasses, sys, time
from noria_serving.server import lifecycle, models
real, seconds = models.load_service, float(sys.argv.pop())

class Hung:
    def __init__(self, backend):
        self._predict, self.signature = backend.predict, backend.signature
    def predict(self, inputs):
        if (inputs["input-0"] == 1.0).any():
            time.sleep(3600)
        return self._predict(inputs)

def load(settings, limits):
    service = real(settings, limits)
    backend = Hung(service.loaded.backend)
    loaded = dataclasses.replace(service.loaded, backend=backend, seconds_per_call=seconds)
    service.close()
    return models.Service(settings, loaded, limits)

models.load_service = load
models.INTERVAL_SECONDS = 0.2
lifecycle.STANDSTILL = 3.0
from noria_serving.main import main
WRITABLE
main()
"""
LOADS_FOR_EVER = """
import time
from noria_serving import scratch
from noria_serving.server import models

def load(settings, limits):
    with scratch.directory():
        time.sleep(3600)

models.load_service = load
from noria_serving.main import main
main()
"""
HAS_A_THREAD = """
import threading, time
from noria_serving.errors import NoriaError, Reason
from noria_serving.server import models
real = models.load_service

def load(settings, limits):
    threading.Thread(target=time.sleep, args=(3600,)).start()
    if settings.model == "refused":
        raise NoriaError(Reason.MODEL_INVALID, "no model")
    return real(settings, limits)

models.load_service = load
from noria_serving.main import main
main()
"""

WRITABLE = """
import dataclasses
from noria_serving import settings

read = settings.read
settings.read = lambda env: dataclasses.replace(read(env), repository_writable=True)
"""
WRITES_SLOWLY = """
import time
from noria_serving.payload import writer

opened = writer.open_place

def slow(uri):
    put = opened(uri)
    def later(name, data):
        time.sleep(1)
        put(name, data)
    return later

writer.open_place = slow
WRITABLE
from noria_serving.main import main
main()
"""


@dataclass
class Clients:
    """Keep-alive connections that send one request after the other until the port closes for good."""

    port: int
    window: float = float("inf")
    """The end of the time in which everything must be answered."""
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """One client."""
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while True:
            begun = time.monotonic()
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", self.port)
                closes = await self._ask(*connection)
            except (OSError, asyncio.IncompleteReadError) as error:
                if begun > self.window:
                    return
                self.failures.append(f"{self.window - begun:.2f} s before the end: {error!r}")
                closes = True
            if closes:
                if connection is not None:
                    connection[1].close()
                connection = None

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the server closes the connection after its answer."""
        writer.write(HEAD + REQUEST)
        async with asyncio.timeout(DEADLINE):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
        closes = "connection: close" in head
        self.answers["closing" if closes else "kept"] += 1
        if not head.startswith("http/1.1 200 "):
            self.failures.append(head)
        return closes


async def test_under_load_a_server_that_is_told_to_go_twice_loses_and_refuses_nothing(
    matrix_bundle: Bundle,
) -> None:
    async with ready(matrix_bundle.path, NORIA_DRAIN_SECONDS=str(DRAIN)) as server:
        clients = Clients(server.port)
        running = [asyncio.create_task(clients.run()) for _ in range(8)]
        async with asyncio.timeout(DEADLINE):
            while clients.answers["kept"] < 200:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        clients.window = time.monotonic() + DRAIN - MARGIN
        server.process.send_signal(signal.SIGTERM)
        await server.until("/v2/health/ready", lambda status: status == 503)
        server.process.send_signal(signal.SIGTERM)
        assert await server.status("/v2/health/live") == 200
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*running)
            assert await server.process.wait() == 0
        assert clients.failures == []
        assert clients.answers["closing"] > 20


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_load_that_takes_long_holds_up_no_exit_and_leaves_nothing_behind(
    matrix_bundle: Bundle, signals: int, tmp_path: Path
) -> None:
    async with started(
        matrix_bundle.path, arguments=["-c", LOADS_FOR_EVER], NORIA_DRAIN_SECONDS="40", TMPDIR=str(tmp_path)
    ) as server:
        await server.until("/v2/health/live", lambda status: status == 200)
        async with asyncio.timeout(DEADLINE):
            while not os.listdir(tmp_path):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for _ in range(signals):
            server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await server.process.wait() == 0
        assert os.listdir(tmp_path) == []


async def test_a_thread_of_a_models_own_holds_up_no_exit(matrix_bundle: Bundle) -> None:
    async with ready(matrix_bundle.path, arguments=["-c", HAS_A_THREAD], NORIA_DRAIN_SECONDS="0") as server:
        assert await leave(server) == 0


async def test_a_thread_of_a_refused_models_own_hides_no_exit_code(matrix_bundle: Bundle) -> None:
    async with (
        started(matrix_bundle.path, arguments=["-c", HAS_A_THREAD], NORIA_MODEL="refused") as server,
        asyncio.timeout(DEADLINE),
    ):
        assert await server.process.wait() == 1


@pytest.mark.parametrize("command", ["load", "unload"])
async def test_rows_of_a_model_that_was_replaced_or_unloaded_are_written_before_the_process_ends(
    matrix_bundle: Bundle, tmp_path: Path, command: str
) -> None:
    async with ready(
        matrix_bundle.path, arguments=["-c", WRITES_SLOWLY.replace("WRITABLE", WRITABLE)],
        NORIA_DRAIN_SECONDS="0", NORIA_PAYLOAD_LOG=json.dumps({"uri": str(tmp_path)}),
    ) as server:  # fmt: skip
        assert (await server.client.post("/v2/models/m/infer", content=REQUEST)).status_code == 200
        assert (await server.client.post(f"/v2/repository/models/m/{command}")).status_code == 200
        assert await leave(server) == 0
    (file,) = (tmp_path / "predictions").rglob("*.parquet")
    assert pq.read_table(file).num_rows == 1


@pytest.fixture
async def hung(
    matrix_bundle: Bundle,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Process]:
    """A server whose model never returns for some rows; the parameter: seconds that a call seems to take."""
    async with ready(
        matrix_bundle.path, arguments=["-c", HUNG.replace("WRITABLE", WRITABLE), str(request.param)],
        NORIA_DRAIN_SECONDS="0", NORIA_DEADLINE_SECONDS="1.5",
    ) as server:  # fmt: skip
        yield server


async def until_it_says(server: Process, words: str) -> None:
    assert server.process.stderr is not None
    async with asyncio.timeout(DEADLINE):
        while words not in (await server.process.stderr.readline()).decode():
            pass


async def rest_of_log(server: Process) -> str:
    assert server.process.stderr is not None
    return (await server.process.stderr.read()).decode()


async def leave(server: Process) -> int:
    server.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(DEADLINE):
        return await server.process.wait()


@pytest.mark.parametrize("hung", [1.0], indirect=True)
async def test_a_prediction_that_never_returns_in_its_thread_ends_ready_and_then_the_process_is_replaced(
    hung: Process,
) -> None:
    assert (await hung.client.post("/v2/models/m/infer", content=REQUEST)).status_code == 504
    await hung.until("/v2/health/ready", lambda status: status == 503)
    said = (await hung.client.post("/v2/models/m/infer", content=REQUEST)).json()["error"]
    assert "a prediction has been running" in said
    reader, writer = await hung.half_a_request()
    await until_it_says(hung, "a model is stuck for good")
    writer.write(REQUEST[-1:])
    assert (await reader.readline()).startswith(b"HTTP/1.1 503"), "what is in flight is answered first"
    writer.close()
    await hung.until("/v2/health/ready", lambda status: status == 200)
    assert await leave(hung) == 0
    assert "exit code 1" in await rest_of_log(hung)


@pytest.mark.parametrize("hung", [1.0], indirect=True)
async def test_a_prediction_that_never_returns_in_its_thread_holds_up_no_exit(hung: Process) -> None:
    with contextlib.suppress(Exception):
        await hung.client.post("/v2/models/m/infer", content=REQUEST)
    assert await leave(hung) == 0


@pytest.mark.parametrize("hung", [1.0], indirect=True)
async def test_a_prediction_that_never_returns_of_a_model_that_was_unloaded_holds_up_no_exit(
    hung: Process,
) -> None:
    assert (await hung.client.post("/v2/models/m/infer", content=REQUEST)).status_code == 504
    assert (await hung.client.post("/v2/repository/models/m/unload")).status_code == 200
    assert await leave(hung) == 0


@pytest.mark.parametrize("hung", [0.0001], indirect=True)
async def test_a_prediction_that_never_returns_on_the_event_loop_has_the_process_replaced_with_its_stack(
    hung: Process,
) -> None:
    with contextlib.suppress(Exception):
        await hung.client.post("/v2/models/m/infer", content=REQUEST)
    assert await hung.status("/v2/health/ready") == 200
    assert await leave(hung) == 0
    said = await rest_of_log(hung)
    assert "Timeout (0:00:03)!" in said
    assert "in predict" in said
    assert "exit code 1" in said
