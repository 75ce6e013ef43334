"""What a router may be sent now: versions that never go back, and changes in an order that loses no request.

Comes in: what a router has accepted and what is on its way to it, and the Snapshot that it should have.
Goes out: what to send next. Invariants: no router is given an older state by a replica that lags; routes send
requests only to clusters that this router can reach; a cluster loses its last endpoint, or goes, only after
the routes have left it; taking weight away never waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from noria_operator.routers.discovery import Kind
from noria_operator.routers.entrance import ENTRY
from noria_operator.routers.envoy import NOTHING, Resource, Snapshot, Touched, endpoint_resource

Position = tuple[int, int]
"""The highest resourceVersion seen of a ModelDeployment and of a pod."""


@dataclass(frozen=True, slots=True)
class Version:
    """A resource's version as we write it: the position and the digest of the content.

    Operators of before have the number of an EndpointSlice in the second place, which says nothing about
    pods, and take the rest for a digest; so that place is 0 here, and the pod's number is behind it.
    """

    position: Position
    digest: str

    def __str__(self) -> str:
        return f"{self.position[0]}.0.{self.position[1]}-{self.digest}"

    @staticmethod
    def parse(text: str) -> Version:
        """The inverse; what we did not write is older than everything and equal to nothing."""
        parts = text.split(".")
        if len(parts) != 3 or not (parts[0].isdecimal() and parts[1].isdecimal()):
            return Version((0, 0), "")
        pods, _, digest = parts[2].rpartition("-")
        return Version((int(parts[0]), int(pods) if pods.isdecimal() else 0), digest)


def newest(positions: Iterable[Position]) -> Position:
    """The highest of each part."""
    found = list(positions)
    return max((one[0] for one in found), default=0), max((one[1] for one in found), default=0)


def lags(reach: Position, behind: Position) -> bool:
    """Whether somebody who has seen all up to `reach` may not know what stands at `behind`."""
    return any(mine < other for mine, other in zip(reach, behind, strict=True))


@dataclass(frozen=True, slots=True)
class Change:
    """One response: new or changed resources by name, and the names of those that go."""

    kind: Kind
    changed: Mapping[str, Resource] = field(default_factory=dict)
    removed: frozenset[str] = NOTHING


@dataclass(slots=True)
class Router:
    """What one router has: digests by name, and for routes what they name (None where we cannot know: another
    replica sent them).

    What is on its way counts as well until the router says whether it took it. There is one response of each
    kind on its way at a time, so changes that come quickly are gathered.
    """

    has: dict[Kind, dict[str, str]] = field(default_factory=dict)
    routes: dict[str, Resource | None] = field(default_factory=dict)
    wanted: set[str] = field(default_factory=set)
    """The clusters whose endpoints it asked for."""
    flying: dict[Kind, Change] = field(default_factory=dict)
    pending: dict[Kind, set[str]] = field(default_factory=dict)
    """The names of all that differs from what it should have, and of some that does not."""
    refused: dict[tuple[Kind, str], str] = field(default_factory=dict)
    """Digests that it did not take: said again only after `forgive`."""
    limits: dict[Kind, int] = field(default_factory=dict)
    """How many resources to send at once while one of them is not taken, to find it."""

    def asks(self, kind: Kind, digests: Mapping[str, str], snapshot: Snapshot) -> None:
        """The first request of a kind on this stream, with what is there from before."""
        self.has[kind] = dict(digests)
        self.pending[kind] = {*digests, *snapshot.resources(kind)}
        if kind is Kind.SCOPES:
            for name, digest in digests.items():
                ours = snapshot.scopes.get(name)
                self.routes[name] = ours if ours is not None and ours.digest == digest else None

    def touched(self, names: Touched) -> None:
        """The snapshot has changed in these."""
        for kind, some in names.items():
            if kind in self.pending:
                self.pending[kind] |= some

    def wants(self, more: Iterable[str], less: Iterable[str], *, first: bool) -> None:
        """It begins and ceases to ask for the endpoints of these clusters. Of those that it begins with it
        has only what it told with its `first` request, whatever is on its way.
        """
        more = set(more)
        self.wanted.difference_update(less)
        self.wanted.update(more)
        if not first:
            self._lacks(Kind.ENDPOINTS, more | set(less))
        self.pending[Kind.ENDPOINTS] |= more

    def sent(self, change: Change) -> None:
        """A response is on its way."""
        self.flying[change.kind] = change

    def accepted(self, kind: Kind) -> None:
        """It took what was on its way."""
        change = self.flying.pop(kind)
        self.limits.pop(kind, None)
        has = self.has[kind]
        for name in change.removed:
            has.pop(name, None)
            if kind is Kind.SCOPES:
                self.routes.pop(name, None)
        if kind is Kind.CLUSTERS:
            # A cluster that is made again waits for its endpoints again.
            self._lacks(Kind.ENDPOINTS, set(change.changed))
        has.update({name: one.digest for name, one in change.changed.items()})
        if kind is Kind.SCOPES:
            self.routes.update(change.changed)

    def rejected(self, kind: Kind) -> None:
        """It did not take it: half of it is tried next, until the one that is wrong stands alone."""
        change = self.flying.pop(kind)
        if len(change.changed) > 1:
            self.limits[kind] = len(change.changed) // 2
            return
        self.limits.pop(kind, None)
        for name, one in change.changed.items():
            self.refused[kind, name] = one.digest

    def forgive(self) -> None:
        """What was refused may be said again."""
        self.refused.clear()

    def warm(self, name: str) -> bool:
        """Whether it has this cluster with its endpoints, if only none, and keeps it."""
        flying = self.flying.get(Kind.CLUSTERS)
        there = all(name in self.has.get(kind, {}) for kind in (Kind.CLUSTERS, Kind.ENDPOINTS))
        return there and not (flying is not None and name in flying.removed)

    def has_pods(self, name: str) -> bool:
        """Whether it has endpoints of this cluster, and keeps some."""
        none = endpoint_resource(name, ()).digest
        flying = self.flying.get(Kind.ENDPOINTS)
        coming = flying.changed.get(name) if flying is not None else None
        there = self.has.get(Kind.ENDPOINTS, {}).get(name, none) != none
        return there and not (coming is not None and coming.digest == none)

    def _lacks(self, kind: Kind, names: set[str]) -> None:
        for name in names & self.has.get(kind, {}).keys():
            del self.has[kind][name]
            self.pending[kind].add(name)
        flying = self.flying.get(kind)
        if flying is not None:
            rest = {name: one for name, one in flying.changed.items() if name not in names}
            self.flying[kind] = replace(flying, changed=rest)

    def refuses(self, kind: Kind, one: Resource) -> bool:
        return self.refused.get((kind, one.name)) == one.digest


def due(snapshot: Snapshot, router: Router) -> Iterator[Change]:
    """What may be sent now, at most one response of each kind."""
    for kind, change in _MAKERS.items():
        if kind in router.has and kind not in router.flying:
            changed, removed = change(snapshot, router)
            changed = [one for one in changed if not router.refuses(kind, one)]
            changed = changed[: router.limits.get(kind, len(changed))]
            if changed or removed:
                yield Change(kind, {one.name: one for one in changed}, frozenset(removed))


def _differing(snapshot: Snapshot, router: Router, kind: Kind) -> tuple[list[Resource], list[str]]:
    """What is new or other there, and the names of what should go; in the order of names."""
    ours, has, pending = snapshot.resources(kind), router.has[kind], router.pending[kind]
    changed, gone = [], []
    for name in sorted(pending):
        one = ours.get(name)
        if one is not None and has.get(name) != one.digest:
            changed.append(one)
        elif one is None and name in has:
            gone.append(name)
        else:
            pending.discard(name)
            if kind is Kind.SCOPES and one is not None:
                router.routes[name] = one  # whoever sent it
    return changed, gone


def _clusters(snapshot: Snapshot, router: Router) -> tuple[list[Resource], list[str]]:
    """New ones at once; those that go when no routes name them any more."""
    changed, gone = _differing(snapshot, router, Kind.CLUSTERS)
    outdated = _outdated(snapshot, router) if gone else None
    if outdated is None:
        return changed, []
    return changed, [name for name in gone if not any(name in routes.named for routes in outdated)]


def _endpoints(snapshot: Snapshot, router: Router) -> tuple[list[Resource], list[str]]:
    """At once, but for a cluster that loses its last one while it may get requests."""
    pending, has = router.pending[Kind.ENDPOINTS], router.has[Kind.ENDPOINTS]
    pending &= router.wanted
    # A cluster that goes takes its endpoints along.
    changed = [
        endpoint_resource(name, ()) for name in sorted(pending - snapshot.endpoints.keys() - has.keys())
    ]
    emptied: list[Resource] = []
    for one in _differing(snapshot, router, Kind.ENDPOINTS)[0]:
        (emptied if one.name in snapshot.empty and one.name in has else changed).append(one)
    outdated = _outdated(snapshot, router) if emptied else None
    if outdated is not None:
        changed += [one for one in emptied if not any(one.name in routes.carrying for routes in outdated)]
    return changed, []


def _scopes(snapshot: Snapshot, router: Router) -> tuple[list[Resource], list[str]]:
    """Routes when the router can reach what they name; then the table of hosts, so that hosts lead to routes
    that are there; then those that go, to which no host leads any more.
    """
    has = router.has[Kind.SCOPES]
    changed, gone = _differing(snapshot, router, Kind.SCOPES)
    table = [one for one in changed if one.name == ENTRY]
    changed = [one for one in changed if one.name != ENTRY]
    ready = [one for one in changed if _reachable(snapshot, router, one)]
    if any(not router.refuses(Kind.SCOPES, one) for one in ready):
        return ready, []
    if table:
        # A router that has no table is not ready, and takes no requests before all its routes are there.
        whole = ENTRY in has or not any(_awaited(router, one) for one in changed if one.name not in has)
        return table if whole else [], []
    return [], gone


_MAKERS = {Kind.SCOPES: _scopes, Kind.CLUSTERS: _clusters, Kind.ENDPOINTS: _endpoints}
"""Routes first: what is found out about them decides what clusters and endpoints may go."""


def _reachable(snapshot: Snapshot, router: Router, routes: Resource) -> bool:
    """Whether the router has every cluster that these routes name, and endpoints where requests go.

    What its routes in force name is there already: taking weight away never waits.
    """
    before = router.routes.get(routes.name)
    named, carrying = (before.named, before.carrying) if before is not None else (NOTHING, NOTHING)
    return all(map(router.warm, routes.named - named)) and all(
        map(router.has_pods, routes.carrying - snapshot.empty - carrying)
    )


def _awaited(router: Router, routes: Resource) -> bool:
    """Whether routes that are not there yet may still come: neither they nor their clusters were refused."""
    if router.refuses(Kind.SCOPES, routes):
        return False
    return not any(
        (kind, name) in router.refused for name in routes.named for kind in (Kind.CLUSTERS, Kind.ENDPOINTS)
    )


def _outdated(snapshot: Snapshot, router: Router) -> list[Resource] | None:
    """The routes that may be in force although they should not any more; None when it is not known which."""
    if Kind.SCOPES not in router.has or None in router.routes.values():
        return None
    flying = router.flying.get(Kind.SCOPES)
    routes = [one for one in router.routes.values() if one is not None]
    routes += flying.changed.values() if flying is not None else ()
    ours = {name: one.digest for name, one in snapshot.scopes.items()}
    return [one for one in routes if ours.get(one.name) != one.digest]
