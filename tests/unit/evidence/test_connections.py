"""Asking over kept connections, against servers that behave and servers that do not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import orjson
import pytest

from noria_operator.evidence import fetch
from noria_operator.evidence.answer import BadAnswer
from noria_operator.evidence.connections import Connections, Lost, request
from noria_operator.evidence.fetch import Fetcher

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
QUESTION = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Act = Callable[[asyncio.Transport, int, int], None]
"""What a server does when it is asked: on its n-th connection, for the m-th time there."""


class Server:
    """Acts on each question; remembers connections and what was asked."""

    def __init__(self, act: Act) -> None:
        self._act = act
        self.transports: list[asyncio.Transport] = []
        self.asked: list[bytes] = []
        self.port = 0

    def __call__(self) -> asyncio.Protocol:
        server = self

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                server.transports.append(transport)
                self.transport, self.number, self.times = transport, len(server.transports), 0

            def data_received(self, data: bytes) -> None:
                self.times += 1
                server.asked.append(data)
                server._act(self.transport, self.number, self.times)

        return Protocol()

    @property
    def open(self) -> int:
        return sum(not transport.is_closing() for transport in self.transports)


@asynccontextmanager
async def serving(act: Act) -> AsyncIterator[Server]:
    server = Server(act)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for transport in server.transports:
            transport.abort()
        await listener.wait_closed()


def connections(*, most: int = 10) -> Connections:
    return Connections(kept=60, most=most, limit=100)


async def soon(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  what happens in sockets tells nobody
            await asyncio.sleep(0.001)


def well(transport: asyncio.Transport, number: int, times: int) -> None:
    transport.write(EMPTY)


async def test_who_is_asked_again_is_asked_on_the_same_connection() -> None:
    async with serving(well) as server:
        ours = connections()
        for _ in range(3):
            assert (await ours.get(("127.0.0.1", server.port), QUESTION)).body == b"{}"
        assert (len(server.transports), server.asked) == (1, [QUESTION] * 3)
        ours.close()
        await soon(lambda: not server.open)


async def test_who_is_asked_two_things_at_once_is_asked_on_two_connections() -> None:
    async with serving(well) as server:
        ours, place = connections(), ("127.0.0.1", server.port)
        await asyncio.gather(*(ours.get(place, QUESTION) for _ in range(2)))
        await asyncio.gather(*(ours.get(place, QUESTION) for _ in range(2)))
        assert len(server.transports) == 2
        ours.close()


async def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    async with serving(well) as server:
        ours, place = connections(), ("127.0.0.1", server.port)
        await ours.get(place, QUESTION)
        server.transports[0].close()
        await asyncio.sleep(0.01)
        assert (await ours.get(place, QUESTION)).body == b"{}"
        ours.close()


async def test_a_connection_that_closes_just_when_it_is_asked_is_no_failure() -> None:
    def closing(transport: asyncio.Transport, number: int, times: int) -> None:
        transport.write(EMPTY) if times == 1 else transport.abort()

    async with serving(closing) as server:
        ours, place = connections(), ("127.0.0.1", server.port)
        for _ in range(3):
            assert (await ours.get(place, QUESTION)).body == b"{}"
        assert len(server.transports) == 3
        ours.close()


async def test_a_new_connection_that_closes_without_a_word_is_not_asked_again() -> None:
    async with serving(lambda transport, number, times: transport.abort()) as server:
        ours = connections()
        with pytest.raises(ConnectionError):
            await ours.get(("127.0.0.1", server.port), QUESTION)
        assert len(server.transports) == 1
        ours.close()


async def test_an_answer_that_breaks_off_is_lost_and_not_asked_for_again() -> None:
    def breaking(transport: asyncio.Transport, number: int, times: int) -> None:
        transport.write(EMPTY if times == 1 else EMPTY[:-1])
        if times == 2:
            transport.close()

    async with serving(breaking) as server:
        ours, place = connections(), ("127.0.0.1", server.port)
        await ours.get(place, QUESTION)
        with pytest.raises(Lost):
            await ours.get(place, QUESTION)
        assert len(server.asked) == 2
        ours.close()


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\n\r\n", EMPTY + EMPTY, b"nonsense\r\n\r\n", EMPTY.replace(b" 2", b" 101")]
)
async def test_a_connection_that_answered_badly_is_closed(answer: bytes) -> None:
    async with serving(lambda transport, number, times: transport.write(answer)) as server:
        ours = connections()
        with pytest.raises(BadAnswer):
            await ours.get(("127.0.0.1", server.port), QUESTION)
        await soon(lambda: not server.open)


async def test_a_connection_whose_answer_was_given_up_is_never_used_again() -> None:
    def slow(transport: asyncio.Transport, number: int, times: int) -> None:
        if number > 1:
            transport.write(EMPTY.replace(b"{}", b"[]"))

    async with serving(slow) as server:
        ours, place = connections(), ("127.0.0.1", server.port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await ours.get(place, QUESTION)
        server.transports[0].write(EMPTY)
        assert (await ours.get(place, QUESTION)).body == b"[]", "not the late answer to the question before"
        await soon(lambda: server.open == 1)
        ours.close()


async def test_a_connection_on_which_something_comes_unasked_is_closed() -> None:
    async with serving(well) as server:
        ours, place = connections(), ("127.0.0.1", server.port)
        await ours.get(place, QUESTION)
        server.transports[0].write(EMPTY.replace(b"{}", b"[]"))
        await soon(lambda: not server.open)
        assert (await ours.get(place, QUESTION)).body == b"{}"
        ours.close()


async def test_connections_that_nobody_asks_are_closed_after_a_while_and_others_stay() -> None:
    now = 0.0
    async with serving(well) as often, serving(well) as once:
        ours = Connections(kept=0.05, most=10, limit=100, clock=lambda: now)
        await ours.get(("127.0.0.1", once.port), QUESTION)
        await ours.get(("127.0.0.1", often.port), QUESTION)
        now = 0.04
        await ours.get(("127.0.0.1", often.port), QUESTION)
        now = 0.06
        await soon(lambda: not once.open)
        await ours.get(("127.0.0.1", often.port), QUESTION)
        assert len(often.transports) == 1
        ours.close()


async def test_no_more_connections_wait_than_may() -> None:
    async with serving(well) as server:
        ours = connections(most=1)
        await asyncio.gather(*(ours.get(("127.0.0.1", server.port), QUESTION) for _ in range(3)))
        await soon(lambda: server.open == 1)
        ours.close()


async def test_closing_ends_what_is_under_way() -> None:
    async with serving(lambda transport, number, times: None) as server:
        ours = connections()
        asking = asyncio.create_task(ours.get(("127.0.0.1", server.port), QUESTION))
        await soon(lambda: bool(server.asked))
        ours.close()
        with pytest.raises(Lost):
            await asking


@pytest.mark.parametrize(
    ("url", "place", "line"),
    [
        ("http://10.0.0.1:8081/counters?since=1.5", ("10.0.0.1", 8081), b"GET /counters?since=1.5 HTTP/1.1"),
        ("http://10.0.0.1", ("10.0.0.1", 80), b"GET / HTTP/1.1"),
        ("http://[fd00::1]:9/a", ("fd00::1", 9), b"GET /a HTTP/1.1"),
    ],
)
def test_an_address_becomes_a_place_and_a_question(url: str, place: tuple[str, int], line: bytes) -> None:
    found, question = request(url)
    first, *fields, _, _ = question.split(b"\r\n")
    assert (found, first) == (place, line)
    assert b"Host: " + url.split("/")[2].encode() in fields


def test_a_header_that_is_given_stands_in_the_place_of_ours() -> None:
    _, question = request("http://10.0.0.1/", {"Host": "noria"})
    assert question.count(b"Host: ") == 1
    assert b"Host: noria\r\n" in question


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://10.0.0.1/?process=a HTTP/1.1", {}),
        ("http://10.0.0.1/?process=a\r\nX: y", {}),
        ("http://10.0.0.1/\u00e4", {}),
        ("http://10.0.0.1:port/", {}),
        ("https://10.0.0.1/", {}),
        ("http:///counters", {}),
        ("http://user@10.0.0.1/", {}),
        ("http://10.0.0.1/", {"Host": "a\r\nX: y"}),
        ("http://10.0.0.1/", {"X: y\r\nHost": "a"}),
        ("http://10.0.0.1/", {"Host": ""}),
    ],
)
async def test_what_would_be_another_request_is_refused(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"address|request|[Pp]ort"):
        request(url, headers)
    assert await Fetcher().json(url, headers=headers) is None


async def test_a_pod_is_read_as_json_or_not_at_all() -> None:
    def varied(transport: asyncio.Transport, number: int, times: int) -> None:
        status, body = [(b"200", b"[1]"), (b"404", b"{}"), (b"500", b"[1]"), (b"200", b"{"), (b"302", b"[]")][
            times - 1
        ]
        transport.write(b"HTTP/1.1 %s X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    async with serving(varied) as server:
        fetcher, url = Fetcher(), f"http://127.0.0.1:{server.port}/"
        assert await fetcher.json(url) == [1]
        assert await fetcher.json(url, missing={"none": 1}) == {"none": 1}
        assert [await fetcher.json(url) for _ in range(3)] == [None] * 3
        assert len(server.transports) == 1, "what was understood keeps the connection"
        await fetcher.close()


async def test_an_answer_at_the_limit_is_read_and_one_above_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetch, "SIZE_LIMIT", 2)
    async with serving(well) as server:
        fetcher, url = Fetcher(), f"http://127.0.0.1:{server.port}/"
        assert await fetcher.json(url) == {}
        await fetcher.close()
        monkeypatch.setattr(fetch, "SIZE_LIMIT", 1)
        fetcher = Fetcher()
        assert await fetcher.json(url) is None
        await fetcher.close()


async def test_the_loop_goes_on_while_a_large_answer_is_read() -> None:
    body = orjson.dumps({"a": "b" * fetch.LARGE})

    def large(transport: asyncio.Transport, number: int, times: int) -> None:
        transport.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    going = threading.Event()

    def reading(found: dict[str, str]) -> int:
        assert going.wait(5), "the loop is waited for"
        return len(found["a"])

    async with serving(large) as server:
        fetcher, url = Fetcher(), f"http://127.0.0.1:{server.port}/"
        read = asyncio.create_task(fetcher.json(url, read=reading))
        await asyncio.sleep(0.2)
        going.set()
        assert await read == fetch.LARGE
        assert await fetcher.json(url, limit=len(body)) is not None
        assert await fetcher.json(url, limit=len(body) - 1) is None
        await fetcher.close()
