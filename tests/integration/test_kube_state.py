"""The cache compared with what watches begin with: what is found, and what a real API server is asked for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.integration.conftest import prepare
from tests.integration.faults import Faults
from tests.integration.running import Cluster, eventually, operator
from tests.integration.toy import Toy, create, phase
from tools.cluster.controlplane import control_plane

from noria_operator.kube import watch
from noria_operator.kube.client import Answer, Client
from noria_operator.kube.kinds import LEASE, SERVICE, TRAININGJOB, Json, Key
from noria_operator.kube.login import from_kubeconfig
from noria_operator.kube.requests import Request
from noria_operator.kube.store import EventType
from noria_operator.kube.stream import State, Stream
from noria_operator.kube.watch import Watcher
from noria_operator.process import SELECTORS, Operator

PERIOD = 2.5
"""Seconds between comparisons here; watches last one, so that every third begins with all there is: a period
that is over as a watch ends would be due with it or a whole watch later, which lists might not wait for."""
LATE: Json = {
    "metadata": {"name": "late", "labels": {"app.kubernetes.io/managed-by": "noria"}},
    "spec": {"ports": [{"port": 80}]},
}


class Api:
    """What is asked of the API server, by verb; `whole` are watches that begin with all there is."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.lost: set[str] = set()
        """Names of objects whose events do not arrive."""

    def forget(self, name: str) -> None:
        """From now on no event of this object arrives; what was asked before does not count."""
        self.lost.add(name)
        self.asked.clear()

    def note(self, request: Request) -> Answer | None:
        self.asked["lease" if request.kind == LEASE else request.verb] += 1
        return None


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    made = Api()

    class Counting(watch.Pulse):
        def opened(self, stream: Stream, *, watch: bool, whole: bool) -> None:
            made.asked["whole" if whole else "watch" if watch else "list"] += 1
            super().opened(stream, watch=watch, whole=whole)

    class Losing(Watcher):
        def changed(self, type: EventType, obj: Json, state: State | None) -> None:
            if state is not None or obj["metadata"]["name"] not in made.lost:
                super().changed(type, obj, state)

    monkeypatch.setattr(watch, "Pulse", Counting)
    monkeypatch.setattr(watch, "WATCH_SECONDS", 1)
    monkeypatch.setattr("noria_operator.process.Watcher", Losing)
    yield made


@asynccontextmanager
async def at_rest(cluster: Cluster, api: Api) -> AsyncIterator[Operator]:
    """An operator that has made what it was asked for."""
    async with operator(cluster, [Toy()], faults=Faults(before=api.note), resync_period=PERIOD) as running:
        await create(cluster)

        async def told() -> bool:
            return await phase(cluster) == "Running"

        await eventually(told)
        await asyncio.sleep(0.5)
        yield running


async def test_at_rest_there_are_watches_and_the_lease_and_no_list(cluster: Cluster, api: Api) -> None:
    async with at_rest(cluster, api):
        assert api.asked["whole"] >= len(SELECTORS)
        api.asked.clear()
        await asyncio.sleep(3 * PERIOD)
        assert set(api.asked) == {"watch", "whole", "lease"}, api.asked
        assert api.asked["whole"] >= len(SELECTORS), "compared, all of them"


async def test_an_object_whose_event_was_lost_is_found(cluster: Cluster, api: Api) -> None:
    async with at_rest(cluster, api) as running:
        api.forget("late")
        await cluster.client.create(SERVICE, cluster.namespace, LATE)
        await eventually(lambda: known(running, cluster))
        assert api.asked["list"] == 0


async def test_a_change_whose_event_was_lost_is_found(cluster: Cluster, api: Api) -> None:
    async with at_rest(cluster, api) as running:
        await cluster.client.create(SERVICE, cluster.namespace, LATE)
        await eventually(lambda: known(running, cluster))
        api.forget("late")
        seen = {"metadata": {"annotations": {"seen": "yes"}}}
        await cluster.client.merge(SERVICE, cluster.namespace, "late", seen)
        await eventually(lambda: known(running, cluster, **seen["metadata"]))
        assert api.asked["list"] == 0


async def test_a_deletion_that_was_lost_is_found_and_nothing_else_goes(cluster: Cluster, api: Api) -> None:
    async with at_rest(cluster, api) as running:
        await a_lost_deletion_is_found(running, cluster, api)
        assert api.asked["list"] == 0
        assert running.store.get(Key(TRAININGJOB, cluster.namespace, "train")) is not None


@pytest.mark.extended
async def test_where_watches_do_not_begin_with_all_there_is_lists_find_what_was_lost(
    older: Cluster, api: Api
) -> None:
    async with at_rest(older, api) as running:
        await a_lost_deletion_is_found(running, older, api)
        assert api.asked["list"] > 0
        assert api.asked["whole"] == 0


@pytest.fixture
async def older(tmp_path: Path) -> AsyncIterator[Cluster]:
    """On an API server that answers as Kubernetes 1.33 does, and before 1.32."""
    with control_plane(tmp_path, flags={"kube-apiserver": ["--feature-gates=WatchList=false"]}) as path:
        await prepare(path)
        endpoint = from_kubeconfig(path)
        async with Client(endpoint) as client:
            yield await Cluster(endpoint, client, "").another()


async def a_lost_deletion_is_found(running: Operator, cluster: Cluster, api: Api) -> None:
    await cluster.client.create(SERVICE, cluster.namespace, LATE)
    await eventually(lambda: known(running, cluster))
    api.forget("late")
    await cluster.client.delete(SERVICE, cluster.namespace, "late")
    await eventually(lambda: known(running, cluster, there=False))


async def known(running: Operator, cluster: Cluster, *, there: bool = True, **metadata: Json) -> bool:
    """Whether the cache has it, with this metadata, or (`there` false) has it no more."""
    found = running.store.get(Key(SERVICE, cluster.namespace, "late"))
    if found is None or not there:
        return (found is None) != there
    return all(found["metadata"].get(name) == value for name, value in metadata.items())
