"""Asking a source over real HTTP on loopback: in the background, bounded, a reason for each failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from math import inf, isnan

import pytest
from aiohttp import web

from noria_operator.domain.metric_sources import Source
from noria_operator.domain.query_conditions import Result
from noria_operator.evidence.prometheus import QueryReader, numbers
from noria_operator.evidence.prometheus_api import SIZE_LIMIT, BadAnswer, data

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def source(handler: Handler) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_post("/prom/api/v1/query", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/prom"
    finally:
        await runner.cleanup()


async def test_whoever_waits_for_an_answer_is_told_once_it_can_be_looked_at_also_of_an_error() -> None:
    reader, found = QueryReader(lambda: NOW), asyncio.Queue[str]()

    def told() -> None:
        answer = reader.answer("key")
        found.put_nowait(answer.error if answer else "nothing")

    reader.ask("key", Source("", "http://127.0.0.1:1"), "up", then=told)
    async with asyncio.timeout(10):
        assert "Cannot connect" in await found.get()
    await reader.close()


async def test_a_question_is_asked_in_the_background_once_at_a_time_and_its_answer_is_kept() -> None:
    asked: list[str] = []
    answered = asyncio.Event()

    async def late(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity", "Prometheus packs its answers if it may"
        asked.append((await request.post())["query"])  # type: ignore[arg-type]
        await answered.wait()
        sample = {"metric": {}, "value": [1, str(len(asked))]}
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": [sample]}})

    async with source(late) as address:
        reader = QueryReader(lambda: NOW)
        for _ in range(2):
            reader.ask("key", Source("", address), 'up{a="b"}')
        assert reader.answer("key") is None
        answered.set()
        await reader.settled()
        found = reader.answer("key")
        assert found is not None
        assert (found.at, found.result, asked) == (NOW, (1.0,), ['up{a="b"}'])
        reader.ask("key", Source("", address), "up")
        await reader.settled()
        again = reader.answer("key")
        assert again is not None
        assert again.result == (2.0,)
        assert reader.answer("other") is None
        await reader.close()


async def hanging(_: web.Request) -> web.Response:
    await asyncio.sleep(30)
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b" " * (SIZE_LIMIT + 1))
    return response


async def elsewhere(_: web.Request) -> web.Response:
    raise web.HTTPFound("http://127.0.0.1:1/")


@pytest.mark.parametrize(
    ("handler", "patience", "error"),
    [(hanging, 0.1, "no answer within 0.1 s"), (endless, 5, "more than"), (elsewhere, 5, "status 302")],
)
async def test_a_source_that_answers_badly_is_an_error(handler: Handler, patience: float, error: str) -> None:
    async with source(handler) as address:
        reader = QueryReader(lambda: NOW, timeout=patience)
        reader.ask("key", Source("", address), "up")
        await reader.settled()
        found = reader.answer("key")
        assert found is not None
        assert error in found.error
        await reader.close()


async def test_a_source_that_is_away_is_an_error_and_what_is_asked_ends_with_the_reader() -> None:
    async with source(hanging) as address:
        reader = QueryReader(lambda: NOW)
        reader.ask("away", Source("", "http://127.0.0.1:1"), "up")
        await reader.settled()
        found = reader.answer("away")
        assert found is not None
        assert "ClientConnectorError" in found.error
        reader.ask("hangs", Source("", address), "up")
        await reader.close()
        assert reader.answer("hangs") is None


def answer(kind: str, found: str) -> bytes:
    return f'{{"status": "success", "data": {{"resultType": "{kind}", "result": {found}}}}}'.encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (answer("scalar", '[1, "0.5"]'), 0.5),
        (answer("scalar", '[1, "+Inf"]'), inf),
        (answer("vector", "[]"), ()),
        (answer("vector", '[{"metric": {}, "value": [1, "1e3"]}, {"value": [1, "-Inf"]}]'), (1000.0, -inf)),
    ],
)
def test_scalars_and_vectors_are_numbers(body: bytes, expected: Result) -> None:
    assert numbers(data(200, body)) == expected


def test_not_a_number_stays_what_it_is() -> None:
    (value,) = numbers(data(200, answer("vector", '[{"value": [1, "NaN"]}]')))  # type: ignore[misc]
    assert isnan(value)


def warned(warning: str) -> bytes:
    return (
        answer("vector", "[]")[:-1] + f', "warnings": ["{warning}"], "infos": ["PromQL info: x"]}}'.encode()
    )


def test_a_number_of_less_than_all_data_is_an_error_and_a_remark_about_the_query_is_none() -> None:
    remark = "PromQL warning: quantile value should be between 0 and 1"
    assert data(200, warned(remark)) == {"resultType": "vector", "result": []}
    for body, exact in ((warned("remote_read: connection refused"), False), (warned(remark), True)):
        with pytest.raises(BadAnswer, match="not whole"):
            data(200, body, exact=exact)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, answer("string", '[1, "yes"]'), "type string; ask for"),
        (200, answer("matrix", "[]"), "type matrix; ask for"),
        (200, answer("vector", '[{"histogram": [1, {}]}]'), "not understood"),
        (400, b'{"status": "error", "error": "parse error at 1"}', "status 400: parse error at 1"),
        (503, b"<html>", "status 503 without JSON$"),
        (401, b"no org id\n", "status 401 without JSON: no org id$"),
        (200, b"[]", "without JSON"),
        (200, b'{"status": "success"}', "not understood"),
        (200, b'{"status": "success", "warnings": true, "data": {}}', "not whole: True"),
    ],
)
def test_everything_else_is_refused_with_a_reason(status: int, body: bytes, message: str) -> None:
    with pytest.raises(BadAnswer, match=message):
        numbers(data(status, body))
