"""Whatever comes: never 5xx, never a crash, always the protocol's error."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import random
import signal
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.server.process import DEADLINE, Process, ready, started
from tools.ports import free_port

from noria_serving.bundle import Bundle
from noria_serving.model.loaded import Loaded
from noria_serving.protocol import v2_grpc
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference_pb2 import ModelInferRequest
from noria_serving.server.app import App
from noria_serving.server.models import Models
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings

ONE = ModelSettings("", deployment="m", model="m", version="m-1", number="1")
FRAME = ModelSettings("", deployment="f", model="f", version="f-1", number="1")
PATHS = [
    "/v2/models/m/infer", "/v2/models/f/infer", "/v2/models/m/versions/1/infer", "/v1/models/m:predict",
    "/v1/models/f:predict", "/v2/models/m/feedback", "/v2/repository/index", "/v2/repository/models/m/load",
]  # fmt: skip
GOOD = {"inputs": [{"name": "input-0", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
NASTY = [
    b"", b"null", b"[" * 100_000, b'{"inputs":' + b"[" * 2000 + b"]" * 2000 + b"}", b'{"inputs": [NaN]}',
    b'{"inputs": [Infinity]}', b"\xff\xfe", b'{"a": 1e999}', b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a": "\\ud800"}',
    json.dumps({"inputs": [{**GOOD["inputs"][0], "data": [1e308, -1e308, 10**30]}]}).encode(),
    json.dumps({"inputs": [{**GOOD["inputs"][0], "shape": [2**31 - 1, 2**31 - 1]}]}).encode(),
    json.dumps({"instances": [[3e38, 3e38, -3e38]]}).encode(),
    json.dumps({"instances": [{"distance": None, "hour": 2**63 - 1, "carrier": None}]}).encode(),
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5) | st.sampled_from(["input-0", "distance", "FP32", "BYTES", "INT64"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["inputs", "outputs", "name", "shape", "datatype", "data", "parameters", "binary_data_size",
             "binary_data_output", "instances", "id", "timeout", "token", "labels", "items", "hour"]
        ),
        inner, max_size=6,
    ),
    max_leaves=20,
)  # fmt: skip
LENGTHS = st.none() | st.sampled_from(
    ["0", "1", "10", "99999", "-1", "x", "\u0663".encode().decode("latin-1")]
)


@pytest.fixture(scope="module")
def models(loaded: Loaded, loaded_frame: Loaded) -> Iterator[Models]:
    models = Models(Settings((ONE, FRAME), max_body=1 << 20))
    models.serve(Service(ONE, loaded))
    models.serve(Service(FRAME, loaded_frame))
    yield models
    models.close()


async def check(models: Models, path: str, content: bytes, length: str | None) -> None:
    transport = httpx.ASGITransport(app=App(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://s") as client:
        headers = {} if length is None else {"inference-header-content-length": length.encode("latin-1")}
        response = await client.post(path, content=content, headers=headers)  # type: ignore[arg-type]
    assert response.status_code < 500, (response.text, content[:200])
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/json"
        assert says_why(response.content), response.text


def says_why(body: bytes) -> bool:
    """Whether a body is the protocol's error (that of feedback has a word for programs, too)."""
    said = json.loads(body)
    return bool(said["error"]) and isinstance(said["error"], str) and said.keys() <= {"error", "reason"}


FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(path=st.sampled_from(PATHS), content=st.binary(max_size=300) | st.sampled_from(NASTY), length=LENGTHS)
def test_bytes_of_any_kind(models: Models, path: str, content: bytes, length: str | None) -> None:
    asyncio.run(check(models, path, content, length))


@FEW
@given(path=st.sampled_from(PATHS), document=VALUES, tail=st.binary(max_size=30), length=LENGTHS)
def test_json_of_any_shape(models: Models, path: str, document: Any, tail: bytes, length: str | None) -> None:
    asyncio.run(check(models, path, json.dumps(document).encode() + (tail if length else b""), length))


@FEW
@given(cut=st.integers(0, 120), change=st.integers(0, 255), place=st.integers(0, 90))
def test_a_good_request_cut_off_or_changed(models: Models, cut: int, change: int, place: int) -> None:
    content = bytearray(json.dumps(GOOD).encode())
    content[min(place, len(content) - 1)] = change
    asyncio.run(check(models, PATHS[0], bytes(content[:cut]), None))


@FEW
@given(data=st.lists(st.floats(width=32), min_size=3, max_size=3))
def test_floats_of_any_size_in_binary(models: Models, data: list[float]) -> None:
    import numpy as np

    content = np.array(data, "<f4").tobytes()
    asyncio.run(check(models, PATHS[0], content, "0"))


@FEW
@given(
    size=st.none() | st.integers(-1, 40) | st.sampled_from([2**31, 2**63, 2**70, True, "12"]),
    shape=st.lists(st.integers(-1, 4) | st.sampled_from([2**31, 2**62]), max_size=3),
    tail=st.binary(max_size=40), cut=st.integers(-3, 3),
)  # fmt: skip
def test_binary_tensors_of_any_announced_and_real_length(
    models: Models, size: object, shape: list[int], tail: bytes, cut: int
) -> None:
    parameters = {} if size is None else {"parameters": {"binary_data_size": size}}
    tensor = {"name": "input-0", "shape": shape, "datatype": "FP32", **parameters}
    head = json.dumps({"inputs": [tensor]}).encode()
    asyncio.run(check(models, PATHS[0], head + tail, str(len(head) + cut)))


