"""Versions that never go back, and answers that wait for each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.routers import ordering
from noria_operator.routers.envoy import Snapshot, endpoint_resource, snapshot
from noria_operator.routers.ordering import History, Kind, Node, Order, Version, compare, in_order
from noria_operator.routers.traffic import RoutedDeployment

POD = (("10.0.0.1", 8080),)
ROUTES, CLUSTERS = (Kind.ROUTES, ""), (Kind.CLUSTERS, "")


@pytest.mark.parametrize(
    ("ours", "theirs", "order"),
    [
        ((5, 5, "a"), None, Order.AHEAD),
        ((5, 5, "a"), (9, 9, "a"), Order.SAME),
        ((5, 5, "a"), (4, 5, "b"), Order.AHEAD),
        ((5, 5, "a"), (5, 5, "b"), Order.LEVEL),
        ((5, 5, "a"), (6, 5, "b"), Order.BEHIND),
        ((9, 5, "a"), (5, 6, "b"), Order.BEHIND),
    ],
)
def test_positions_are_compared_part_by_part(
    ours: tuple[int, int, str], theirs: tuple[int, int, str] | None, order: Order
) -> None:
    other = None if theirs is None else Version(theirs[:2], theirs[2])
    assert compare(Version(ours[:2], ours[2]), other) is order


def test_a_list_that_reaches_further_makes_up_for_an_object_that_was_deleted_unseen() -> None:
    """Its resourceVersion, 9, is in the router's version; nothing that is left is newer than 5."""
    ours, theirs = Version((5, 5), "a"), Version((9, 5), "b")
    assert compare(ours, theirs, (8, 8)) is Order.BEHIND
    assert compare(ours, theirs, (9, 5)) is Order.LEVEL
    assert ours.after(theirs) == Version((9, 5), "a"), "a replica that still knows the object is no newer"
    assert compare(Version((9, 5), "b"), ours.after(theirs), (12, 12)) is Order.LEVEL


@given(st.integers(0), st.integers(0), st.text("0123456789abcdef", min_size=1))
def test_a_version_is_read_back_as_it_was_written(deployments: int, slices: int, digest: str) -> None:
    version = Version((deployments, slices), digest)
    assert Version.parse(str(version)) == version


@pytest.mark.parametrize("text", ["", "1", "1.2", "a.2.c", "1.2.c.d", "-1.2.c", "1.²x.c"])
def test_what_we_did_not_write_is_no_version(text: str) -> None:
    assert Version.parse(text) is None


def two_versions(*alive: str, weights: tuple[int, int] = (50, 50)) -> Snapshot:
    revisions = tuple(zip(("m-1", "m-2"), weights, strict=True))
    return snapshot("shop", [RoutedDeployment("m", revisions=revisions, endpoints=dict.fromkeys(alive, POD))])


def node(found: Snapshot, *, routes: str | None = None, **endpoints: tuple[tuple[str, int], ...]) -> Node:
    """A router that has this snapshot's clusters and these endpoints."""
    made = Node(accepted={CLUSTERS: found.cds.digest, ROUTES: routes or found.rds.digest})
    for name, hosts in endpoints.items():
        cluster = name.replace("_", "-")
        made.accepted[Kind.ENDPOINTS, cluster] = endpoint_resource(cluster, hosts).digest
    return made


def test_routes_wait_until_the_router_has_every_cluster_that_they_name() -> None:
    found = two_versions("m-1", "m-2")
    names = History(clusters={found.cds.digest: found.known, "older": frozenset({"m-1"})})
    assert not in_order(found, node(found, m_1=POD), ROUTES, names)
    ready = node(found, m_1=POD, m_2=POD)
    assert in_order(found, ready, ROUTES, names)
    ready.answered(CLUSTERS, "older", 0)
    assert not in_order(found, ready, ROUTES, names), "an answer without m-2 may be in force already"


def test_routes_wait_until_a_cluster_that_gets_requests_has_endpoints_there() -> None:
    found = two_versions("m-1", "m-2")
    there = node(found, m_1=POD, m_2=())
    assert not in_order(found, there, ROUTES, History())
    idle = two_versions("m-1", "m-2", weights=(100, 0))
    assert in_order(idle, there, ROUTES, History())
    nobody = two_versions()
    assert in_order(nobody, node(nobody, m_1=(), m_2=()), ROUTES, History())


def test_endpoints_are_emptied_only_after_the_routes_have_left() -> None:
    before, now = two_versions("m-1", "m-2"), two_versions("m-1")
    place = (Kind.ENDPOINTS, "m-2")
    there = node(before, m_1=POD, m_2=POD)
    assert not in_order(now, there, place, History())
    there.asks(ROUTES, Version((1, 1), now.rds.digest))
    assert in_order(now, there, place, History())
    there.answered(ROUTES, before.rds.digest, 0)
    assert not in_order(now, there, place, History()), "older routes may be on their way"
    assert in_order(now, there, (Kind.ENDPOINTS, "m-1"), History()), "others do not wait"
    assert in_order(now, node(before), place, History()), "a cluster that warms gets its first answer at once"
    del there.accepted[ROUTES], there.flying[ROUTES]
    assert not in_order(now, there, place, History()), "an operator that starts knows no routes of it yet"


def test_a_cluster_that_was_removed_is_warmed_again() -> None:
    found = two_versions("m-1", "m-2")
    there = node(found, m_1=POD, m_2=POD)
    there.keep(frozenset({"m-1"}))
    assert not in_order(found, there, ROUTES, History())
    there.keep(None)
    assert (Kind.ENDPOINTS, "m-1") in there.accepted


def test_taking_weight_away_never_waits_whichever_replica_is_asked() -> None:
    before, aborted = two_versions("m-1", "m-2"), two_versions("m-1", "m-2", weights=(100, 0))
    known = History()
    known.remember(before)
    stranger = Node(accepted={ROUTES: before.rds.digest})
    assert in_order(aborted, stranger, ROUTES, known)
    known.remember(aborted)
    back = Node(accepted={ROUTES: aborted.rds.digest})
    assert not in_order(before, back, ROUTES, known), "giving weight waits until the pods are known there"
    back.flying[ROUTES] = before.rds.digest
    assert not in_order(before, back, ROUTES, known), "what is on its way is not in force for certain"


def test_what_is_remembered_of_a_large_namespace_in_motion_stays_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ordering, "NAMES", 1000)
    history = History()
    for count in range(1, 200, 4):
        deployments = [RoutedDeployment(f"m{n}", revisions=((f"m{n}-1", 100),)) for n in range(count)]
        history.remember(snapshot("shop", deployments))
    assert sum(len(known) for known in history.clusters.values()) <= 1000
    assert history.clusters, "the newest answer is remembered however large it is"


def test_a_changed_weight_is_remembered_without_another_set_of_names() -> None:
    history = History()
    for weight in (10, 20):
        history.remember(two_versions("m-1", "m-2", weights=(100 - weight, weight)))
    first, second = history.routes.values()
    assert first[0] is second[0]
    assert first[1] is second[1]
