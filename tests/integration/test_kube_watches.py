"""The event source with several watches, of which one ends as it should not."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from aiohttp import web
from tests.integration.played import Api, complete, job, line, tells, until, watching

from noria_operator.kube import session, stream, watch
from noria_operator.kube.kinds import TRAININGJOB

NAMESPACES = [f"team-{number}" for number in range(12)]


def namespace_of(response: web.StreamResponse) -> str:
    assert isinstance(response._req, web.Request)
    return response._req.match_info["namespace"]


async def test_one_that_dies_keeps_no_other_from_being_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kopf does not end by itself then: its other watchers wait for a login that nobody makes any more."""
    monkeypatch.setattr(watch, "FIRST_RESTART", 0.1)
    deaths, late = 0, set[str]()

    async def script(response: web.StreamResponse) -> None:
        nonlocal deaths
        namespace = namespace_of(response)
        await response.write(complete(30))
        if namespace == NAMESPACES[0] and not deaths:
            await until(lambda: api.watches >= len(NAMESPACES))
            deaths += 1
            await response.write(line("ERROR", {"kind": "Status", "code": 500, "message": "leader changed"}))
            return
        if deaths:
            late.add(namespace)
            await response.write(line("ADDED", job(f"late-{namespace}", 31)))
        await asyncio.sleep(60)

    api = Api(script, whole=tells)
    async with watching(api, namespaces=NAMESPACES) as (watcher, seen, _):
        await until(lambda: late == {*NAMESPACES})
        await until(lambda: {("ADDED", f"late-{namespace}") for namespace in NAMESPACES} <= {*seen})
        assert watcher.age() < 5


class Played:
    """Two namespaces; the watch of the first ends when `over` is set, and `tell` tells of an object in the
    second.
    """

    def __init__(self) -> None:
        self.api = Api(self._script, whole=tells)
        self.over, self.tell = asyncio.Event(), asyncio.Event()
        self.opened = Counter[str]()

    async def _script(self, response: web.StreamResponse) -> None:
        namespace = namespace_of(response)
        self.opened[namespace] += 1
        await response.write(complete(30))
        if namespace == "team-a" and self.opened[namespace] == 1:
            await self.over.wait()
            return
        await (asyncio.sleep(0) if namespace == "team-a" else self.tell.wait())
        await response.write(line("ADDED", job(f"late-{namespace}", 31)))
        await asyncio.sleep(60)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kopf gives up a request after 0.2 s, and a refused watch is asked for again after as long."""
    monkeypatch.setattr(watch._Jittered, "__iter__", lambda _: iter([0.1, 0.1]))
    monkeypatch.setattr(session, "LONGEST_PAUSE", 0.2)


@pytest.mark.usefixtures("impatient")
async def test_a_namespace_that_may_not_be_watched_any_more_ends_no_other_watch() -> None:
    """As when it was deleted, and its Role with it."""
    played = Played()
    async with watching(played.api, namespaces=["team-a", "team-b"]) as (watcher, seen, _):
        await until(lambda: played.opened.total() == 2)
        played.api.forbidden = {"team-a"}
        played.over.set()
        await asyncio.sleep(3)
        played.tell.set()
        await until(lambda: ("ADDED", "late-team-b") in seen)
        assert watcher.age() < 2
        played.api.forbidden = set()
        await until(lambda: ("ADDED", "late-team-a") in seen)
        assert played.opened == {"team-a": 2, "team-b": 1}


@pytest.mark.usefixtures("impatient")
async def test_a_namespace_that_may_not_be_watched_keeps_no_other_from_being_watched() -> None:
    """Also where it is named first."""
    played = Played()
    played.api.forbidden = {"team-a"}
    played.tell.set()
    async with watching(played.api, namespaces=["team-a", "team-b"]) as (_, seen, _relisted):
        await until(lambda: ("ADDED", "late-team-b") in seen)
        assert played.opened == {"team-b": 1}


def test_an_operator_that_may_watch_nowhere_is_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("noria_operator.kube.stream.time.monotonic", lambda: now)
    teams = [(TRAININGJOB, "team-a"), (TRAININGJOB, "team-b")]
    pulse = stream.Pulse(teams, lambda _: None, period=600)
    now = 500.0
    pulse.opened(teams[1], watch=True, whole=False)
    assert pulse.age() == 400
    pulse.forbidden(teams[0])
    assert pulse.age() == 0
    now = 900.0
    pulse.forbidden(teams[1])
    assert pulse.age() == 800
