"""What the operator does when the API server, the network, or another operator is in its way.

The oracle is always the state of the world: the same as without the fault, one Job, nothing left over.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.integration import kubelet
from tests.integration.faults import CrashAfter, Faults, Proxy, status_answer
from tests.integration.running import QUICK, Cluster, eventually, operator, run_to_end
from tests.integration.toy import Toy, create, phase

from noria_operator.kube.client import Answer
from noria_operator.kube.errors import Unavailable
from noria_operator.kube.kinds import EVENT, JOB, LEASE, SERVICE, TRAININGJOB, Json, Key
from noria_operator.kube.lease import LeaseLost
from noria_operator.kube.requests import Request


async def play(cluster: Cluster, name: str = "train") -> bool:
    """Play the kubelet for the toy's Job; true when the TrainingJob has come to its end."""
    for pod in await kubelet.pods_of(cluster.client, cluster.namespace, name):
        if pod.get("status", {}).get("phase") == "Pending":
            await kubelet.finish(cluster.client, pod)
    return await phase(cluster, name) == "Succeeded"


async def world(cluster: Cluster) -> Json:
    """What must come out the same whatever happened on the way."""
    jobs = await cluster.client.list(JOB, cluster.namespace)
    services = await cluster.client.list(SERVICE, cluster.namespace)
    events = await cluster.client.list(EVENT, cluster.namespace)
    return {
        "phase": await phase(cluster),
        "jobs": [one["metadata"]["name"] for one in jobs],
        "services": [one["metadata"]["name"] for one in services],
        "events": Counter(one["reason"] for one in events if one["involvedObject"]["kind"] == "TrainingJob"),
    }


GOOD: Json = {"phase": "Succeeded", "jobs": ["train"], "services": ["train"], "events": {"Succeeded": 1}}


@pytest.mark.parametrize("write", range(1, 7))
async def test_a_crash_after_any_write_changes_nothing_in_the_end(cluster: Cluster, write: int) -> None:
    await create(cluster)
    crash = CrashAfter(write)
    await run_to_end(cluster, [Toy()], faults=crash.faults(), until=lambda: play(cluster))
    await run_to_end(cluster, [Toy()], faults=Faults(), until=lambda: play(cluster))
    found = await world(cluster)
    found["events"].pop("Succeeded", None)  # the one thing that a crash right before it may lose
    assert found == {**GOOD, "events": {}}


def first_attempts(answer: Callable[[], Answer], *verbs: str) -> Faults:
    """Refuse the first attempt of every different request."""
    seen: set[tuple[str, str]] = set()

    def before(request: Request) -> Answer | None:
        mark = (request.verb, request.path)
        if request.kind == LEASE or request.verb not in verbs or mark in seen:
            return None
        seen.add(mark)
        return answer()

    return Faults(before=before)


WRITES = ("create", "patch", "delete")


@pytest.mark.parametrize(
    ("name", "faults"),
    [
        (
            "too many requests",
            first_attempts(lambda: status_answer(429, "TooManyRequests", retry_after=0), *WRITES),
        ),
        (
            "internal error",
            first_attempts(lambda: status_answer(500, "InternalError"), *WRITES, "get", "list"),
        ),
        ("conflict", first_attempts(lambda: status_answer(409, "Conflict"), *WRITES)),
        (
            "forbidden for a moment",
            first_attempts(lambda: status_answer(403, "Forbidden"), "patch", "create"),
        ),
        (
            "a page of a load balancer",
            first_attempts(lambda: Answer(502, "<html>Bad Gateway</html>"), *WRITES),
        ),
    ],
)
async def test_refused_writes_are_made_up_for(cluster: Cluster, name: str, faults: Faults) -> None:
    await create(cluster)
    await run_to_end(cluster, [Toy()], faults=faults, until=lambda: play(cluster))
    found = await world(cluster)
    assert found["jobs"] == GOOD["jobs"]
    assert found["services"] == GOOD["services"]


async def test_writes_whose_answer_was_lost_are_not_made_twice(cluster: Cluster) -> None:
    lost: set[str] = set()

    def after(request: Request, answer: Answer) -> None:
        mark = f"{request.verb} {request.path}"
        if request.writes and request.kind != LEASE and mark not in lost:
            lost.add(mark)
            raise Unavailable(0, "Timeout", "the answer did not come")

    await create(cluster)
    await run_to_end(cluster, [Toy()], faults=Faults(after=after), until=lambda: play(cluster))
    assert len(lost) >= 4
    assert await world(cluster) == GOOD


