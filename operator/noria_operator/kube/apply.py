"""How the operator writes: only what differs, only to what is its own, and never twice the same.

In: desired objects as pure builders made them, and the object that owns them. Out: the object as the API
server has it now, which is also in the store before the call returns. Invariants: an unchanged desired
object on an unchanged observed one costs no request; an object that we do not control is never touched
(`NameConflict`); every delete names the uid it means; every status write is guarded by the resourceVersion
it was computed from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from noria_operator.kube.client import Client
from noria_operator.kube.clock import Clock
from noria_operator.kube.errors import AlreadyExists, Conflict, NameConflict, NotFound
from noria_operator.kube.kinds import OWN_KINDS, SECRET, Json, Key, Kind, key_of
from noria_operator.kube.ownership import is_ours, managed, owned
from noria_operator.kube.requests import Propagation
from noria_operator.kube.store import Store
from noria_operator.recent import Recent

Same = Callable[[Json], bool]
"""Whether an existing object is the one that would have been created."""

NO_VERSION = "1"
"""A resourceVersion that no object has, since etcd counts its first write as 2: what is applied with it is
made, or there is a conflict with what exists."""
BLIND_CREATE_PERIOD = timedelta(hours=1)
"""How long a create of something that we may not read (a Secret) is taken to have lasted."""

MOST_BLIND = 20_000
"""Of how many such objects that is known: of two for each of ten thousand deployments."""

APPLIED, STATUS = "applied", "status"
"""What of an object was written."""


class Writer:
    """Writes through `client` and keeps `store` up to date with the answers."""

    def __init__(self, client: Client, store: Store, clock: Clock) -> None:
        self._client = client
        self._store = store
        self._clock = clock
        self._applied: dict[Key, dict[str, tuple[str, str]]] = {}
        self._stood: dict[Key, Json] = {}
        """Objects in which what was applied last was found."""
        self._created = Recent[Key, datetime](MOST_BLIND)

    async def apply(self, kind: Kind, desired: Json, *, owner: Json | None = None) -> Json:
        """Server-side apply.

        With `owner` the child gets its controller reference and the owner labels, and must not be controlled
        by anybody else. Without one, an existing object must carry the managed-by label. Raises
        `NameConflict` and `ApiError`.

        An object that the cache does not show is made, and looked at only where that is refused because it
        exists: it may be somebody's.
        """
        body = owned(desired, owner)
        key = _key(kind, body)
        observed = self._store.get(key)
        if observed is None:
            only_new = {**body, "metadata": {**body["metadata"], "resourceVersion": NO_VERSION}}
            with suppress(Conflict):
                return await self._applied_to(None, kind, body, sent=only_new)
            observed = await self._existing(key)
        if observed is not None:
            self._check(kind, observed, owner)
            if self._stands(key, body, observed):
                return observed
        return await self._applied_to(observed, kind, body)

    def _stands(self, key: Key, body: Json, observed: Json) -> bool:
        """Whether the last apply of `body` still holds, though others may have added to the object since."""
        mark = self._marks(key).get(APPLIED)
        if mark is None or mark[0] != _digest(body):
            return False
        if self._stood.get(key) is not observed:  # objects of the store never change, others take their place
            found = kept(observed, body)
            if found != body and mark[1] != _digest(found):
                return False
            self._stood[key] = observed
        return True

    async def _applied_to(
        self, observed: Json | None, kind: Kind, body: Json, *, sent: Json | None = None
    ) -> Json:
        """The very first apply is not forced: an object that appeared in this instant is not taken over."""
        key, force = _key(kind, body), observed is not None
        answer = await self._client.apply(kind, key.namespace, sent or body, force=force)
        self._store.observe("MODIFIED" if observed else "ADDED", answer)
        self._marks(key)[APPLIED] = _mark(body, kept(answer, body))
        self._stood.pop(key, None)
        return answer

    async def create_once(
        self, kind: Kind, desired: Json, *, owner: Json | None = None, same: Same | None = None
    ) -> Json:
        """Create an object that is never changed afterwards; if it is there already, return that one.

        "Already there" means controlled by `owner`, or `same(existing)` where given, or (with neither) made
        for the owner uid in the labels of `desired`; anything else is a `NameConflict`. Secrets are not
        read back: their names carry the owner's uid, so an existing one is ours.
        """
        body = owned(desired, owner)
        key = _key(kind, body)
        if kind == SECRET:
            return await self._create_blind(key, body)
        existing = known = self._store.get(key)
        if existing is None:
            try:
                answer = await self._client.create(kind, key.namespace, body)
            except AlreadyExists:
                existing = await self._existing(key)
                if existing is None:
                    raise
            else:
                self._store.observe("ADDED", answer)
                return answer
        if not (same(existing) if same else is_ours(existing, owner, body)):
            raise NameConflict(kind, key.name)
        return existing if known or managed(existing) else await self._labelled(kind, body)

    async def delete(self, kind: Kind, obj: Json, *, propagation: Propagation = "Background") -> None:
        """Delete exactly this object (by uid); nothing happens when it is already on its way out."""
        meta = obj["metadata"]
        if meta.get("deletionTimestamp"):
            return
        key = key_of(obj)
        answer = await self._client.delete(
            kind, key.namespace, key.name, uid=meta["uid"], propagation=propagation
        )
        if answer is None or answer.get("kind") == "Status":
            self._store.forget(key, meta["uid"])
        else:
            self._store.observe("MODIFIED", answer)
        self.forget(key)

    async def status(self, kind: Kind, obj: Json, status: Json) -> Json:
        """Apply the whole status if it differs from that of `obj`, the object that it was computed from.

        Raises `Conflict` when the object changed meanwhile; the store then has the newer one. Raises
        `NotFound` when it is gone, and then it is gone from the store too.
        """
        have = obj.get("status", {})
        if have == {name: value for name, value in status.items() if value is not None}:
            return obj  # mostly, and cheaper to see than to go through all of it
        key, wanted = _key(kind, obj), pruned(status)
        if have == wanted:
            return obj
        mark = self._marks(key).get(STATUS)
        if mark is not None and mark == _mark(wanted, have):
            return obj
        version = obj["metadata"]["resourceVersion"]
        try:
            answer = await self._client.apply_status(
                kind, key.namespace, key.name, wanted, resource_version=version
            )
        except Conflict:
            await self._existing(key)
            raise
        except NotFound:
            self._store.forget(key, obj["metadata"]["uid"])
            raise
        self._store.observe("MODIFIED", answer)
        self._marks(key).pop(STATUS, None)
        if answer.get("status", {}) != wanted:  # kept otherwise than it was sent: remember that
            self._marks(key)[STATUS] = _mark(wanted, answer.get("status", {}))
        return answer

    def forget(self, key: Key) -> None:
        """The object is gone: what was applied to it says nothing about the next one of its name."""
        self._applied.pop(key, None)
        self._stood.pop(key, None)

    def _marks(self, key: Key) -> dict[str, tuple[str, str]]:
        return self._applied.setdefault(key, {})

    async def _create_blind(self, key: Key, body: Json) -> Json:
        now = self._clock.now()
        created = self._created.get(key)
        if created is None or now - created >= BLIND_CREATE_PERIOD:
            # Its name carries the owner's uid: one that exists was made by an earlier pass of ours.
            with suppress(AlreadyExists):
                await self._client.create(key.kind, key.namespace, body)
            self._created[key] = now
        return body

    async def _existing(self, key: Key) -> Json | None:
        """Ask the API server: of kinds that are not ours the cache holds only what carries our label, and it
        may lag behind.
        """
        try:
            found = await self._client.get(key.kind, key.namespace, key.name)
        except NotFound:
            return None
        if key.kind in OWN_KINDS or managed(found):
            self._store.observe("MODIFIED", found)
        return found

    async def _labelled(self, kind: Kind, body: Json) -> Json:
        """Give back the labels that somebody took away: without them no watch shows the object."""
        meta = {name: body["metadata"][name] for name in ("name", "namespace", "labels")}
        answer = await self._client.apply(kind, meta["namespace"], {"metadata": meta})
        self._store.observe("MODIFIED", answer)
        return answer

    def _check(self, kind: Kind, observed: Json, owner: Json | None) -> None:
        if not is_ours(observed, owner, None):
            raise NameConflict(kind, observed["metadata"]["name"])


def pruned(value: Any) -> Any:
    """The value without None in any mapping: absent and null mean the same on the wire, and absent is
    smaller.
    """
    if isinstance(value, dict):
        return {name: pruned(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [pruned(item) for item in value]
    return value


def kept(observed: Any, wanted: Any) -> Any:
    """What `observed` has in the places that `wanted` fills; lists item by item, or whole where others added
    items. The API server may spell it otherwise (a quantity) or leave it out (an empty text).
    """
    if isinstance(wanted, dict) and isinstance(observed, dict):
        return {name: kept(observed.get(name), value) for name, value in wanted.items()}
    if isinstance(wanted, list | tuple) and isinstance(observed, list) and len(observed) == len(wanted):
        return [kept(*each) for each in zip(observed, wanted, strict=True)]
    return observed


def _key(kind: Kind, body: Json) -> Key:
    return Key(kind, body["metadata"]["namespace"], body["metadata"]["name"])


def _mark(wanted: Json, found: Json) -> tuple[str, str]:
    """What was sent and what came of it; mostly the same, which is cheaper to see than to write out."""
    sent = _digest(wanted)
    return sent, sent if found == wanted else _digest(found)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
