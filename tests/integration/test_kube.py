"""The machinery of the operator against a real API server, with a controller small enough to see through."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from tests.integration import kubelet
from tests.integration.running import Cluster, eventually, operator
from tests.integration.toy import Toy, create, phase

from noria_operator.kube.apply import Writer
from noria_operator.kube.clock import SystemClock
from noria_operator.kube.errors import AlreadyExists, Conflict, Invalid, NameConflict, NotFound
from noria_operator.kube.kinds import (
    DEPLOYMENT,
    ENDPOINTSLICE,
    EVENT,
    LEASE,
    SERVICE,
    TRAININGJOB,
    Json,
    Key,
)
from noria_operator.kube.store import Store


async def test_an_object_is_brought_to_its_end_by_events_alone(cluster: Cluster) -> None:
    toy = Toy()
    async with operator(cluster, [toy]) as running:
        await create(cluster)

        async def pod() -> list[Json]:
            return await kubelet.pods_of(cluster.client, cluster.namespace, "train")

        [made] = await eventually(pod)
        await eventually(lambda: _is(cluster, "Running"))
        await kubelet.finish(cluster.client, made, message="{}")
        await eventually(lambda: _is(cluster, "Succeeded"))
        service = running.store.get(Key(SERVICE, cluster.namespace, "train"))
        assert service is not None
        assert service["metadata"]["ownerReferences"][0]["controller"] is True

    events = await cluster.client.list(EVENT, cluster.namespace)
    assert [event["reason"] for event in events if event["involvedObject"]["kind"] == "TrainingJob"] == [
        "Succeeded"
    ]


async def _is(cluster: Cluster, wanted: str) -> bool:
    return await phase(cluster) == wanted


async def test_a_settled_world_is_not_written_to(cluster: Cluster) -> None:
    toy = Toy()
    async with operator(cluster, [toy]) as running:
        await create(cluster)
        await eventually(lambda: _is(cluster, "Running"))
        await asyncio.sleep(0.3)
        before = await cluster.client.list(TRAININGJOB, cluster.namespace)
        passes = toy.passes["train"]
        running.queue.add(Key(TRAININGJOB, cluster.namespace, "train"))
        await eventually(lambda: _more(toy, passes))
        await asyncio.sleep(0.2)
        assert await cluster.client.list(TRAININGJOB, cluster.namespace) == before


async def _more(toy: Toy, passes: int) -> bool:
    return toy.passes["train"] > passes


async def test_a_deleted_child_comes_back(cluster: Cluster) -> None:
    async with operator(cluster, [Toy()]):
        await create(cluster)
        await eventually(lambda: _is(cluster, "Running"))
        first = await cluster.client.get(SERVICE, cluster.namespace, "train")
        await cluster.client.delete(SERVICE, cluster.namespace, "train")

        async def another() -> bool:
            try:
                now = await cluster.client.get(SERVICE, cluster.namespace, "train")
            except NotFound:
                return False
            return bool(now["metadata"]["uid"] != first["metadata"]["uid"])

        await eventually(another)


async def test_a_field_that_somebody_else_changed_is_restored_and_theirs_is_kept(cluster: Cluster) -> None:
    async with operator(cluster, [Toy()]):
        await create(cluster)
        await eventually(lambda: _is(cluster, "Running"))
        change = {"metadata": {"labels": {"team": "a"}}, "spec": {"selector": {"app": "hijacked"}}}
        await cluster.client.merge(SERVICE, cluster.namespace, "train", change)

        async def restored() -> bool:
            now = await cluster.client.get(SERVICE, cluster.namespace, "train")
            return bool(
                now["spec"]["selector"] == {"app": "train"} and now["metadata"]["labels"]["team"] == "a"
            )

        await eventually(restored)


async def test_an_object_of_somebody_else_is_never_taken_over(cluster: Cluster) -> None:
    theirs = {"metadata": {"name": "train"}, "spec": {"ports": [{"port": 1}]}}
    await cluster.client.create(SERVICE, cluster.namespace, theirs)
    async with operator(cluster, [Toy()]):
        await create(cluster)

        async def stalled() -> Json | None:
            obj = await cluster.client.get(TRAININGJOB, cluster.namespace, "train")
            found = [one for one in obj["status"].get("conditions", []) if one["type"] == "Stalled"]
            return found[0] if found and found[0]["reason"] == "NameConflict" else None

        condition = await eventually(stalled)
    assert "Service 'train' exists" in condition["message"]
    untouched = await cluster.client.get(SERVICE, cluster.namespace, "train")
    assert untouched["spec"]["ports"][0]["port"] == 1
    assert "labels" not in untouched["metadata"]


async def test_a_workload_of_somebody_else_is_not_touched_though_nobody_looks_before_the_first_apply(
    cluster: Cluster,
) -> None:
    def workload(owner: str, image: str) -> Json:
        labels = {"noria.dev/owner-uid": owner}
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}}
        return {
            "metadata": {"name": "taken", "namespace": cluster.namespace},
            "spec": {"selector": {"matchLabels": labels}, "template": pod},
        }

    theirs = await cluster.client.create(DEPLOYMENT, cluster.namespace, workload("theirs", "a"))
    mine = await create(cluster)
    writer = Writer(cluster.client, Store(), SystemClock())
    with pytest.raises(NameConflict):
        await writer.apply(DEPLOYMENT, workload("mine", "a"), owner=mine)
    found = await cluster.client.get(DEPLOYMENT, cluster.namespace, "taken")
    assert found["metadata"].get("ownerReferences") is None
    assert found["metadata"].get("labels") is None
    assert found["spec"] == theirs["spec"]


async def test_an_impossible_object_is_stalled_with_the_reason_and_an_event(cluster: Cluster) -> None:
    async with operator(cluster, [Toy()]):
        await create(cluster, model="impossible")

        async def event() -> list[Json]:
            every = await cluster.client.list(EVENT, cluster.namespace)
            return [one for one in every if one["reason"] == "Impossible"]

        [found] = await eventually(event)
    assert found["type"] == "Warning"
    obj = await cluster.client.get(TRAININGJOB, cluster.namespace, "train")
    conditions = {one["type"]: one["status"] for one in obj["status"]["conditions"]}
    assert conditions == {"Ready": "False", "Stalled": "True", "Reconciling": "False"}


async def test_the_lease_is_released_when_the_operator_stops(cluster: Cluster) -> None:
    async with operator(cluster, [Toy()]) as running:

        async def held() -> bool:
            return running.lease.held

        await eventually(held)  # the API server knows before the holder has its answer
        assert await _held(cluster, "operator")
    lease = await cluster.client.get(LEASE, cluster.namespace, "noria-operator")
    assert lease["spec"].get("holderIdentity", "") == ""


async def _held(cluster: Cluster, identity: str) -> bool:
    try:
        lease = await cluster.client.get(LEASE, cluster.namespace, "noria-operator")
    except NotFound:
        return False
    return bool(lease["spec"]["holderIdentity"] == identity)


async def test_probes_and_metrics_answer(cluster: Cluster) -> None:
    async with operator(cluster, [Toy()]) as running, aiohttp.ClientSession() as http:
        base = f"http://127.0.0.1:{running.ports['http']}"

        async def ready() -> bool:
            async with http.get(f"{base}/readyz") as response:
                return response.status == 200

        await eventually(ready)
        async with http.get(f"{base}/healthz") as response:
            assert response.status == 200
        async with http.get(f"{base}/metrics") as response:
            text = await response.text()
    assert "noria_api_request_duration_seconds_count" in text
    assert "noria_watch_age_seconds" in text


async def test_errors_of_the_api_server_have_types(cluster: Cluster) -> None:
    client, namespace = cluster.client, cluster.namespace
    with pytest.raises(NotFound):
        await client.get(SERVICE, namespace, "nothing")
    made = await client.create(
        SERVICE, namespace, {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 1}]}}
    )
    with pytest.raises(AlreadyExists):
        await client.create(SERVICE, namespace, {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 1}]}})
    with pytest.raises(Invalid):
        await client.create(SERVICE, namespace, {"metadata": {"name": "b"}, "spec": {"ports": []}})
    with pytest.raises(Conflict):
        await client.delete(SERVICE, namespace, "a", uid="00000000-0000-0000-0000-000000000000")
    await client.delete(SERVICE, namespace, "a", uid=made["metadata"]["uid"])
    assert await client.delete(SERVICE, namespace, "a") is None


async def test_a_status_computed_from_an_old_object_is_refused(cluster: Cluster) -> None:
    old = await create(cluster)
    meta = old["metadata"]
    await cluster.client.merge(TRAININGJOB, cluster.namespace, "train", {"spec": {"suspend": True}})
    with pytest.raises(Conflict):
        await cluster.client.apply_status(
            TRAININGJOB,
            cluster.namespace,
            "train",
            {"phase": "Failed"},
            resource_version=meta["resourceVersion"],
        )


async def test_endpointslices_carry_the_labels_of_their_service(cluster: Cluster) -> None:
    """The watch on them selects by labels that are only on Services of versions, which the toy's is like."""
    async with operator(cluster, [Toy()]) as running:
        address = {"name": "address", "labels": {"app.kubernetes.io/managed-by": "noria"}}
        service = {"metadata": address, "spec": {"ports": [{"port": 80}], "selector": {"app": "router"}}}
        await cluster.client.create(SERVICE, cluster.namespace, service)

        async def there() -> list[Json]:
            return await cluster.client.list(ENDPOINTSLICE, cluster.namespace)

        await eventually(there)
        await create(cluster)

        async def slices() -> list[Json]:
            return running.store.list(ENDPOINTSLICE, cluster.namespace)

        [found] = await eventually(slices)
    assert found["metadata"]["labels"]["noria.dev/owner-kind"] == "TrainingJob"
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "train"
