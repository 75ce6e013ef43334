"""What a router is told on its stream, and when again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from noria_operator.routers import discovery, stream
from noria_operator.routers.catalogue import Bell, Catalogue
from noria_operator.routers.discovery import PREFIX, Kind, Request
from noria_operator.routers.envoy import snapshot
from noria_operator.routers.ordering import Version
from noria_operator.routers.stream import Stream
from noria_operator.routers.traffic import RoutedDeployment
from noria_operator.routers.wire import delimited, fields, text

CLUSTERS = Kind.CLUSTERS.value


class Refusing:
    """A router that refuses everything, with its side of the stream."""

    def __init__(self) -> None:
        self.content = asyncio.StreamReader()
        self.told = 0
        self.often = asyncio.Event()

    async def write(self, data: bytes) -> None:
        found = dict(fields(data[PREFIX.size :]))
        nonce = found[5]
        assert isinstance(nonce, bytes)
        said = text(2)(CLUSTERS) + text(6)(nonce.decode()) + delimited(7, text(2)("no"))
        self.content.feed_data(PREFIX.pack(0, len(said)) + said)
        self.told += 1
        if self.told == 3:
            self.often.set()


async def test_what_a_router_refused_is_said_again_also_while_much_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.1)
    router, bell = Refusing(), Bell()
    found = snapshot("shop", [RoutedDeployment("m", revisions=(("m-1", 100),))])
    catalogue: Any = SimpleNamespace(snapshot=lambda _: found, position=(1, 1), known=(1, 1))
    response = cast(web.StreamResponse, router)
    made = Stream(cast(Catalogue, catalogue), "shop", "router-1", response, bell)
    request: Any = SimpleNamespace(content=router.content)
    running = asyncio.create_task(made.run(request, Request(CLUSTERS), lambda: False))

    async def changes() -> None:
        while True:
            bell.ring()
            await asyncio.sleep(0.01)

    changing = asyncio.create_task(changes())
    await asyncio.wait_for(router.often.wait(), 5)
    changing.cancel()
    running.cancel()
    await asyncio.gather(changing, running, return_exceptions=True)


async def test_a_router_that_knows_more_than_any_replica_ever_does_is_told_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As after etcd was restored from a snapshot: resourceVersions are lower than they were."""
    monkeypatch.setattr(stream, "LAGGING", 0.05)
    monkeypatch.setattr(stream, "LONGEST_LAG", 0.5)
    router = Refusing()
    found = snapshot("shop", [RoutedDeployment("m", revisions=(("m-1", 100),))])
    catalogue: Any = SimpleNamespace(snapshot=lambda _: found, position=(42, 42), known=(42, 42))
    response = cast(web.StreamResponse, router)
    made = Stream(cast(Catalogue, catalogue), "shop", "router-1", response, Bell())
    request: Any = SimpleNamespace(content=router.content)
    first = Request(CLUSTERS, versions={"old": str(Version((50, 50), "0" * 16))})
    running = asyncio.create_task(made.run(request, first, lambda: False))
    await asyncio.sleep(0.25)
    assert router.told == 0
    await asyncio.sleep(0.5)
    assert router.told > 0
    assert "went back" in caplog.text
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_router_asks_for_no_more_endpoints_than_any_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "MAX_NAMES", 3)
    found = snapshot("shop", [RoutedDeployment("m", revisions=(("m-1", 100),))])
    catalogue: Any = SimpleNamespace(snapshot=lambda _: found, position=(1, 1), known=(1, 1))
    response: Any = None
    made = Stream(cast(Catalogue, catalogue), "shop", "router-1", response, Bell())
    endpoints = Kind.ENDPOINTS.value
    made._hear(Request(endpoints, subscribe=("a", "b")))
    made._hear(Request(endpoints, subscribe=("c",)))
    made._hear(Request(endpoints, subscribe=("d",), unsubscribe=("a",)))
    with pytest.raises(ValueError, match="too many names"):
        made._hear(Request(endpoints, subscribe=("e",)))
