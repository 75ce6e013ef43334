"""What a pod does when it is told to go, and when it cannot begin."""

from __future__ import annotations

import asyncio
import importlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from tests.integration.server.process import DEADLINE, REQUEST, Process, free_port, ready, started
from tests.integration.server.test_grpc_lifecycle import INFERENCE, request

from noria_serving import bundle
from noria_serving.bundle import Bundle

IMPORTS_FOR_EVER = """
import sys, time
from noria_serving.main import main

class Slow:
    def find_spec(self, name, path, target=None):
        if name == "uvloop":
            print("imports", file=sys.stderr, flush=True)
            time.sleep(3600)

sys.meta_path.insert(0, Slow())
main()
"""
SLOW = """
import os, sys, time
from noria_serving import PythonModel

class Slow(PythonModel):
    def predict(self, inputs):
        first = inputs["input-0"][:, 0]
        if (first == 1.0).any():
            print("asked", file=sys.stderr, flush=True)
            time.sleep(float(os.environ["TAKES"]))
        return {"prediction": first}
"""


@pytest.fixture(scope="module")
def slow_bundle(matrix: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A class of one's own that takes its time for REQUEST, and for no row of training."""
    folder, rows = tmp_path_factory.mktemp("slow"), matrix[0]
    (folder / "sleeper.py").write_text(SLOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        slow = importlib.import_module("sleeper").Slow
        return bundle.save(slow, rows, rows[:, 0], folder / "bundle", name="m", task="regression")


@pytest.fixture
async def server(matrix_bundle: Bundle) -> AsyncIterator[Process]:
    digest = matrix_bundle.digest
    async with ready(matrix_bundle.path, NORIA_DIGEST=digest, NORIA_DRAIN_SECONDS="2") as server:
        yield server


async def test_sigterm_serves_on_then_finishes_what_is_in_flight_and_exits_clean(server: Process) -> None:
    held = [await server.half_a_request() for _ in range(4)]
    server.process.send_signal(signal.SIGTERM)
    await server.until("/v2/health/ready", lambda status: status == 503)
    assert (await server.client.get("/v2/health/live")).status_code == 200
    late = await server.client.post("/v2/models/m/infer", content=REQUEST)
    assert (late.status_code, late.headers["connection"]) == (200, "close")
    server.process.send_signal(signal.SIGTERM)
    await server.until("/v2/health/live", lambda status: status == 0)
    assert server.process.returncode is None
    for reader, writer in held:
        writer.write(REQUEST[-1:])
        await writer.drain()
        async with asyncio.timeout(DEADLINE):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
    async with asyncio.timeout(DEADLINE):
        assert await server.process.wait() == 0


@pytest.mark.processes
@pytest.mark.parametrize(("seconds", "takes", "status"), [("1", "60", 503), ("15", "3", 200)])
async def test_what_is_in_flight_when_the_drain_is_over_gets_as_long_as_the_pod_says(
    slow_bundle: Bundle, seconds: str, takes: str, status: int
) -> None:
    said = {"NORIA_DRAIN_SECONDS": "2", "NORIA_FINISH_SECONDS": seconds, "NORIA_ALLOW_CODE": "1"}
    port = free_port()
    async with (
        ready(slow_bundle.path, NORIA_GRPC_PORT=str(port), TAKES=takes, **said) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        asyncio.timeout(DEADLINE),
    ):
        assert server.process.stderr is not None
        over_http = asyncio.create_task(server.client.post("/v2/models/m/infer", content=REQUEST))
        while b"asked" not in await server.process.stderr.readline():
            pass
        over_grpc = channel.unary_unary(f"{INFERENCE}ModelInfer")(request())
        await channel.channel_ready()  # and the drain is time enough for the call
        server.process.send_signal(signal.SIGTERM)
        assert (await over_http).status_code == status
        assert (await over_grpc.code() == grpc.StatusCode.OK) == (status == 200)
        assert await server.process.wait() == 0


@pytest.mark.parametrize("sent", [b"", b"POST /v2/models/m/infer HTTP/1.1\r\nhost: m\r\n"])
async def test_a_request_that_is_on_its_way_when_the_port_closes_is_answered(
    server: Process, sent: bytes
) -> None:
    """A client may have connected, and its request be anywhere between it and us."""
    server.process.send_signal(signal.SIGTERM)
    await server.until("/v2/health/ready", lambda status: status == 503)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    await server.until("/v2/health/live", lambda status: status == 0)
    await asyncio.sleep(0.02)
    whole = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: m\r\ncontent-length: %d\r\n\r\n" % len(REQUEST)
    writer.write(whole.removeprefix(sent) + REQUEST)
    async with asyncio.timeout(DEADLINE):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert await server.process.wait() == 0
    writer.close()


async def test_a_server_that_is_told_to_end_while_it_imports_ends_at_once(matrix_bundle: Bundle) -> None:
    async with started(matrix_bundle.path, arguments=["-c", IMPORTS_FOR_EVER]) as server:
        assert server.process.stderr is not None
        async with asyncio.timeout(DEADLINE):
            assert await server.process.stderr.readline() == b"imports\n"
            server.process.send_signal(signal.SIGTERM)
            assert (await server.process.wait(), await server.process.stderr.read()) == (0, b"")


def _servers(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children()


def _held_back(pid: int) -> bool:
    """Whether SIGTERM waits until the process looks for it; not while it does."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:")]
    return bool(int(mask, 16) >> signal.SIGTERM - 1 & 1)


@pytest.mark.skipif(sys.platform != "linux", reason="others do not tell which signals a process holds back")
@pytest.mark.parametrize(
    "begun",
    [
        lambda pid: _held_back(pid) or bool(_servers(pid)),
        lambda pid: bool(_servers(pid)),
        lambda pid: any(not _held_back(server.pid) for server in _servers(pid)),
    ],
    ids=["the supervisor", "its server", "what the server imports"],
)
async def test_sigterm_ends_a_server_well_from_its_first_moments_on(
    matrix_bundle: Bundle, begun: Callable[[int], bool]
) -> None:
    async with started(matrix_bundle.path) as server:
        async with asyncio.timeout(DEADLINE):
            while not begun(server.process.pid):  # noqa: ASYNC110
                await asyncio.sleep(0)
            server.process.send_signal(signal.SIGTERM)
            assert await server.process.wait() == 0


async def test_a_bundle_that_was_changed_ends_the_process_with_its_reason(
    matrix_bundle: Bundle, tmp_path: Path
) -> None:
    result = tmp_path / "result"
    async with started(
        matrix_bundle.path, NORIA_DIGEST="sha256:" + "0" * 64, NORIA_RESULT=str(result)
    ) as server:
        async with asyncio.timeout(DEADLINE):
            assert await server.process.wait() == 1
        assert json.loads(result.read_bytes())["error"]["reason"] == "DigestMismatch"
