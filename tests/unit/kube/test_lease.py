from __future__ import annotations

import asyncio
import copy

import pytest
from tests.unit.kube.api_server import LoopClock, Scripted, refusal

from noria_operator.kube import requests
from noria_operator.kube.client import Answer
from noria_operator.kube.errors import Unavailable
from noria_operator.kube.kinds import LEASE, Json
from noria_operator.kube.lease import SHARED, Lease, LeaseLost
from noria_operator.kube.requests import Request


class Server:
    """One Lease object, with optimistic locking; `down` makes it unreachable."""

    def __init__(self) -> None:
        self.lease: Json | None = None
        self.version = 0
        self.down = False
        self.writers: list[str] = []
        self.requests = 0

    def rewrite(self, **spec: str) -> None:
        """It is written once more, and no candidate hears of it."""
        assert self.lease is not None
        self.version += 1
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        self.lease["spec"] |= spec

    def __call__(self, request: Request) -> Answer:
        self.requests += 1
        if self.down:
            raise Unavailable(0, "Down", "no route")
        if request.verb == "get":
            return Answer(200, copy.deepcopy(self.lease)) if self.lease else refusal(404, "NotFound")
        assert request.body is not None
        body = copy.deepcopy(request.body)
        if request.verb == "create" and self.lease is not None:
            return refusal(409, "AlreadyExists")
        if request.verb == "update" and body["metadata"]["resourceVersion"] != str(self.version):
            return refusal(409, "Conflict")
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.lease = body
        self.writers.append(body["spec"]["holderIdentity"])
        return Answer(200, copy.deepcopy(body))


class Namespace:
    """Several Leases, by name."""

    def __init__(self) -> None:
        self.servers: dict[str, Server] = {}

    def __call__(self, request: Request) -> Answer:
        name = request.body["metadata"]["name"] if request.body else request.path.rsplit("/", 1)[1]
        return self.servers.setdefault(name, Server())(request)


def candidate(server: Server | Namespace, name: str, lease: str = SHARED) -> Lease:
    return Lease(Scripted(server), LoopClock(), namespace="ns", identity=name, name=lease)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_the_first_one_gets_it_and_keeps_it() -> None:
    server = Server()
    a, b = candidate(server, "a"), candidate(server, "b")
    await a.acquire()
    holding, waiting = asyncio.create_task(a.hold()), asyncio.create_task(b.acquire())
    await asyncio.sleep(600)
    assert a.held
    assert not b.held
    assert set(server.writers) == {"a"}
    for task in (holding, waiting):
        task.cancel()


async def test_a_renewal_is_one_request() -> None:
    server = Server()
    lease = candidate(server, "a")
    await lease.acquire()
    asked = server.requests
    holding = asyncio.create_task(lease.hold())
    await asyncio.sleep(61)
    assert server.requests - asked == 30
    holding.cancel()


async def test_what_a_holder_notes_on_the_lease_outlives_it_and_costs_no_request() -> None:
    server = Server()
    notes = {"noria.dev/notified": "1"}
    a = Lease(Scripted(server), LoopClock(), namespace="ns", identity="a", notes=lambda: notes)
    await a.acquire()
    notes["noria.dev/notified"] = "2"
    asked = server.requests
    holding = asyncio.create_task(a.hold())
    await asyncio.sleep(61)
    holding.cancel()
    assert server.requests - asked == 30
    await a.release()
    b = candidate(server, "b")
    await b.acquire()
    assert b.annotations == {"noria.dev/notified": "2"}


async def test_a_dead_holder_is_replaced_after_the_lease_ran_out_and_not_before() -> None:
    server = Server()
    a, b = candidate(server, "a"), candidate(server, "b")
    await a.acquire()
    holding = asyncio.create_task(a.hold())
    waiting = asyncio.create_task(b.acquire())
    await asyncio.sleep(60)
    holding.cancel()
    died = now()
    await waiting
    assert 13 <= now() - died <= 20
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 1


async def test_a_holder_that_cannot_renew_stops_before_another_may_start() -> None:
    server = Server()
    a = candidate(server, "a")
    await a.acquire()
    holding = asyncio.create_task(a.hold())
    await asyncio.sleep(20)
    server.down = True
    cut = now()
    with pytest.raises(LeaseLost):
        await holding
    assert now() - cut <= 10.5
    assert not a.held
    with pytest.raises(LeaseLost):
        a.check()


async def test_case_33_a_process_that_slept_may_not_write_even_before_it_noticed() -> None:
    a = candidate(Server(), "a")
    await a.acquire()
    a.check()
    await asyncio.sleep(11)
    with pytest.raises(LeaseLost):
        a.check()


async def test_who_hears_nothing_for_as_long_as_a_lease_lasts_is_blind_and_leads_or_not() -> None:
    server = Server()
    a, b = candidate(server, "a"), candidate(server, "b")
    assert a.blind(), "nothing was heard yet"
    await a.acquire()
    holding, waiting = asyncio.create_task(a.hold()), asyncio.create_task(b.acquire())
    await asyncio.sleep(60)
    assert (a.blind(), b.blind()) == (False, False)
    server.down = True
    await asyncio.sleep(12)
    assert (a.blind(), b.blind()) == (False, False)
    await asyncio.sleep(4)
    assert (a.blind(), b.blind()) == (True, True)
    server.down = False
    await asyncio.sleep(2.5)
    assert not b.blind()
    waiting.cancel()
    await asyncio.gather(holding, waiting, return_exceptions=True)


