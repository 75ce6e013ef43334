"""The current configuration of every namespace that has a router, and bells for those who wait for a change.

Comes in: the store's objects and events. Goes out: Snapshots, the position they stand for, and the names of
what changed. Invariant: a snapshot is made once for each change, however many routers ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Protocol

from noria_operator.routers.discovery import Kind
from noria_operator.routers.envoy import Snapshot, Touched
from noria_operator.routers.namespace import Namespace
from noria_operator.routers.ordering import Position

Json = dict[str, Any]

SETTLE = 0.002
"""Seconds that changes are gathered before snapshots are made again."""
REST = 3.0
"""Times as long as that took, nothing is made after it: a large namespace in motion takes a quarter of the
process at most, and a single change waits for nothing."""


class ObjectStore(Protocol):
    """What is needed of the store of watched objects."""

    def list(self, kind: Any, namespace: str | None = None) -> list[Json]: ...

    def synced(self, kind: Any) -> bool: ...

    def position(self, kind: Any) -> int: ...

    def subscribe(self, subscriber: Callable[[Any, Json], None]) -> Callable[[], None]: ...


class Bell:
    """Rung when a namespace's configuration changed; tells of what, since it was looked at last."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._touched: dict[Kind, set[str]] = {}

    def ring(self, touched: Touched | None = None) -> None:
        """Something changed, here or with whoever waits."""
        for kind, names in (touched or {}).items():
            self._touched.setdefault(kind, set()).update(names)
        self._rung.set()

    def taken(self) -> Touched:
        """What changed; from now on it is quiet."""
        self._rung.clear()
        touched, self._touched = self._touched, {}
        return touched

    async def wait(self) -> None:
        """Until it is rung."""
        await self._rung.wait()


class Catalogue:
    """Configurations by namespace, made when first asked for and kept up to date while anybody waits."""

    def __init__(
        self, store: ObjectStore, *, deployments: Hashable, pods: Hashable, max_body: int = 0
    ) -> None:
        self._store, self._max_body = store, max_body
        self._deployments, self._pods = deployments, pods
        self._namespaces: dict[str, Namespace] = {}
        self._bells: dict[str, set[Bell]] = {}
        self._dirty: set[str] = set()
        self._rested = 0.0
        self._position = [_highest(store.list(deployments)), _highest(store.list(pods))]
        self._flush: asyncio.TimerHandle | None = None
        self._leave = store.subscribe(self._observe)

    def close(self) -> None:
        """Listen no more, and ring every bell."""
        self._leave()
        if self._flush is not None:
            self._flush.cancel()
        for bells in self._bells.values():
            for bell in bells:
                bell.ring()

    @property
    def synced(self) -> bool:
        """Whether every object that a configuration is made of has been seen."""
        return self._store.synced(self._deployments) and self._store.synced(self._pods)

    @property
    def position(self) -> Position:
        """The newest objects seen, which is what all replicas with the same content agree on."""
        return self._position[0], self._position[1]

    @property
    def known(self) -> Position:
        """How far the lists reach that the content was compared with."""
        return self._store.position(self._deployments), self._store.position(self._pods)

    def snapshot(self, namespace: str) -> Snapshot:
        """The configuration of a namespace as it was told last."""
        return self._namespaces[namespace].snapshot

    @contextmanager
    def bell(self, namespace: str) -> Iterator[Bell]:
        """Rung whenever this namespace's configuration changes. What is kept of it goes with the last of its
        bells."""
        bell = Bell()
        if namespace not in self._namespaces:
            deployments = self._store.list(self._deployments, namespace)
            pods = self._store.list(self._pods, namespace)
            found = Namespace(namespace, deployments, pods, max_body=self._max_body)
            self._namespaces[namespace] = found
        self._bells.setdefault(namespace, set()).add(bell)
        try:
            yield bell
        finally:
            self._bells[namespace].discard(bell)
            if not self._bells[namespace]:
                del self._bells[namespace], self._namespaces[namespace]
                self._dirty.discard(namespace)

    def _observe(self, event: Any, obj: Json) -> None:
        kind, meta = obj.get("kind"), obj["metadata"]
        if kind not in {"ModelDeployment", "Pod"}:
            return
        which = 0 if kind == "ModelDeployment" else 1
        self._position[which] = max(self._position[which], int(meta["resourceVersion"]))
        known = self._namespaces.get(meta.get("namespace", ""))
        if known is None:
            return
        note = known.deployment if kind == "ModelDeployment" else known.pod
        if note(obj, gone=event == "DELETED"):
            self._dirty.add(meta["namespace"])
            if self._flush is None:
                loop = asyncio.get_running_loop()
                self._flush = loop.call_at(max(loop.time() + SETTLE, self._rested), self._publish)

    def _publish(self) -> None:
        self._flush = None
        begin = perf_counter()
        for namespace in self._dirty:
            touched = self._namespaces[namespace].update()
            for bell in self._bells[namespace]:
                bell.ring(touched)
        self._dirty.clear()
        self._rested = asyncio.get_running_loop().time() + REST * (perf_counter() - begin)


def _highest(objects: Iterable[Json]) -> int:
    return max((int(obj["metadata"]["resourceVersion"]) for obj in objects), default=0)
