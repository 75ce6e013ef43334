"""Evictions, as a drain of nodes asks for them, against the disruption budget of a ModelDeployment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest
from tests.integration.deployments import NAME, Routers, approve, deploy, kubelet, serves, until
from tests.integration.running import Cluster, eventually, operator

from noria_operator.controllers import modeldeployment
from noria_operator.controllers.context import Config
from noria_operator.kube.kinds import PDB, POD, Json, Kind
from noria_operator.kube.requests import Request, typed

EVICTION = Kind("policy", "v1", "evictions", "Eviction")
HALF: Json = {"steps": [{"weight": 50, "duration": "1h"}]}


@pytest.fixture
async def two_pods(cluster: Cluster, config: Config) -> AsyncIterator[Cluster]:
    """Version 1 serves from two pods; from now on nobody makes a pod ready."""
    await approve(cluster, 1)
    await deploy(cluster, replicas=2, strategy=HALF)
    async with operator(cluster, [modeldeployment], router=Routers(cluster), config=config):
        async with kubelet(cluster):
            await until(cluster, serves(1))
            await budget(cluster, pods=2, allowed=1)
        yield cluster


async def budget(cluster: Cluster, *, pods: int, allowed: int) -> None:
    """Wait until Kubernetes has counted the deployment's pods so."""

    async def counted() -> bool:
        found = await cluster.client.list(PDB, cluster.namespace)
        said = [one.get("status", {}) for one in found if one["metadata"]["name"] == NAME]
        return [(one.get("expectedPods"), one.get("disruptionsAllowed")) for one in said] == [(pods, allowed)]

    await eventually(counted)


async def servers(cluster: Cluster) -> list[str]:
    """Names of the serving pods that are not going."""
    found = await cluster.client.list(POD, cluster.namespace, labels={"noria.dev/deployment": NAME})
    return [one["metadata"]["name"] for one in found if "deletionTimestamp" not in one["metadata"]]


async def evict(cluster: Cluster, pod: str) -> int:
    """What the API server answers to the eviction of a pod."""
    body = typed(EVICTION, {"metadata": {"name": pod, "namespace": cluster.namespace}})
    path = POD.path(cluster.namespace, pod, "eviction")
    return (await cluster.client.send(Request("create", "POST", POD, path, body=body))).status


async def test_a_drain_gets_one_pod_of_two_until_its_successor_is_ready(two_pods: Cluster) -> None:
    one, two = await servers(two_pods)
    assert await evict(two_pods, one) == HTTPStatus.CREATED
    assert await evict(two_pods, two) == HTTPStatus.TOO_MANY_REQUESTS
    async with kubelet(two_pods):
        await budget(two_pods, pods=2, allowed=1)
        assert await evict(two_pods, two) == HTTPStatus.CREATED


async def test_one_budget_counts_champion_and_challenger(two_pods: Cluster) -> None:
    """Its share is of what both Deployments ask for."""
    async with kubelet(two_pods):
        await approve(two_pods, 2)
        await budget(two_pods, pods=3, allowed=1)


async def test_a_budget_of_a_users_own_beside_it_lets_no_pod_go(two_pods: Cluster) -> None:
    """Which is why the docs tell users to delete theirs."""
    selector = {"matchLabels": {"noria.dev/deployment": NAME}}
    theirs = {"metadata": {"name": "theirs"}, "spec": {"maxUnavailable": 1, "selector": selector}}
    await two_pods.client.create(PDB, two_pods.namespace, theirs)
    one, _ = await servers(two_pods)
    assert await evict(two_pods, one) == HTTPStatus.INTERNAL_SERVER_ERROR


async def test_what_stands_between_a_drain_and_the_pods_goes_with_the_deployment(two_pods: Cluster) -> None:
    await two_pods.client.delete(modeldeployment.KIND, two_pods.namespace, NAME)

    async def gone() -> bool:
        found = await two_pods.client.list(PDB, two_pods.namespace)
        return NAME not in [one["metadata"]["name"] for one in found]

    await eventually(gone)
