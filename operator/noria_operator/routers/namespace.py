"""One namespace's configuration, kept up to date piece by piece.

Comes in: its ModelDeployments and EndpointSlices, and each change of one. Goes out: a Snapshot, and the
names of what differs from the one before. Invariant: what a change costs depends on what changed, hardly on
how much else the namespace holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from noria_operator.routers.envoy import Snapshot, Touched, amended
from noria_operator.routers.source import SERVICE_NAME_LABEL, by_envoy, routed

Json = dict[str, Any]


class Namespace:
    """Objects as they were seen last, and the snapshot made of them."""

    def __init__(self, name: str, deployments: Iterable[Json], slices: Iterable[Json]) -> None:
        self._deployments: dict[str, Json] = {}
        self._slices: dict[str, dict[str, Json]] = {}
        self._services: dict[str, str] = {}
        self._owners: dict[str, str] = {}
        self._dirty: set[str] = set()
        for each in slices:
            self.slice(each, gone=False)
        for each in deployments:
            self.deployment(each, gone=False)
        self.snapshot, _ = amended(Snapshot(name), self._read())

    def deployment(self, obj: Json, *, gone: bool) -> bool:
        """A ModelDeployment came, changed or went. Returns whether `update` has something to do."""
        name = obj["metadata"]["name"]
        gone = gone or not by_envoy(obj)
        if gone and name not in self._deployments:
            return False
        for share in _traffic(self._deployments.pop(name, {})):
            self._owners.pop(share["name"], None)
        if not gone:
            self._deployments[name] = obj
            self._owners.update({share["name"]: name for share in _traffic(obj)})
        self._dirty.add(name)
        return True

    def slice(self, obj: Json, *, gone: bool) -> bool:
        """An EndpointSlice came, changed or went. Returns whether `update` has something to do."""
        name = obj["metadata"]["name"]
        before = self._services.pop(name, "")
        after = "" if gone else obj["metadata"].get("labels", {}).get(SERVICE_NAME_LABEL, "")
        if before:
            del self._slices[before][name]
            if not self._slices[before]:
                del self._slices[before]
        if after:
            self._slices.setdefault(after, {})[name] = obj
            self._services[name] = after
        owners = {self._owners[service] for service in (before, after) if service in self._owners}
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
            found[name] = None if obj is None else routed(obj, self._slices_of(obj))
        return found

    def _slices_of(self, obj: Json) -> dict[str, list[Json]]:
        shares = [share["name"] for share in _traffic(obj)]
        return {name: list(self._slices[name].values()) for name in shares if name in self._slices}


def _traffic(deployment: Json) -> list[Json]:
    return list(deployment.get("status", {}).get("traffic") or ())