async def test_a_short_outage_costs_nothing() -> None:
    server = Server()
    a = candidate(server, "a")
    await a.acquire()
    holding = asyncio.create_task(a.hold())
    await asyncio.sleep(20)
    server.down = True
    await asyncio.sleep(4)
    server.down = False
    await asyncio.sleep(60)
    assert a.held
    holding.cancel()


async def test_a_holder_that_was_replaced_stops() -> None:
    server = Server()
    a = candidate(server, "a")
    await a.acquire()
    holding = asyncio.create_task(a.hold())
    await asyncio.sleep(5)
    assert server.lease is not None
    taken = copy.deepcopy(server.lease)
    taken["spec"]["holderIdentity"] = "b"
    server(requests.update(LEASE, "ns", taken))
    with pytest.raises(LeaseLost):
        await holding


async def test_a_released_lease_is_taken_at_once() -> None:
    server = Server()
    a, b = candidate(server, "a"), candidate(server, "b")
    await a.acquire()
    waiting = asyncio.create_task(b.acquire())
    await asyncio.sleep(5)
    await a.release()
    assert not a.held
    released = now()
    await waiting
    assert now() - released <= 2.5


async def test_a_lease_is_released_though_its_last_renewal_was_cut_off() -> None:
    server = Server()
    a = candidate(server, "a")
    await a.acquire()
    server.rewrite()  # by the renewal, whose answer came when nobody waited any more
    await a.release()
    assert server.lease is not None
    assert server.lease["spec"]["holderIdentity"] == ""


async def test_a_lease_that_another_took_is_left_alone() -> None:
    server = Server()
    a = candidate(server, "a")
    await a.acquire()
    server.rewrite(holderIdentity="b")
    await a.release()
    assert server.lease is not None
    assert server.lease["spec"]["holderIdentity"] == "b"


async def test_a_conflict_of_one_renewal_does_not_lose_the_lease() -> None:
    server = Server()
    a = candidate(server, "a")
    await a.acquire()
    holding = asyncio.create_task(a.hold())
    await asyncio.sleep(5)
    server.rewrite()  # as if our own renewal had arrived although its answer did not
    await asyncio.sleep(60)
    assert a.held
    holding.cancel()


OURS = "team-a-operator"
"""The Deployment of an installation, and so its lease; its pods are called `team-a-operator-…`."""


async def test_installations_in_one_namespace_lead_side_by_side() -> None:
    server = Namespace()
    leases = [candidate(server, f"{name}-7d9f-x_1", name) for name in (SHARED, OURS, "team-b-operator")]
    for lease in leases:
        await lease.acquire()
    assert [lease.held for lease in leases] == [True, True, True]
    assert now() < 1


async def test_an_operator_of_before_works_alone_until_the_last_one_is_gone() -> None:
    """In a rolling update a follower of before may take the shared lease after its leader let go of it."""
    server = Namespace()
    leader, follower = candidate(server, f"{OURS}-old-a_1"), candidate(server, f"{OURS}-old-b_2")
    newer = candidate(server, f"{OURS}-new-c_3", OURS)
    await leader.acquire()
    holding = asyncio.create_task(leader.hold())
    following = asyncio.create_task(follower.acquire())
    starting = asyncio.create_task(newer.acquire())
    await asyncio.sleep(60)
    assert leader.held
    assert not newer.blind()
    holding.cancel()
    await leader.release()
    await following
    holding = asyncio.create_task(follower.hold())
    await asyncio.sleep(60)
    assert (follower.held, newer.held) == (True, False)
    holding.cancel()
    await follower.release()
    released = now()
    await starting
    assert 13 <= now() - released <= 20


async def test_a_predecessor_that_died_is_succeeded_once_its_lease_ran_out() -> None:
    server = Namespace()
    await candidate(server, f"{OURS}-old-a_1").acquire()
    died = now()
    await candidate(server, f"{OURS}-new-c_3", OURS).acquire()
    assert 13 <= now() - died <= 20


@pytest.mark.parametrize(
    ("holder", "noted"),
    [(OURS, {"noria.dev/notified": "1"}), ("team-b-operator", {})],
    ids=["ours", "another's"],
)
async def test_what_was_noted_on_the_shared_lease_goes_on_to_its_successor(
    holder: str, noted: dict[str, str]
) -> None:
    """Else what the last leader had not told anybody yet would never be told."""
    server = Namespace()
    told = {"noria.dev/notified": "1"}
    old = Lease(Scripted(server), LoopClock(), namespace="ns", identity=f"{holder}-a_1", notes=lambda: told)
    await old.acquire()
    newer = candidate(server, f"{OURS}-new-c_3", OURS)
    await newer.acquire()
    assert newer.annotations == noted


async def test_the_shared_lease_is_looked_at_only_by_the_first_to_lead_by_another() -> None:
    server = Namespace()
    first = candidate(server, f"{OURS}-a_1", OURS)
    await first.acquire()
    await first.release()
    asked = server.servers[SHARED].requests
    await candidate(server, f"{OURS}-b_2", OURS).acquire()
    assert server.servers[SHARED].requests == asked
