"""Held requests of routers: who is woken by what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from noria_operator.kube.kinds import ENDPOINTSLICE, MODELDEPLOYMENT
from noria_operator.kube.store import Store
from noria_operator.routers.catalogue import Catalogue
from noria_operator.routers.ordering import Kind, Version
from noria_operator.routers.source import routed
from noria_operator.routers.xds import Discovery, Question

Json = dict[str, Any]
HELD = 30


class Counting(Catalogue):
    """Counts how often somebody begins to wait."""

    waits = 0

    async def wait(self, *topics: Any) -> None:
        self.waits += 1
        await super().wait(*topics)


def deployment(number: int) -> Json:
    name = f"m{number}"
    meta = {"name": name, "namespace": "shop", "uid": name, "resourceVersion": str(100 + number)}
    traffic = [{"name": f"{name}-1", "weight": 100}]
    api = {"apiVersion": "noria.dev/v1alpha1", "kind": "ModelDeployment"}
    return {**api, "metadata": meta, "spec": {"model": name}, "status": {"traffic": traffic}}


async def test_a_request_wakes_none_of_the_others_that_have_what_there_is() -> None:
    store = Store()
    for number in range(HELD):
        store.observe(None, deployment(number))
    catalogue = Counting(store, deployments=MODELDEPLOYMENT, slices=ENDPOINTSLICE)
    discovery = Discovery(catalogue, lambda: b"k" * 32, hold=60)
    snapshot = catalogue.snapshot("shop")
    tasks = []
    for name, resource in snapshot.eds.items():
        version = Version(catalogue.position, resource.digest)
        question = Question(Kind.ENDPOINTS, "shop", "router-0", "", name, version)
        tasks.append(asyncio.create_task(discovery._held(question, discovery._node(question))))
    for _ in range(10):
        await asyncio.sleep(0)
    assert catalogue.waits == len(tasks) >= HELD
    discovery._node(question)
    for _ in range(10):
        await asyncio.sleep(0)
    assert catalogue.waits == len(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_changed_deployment_and_its_changed_pods_are_read_anew_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []

    def reading(deployment: Json, slices: Any) -> Any:
        read.append(deployment["metadata"]["name"])
        return routed(deployment, slices)

    def pod(address: str, version: int) -> Json:
        meta = {"name": "s", "namespace": "shop", "uid": "s", "resourceVersion": str(version)}
        meta["labels"] = {"kubernetes.io/service-name": "m0-1"}  # type: ignore[assignment]
        body = {"ports": [{"name": "http", "port": 1}], "endpoints": [{"addresses": [address]}]}
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, **body}

    monkeypatch.setattr("noria_operator.routers.catalogue.routed", reading)
    store = Store()
    for number in range(3):
        store.observe(None, deployment(number))
    catalogue = Catalogue(store, deployments=MODELDEPLOYMENT, slices=ENDPOINTSLICE)
    catalogue.snapshot("shop")
    assert read == ["m0", "m1", "m2"]
    store.observe("ADDED", pod("10.0.0.1", 200))
    first = catalogue.snapshot("shop")
    store.observe("MODIFIED", pod("10.0.0.2", 201))
    second = catalogue.snapshot("shop")
    changed = deployment(1)
    changed["metadata"]["resourceVersion"] = "202"
    store.observe("MODIFIED", changed)
    catalogue.snapshot("shop")
    assert read[3:] == ["m0", "m0", "m1"]
    assert first.eds["m0-1"] != second.eds["m0-1"]
