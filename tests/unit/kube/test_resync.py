from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.unit.kube.api_server import Scripted, obj, refusal

from noria_operator.kube.client import Answer
from noria_operator.kube.kinds import DEPLOYMENT, POD, Json, Kind
from noria_operator.kube.requests import Request
from noria_operator.kube.resync import Resync
from noria_operator.kube.store import Store
from noria_operator.kube.stream import State, Stream

SELECTORS: dict[Kind, str | None] = {DEPLOYMENT: "app.kubernetes.io/managed-by=noria", POD: None}
STREAMS: list[Stream] = [(DEPLOYMENT, "a"), (DEPLOYMENT, "b"), (POD, "a"), (POD, "b")]


class Lists:
    """Answers lists with what is in `items`; `down` is the status that it refuses with."""

    def __init__(self) -> None:
        self.items: list[Json] = []
        self.down = 0
        self.position = 100
        self.restored = asyncio.Event()

    def __call__(self, request: Request) -> Answer:
        if self.down:
            return refusal(self.down)
        found = self.items if request.kind == DEPLOYMENT and "/a/" in request.path else []
        return Answer(200, {"metadata": {"resourceVersion": str(self.position)}, "items": found})


def resync(lists: Lists, store: Store, rounds: list[float]) -> tuple[Resync, Scripted]:
    client = Scripted(lists)

    def done() -> None:
        rounds.append(asyncio.get_running_loop().time())

    restored = lists.restored.set
    return Resync(client, store, SELECTORS, STREAMS, done=done, restored=restored, period=600), client


async def test_a_kind_is_synced_when_all_its_namespaces_were_listed() -> None:
    store, lists = Store(), Lists()
    lists.items = [obj()]
    made, client = resync(lists, store, [])
    task = asyncio.create_task(made.run())
    made.request(STREAMS[0])
    await asyncio.sleep(1)
    assert len(store.list(DEPLOYMENT)) == 1
    assert not store.synced(DEPLOYMENT)
    made.request(STREAMS[1])
    await asyncio.sleep(1)
    assert store.synced(DEPLOYMENT)
    assert not made.complete.is_set()
    assert client.sent[0][1].params["labelSelector"] == SELECTORS[DEPLOYMENT]
    for stream in STREAMS[2:]:
        made.request(stream)
    await asyncio.sleep(1)
    assert made.complete.is_set()
    task.cancel()


async def test_the_store_knows_how_far_the_lists_of_a_kind_reach() -> None:
    store, lists = Store(), Lists()
    made, _ = resync(lists, store, [])
    task = asyncio.create_task(made.run())
    for stream, position in ((STREAMS[0], 100), (STREAMS[1], 120), (STREAMS[0], 130)):
        lists.position = position
        made.request(stream)
        await asyncio.sleep(1)
    assert store.position(DEPLOYMENT) == 120, "the namespace that was listed longest ago"
    assert store.position(POD) == 0
    task.cancel()


async def test_everything_is_compared_every_ten_minutes() -> None:
    rounds: list[float] = []
    made, client = resync(Lists(), Store(), rounds)
    task = asyncio.create_task(made.run())
    await asyncio.sleep(1801)
    assert rounds == [600, 1200, 1800]
    assert len(client.sent) == 12
    task.cancel()


@asynccontextmanager
async def refused(status: int) -> AsyncIterator[tuple[Store, Lists, Scripted]]:
    """A list that is asked for and not given, of a stream of which one object is known."""
    store, lists, mine = Store(), Lists(), obj()
    mine["metadata"]["namespace"] = "a"
    store.observe("ADDED", mine)
    made, client = resync(lists, store, [])
    task = asyncio.create_task(made.run())
    lists.down = status
    made.request(STREAMS[0])
    yield store, lists, client
    task.cancel()


async def test_a_list_that_fails_deletes_nothing_and_is_repeated() -> None:
    async with refused(503) as (store, lists, _):
        await asyncio.sleep(7)
        assert len(store.list(DEPLOYMENT)) == 1
        lists.down = 0
        await asyncio.sleep(30)
        assert store.list(DEPLOYMENT) == []


async def test_a_list_that_is_forbidden_takes_nothing_out_and_is_tried_again_each_minute() -> None:
    """As of a namespace that was deleted with the Role in it."""
    async with refused(403) as (store, _, client):
        await asyncio.sleep(150)
        assert len(client.sent) == 3
        assert len(store.list(DEPLOYMENT)) == 1


async def test_a_list_that_stays_forbidden_is_tried_once_a_minute_however_long_it_does() -> None:
    """Beside the rounds, which come at other times."""
    lists = Lists()
    client = Scripted(lists)
    nothing = lists.restored.set
    made = Resync(client, Store(), SELECTORS, STREAMS, done=nothing, restored=nothing, period=607)
    task = asyncio.create_task(made.run())
    lists.down = 403
    await asyncio.sleep(86_400)
    assert len(client.sent) <= len(STREAMS) * 1.2 * 86_400 / 60
    task.cancel()


async def test_a_state_takes_out_what_it_does_not_show_and_spares_what_is_newer() -> None:
    """Also what another namespace has, which it does not tell of."""
    store = Store()
    made, client = resync(Lists(), store, [])
    for name, version, space in (("kept", 5, "a"), ("gone", 6, "a"), ("newer", 31, "a"), ("other", 7, "b")):
        one = obj(name, uid=name, version=version)
        one["metadata"]["namespace"] = space
        store.observe("ADDED", one)
    made.told(State((DEPLOYMENT, "a"), {"kept"}, 30))
    assert [one["metadata"]["name"] for one in store.list(DEPLOYMENT)] == ["kept", "newer", "other"]
    assert client.sent == []
    assert not store.synced(DEPLOYMENT), "of the other namespace nothing is known"
    made.told(State((DEPLOYMENT, "b"), {"other"}, 32))
    assert store.synced(DEPLOYMENT)
    assert store.position(DEPLOYMENT) == 30


async def test_what_watches_tell_is_not_listed_until_they_stop() -> None:
    rounds: list[float] = []
    made, client = resync(Lists(), Store(), rounds)
    task = asyncio.create_task(made.run())
    for _ in range(4):
        for stream in STREAMS:
            made.told(State(stream, set(), 30))
        await asyncio.sleep(600.1)
    assert client.sent == []
    await asyncio.sleep(600)
    assert len(client.sent) == len(STREAMS)
    assert len(rounds) == 5
    task.cancel()


async def test_all_there_is_at_an_earlier_version_means_that_the_cluster_was_restored() -> None:
    """A list may be older than a state that came while it was read: each way is held against itself."""
    lists, store = Lists(), Store()
    made, _ = resync(lists, store, [])
    task = asyncio.create_task(made.run())
    for position in (100, 0, 120):  # 0: an answer without one
        lists.position = position
        made.request(STREAMS[0])
        await asyncio.sleep(1)
    for position in (110, 110, 130):
        made.told(State(STREAMS[0], set(), position))
    store.observe("ADDED", obj(version=125))
    assert not lists.restored.is_set()
    made.told(State(STREAMS[0], set(), 129))
    assert lists.restored.is_set()
    assert store.list(DEPLOYMENT), "nothing is concluded"
    lists.restored.clear()
    lists.position = 119
    made.request(STREAMS[0])
    await asyncio.sleep(1)
    assert lists.restored.is_set()
    task.cancel()