async def test_what_was_deleted_while_the_watches_were_cut_is_noticed(cluster: Cluster) -> None:
    host, port = cluster.endpoint.server.removeprefix("https://").split(":")
    proxy = Proxy(host, int(port))
    through = replace(cluster.endpoint, server=f"https://127.0.0.1:{await proxy.start()}")
    try:
        async with operator(cluster, [Toy()], endpoint=through) as running:
            await create(cluster)
            await eventually(lambda: play(cluster))
            key = Key(TRAININGJOB, cluster.namespace, "late")
            proxy.refusing = True
            proxy.cut()
            await create(cluster, "late")
            await asyncio.sleep(0.5)
            assert running.store.get(key) is None, "the operator is blind now"
            proxy.refusing = False
            await eventually(lambda: play(cluster, "late"))
            for _ in range(3):
                proxy.cut()
                await asyncio.sleep(0.2)
            await cluster.client.delete(TRAININGJOB, cluster.namespace, "late")

            async def forgotten() -> bool:
                return running.store.get(key) is None

            await eventually(forgotten)
    finally:
        await proxy.stop()


async def test_a_lost_event_is_made_up_for_by_the_resync(cluster: Cluster) -> None:
    async with operator(cluster, [Toy()], resync_period=1.0) as running:
        await create(cluster)
        await eventually(lambda: play(cluster))
        key = Key(SERVICE, cluster.namespace, "train")
        ghost = running.store.get(key)
        assert ghost is not None
        gone = {**ghost, "metadata": {**ghost["metadata"], "name": "ghost", "uid": "ghost"}}
        running.store.observe("ADDED", gone)

        async def forgotten() -> bool:
            return running.store.get(Key(SERVICE, cluster.namespace, "ghost")) is None

        await eventually(forgotten)


def recorder(into: list[tuple[str, str]], who: str) -> Faults:
    def after(request: Request, answer: Answer) -> None:
        if request.writes and request.kind != LEASE:
            into.append((who, request.path))

    return Faults(after=after)


async def test_of_two_operators_one_works_and_the_other_takes_over_when_it_stops(cluster: Cluster) -> None:
    writes: list[tuple[str, str]] = []
    async with operator(cluster, [Toy()], faults=recorder(writes, "b"), identity="b", timing=QUICK) as second:
        await eventually(lambda: _leads(second))
        async with operator(
            cluster, [Toy()], faults=recorder(writes, "a"), identity="a", timing=QUICK
        ) as first:
            await create(cluster)
            await eventually(lambda: play(cluster))
            assert {who for who, _ in writes} == {"b"}
            assert not first.lease.held

            async def warm() -> bool:
                return first.store.get(Key(TRAININGJOB, cluster.namespace, "train")) is not None

            await eventually(warm)
    assert await world(cluster) == GOOD


async def test_when_the_leader_vanishes_the_follower_goes_on(cluster: Cluster) -> None:
    writes: list[tuple[str, str]] = []
    await create(cluster)
    crash = CrashAfter(2)
    await run_to_end(
        cluster,
        [Toy()],
        faults=crash.faults(),
        until=lambda: play(cluster),
        identity="vanishes",
        timing=QUICK,
    )
    assert crash.crashed
    async with operator(cluster, [Toy()], faults=recorder(writes, "next"), identity="next"):
        await eventually(lambda: play(cluster))
    assert (await world(cluster))["jobs"] == ["train"]


async def test_case_33_an_operator_that_lost_its_lease_ends_and_writes_no_more(cluster: Cluster) -> None:
    writes: list[tuple[str, str]] = []
    with pytest.raises(LeaseLost):
        async with operator(cluster, [Toy()], faults=recorder(writes, "a"), timing=QUICK) as running:
            await eventually(lambda: _leads(running))
            stolen = {"spec": {"holderIdentity": "thief"}}  # the holder may renew it at any time
            await cluster.client.merge(LEASE, cluster.namespace, "noria-operator", stolen)
            await asyncio.sleep(QUICK.renew_deadline)
            await create(cluster)
            await asyncio.sleep(0.5)
    assert writes == []


async def _leads(running: object) -> bool:
    return bool(running.lease.held)  # type: ignore[attr-defined]
