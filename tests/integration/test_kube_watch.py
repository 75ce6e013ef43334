"""The event source against streams that no API server sends: what proxies make of them, and silence.

Only the transport is played here, byte by byte; convergence is tested on a real API server.
"""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web
from kopf._core.reactor import inventory
from kopf._core.reactor.inventory import ResourceMemories
from tests.integration.played import (
    Answer,
    Api,
    Script,
    complete,
    good,
    ignores,
    job,
    line,
    refuses,
    tells,
    until,
    watching,
)

from noria_operator.kube import session, stream, watch
from noria_operator.kube.kinds import TRAININGJOB
from noria_operator.kube.stream import State

TCP_REPAIR = 19
"""linux/tcp.h; Python has no name for it."""


async def html(response: web.StreamResponse) -> None:
    await response.write(b"<html>Bad Gateway</html>\n")


async def half_a_line(response: web.StreamResponse) -> None:
    await response.write(line("ADDED", job("half", 15))[:40])
    if response._req is not None and response._req.transport is not None:
        response._req.transport.abort()


async def gone(response: web.StreamResponse) -> None:
    await response.write(line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"}))


async def broken(response: web.StreamResponse) -> None:
    await response.write(line("ERROR", {"kind": "Status", "code": 500, "reason": "InternalError"}))


@pytest.mark.parametrize(
    ("fault", "lists"),
    [(html, 2), (broken, 2), (gone, 2), (half_a_line, 1)],
)
async def test_a_watch_goes_on_after(fault: Script, lists: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever came, the events after it arrive, and a stream that was listed anew is compared."""
    monkeypatch.setattr(watch, "FIRST_RESTART", 0.1)
    api = Api(fault, good)
    async with watching(api) as (_, seen, relisted):
        await until(lambda: {("ADDED", "late"), (None, "listed")} <= {*seen})  # in whatever order
        assert api.lists >= lists
        assert len(relisted) == api.lists


async def test_a_peer_that_is_gone_without_a_word_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a node loses power, or a load balancer forgets a connection: nobody says that it ended."""

    async def vanish(response: web.StreamResponse) -> None:
        await response.write(line("ADDED", job("first", 20)))
        await until(lambda: ("ADDED", "first") in seen)
        assert response._req is not None
        assert response._req.transport is not None
        peer = response._req.transport.get_extra_info("socket")
        try:
            peer.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)  # its end is not told
        except PermissionError:
            pytest.skip("only root may end a connection without telling the other side")
        response._req.transport.abort()

    monkeypatch.setattr(session, "PROBES", {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 1})
    api = Api(vanish, good)
    async with watching(api) as (_, seen, _relisted):
        await until(lambda: ("ADDED", "late") in seen)
        assert (api.watches, api.lists) == (2, 1)


MARK = line("BOOKMARK", {"kind": "TrainingJob", "metadata": {"resourceVersion": "30"}})


async def test_a_watch_whose_bookmarks_stay_away_is_opened_anew_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An API server that hangs keeps its connections, and its kernel answers TCP's probes."""

    async def hangs(response: web.StreamResponse) -> None:
        await response.write(MARK)
        await asyncio.sleep(30)

    monkeypatch.setattr(stream, "MARKED_SECONDS", 0.3)
    api = Api(hangs, good)
    async with watching(api) as (_, seen, _relisted):
        await until(lambda: ("ADDED", "late") in seen)
        assert (api.since[:2], api.lists) == (["10", "30"], 1)


async def test_a_watch_that_never_had_a_bookmark_may_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing happens where it looks; see `tests/integration/test_kube_watch_rest.py`."""

    async def silent(response: web.StreamResponse) -> None:
        await asyncio.sleep(1.0)
        await response.write(line("ADDED", job("late", 20)))
        await asyncio.sleep(30)

    monkeypatch.setattr(stream, "MARKED_SECONDS", 0.3)
    api = Api(silent)
    async with watching(api) as (_, seen, _relisted):
        await until(lambda: ("ADDED", "late") in seen)
        await asyncio.sleep(0.5)
        assert api.watches == 1


async def test_bookmarks_keep_a_quiet_watch_alive_and_silence_shows() -> None:
    over = asyncio.Event()

    async def quiet(response: web.StreamResponse) -> None:
        await over.wait()
        await response.write(MARK)
        await asyncio.sleep(30)

    api = Api(quiet)
    async with watching(api) as (watcher, seen, _):
        await until(lambda: api.watches == 1)
        await asyncio.sleep(0.4)
        silent = watcher.age()
        assert silent > 0.3
        over.set()
        await until(lambda: watcher.age() < silent)
        assert seen == [(None, "listed")]


async def test_changes_arrive_in_whatever_pieces_and_a_cut_watch_goes_on_from_its_last_bookmark() -> None:
    async def cut(response: web.StreamResponse) -> None:
        text = line("ADDED", job("first", 20)) + line("DELETED", job("first", 25)) + MARK
        for at in range(0, len(text), 50):
            await response.write(text[at : at + 50])
            await asyncio.sleep(0.005)

    api = Api(cut, good)
    async with watching(api) as (_, seen, relisted):
        await until(lambda: ("ADDED", "late") in seen)
        told = list(dict.fromkeys(seen))
        assert told == [(None, "listed"), ("ADDED", "first"), ("DELETED", "first"), ("ADDED", "late")]
        assert (api.since[:2], api.lists, len(relisted)) == (["10", "30"], 1, 1)


async def test_kopf_forgets_what_it_listed_when_that_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every listing left something for good."""
    kept: list[ResourceMemories] = []

    class Memories(ResourceMemories):
        def __init__(self) -> None:
            super().__init__()
            kept.append(self)

    async def deleted(response: web.StreamResponse) -> None:
        await until(lambda: remembered() == 1)
        await response.write(line("DELETED", job("listed", 20)))
        await asyncio.sleep(30)

    def remembered() -> int:
        return sum(1 for memories in kept for _ in memories.iter_all_memories())

    monkeypatch.setattr(inventory, "ResourceMemories", Memories)
    async with watching(Api(deleted)) as (_, seen, _relisted):
        await until(lambda: ("DELETED", "listed") in seen)
        await until(lambda: remembered() == 0)


TWO = line("ADDED", job("a", 5)) + line("ADDED", job("b", 7))


async def test_a_stream_begins_with_all_there_is_and_nothing_is_listed() -> None:
    async def whole(response: web.StreamResponse) -> None:
        await response.write(TWO + complete(30) + line("ADDED", job("late", 31)))
        await asyncio.sleep(30)

    api, states = Api(whole, whole=tells), list[State]()
    async with watching(api, told=states.append) as (_, seen, relisted):
        await until(lambda: ("ADDED", "late") in seen)
        assert seen == [(None, "a"), (None, "b"), ("ADDED", "late")]
        assert [(state.uids, state.position) for state in states] == [({"a", "b"}, 30)]
        assert (api.asked, api.lists, api.since, relisted) == (1, 0, [None], [])


async def test_a_state_that_is_cut_off_concludes_nothing_and_is_asked_for_again() -> None:
    async def cut(response: web.StreamResponse) -> None:
        await response.write(TWO)

    async def whole(response: web.StreamResponse) -> None:
        await until(lambda: len(seen) == 2)
        assert states == []
        await response.write(TWO + complete(30))
        await asyncio.sleep(30)

    api, states = Api(cut, whole, whole=tells), list[State]()
    async with watching(api, told=states.append) as (_, seen, relisted):
        await until(lambda: bool(states))
        assert (api.lists, api.since, relisted) == (0, [None, None], [])


@pytest.mark.parametrize(("last", "since"), [(line("DELETED", job("a", 20)), "20"), (MARK, "30")])
async def test_a_state_that_is_cut_off_where_kopf_can_go_on_is_compared_with_a_list(
    last: bytes, since: str
) -> None:
    """What was told before is not told again; a bookmark that does not say so completes nothing."""

    async def cut(response: web.StreamResponse) -> None:
        await response.write(TWO + last)

    api, states = Api(cut, good, whole=tells), list[State]()
    async with watching(api, told=states.append) as (_, seen, relisted):
        await until(lambda: ("ADDED", "late") in seen)
        assert (api.since, states) == ([None, since], [])
        assert relisted == [(TRAININGJOB, None)]


async def test_a_state_that_stays_away_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(response: web.StreamResponse) -> None:
        await response.write(TWO)
        await asyncio.sleep(30)

    async def whole(response: web.StreamResponse) -> None:
        await response.write(TWO + complete(30))
        await asyncio.sleep(30)

    monkeypatch.setattr(stream, "MARKED_SECONDS", 0.3)
    api, states = Api(hangs, whole, whole=tells), list[State]()
    async with watching(api, told=states.append):
        await until(lambda: bool(states))
        await asyncio.sleep(0.5)
        assert api.since == [None, None], "the bookmark after all there is promises no other"


@pytest.mark.parametrize(("period", "since"), [(0.0, [None, None]), (600.0, [None, "30"])])
async def test_a_watch_that_ends_begins_with_all_there_is_when_that_is_due(
    period: float, since: list[str | None]
) -> None:
    async def ends(response: web.StreamResponse) -> None:
        await response.write(TWO + complete(30))

    async def goes_on(response: web.StreamResponse) -> None:
        await response.write(TWO + complete(40) + line("ADDED", job("late", 41)))
        await asyncio.sleep(30)

    api, states = Api(ends, goes_on, whole=tells), list[State]()
    async with watching(api, told=states.append, period=period) as (_, seen, relisted):
        await until(lambda: ("ADDED", "late") in seen)
        assert (api.since, api.lists, relisted) == (since, 0, [])
        assert len(states) == since.count(None)


@pytest.mark.parametrize("answer", [refuses, ignores])
async def test_an_api_server_that_does_not_tell_all_there_is_is_asked_once_and_listed(answer: Answer) -> None:
    async def ends(response: web.StreamResponse) -> None:
        await response.write(MARK)

    api, states = Api(ends, ends, good, whole=answer), list[State]()
    async with watching(api, told=states.append, period=0.0) as (_, seen, relisted):
        await until(lambda: ("ADDED", "late") in seen)
        assert (api.asked, api.lists, len(relisted), states) == (1, 1, 1, [])
        assert api.since == ["10", "30", "30"]
