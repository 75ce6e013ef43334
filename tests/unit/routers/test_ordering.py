"""Versions that never go back, and changes that wait for each other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.routers.discovery import Kind
from noria_operator.routers.entrance import ENTRY
from noria_operator.routers.envoy import Resource, Snapshot, amended, endpoint_resource, snapshot
from noria_operator.routers.ordering import Change, Router, Version, due, lags, newest
from noria_operator.routers.traffic import RoutedDeployment

POD = (("10.0.0.1", 8080),)
CLUSTERS, ENDPOINTS, SCOPES = Kind.CLUSTERS, Kind.ENDPOINTS, Kind.SCOPES


@pytest.mark.parametrize(
    ("reach", "theirs", "behind"),
    [((5, 5), (5, 5), False), ((5, 5), (4, 5), False), ((5, 5), (6, 5), True), ((9, 5), (5, 6), True)],
)
def test_positions_are_compared_part_by_part(
    reach: tuple[int, int], theirs: tuple[int, int], *, behind: bool
) -> None:
    assert lags(reach, theirs) is behind


def test_a_list_that_reaches_further_makes_up_for_an_object_that_was_deleted_unseen() -> None:
    """Its resourceVersion, 9, is in the router's version; nothing that is left is newer than 5."""
    assert lags(newest([(5, 5), (8, 8)]), (9, 5))
    assert not lags(newest([(5, 5), (9, 5)]), (9, 5))
    assert newest([]) == (0, 0)


@given(st.integers(0), st.integers(0), st.text("0123456789abcdef", min_size=1))
def test_a_version_is_read_back_as_it_was_written(deployments: int, pods: int, digest: str) -> None:
    version = Version((deployments, pods), digest)
    assert Version.parse(str(version)) == version


def test_operators_of_before_and_of_now_hold_each_other_to_what_both_count() -> None:
    """Theirs is `deployments.slices.digest`: they split at dots; numbers of slices say nothing of pods."""
    assert Version.parse("7.9.abc") == Version((7, 0), "abc")
    assert str(Version((7, 9), "abc")).split(".")[:2] == ["7", "0"]


@pytest.mark.parametrize("text", ["", "1", "1.2", "a.2.c", "1.2.c.d", "-1.2.c", "1.²x.c"])
def test_what_we_did_not_write_is_older_than_everything_and_equal_to_nothing(text: str) -> None:
    assert Version.parse(text) == Version((0, 0), "")


def two_versions(*alive: str, weights: tuple[int, int] = (50, 50), **more: Any) -> Snapshot:
    revisions = tuple(zip(("m-1", "m-2"), weights, strict=True))
    made = RoutedDeployment("m", revisions=revisions, endpoints=dict.fromkeys(alive, POD), **more)
    return snapshot("shop", [made])


def router(found: Snapshot, *, has: Iterable[Kind] = tuple(Kind), without: Iterable[str] = ()) -> Router:
    """One that has all of this snapshot, or of these kinds nothing; and none of the names in `without`."""
    made = Router()
    for kind in Kind:
        there = found.resources(kind) if kind in has else {}
        digests = {name: one.digest for name, one in there.items() if name not in without}
        made.asks(kind, digests, found)
    made.wants(found.clusters, (), first=True)
    return made


def told(found: Snapshot, to: Router) -> dict[Kind, tuple[list[str], list[str]]]:
    """What is sent now: names that change and names that go."""
    to.touched({kind: found.resources(kind).keys() | to.has[kind].keys() for kind in Kind})
    return {one.kind: (sorted(one.changed), sorted(one.removed)) for one in due(found, to)}


def test_a_router_that_has_everything_is_told_nothing() -> None:
    found = two_versions("m-1", "m-2")
    assert told(found, router(found)) == {}


