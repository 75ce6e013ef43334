"""HTTP/1.1 as odd but honest clients speak it, and as dishonest ones do: what is not of a request changes
none, and none is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from tests.integration.server.process import DEADLINE, REQUEST, Process, ready

from noria_serving.bundle import Bundle

CHUNKED = b"POST /v2/models/m/infer HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n"
LAST = b"GET /v2 HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n"
WISH = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
"""What Java's HttpClient sends with the first request of a connection."""
EXPECT = b"expect: 100-continue\r\n"


@pytest.fixture
async def server(matrix_bundle: Bundle) -> AsyncIterator[Process]:
    async with ready(matrix_bundle.path) as server:
        yield server


def post(headers: bytes = b"", body: bytes = REQUEST, *, path: bytes = b"/v2/models/m/infer") -> bytes:
    head = b"POST %b HTTP/1.1\r\nhost: m\r\ncontent-length: %d\r\n%b\r\n" % (path, len(body), headers)
    return head + body


async def statuses(server: Process, *parts: bytes) -> list[int]:
    """Of all answers until the server ends the connection; a part is sent when an answer came to the last."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    answer = b""
    with suppress(ConnectionError):  # what it did not read resets the connection
        async with asyncio.timeout(DEADLINE):
            for part in parts:
                writer.write(part)
                await writer.drain()
                answer += await reader.read(65536)
            answer += await reader.read()
    writer.close()
    return [int(each[:3]) for each in answer.split(b"HTTP/1.1 ")[1:]]


async def test_a_wish_for_another_protocol_is_ignored(server: Process) -> None:
    assert await statuses(server, post(WISH), post() + LAST) == [200, 200, 200]
    assert await statuses(server, post(WISH) * 3 + LAST) == [200, 200, 200, 200]
    get, head = b"GET /v2 HTTP/1.1\r\n" + WISH + b"\r\n", post(WISH + EXPECT)[: -len(REQUEST)]
    assert await statuses(server, get, head, REQUEST + LAST) == [200, 100, 200, 200]


async def test_trailers_are_no_headers_and_have_a_limit(server: Process) -> None:
    whole = CHUNKED % (len(REQUEST), REQUEST)
    assert await statuses(server, whole + b"content-encoding: gzip\r\n\r\n" + LAST) == [200, 200]
    for endless in (b"a: b\r\n" * 200_000, b"a: " + b"b" * 1_200_000):
        assert await statuses(server, whole + endless) in ([431], [])


async def test_a_large_body_is_not_taken_for_headers_of_the_next_request(server: Process) -> None:
    large = REQUEST[:-1] + b', "parameters": {"note": "' + b"x" * 90_000 + b'"}}'
    assert await statuses(server, post(body=large) + LAST[:20], LAST[20:]) == [200, 200]


@pytest.mark.parametrize(
    ("headers", "size", "path", "status"),
    [
        (b"", 20_000_000, b"/v2/models/m/infer", 413),
        (b"", 1_000, b"/v2/models/other/infer", 404),
        (b"", 1_000, b"/v2", 405),
        (b"content-type: text/csv\r\n", 1_000_000, b"/v2/models/m/infer", 415),
    ],
)
async def test_no_answer_comes_before_the_request_is_whole(
    server: Process, headers: bytes, size: int, path: bytes, status: int
) -> None:
    """Its client would see a reset connection, and a router would take the client for gone."""
    whole = post(headers, b"x" * size, path=path)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    answer = asyncio.create_task(reader.readline())
    writer.write(whole[:-1])
    await writer.drain()
    assert not (await asyncio.wait([answer], timeout=0.3))[0]
    writer.write(whole[-1:] + LAST)
    async with asyncio.timeout(DEADLINE):
        assert int((await answer).split()[1]) == status
        assert b"HTTP/1.1 200" in await reader.read()
    writer.close()


async def test_the_rest_of_a_body_that_is_far_too_long_is_not_waited_for(server: Process) -> None:
    head = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: m\r\n"
    announced = head + b"content-length: 100000000000\r\n\r\n"
    chunk = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
    for parts in ([announced], [head + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 90]):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(DEADLINE):
            for part in parts:
                writer.write(part)
                await writer.drain()
            assert b" 413 " in await reader.readline()
        writer.close()


@pytest.mark.parametrize(("path", "status"), [(b"/v2/models/other/infer", 404), (b"/v2", 405)])
async def test_a_request_that_is_refused_before_its_body_is_not_waited_for(
    server: Process, path: bytes, status: int
) -> None:
    """Its client may never send the body, and its next request must not be taken for it."""
    waiting = post(EXPECT, path=path)[: -len(REQUEST)]
    assert await statuses(server, waiting) == [status]
    both = post(EXPECT, path=path) + LAST
    assert await statuses(server, both) == [status, 200]
