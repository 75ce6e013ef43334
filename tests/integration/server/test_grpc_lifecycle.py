"""A real process with a gRPC port: how it comes, and how it goes away under load and with streams open."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
from tests.integration.server.process import DEADLINE, Process, free_port, ready, started

from noria_serving.bundle import Bundle
from noria_serving.protocol.inference_pb2 import (
    ModelInferRequest,
    ModelStreamInferResponse,
    ServerReadyResponse,
)

INFERENCE = "/inference.GRPCInferenceService/"


def request(identifier: str = "") -> bytes:
    message = ModelInferRequest(
        model_name="m", id=identifier, raw_input_contents=[np.ones(3, "<f4").tobytes()]
    )
    message.inputs.add(name="input-0", datatype="FP32", shape=[1, 3])
    return message.SerializeToString()


@pytest.fixture
async def served(matrix_bundle: Bundle) -> AsyncIterator[tuple[Process, grpc.aio.Channel]]:
    port = free_port()
    async with (
        ready(matrix_bundle.path, NORIA_GRPC_PORT=str(port), NORIA_DRAIN_SECONDS="2") as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        server.grpc = port
        yield server, channel


async def is_ready(channel: grpc.aio.Channel) -> bool:
    return ServerReadyResponse.FromString(await channel.unary_unary(f"{INFERENCE}ServerReady")(b"")).ready


class Load:
    """Calls without a pause, until the port is closed."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._method = channel.unary_unary(f"{INFERENCE}ModelInfer")
        self.answered = 0
        self.refused: list[tuple[grpc.StatusCode, str]] = []

    async def run(self) -> None:
        while not self.refused:
            try:
                await self._method(request(), timeout=DEADLINE)
                self.answered += 1
            except grpc.aio.AioRpcError as error:
                self.refused.append((error.code(), str(error.details())))


async def test_sigterm_is_told_at_once_and_loses_neither_calls_nor_streams(
    served: tuple[Process, grpc.aio.Channel],
) -> None:
    server, channel = served
    assert await is_ready(channel), "ready over HTTP means that this port listens"
    load, stream = Load(channel), channel.stream_stream(f"{INFERENCE}ModelStreamInfer")()
    await stream.write(request("before"))
    assert await stream.read()
    clients = [asyncio.create_task(load.run()) for _ in range(4)]
    server.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(DEADLINE):
        while await is_ready(channel):  # noqa: ASYNC110  another process changes it
            await asyncio.sleep(0)
    before = load.answered
    server.process.send_signal(signal.SIGTERM)
    await stream.write(request("while it drains"))
    await server.until("/v2/health/live", lambda status: status == 0)
    assert load.answered > before, "the drain time is for serving"
    async with asyncio.timeout(DEADLINE):
        last = await stream.read()
        with pytest.raises(grpc.aio.AioRpcError, match="open another stream"):
            await stream.read()
        assert await server.process.wait() == 0
        await asyncio.gather(*clients)
    assert ModelStreamInferResponse.FromString(last).infer_response.id == "while it drains"
    assert await stream.code() == grpc.StatusCode.ABORTED
    # A call that comes after the drain is refused before it was begun: a client may send it elsewhere.
    assert {code for code, _ in load.refused} == {grpc.StatusCode.UNAVAILABLE}, load.refused


async def test_a_grpc_port_that_is_taken_ends_the_process_with_its_reason(matrix_bundle: Bundle) -> None:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with started(matrix_bundle.path, NORIA_GRPC_PORT=str(port)) as server:
        async with asyncio.timeout(DEADLINE):
            _, errors = await server.process.communicate()
        listener.close()
        assert (server.process.returncode, b"for gRPC" in errors) == (2, True), errors


async def misuse(port: int, draw: random.Random, count: int) -> None:
    """So many bad calls, and now and then a connection that speaks no HTTP/2 at all."""
    good = bytearray(request())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary(f"{INFERENCE}ModelInfer")
        for _ in range(count):
            data = draw.randbytes(draw.randrange(200))
            if draw.random() < 0.5:
                data = bytes(good)
                at = draw.randrange(len(data))
                data = data[:at] + draw.randbytes(1) + data[at + 1 :]
            try:
                await method(data, timeout=DEADLINE)
            except grpc.aio.AioRpcError as error:
                assert error.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}, error
            if draw.random() < 0.01:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(draw.randbytes(draw.randrange(1, 4096)))
                writer.close()


@pytest.mark.extended
async def test_a_hundred_thousand_bad_calls_leave_the_memory_as_it_was(
    served: tuple[Process, grpc.aio.Channel],
) -> None:
    server, _ = served
    process, draw = server.worker(), random.Random(11)

    async def burst(count: int) -> int:
        await asyncio.gather(*(misuse(server.grpc, draw, count // 8) for _ in range(8)))
        return int(process.memory_info().rss)

    before = await burst(10_000)
    after = await burst(90_000)
    assert process == server.worker(), "it died, and was replaced"
    assert after - before < 8 << 20