MESSAGE = ModelInferRequest(model_name="m", id="q", raw_input_contents=[b"\0" * 12])
MESSAGE.inputs.add(name="input-0", datatype="FP32", shape=[1, 3])


@FEW
@given(data=st.data())
def test_a_grpc_message_changed_or_cut_off_is_read_or_refused(models: Models, data: st.DataObject) -> None:
    content = bytearray(MESSAGE.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RequestError):
        received = v2_grpc.received(bytes(content[: data.draw(st.integers(0, len(content)))]))
        v2_grpc.decode(received, models.find("m", None).signature, deadline=None)


@pytest.fixture
async def server(matrix_bundle: Bundle) -> Any:
    async with ready(matrix_bundle.path, NORIA_DRAIN_SECONDS="0", NORIA_MAX_BODY_BYTES="65536") as server:
        served = server.worker()
        yield server
        assert server.worker() == served, "it died, and was replaced"
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            assert await server.process.wait() == 0


async def send(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(DEADLINE):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00garbage\r\n\r\n", 400),
        (b"GET /v2 HTTP/9.9\r\n\r\n", 400),
        (b"GET \x00 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\n" + b"a: b\r\n" * 20_000, 431),
    ],
)
async def test_what_is_no_http_gets_the_protocols_error_too(
    server: Process, data: bytes, status: int
) -> None:
    answer = await send(server.port, data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"content-type: application/json" in head
    assert list(json.loads(body)) == ["error"]
    assert await server.status("/v2/health/ready") == 200


async def test_http_that_was_changed_anywhere_gets_an_answer_of_ours_or_the_end_of_the_connection(
    server: Process,
) -> None:
    draw = random.Random(5)
    good = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
    for _ in range(100):
        bad = bytearray(good)
        for _ in range(draw.randrange(1, 4)):
            bad[draw.randrange(len(bad))] = draw.randrange(256)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(bytes(bad))
        writer.write_eof()
        async with asyncio.timeout(DEADLINE):
            answer = await reader.read()
        writer.close()
        if answer:
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 4"), (bytes(bad), answer)
            assert b"content-type: application/json" in head
            assert not body or list(json.loads(body)) == ["error"]  # HEAD has none
    assert await server.status("/v2/health/ready") == 200


class Bad:
    """Requests that are wrong in every way we know, to both ports of one server."""

    def __init__(self, server: Process) -> None:
        self._server, self._draw = server, random.Random(11)

    async def burst(self, count: int) -> int:
        """So many of them, most over HTTP; the memory that the server has then, in bytes."""
        kinds = (*[self._http] * 8, self._grpc, self._noise)
        await asyncio.gather(*(kind(count // len(kinds)) for kind in kinds))
        return int(self._server.worker().memory_info().rss)

    def _bytes(self) -> bytes:
        if self._draw.random() < 0.02:
            return self._draw.choice(NASTY)[:50_000]
        return os.urandom(self._draw.randrange(1, 200))

    async def _http(self, count: int) -> None:
        """Plain sockets: a whole client would take most of the time."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        more = (b"", b"", b"inference-header-content-length: 10\r\n", b"content-encoding: gzip\r\n")
        for _ in range(count):
            bad, path, header = self._bytes(), self._draw.choice(PATHS).encode(), self._draw.choice(more)
            head = b"POST %s HTTP/1.1\r\nhost: m\r\n%scontent-length: %d\r\n\r\n"
            writer.write(head % (path, header, len(bad)) + bad)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(answer.partition("content-length: ")[2].partition("\r\n")[0])
            body = await reader.readexactly(length)
            if answer[9:12] != "200":
                assert answer[9] == "4", (answer, body)
                assert "\r\ncontent-type: application/json\r\n" in answer, answer
                assert says_why(body), body
        writer.close()

    async def _grpc(self, count: int) -> None:
        good = MESSAGE.SerializeToString()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._server.grpc}") as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            for _ in range(count):
                bad = bytearray(self._draw.choice((good, gzip.compress(good), self._bytes() or b"?")))
                bad[self._draw.randrange(len(bad))] = self._draw.randrange(256)
                try:
                    await infer(bytes(bad))
                except grpc.aio.AioRpcError as refused:
                    faults = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE}
                    assert refused.code() not in faults, refused
                    assert refused.details(), refused

    async def _noise(self, count: int) -> None:
        """What is neither HTTP nor gRPC, each on a connection of its own."""
        for _ in range(count):
            port = self._draw.choice((self._server.port, self._server.grpc))
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(self._bytes())
            writer.close()
            await writer.wait_closed()


@pytest.fixture
async def both(matrix_bundle: Bundle) -> Any:
    """A server that takes gRPC too, and all that it writes to its log."""
    port = free_port()
    limits = {"NORIA_DRAIN_SECONDS": "0", "NORIA_MAX_BODY_BYTES": "65536"}
    async with started(matrix_bundle.path, NORIA_GRPC_PORT=str(port), **limits) as server:
        server.grpc = port
        log = asyncio.create_task(server.process.stderr.read())  # a full pipe would stop it
        await server.until("/v2/health/ready", lambda status: status == 200)
        yield server
    await log


@pytest.mark.extended
async def test_a_hundred_thousand_bad_requests_leave_the_memory_as_it_was(both: Process) -> None:
    bad = Bad(both)
    before = await bad.burst(10_000)
    after = await bad.burst(90_000)
    print(f"RSS {before / 2**20:.1f} MiB after 10,000 bad requests, {after / 2**20:.1f} MiB after 100,000")
    assert await both.status("/v2/health/ready") == 200
    assert after - before < 8 << 20
