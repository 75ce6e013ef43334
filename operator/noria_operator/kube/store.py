"""What the operator knows of the cluster: every watched object, in memory.

Fed by watch events and by the answers to our own writes, whichever comes first. An object never goes back
to an older resourceVersion, and a late answer never brings a deleted object back. Readers get the stored
objects themselves: nobody changes them, builders copy. All calls come from one event loop.

resourceVersions are compared as integers: the Kubernetes API promises that for objects of one resource type
(KEP-5504), and etcd-backed servers have always behaved so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Literal

from noria_operator.kube import metrics
from noria_operator.kube.alike import Alike
from noria_operator.kube.index import FIELDS, LABELS, OWNER, Index, Names, field_of
from noria_operator.kube.kinds import Json, Key, Kind, key_of
from noria_operator.kube.lean import is_silent, lean
from noria_operator.kube.requests import Labels
from noria_operator.recent import Recent

EventType = Literal["ADDED", "MODIFIED", "DELETED"] | None
"""As in watch events; None stands for "was there when we listed"."""

Subscriber = Callable[[EventType, Json], None]

Items = list[Json]

TOMBSTONES = 20_000
"""Deletions remembered, so that an event or answer older than the deletion is known to be old."""


class Store:
    """The cache. `observe`, `forget` and `prune` write; everything else reads."""

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[str, dict[str, Json]]] = {}
        self._order: dict[tuple[Kind, str], Names] = {}
        self._index = Index()
        self._alike = Alike()
        self._uids: dict[str, Key] = {}
        self._deleted: Recent[str, int] = Recent(TOMBSTONES)
        self._synced: set[Kind] = set()
        self._positions: dict[tuple[Kind, str | None], int] = {}
        self._subscribers: list[Subscriber] = []

    def observe(self, type: EventType, obj: Json) -> bool:
        """Take in one event or one answer to a write. Returns whether it was news.

        DELETED also means "left the label selector of the watch"; such an object may come back later.
        """
        key, uid, version = key_of(obj), obj["metadata"]["uid"], _version(obj)
        known = self.get(key)
        same = known is not None and known["metadata"]["uid"] == uid
        if type == "DELETED":
            if known is None:
                self._bury(uid, version)  # what was listed before may still be on its way here
                return False
            if not same or version < _version(known):
                return False
            self._bury(uid, version)
            self._put(key, known, None)
        else:
            if version <= self._deleted.get(uid, -1) or (known is not None and version <= _version(known)):
                return False
            kept = self._alike(key.kind, lean(key.kind, obj), known)
            self._put(key, known, kept)
            if known is not None and same and is_silent(key.kind, known, kept):
                return True
        for subscriber in list(self._subscribers):
            subscriber(type, obj)
        return True

    def forget(self, key: Key, uid: str) -> None:
        """Our own delete removed it at once: do not wait for the watch to say so."""
        known = self.get(key)
        if known is not None and known["metadata"]["uid"] == uid:
            self.observe("DELETED", known)

    def prune(self, kind: Kind, namespace: str | None, uids: Set[str], position: int) -> int:
        """Take out what is not among `uids`, which are all there is of a kind (in a namespace) at a
        resourceVersion; returns how many objects that were.

        What is newer than `position` stays: we know it from elsewhere, as the answer to a write.
        """
        gone = [
            obj
            for obj in self._all(kind, namespace)
            if obj["metadata"]["uid"] not in uids and _version(obj) <= position
        ]
        return sum(self.observe("DELETED", obj) for obj in gone)

    def get(self, key: Key) -> Json | None:
        """The object, or None. The result belongs to the store: read it, never change it."""
        return self._objects.get(key.kind, {}).get(key.namespace, {}).get(key.name)

    def with_uid(self, uid: str) -> Json | None:
        """The object with this uid, or None."""
        key = self._uids.get(uid)
        return None if key is None else self.get(key)

    def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        labels: Labels | None = None,
        *,
        fields: Mapping[str, str] | None = None,
    ) -> Items:
        """Objects of a kind, in one namespace or in all, with all these labels and fields; ordered by name.

        `fields` are those of `index.FIELDS`, as a field selector names them: `{"spec.model": "flights"}`;
        KeyError for any other.
        """
        wanted, chosen = _parsed(labels), fields or {}
        if unknown := chosen.keys() - FIELDS.get(kind, {}).keys():
            raise KeyError(f"{kind.kind} has no index of {', '.join(sorted(unknown))}")
        if namespace is not None:
            return self._found(kind, namespace, wanted, chosen)
        spaces = sorted(self._objects.get(kind, {}))
        return [obj for space in spaces for obj in self._found(kind, space, wanted, chosen)]

    def owned(self, kind: Kind, namespace: str, owner_uid: str) -> Items:
        """Objects of a kind that name this uid among their owner references; ordered by name."""
        space = self._objects.get(kind, {}).get(namespace, {})
        return [space[name] for name in self._index.find(kind, namespace, OWNER, owner_uid)]

    def synced(self, kind: Kind) -> bool:
        """Whether a complete list of this kind was taken in and its watch goes on from there."""
        return kind in self._synced

    def mark_synced(self, kind: Kind) -> None:
        """A complete list of this kind is in the store."""
        self._synced.add(kind)

    def listed(self, kind: Kind, namespace: str | None, position: int) -> None:
        """A list that stands for this resourceVersion was taken in."""
        self._positions[kind, namespace] = max(position, self._positions.get((kind, namespace), 0))

    def position(self, kind: Kind) -> int:
        """The resourceVersion up to which everything about a kind is known, deletions of before our start
        too."""
        known = [at for (listed, _), at in self._positions.items() if listed == kind]
        return min(known, default=0)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber(type, obj)` after every change of what is kept (`lean`), in order; returns the
        function that ends it.

        Subscribers are called from within `observe`: they note what changed and return.
        """
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def _all(self, kind: Kind, namespace: str | None) -> Iterator[Json]:
        spaces = self._objects.get(kind, {})
        for space in list(spaces.values()) if namespace is None else [spaces.get(namespace, {})]:
            yield from list(space.values())

    def _found(
        self, kind: Kind, namespace: str, labels: Mapping[str, str], fields: Mapping[str, str]
    ) -> Items:
        """By the shortest index of those that are asked for, or else all of the namespace; in order."""
        space = self._objects.get(kind, {}).get(namespace, {})
        asked = [*fields.items(), *((label, labels[label]) for label in LABELS if label in labels)]
        if not asked:
            every = [space[name] for name in self._order.get((kind, namespace), ())]
            return [obj for obj in every if _carries(obj, labels)] if labels else every
        indexed = [(self._index.find(kind, namespace, *each), each) for each in asked]
        named, best = min(indexed, key=lambda one: len(one[0])) if len(indexed) > 1 else indexed[0]
        found = [space[name] for name in named]
        # What the index has answered is not asked again of each object.
        narrow = {name: value for name, value in labels.items() if (name, value) != best}
        others = [each for each in fields.items() if each != best]
        if not (found and (narrow or others)):
            return found
        return [
            obj
            for obj in found
            if _carries(obj, narrow) and all(value in field_of(kind, obj, name) for name, value in others)
        ]

    def _put(self, key: Key, old: Json | None, new: Json | None) -> None:
        self._index.put(key, old, new)
        space = self._objects.setdefault(key.kind, {}).setdefault(key.namespace, {})
        order = self._order.setdefault((key.kind, key.namespace), Names())
        if old is not None:
            self._uids.pop(old["metadata"]["uid"], None)
        if new is not None:
            self._uids[new["metadata"]["uid"]] = key
            space[key.name] = new
        if old is None and new is not None:
            order.add(key.name)
            metrics.STORE_OBJECTS.labels(key.kind.kind).inc()
        if old is not None and new is None:
            del space[key.name]
            order.discard(key.name)
            metrics.STORE_OBJECTS.labels(key.kind.kind).dec()

    def _bury(self, uid: str, version: int) -> None:
        self._deleted[uid] = max(version, self._deleted.get(uid, version))


def _version(obj: Json) -> int:
    return int(obj["metadata"]["resourceVersion"])


def _parsed(labels: Labels | None) -> Mapping[str, str]:
    if not isinstance(labels, str):
        return labels or {}
    return dict(pair.split("=", 1) for pair in labels.split(",") if pair)


def _carries(obj: Json, wanted: Mapping[str, str]) -> bool:
    labels = obj["metadata"].get("labels", {})
    return all(labels.get(name) == value for name, value in wanted.items())