def test_routes_wait_until_the_router_has_every_cluster_that_they_name_and_its_endpoints() -> None:
    found = two_versions("m-1", "m-2")
    fresh = router(found, has=())
    assert told(found, fresh) == {CLUSTERS: (["m-1", "m-2"], []), ENDPOINTS: (["m-1", "m-2"], [])}
    for change in list(due(found, fresh)):
        fresh.sent(change)
    assert told(found, fresh) == {}, "one response of each kind at a time, and routes wait for both"
    fresh.accepted(CLUSTERS)
    assert told(found, fresh) == {}
    fresh.accepted(ENDPOINTS)
    assert told(found, fresh) == {ENDPOINTS: (["m-1", "m-2"], [])}, "for clusters that are new since"
    fresh.sent(next(due(found, fresh)))
    fresh.accepted(ENDPOINTS)
    assert told(found, fresh) == {SCOPES: (["m"], [])}
    fresh.sent(next(due(found, fresh)))
    fresh.accepted(SCOPES)
    assert told(found, fresh) == {SCOPES: ([ENTRY], [])}, "hosts lead to routes that are there"


def test_routes_wait_until_a_cluster_that_gets_requests_has_endpoints_there() -> None:
    before, found = two_versions("m-1", weights=(100, 0)), two_versions("m-1", "m-2")
    there = router(before)
    assert told(found, there) == {ENDPOINTS: (["m-2"], [])}
    idle = two_versions("m-1", "m-2", weights=(100, 0), version=2)
    assert told(idle, there)[SCOPES] == (["m"], [])
    nobody = two_versions()
    assert told(nobody, router(nobody, without=["m"]))[SCOPES] == (["m"], [])


def test_routes_wait_while_the_pods_that_they_need_are_just_taken_away_there() -> None:
    idle = two_versions("m-1", weights=(100, 0))
    there = router(two_versions("m-1", "m-2", weights=(100, 0)))
    assert told(idle, there) == {ENDPOINTS: (["m-2"], [])}
    there.sent(next(due(idle, there)))
    both = two_versions("m-1", "m-2")
    assert told(both, there) == {}
    there.accepted(ENDPOINTS)
    assert told(both, there) == {ENDPOINTS: (["m-2"], [])}
    accept(both, there)
    assert told(both, there) == {SCOPES: (["m"], [])}


def test_endpoints_are_emptied_only_after_the_routes_have_left() -> None:
    before, now = two_versions("m-1", "m-2"), two_versions("m-1")
    there = router(before)
    assert told(now, there) == {SCOPES: (["m"], [])}
    (change,) = due(now, there)
    there.sent(change)
    assert told(now, there) == {}, "older routes are in force until these are accepted"
    there.accepted(SCOPES)
    assert told(now, there) == {ENDPOINTS: (["m-2"], [])}
    stranger = router(before, without=["m"])
    stranger.asks(SCOPES, {"m": "unknown", ENTRY: before.scopes[ENTRY].digest}, now)
    assert told(now, stranger) == {SCOPES: (["m"], [])}, "an operator that starts knows no routes of it yet"
    fresh = router(now, without=["m-2"])
    assert told(now, fresh)[ENDPOINTS] == (["m-2"], []), "a cluster that warms gets its first answer at once"
    nobody = two_versions()
    alone = router(two_versions("m-1", "m-2"))
    (change,) = due(nobody, _touched(nobody, alone))
    assert change.kind is SCOPES
    alone.sent(change)
    alone.accepted(SCOPES)
    assert told(nobody, alone) == {ENDPOINTS: (["m-1", "m-2"], [])}, (
        "where nobody is left, nothing holds them"
    )


def _touched(found: Snapshot, to: Router) -> Router:
    told(found, to)
    return to


def test_a_cluster_goes_after_the_routes_that_name_it_and_routes_after_the_hosts_that_lead_there() -> None:
    before = two_versions("m-1", "m-2")
    only = snapshot("shop", [RoutedDeployment("m", revisions=(("m-1", 100),), endpoints={"m-1": POD})])
    there = router(before)
    assert told(only, there) == {SCOPES: (["m"], [])}
    accept(only, there)
    assert told(only, there) == {CLUSTERS: ([], ["m-2"])}
    accept(only, there)
    nothing = snapshot("shop", [])
    for expected in ({SCOPES: ([ENTRY], [])}, {SCOPES: ([], ["m"])}, {CLUSTERS: ([], ["m-1"])}, {}):
        assert told(nothing, there) == expected
        accept(nothing, there)


