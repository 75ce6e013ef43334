"""One namespace's configuration, kept up to date piece by piece.

Comes in: its ModelDeployments and pods, and each change of one. Goes out: a Snapshot, and the
names of what differs from the one before. Invariant: what a change costs depends on what changed, hardly on
how much else the namespace holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from noria_operator.routers.backends import Arm, Backend, arm_of, arm_of_share, backend
from noria_operator.routers.envoy import Snapshot, Touched, amended
from noria_operator.routers.first import untold
from noria_operator.routers.source import by_envoy, routed

Json = dict[str, Any]


class Namespace:
    """Deployments as they were seen last, what matters of pods, and the snapshot made of them."""

    def __init__(
        self, name: str, deployments: Iterable[Json], pods: Iterable[Json], *, max_body: int = 0
    ) -> None:
        self._deployments: dict[str, Json] = {}
        self._pods: dict[Arm, dict[str, Backend]] = {}
        self._arms: dict[str, Arm] = {}
        self._owners: dict[Arm, str] = {}
        self._untold: dict[str, str] = {}
        """Names by uid of those without a status, for whom any pods of theirs may decide."""
        self._revisions: dict[str, set[Arm]] = {}
        """Those with pods, by their owner's uid."""
        self._dirty: set[str] = set()
        for each in pods:
            self.pod(each, gone=False)
        for each in deployments:
            self.deployment(each, gone=False)
        self.snapshot, _ = amended(Snapshot(name, max_body=max_body), self._read())

    def deployment(self, obj: Json, *, gone: bool) -> bool:
        """A ModelDeployment came, changed or went. Returns whether `update` has something to do."""
        name = obj["metadata"]["name"]
        gone = gone or not by_envoy(obj)
        if gone and name not in self._deployments:
            return False
        before = self._deployments.pop(name, None)
        if before is not None:
            self._untold.pop(before["metadata"]["uid"], None)
            for arm in _traffic(before):
                self._owners.pop(arm, None)
        if not gone:
            self._deployments[name] = obj
            self._owners.update(dict.fromkeys(_traffic(obj), name))
            if untold(obj):
                self._untold[obj["metadata"]["uid"]] = name
        self._dirty.add(name)
        return True

    def pod(self, obj: Json, *, gone: bool) -> bool:
        """A pod came, changed or went. Returns whether `update` has something to do."""
        name = obj["metadata"]["name"]
        before, after = self._arms.pop(name, None), None if gone else arm_of(obj)
        had = self._pods[before].pop(name) if before else None
        has = backend(obj) if after else None
        if before and not self._pods[before]:
            del self._pods[before]
            self._revisions[before[0]].discard(before)
            if not self._revisions[before[0]]:
                del self._revisions[before[0]]
        if after and has:
            self._pods.setdefault(after, {})[name] = has
            self._revisions.setdefault(after[0], set()).add(after)
            self._arms[name] = after
        if had == has and (before == after or has is None):
            return False
        arms = [arm for arm in (before, after) if arm]
        owners = {self._owners[arm] for arm in arms if arm in self._owners}
        owners |= {self._untold[uid] for uid, _, _ in arms if uid in self._untold}
        self._dirty |= owners
        return bool(owners)

    def update(self) -> Touched:
        """Make the snapshot of what was seen. Returns the names of what may have changed."""
        self.snapshot, touched = amended(self.snapshot, self._read())
        return touched

    def _read(self) -> dict[str, Any]:
        dirty, self._dirty = self._dirty, set()
        found = {}
        for name in dirty:
            obj = self._deployments.get(name)
            found[name] = None if obj is None else routed(obj, self._pods_of(obj))
        return found

    def _pods_of(self, obj: Json) -> dict[Arm, list[Backend]]:
        mine = self._revisions.get(obj["metadata"]["uid"], ()) if untold(obj) else _traffic(obj)
        return {arm: list(self._pods[arm].values()) for arm in mine if arm in self._pods}


def _traffic(deployment: Json) -> list[Arm]:
    return [arm_of_share(deployment, share) for share in deployment.get("status", {}).get("traffic") or ()]
