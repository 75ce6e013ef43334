"""The event source with several watches, of which one ends as it should not."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from tests.integration.played import Api, complete, job, line, tells, until, watching

from noria_operator.kube import watch

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