def accept(found: Snapshot, to: Router) -> None:
    for change in list(due(found, to)):
        to.sent(change)
        to.accepted(change.kind)


def test_taking_weight_away_never_waits_whichever_replica_is_asked() -> None:
    before, aborted = two_versions("m-1", "m-2"), two_versions("m-1", "m-2", weights=(100, 0))
    stranger = router(before, without=["m-1", "m-2"])
    assert told(aborted, stranger)[SCOPES] == (["m"], [])
    back = router(aborted, without=["m-1", "m-2"])
    assert SCOPES not in told(before, back), "giving weight waits until the pods are known there"


def test_a_cluster_that_is_made_again_or_asked_for_again_gets_its_endpoints_again() -> None:
    found = two_versions("m-1", "m-2")
    there = router(found)
    there.wants(["m-1"], (), first=False)
    assert told(found, there) == {ENDPOINTS: (["m-1"], [])}
    accept(found, there)
    there.sent(Change(CLUSTERS, {"m-2": found.clusters["m-2"]}))
    there.accepted(CLUSTERS)
    assert told(found, there) == {ENDPOINTS: (["m-2"], [])}
    there.sent(Change(ENDPOINTS, found.endpoints))
    there.wants(["m-1"], ["m-1"], first=False)
    there.accepted(ENDPOINTS)
    assert told(found, there) == {ENDPOINTS: (["m-1"], [])}, "what was on its way was for the former one"


def test_what_a_router_does_not_take_is_found_and_holds_up_nothing_else() -> None:
    names = [f"m{number}" for number in range(8)]
    found = snapshot("shop", [RoutedDeployment(name) for name in names])
    there, tries = router(found, has=()), 0
    while any(name not in there.has[SCOPES] for name in [*names, ENTRY] if name != "m5"):
        (change,) = due(found, there)
        there.sent(change)
        tries += 1
        assert tries < 20
        if "m5" in change.changed:
            there.rejected(SCOPES)
        else:
            there.accepted(SCOPES)
    assert told(found, there) == {}, "it is not said again"
    there.forgive()
    assert told(found, there) == {SCOPES: (["m5"], [])}


@dataclass
class Envoy:
    """A router as it behaves: takes one message at a time, and asks for the endpoints of its clusters.

    It asserts what loses no request.
    """

    clusters: dict[str, str] = field(default_factory=dict)
    endpoints: dict[str, Resource] = field(default_factory=dict)
    scopes: dict[str, Resource] = field(default_factory=dict)
    hosts: frozenset[str] = frozenset()
    inbox: deque[Change] = field(default_factory=deque)
    hopeless: set[str] = field(default_factory=set)
    """Routes that were made while no version had pods: they may lead nowhere."""
    tables: dict[str, list[str]] = field(default_factory=dict)
    """Deployments that a table leads to, by its digest."""

    def take(self, server: Router) -> None:
        change = self.inbox.popleft()
        if change.kind is CLUSTERS:
            new = [name for name in change.changed if name not in self.clusters]
            self.clusters.update({name: one.digest for name, one in change.changed.items()})
            for name in change.removed:
                assert not any(name in routes.named for routes in self.scopes.values()), "a route names it"
                del self.clusters[name]
                self.endpoints.pop(name, None)
            server.wants(new, change.removed, first=False)
        elif change.kind is ENDPOINTS:
            for one in change.changed.values():
                self._endpoints(one)
        else:
            self._routes(change)
        server.accepted(change.kind)

    def _endpoints(self, one: Resource) -> None:
        if one.name not in self.clusters:
            return
        if one.digest == endpoint_resource(one.name, ()).digest and one.name in self.endpoints:
            using = [routes for routes in self.scopes.values() if one.name in routes.carrying]
            assert all(routes.digest in self.hopeless for routes in using), f"{one.name} gets requests"
        self.endpoints[one.name] = one

    def _routes(self, change: Change) -> None:
        for name in change.removed:
            assert name not in self.hosts, "a host leads there"
            del self.scopes[name]
        for one in change.changed.values():
            if one.name == ENTRY:
                self.hosts = frozenset(self.tables[one.digest])
                self.scopes[ENTRY] = one
                continue
            assert one.named <= self.clusters.keys() & self.endpoints.keys(), "every cluster is warm"
            before = self.scopes.get(one.name)
            for cluster in one.carrying - (before.carrying if before else frozenset()):
                empty = self.endpoints[cluster].digest == endpoint_resource(cluster, ()).digest
                assert not empty or one.digest in self.hopeless, f"{cluster} has no pods here"
            self.scopes[one.name] = one

    def meets(self, found: Snapshot) -> None:
        """A new configuration is wanted."""
        self.tables[found.scopes[ENTRY].digest] = list(found.routed)
        for routes in found.scopes.values():
            if routes.carrying and routes.carrying <= found.empty:
                self.hopeless.add(routes.digest)

    def connects(self, found: Snapshot) -> Router:
        """To an operator that remembers nothing."""
        self.inbox.clear()
        made = Router()
        made.asks(CLUSTERS, self.clusters, found)
        made.asks(ENDPOINTS, {name: one.digest for name, one in self.endpoints.items()}, found)
        made.wants(self.clusters, (), first=True)
        made.asks(SCOPES, {name: one.digest for name, one in self.scopes.items()}, found)
        return made


