"""The current configuration of every namespace that has a router, and a bell for those who wait for a change.

Comes in: the store's objects and events. Goes out: Snapshots, the position they stand for, and wake-ups.
Invariants: a snapshot is built once for each change, however many routers ask; only those whose answer
changed are woken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping
from time import perf_counter
from typing import Any, Protocol

from noria_operator.routers.envoy import Snapshot, snapshot
from noria_operator.routers.ordering import History, Kind, Position
from noria_operator.routers.source import SERVICE_NAME_LABEL, by_envoy, by_service, routed
from noria_operator.routers.traffic import RoutedDeployment

Json = dict[str, Any]
Topic = tuple[str, str, str]
"""Namespace, kind of question (or `node`), and name: what somebody waits for."""

SETTLE = 0.002
"""Seconds that changes are gathered before snapshots are built again."""
REST = 3.0
"""Times as long as a building took, nothing is built after it: a large namespace in motion takes a quarter of
the process at most, and a single change waits for nothing."""


class ObjectStore(Protocol):
    """What is needed of the store of watched objects."""

    def list(self, kind: Any, namespace: str | None = None) -> list[Json]: ...

    def synced(self, kind: Any) -> bool: ...

    def position(self, kind: Any) -> int: ...

    def subscribe(self, subscriber: Callable[[Any, Json], None]) -> Callable[[], None]: ...


class Catalogue:
    """Snapshots by namespace, made when first asked for and kept up to date from then on."""

    def __init__(self, store: ObjectStore, *, deployments: Hashable, slices: Hashable) -> None:
        self._store = store
        self._deployments, self._slices = deployments, slices
        self._snapshots: dict[str, Snapshot] = {}
        self._routed: dict[str, dict[Hashable, RoutedDeployment]] = {}
        self._dirty: set[str] = set()
        self._rested = 0.0
        self.history = History()
        self._waiting: dict[Topic, set[asyncio.Future[None]]] = {}
        self._position = [_highest(store.list(deployments)), _highest(store.list(slices))]
        self._flush: asyncio.TimerHandle | None = None
        self._leave = store.subscribe(self._observe)

    def close(self) -> None:
        """Listen no more, and wake everybody."""
        self._leave()
        if self._flush is not None:
            self._flush.cancel()
        for topic in list(self._waiting):
            self.wake(topic)

    @property
    def synced(self) -> bool:
        """Whether every object that a configuration is made of has been seen."""
        return self._store.synced(self._deployments) and self._store.synced(self._slices)

    @property
    def position(self) -> Position:
        """The newest objects seen, which is what all replicas with the same content agree on."""
        return self._position[0], self._position[1]

    @property
    def known(self) -> Position:
        """How far the lists reach that the content was compared with."""
        return self._store.position(self._deployments), self._store.position(self._slices)

    def snapshot(self, namespace: str) -> Snapshot:
        """The configuration of a namespace as the store has it now."""
        if namespace not in self._snapshots or namespace in self._dirty:
            self._rebuild(namespace)
        return self._snapshots[namespace]

    def forget(self, namespaces: Iterable[str]) -> None:
        """No router asks for these any more."""
        for namespace in namespaces:
            self._snapshots.pop(namespace, None)
            self._routed.pop(namespace, None)
            self._dirty.discard(namespace)
            self.history.latest.pop(namespace, None)

    async def wait(self, topics: Iterable[Topic], seconds: float) -> None:
        """Return when one of the topics has changed, or after `seconds`."""
        bell: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for topic in topics:
            self._waiting.setdefault(topic, set()).add(bell)
        try:
            await asyncio.wait([bell], timeout=seconds)
        finally:
            for topic in topics:
                waiting = self._waiting.get(topic, set())
                waiting.discard(bell)
                if not waiting:
                    self._waiting.pop(topic, None)

    def wake(self, topic: Topic) -> None:
        """Somebody who waits for this topic should look again."""
        for bell in self._waiting.get(topic, ()):
            if not bell.done():
                bell.set_result(None)

    def _observe(self, _: Any, obj: Json) -> None:
        kind, meta = obj.get("kind"), obj["metadata"]
        if kind not in {"ModelDeployment", "EndpointSlice"}:
            return
        which = 0 if kind == "ModelDeployment" else 1
        self._position[which] = max(self._position[which], int(meta["resourceVersion"]))
        known = self._snapshots.get(meta.get("namespace", ""))
        if known is None:
            return
        service = meta.get("labels", {}).get(SERVICE_NAME_LABEL)
        if kind == "ModelDeployment" or service in known.known:
            self._dirty.add(known.namespace)
            if self._flush is None:
                loop = asyncio.get_running_loop()
                self._flush = loop.call_at(max(loop.time() + SETTLE, self._rested), self._publish)

    def _publish(self) -> None:
        self._flush = None
        begin = perf_counter()
        for namespace in list(self._dirty):
            self._rebuild(namespace)
        self._rested = asyncio.get_running_loop().time() + REST * (perf_counter() - begin)

    def _rebuild(self, namespace: str) -> None:
        slices = by_service(self._store.list(self._slices, namespace))
        known, now_known = self._routed.get(namespace, {}), {}
        for each in filter(by_envoy, self._store.list(self._deployments, namespace)):
            mark = _mark(each, slices)
            old = known.get(mark)
            now_known[mark] = routed(each, slices) if old is None else old
        self._routed[namespace] = now_known
        deployments = now_known.values()
        before, now = self._snapshots.get(namespace), snapshot(namespace, deployments)
        self._snapshots[namespace] = now
        self.history.remember(now)
        self._dirty.discard(namespace)
        if before is not None:
            for kind, name in _differences(before, now):
                self.wake((namespace, kind, name))


def _mark(deployment: Json, slices: Mapping[str, Iterable[Json]]) -> Hashable:
    """Everything that `routed` looks at, in short: one change leaves a thousand others as they were read."""
    meta, traffic = deployment["metadata"], deployment.get("status", {}).get("traffic") or ()
    pods = tuple(
        (each["metadata"]["uid"], each["metadata"]["resourceVersion"])
        for share in traffic
        for each in slices.get(share["name"], ())
    )
    return meta["uid"], meta["resourceVersion"], pods


def _differences(before: Snapshot, now: Snapshot) -> Iterable[tuple[Kind, str]]:
    if before.rds != now.rds:
        yield Kind.ROUTES, ""
    if before.cds != now.cds:
        yield Kind.CLUSTERS, ""
    for name in before.eds.keys() | now.eds.keys():
        if before.eds.get(name) != now.eds.get(name):
            yield Kind.ENDPOINTS, name


def _highest(objects: Iterable[Json]) -> int:
    return max((int(obj["metadata"]["resourceVersion"]) for obj in objects), default=0)