def _deployment(name: str, shares: dict[int, int], alive: set[int]) -> RoutedDeployment:
    total = sum(shares.values())
    weights = [(f"{name}-{number}", 0) for number in sorted(shares)]
    if total:
        heaviest = max(shares, key=lambda number: shares[number])
        given = {number: share * 100 // total for number, share in shares.items()}
        given[heaviest] += 100 - sum(given.values())
        weights = [(f"{name}-{number}", given[number]) for number in sorted(shares)]
    else:
        weights = weights and [(weights[0][0], 100), *weights[1:]]
    return RoutedDeployment(
        name, revisions=tuple(weights), endpoints={f"{name}-{n}": POD for n in alive if n in shares}
    )


DEPLOYMENTS = st.builds(
    _deployment,
    st.sampled_from(["m", "m", "n"]),
    st.sampled_from([{1: 1}, {1: 1, 2: 0}, {1: 1, 2: 1}, {1: 0, 2: 1}, {2: 1, 3: 1}, {}]),
    st.sampled_from([{1, 2, 3}, {1}, {2, 3}, set[int]()]),
)
STEPS = st.tuples(
    st.one_of(DEPLOYMENTS, DEPLOYMENTS, st.sampled_from(["m", "n", "reconnect"])),
    st.sampled_from([0, 0, 1, 2, 40]),
)
"""A deployment that comes or changes, one that goes, or another operator; and how many messages arrive."""


def say(found: Snapshot, server: Router) -> list[Change]:
    """What the operator sends now."""
    said = []
    for change in due(found, server):
        server.sent(change)
        said.append(change)
    return said


@given(st.lists(STEPS, max_size=12))
def test_no_request_is_lost_whatever_changes_and_whoever_answers_and_all_arrives(steps: list[Any]) -> None:
    found, envoy = snapshot("shop", []), Envoy()
    envoy.meets(found)
    server = envoy.connects(found)
    for step, messages in [*steps, ("", 60)]:
        if step == "reconnect":
            server = envoy.connects(found)
        elif step:
            change = {step.name: step} if isinstance(step, RoutedDeployment) else {step: None}
            found, touched = amended(found, change)
            envoy.meets(found)
            server.touched(touched)
        envoy.inbox.extend(say(found, server))
        for _ in range(messages):
            if envoy.inbox:
                envoy.take(server)
                envoy.inbox.extend(say(found, server))
    assert envoy.clusters == {name: one.digest for name, one in found.clusters.items()}
    assert envoy.endpoints == found.endpoints
    assert envoy.scopes == found.scopes
